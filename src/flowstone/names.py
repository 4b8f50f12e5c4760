"""Names of flow runs that a person can say."""

from __future__ import annotations

from typing import Final

_KINDS: Final = (
    "amber", "azure", "banded", "bright", "calm", "chalky", "clear", "cobalt", "coral", "deep", "dusky", "early",
    "fine", "folded", "gentle", "golden", "green", "grey", "hidden", "ivory", "late", "layered", "light", "mellow",
    "misty", "pale", "quiet", "rosy", "silver", "slow", "still", "veined",
)  # fmt: skip
_STONES: Final = (
    "agate", "amber", "basalt", "beryl", "boulder", "calcite", "chalk", "clay", "dolomite", "flint", "garnet", "gneiss",
    "granite", "gravel", "gypsum", "jade", "jasper", "limestone", "loess", "marble", "marl", "obsidian", "onyx", "opal",
    "pebble", "pumice", "quartz", "sand", "shale", "slate", "topaz", "tuff",
)  # fmt: skip


def name_of(run_id: str) -> str:
    """Return the name that goes with an id: the same id has the same name everywhere."""
    mixed = int(run_id[-12:], 16) * 0x9E3779B97F4A7C15 >> 40
    return f"{_KINDS[mixed & 31]}-{_STONES[mixed >> 5 & 31]}"
