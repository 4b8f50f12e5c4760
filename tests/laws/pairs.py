"""The table of pairs: expressions, and whether their values must share a token.

    left <=> right     equal values: one token
    left <!> right     different values: different tokens
    !! value @ path    refused, with the path to the culprit

Each family is a few lines of set-up and a table. The expressions are evaluated anew for each side, in whatever process
runs them: `python -c "import pairs; pairs.main('builtins')"` prints the tokens of a family's rows as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import linecache
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SAME, DIFFERENT, REFUSED = "<=>", "<!>", "!!"
TABLES = Path(__file__).parent / "pairs"


class Row(NamedTuple):
    family: str
    title: str
    verdict: str
    left: str
    right: str


@dataclass(frozen=True)
class Family:
    """A file of the folder `pairs`: `needs:` lines, set-up, a line of dashes, the table."""

    name: str
    needs: tuple[str, ...]
    setup: str
    rows: tuple[Row, ...]

    def missing(self) -> list[str]:
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def namespace(self) -> dict[str, Any]:
        """Run the set-up as a module that can be imported by its name, as the user's own would be."""
        module = types.ModuleType(f"pairs_{self.name}")
        sys.modules[module.__name__] = module
        exec(_compiled(self.setup, f"<pairs {self.name}>", "exec"), module.__dict__)
        return module.__dict__


def _compiled(source: str, name: str, mode: str) -> types.CodeType:
    """Compile text that has no file, and keep it where the source of code is looked up."""
    linecache.cache[name] = (len(source), None, [f"{line}\n" for line in source.splitlines()], name)
    return compile(source, name, mode)


def families() -> list[Family]:
    return [_read(path) for path in sorted(TABLES.glob("*.txt"))]


def _read(path: Path) -> Family:
    head, _, table = path.read_text(encoding="utf-8").partition("\n----\n")
    lines = head.splitlines()
    needs = tuple(line.removeprefix("needs:").strip() for line in lines if line.startswith("needs:"))
    setup = "\n".join(line for line in lines if not line.startswith("needs:"))
    rows = [_row(path.stem, line) for line in table.splitlines() if line.strip() and not line.startswith("#")]
    return Family(path.stem, needs, setup, tuple(rows))


def _row(family: str, line: str) -> Row:
    if line.startswith(REFUSED):
        left, _, right = line.removeprefix(REFUSED).rpartition("@")
        return Row(family, line, REFUSED, left.strip(), right.strip())
    verdict = SAME if SAME in line else DIFFERENT
    left, found, right = line.partition(verdict)
    if not found:
        raise ValueError(f"{family}: no verdict in {line!r}")
    return Row(family, line, verdict, left.strip(), right.strip())


def tokens(family: Family) -> dict[str, list[str]]:
    """The tokens of both sides of each row, in hexadecimal; for a refusal, the path it names."""
    from flowstone.exceptions import HashError
    from flowstone.hashing import token

    names = family.namespace()

    def value(side: str) -> object:
        return eval(_compiled(side, f"<pairs {family.name} {side}>", "eval"), names)

    told: dict[str, list[str]] = {}
    for row in family.rows:
        if row.verdict != REFUSED:
            told[row.title] = [token(value(side)).hex() for side in (row.left, row.right)]
            continue
        try:
            told[row.title] = [token(value(row.left)).hex(), ""]
        except HashError as error:
            told[row.title] = [error.path, error.culprit]
    return told


def main(*names: str) -> None:
    """Print the tokens of the families named."""
    print(json.dumps({family.name: tokens(family) for family in families() if family.name in names}))
