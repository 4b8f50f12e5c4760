"""Deep values and values that contain themselves."""

from __future__ import annotations

from flowstone.hashing.form import Refused


def graph_token(value: object) -> bytes:
    raise Refused(type(value), "it is nested too deeply, or contains itself")
