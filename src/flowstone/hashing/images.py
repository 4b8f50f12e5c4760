"""Pillow images, as Pillow compares them: by class, mode, size, palette, info and pixels."""

from __future__ import annotations

from typing import Any

from PIL import Image

from flowstone.hashing.form import Node, Refused, buffer_hasher
from flowstone.hashing.registry import register_type

_PIXELS = 1 << 20  # at a time


def _image(value: Any) -> Node:
    if getattr(value, "n_frames", 1) > 1:
        raise Refused(type(value), "it has several frames, and looking at all would move it; pass a list of frames")
    value.load()
    palette = value.getpalette() if value.mode in ("P", "PA") else None
    info = {name: item for name, item in value.info.items() if isinstance(name, str)}
    parts = (value.mode, value.size, palette, info, _pixels(value))
    return Node("image", parts, ("", "", "", ".info", ""), kind=type(value))


def _pixels(value: Any) -> bytes:
    """Digest the pixels band of rows by band of rows."""
    width, height = value.size
    hasher = buffer_hasher()
    rows = max(1, _PIXELS // max(1, width))
    for top in range(0, height, rows):
        hasher.update(value.crop((0, top, width, min(height, top + rows))).tobytes())
    return hasher.digest()


register_type(Image.Image, _image, subclasses=True)
