from __future__ import annotations

from pathlib import Path

from flowstone.settings import SETTINGS
from flowstone.settings.document import render

REFERENCE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_reference_is_current():
    assert REFERENCE.read_text() == render(), "run: python -m flowstone.settings.document > docs/settings.md"


def test_the_reference_has_every_setting():
    text = render()
    assert all(f"### {name}\n" in text for name in SETTINGS)
