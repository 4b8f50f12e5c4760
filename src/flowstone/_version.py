"""The version of this library; here because asking the installed metadata for it takes longer than a first result."""

from __future__ import annotations

VERSION = "0.1.0"
