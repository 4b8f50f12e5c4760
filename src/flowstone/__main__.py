"""`python -m flowstone` is `flowstone`."""

from __future__ import annotations

from flowstone.cli import main

main(prog_name="flowstone")
