"""All commands, by the section of the help that they stand in.

The command `name` is the object `name` in the module `flowstone.cli.name`; its line here is the first sentence of its
help, so that the help of all of them is printed without loading any.
"""

from __future__ import annotations

from typing import Final

SECTIONS: Final[dict[str, dict[str, str]]] = {
    "Start here": {
        "demo": "Run a pipeline on a year of real flights, run it again from the cache, and run it after edits.",
    },
    "Results": {
        "cache": "Look into the store of results and keep it in order.",
    },
    "Settings": {
        "config": "Show and change settings.",
        "profile": "Keep several sets of settings and switch between them.",
    },
    "This installation": {
        "version": "Show versions, and where flowstone keeps things.",
    },
}

COMMANDS: Final = {name: line for section in SECTIONS.values() for name, line in section.items()}
