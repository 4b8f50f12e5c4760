"""Runs the benchmarks: `python -m benchmarks [NAME ...]`, all of them without a name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main(names: list[str]) -> int:
    known = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    for name in names or known:
        if name not in known:
            print(f"There is no benchmark {name!r}; there are {', '.join(known)}.", file=sys.stderr)
            return 2
        print(f"\n### {name}\n", flush=True)
        failed = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=FOLDER.parent, check=False).returncode
        if failed:
            return failed
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
