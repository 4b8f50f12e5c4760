"""What fingerprints cost: the first and the second one, in a fresh process with and without what is known on disk.

Each figure of a first one is the least of several fresh processes, and CPU time; beside it stands what reading,
parsing and printing the same source by hand costs, which is how sources are usually compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = int(os.environ.get("FLOWSTONE_BENCH_ROUNDS", "9"))
FUNCTIONS = 50

FUNCTION = '''

LIMIT_{i} = {i}


def helper_{i}(x, y={i}):
    """Add up to a limit."""
    total = sum(item * y for item in range(x))
    return total if total > LIMIT_{i} else {then}
'''

COLD = """
import sys, time
import main
from flowstone import fingerprints
if len(sys.argv) > 2:
    fingerprints.set_memo_dir(sys.argv[2])
ask = getattr(fingerprints, sys.argv[1])
began = time.process_time()
found = ask(main.step)
print(time.process_time() - began)
"""

WARMED = """
import sys, time
import main
from flowstone.fingerprints import code_fingerprint, source_fingerprint
source_fingerprint(lambda: 1)
began = time.process_time()
found = code_fingerprint(main.step)
print(time.process_time() - began)
assert len(found.parts) > 100, found
"""

BY_HAND = """
import time, sys
import main, alpha, beta, gamma
began = time.process_time()
import ast, inspect, textwrap
for module in (alpha, beta, gamma):
    for name, value in list(vars(module).items()):
        if inspect.isfunction(value):
            ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(value))))
print(time.process_time() - began)
"""


def write_project(folder: Path) -> None:
    """Write 50 functions in three modules, each of which calls one of the next module."""
    names = ("alpha", "beta", "gamma")
    texts = dict.fromkeys(names, "")
    for i in range(FUNCTIONS):
        then = f"{names[(i + 1) % 3]}.helper_{i + 1}(total)" if i + 1 < FUNCTIONS else "total"
        texts[names[i % 3]] += FUNCTION.format(i=i, then=then)
    for name, text in texts.items():
        imports = "".join(f"import {other}\n" for other in names if other != name)
        (folder / f"{name}.py").write_text(imports + text)
    (folder / "main.py").write_text("import alpha\n\n\ndef step(x):\n    return alpha.helper_0(x)\n")


def fresh(folder: Path, script: str, *arguments: str) -> float:
    """Return the least CPU milliseconds that a script reports in several fresh processes."""
    source = Path(__file__).parents[1] / "src"
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{source}", "PYTHONDONTWRITEBYTECODE": ""}
    times = []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout.split()[-1]))
    return min(times) * 1e3


def again(call: object, *arguments: object) -> float:
    """Return the least microseconds of a call that is made over and over."""
    assert callable(call)
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(2000):
            call(*arguments)
        best = min(best, (time.process_time() - began) / 2000)
    return best * 1e6


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        project, memo = Path(folder) / "project", Path(folder) / "memo"
        project.mkdir()
        write_project(project)
        time.sleep(2.5)  # a file is remembered only when it has been left alone for two seconds
        fresh(project, "import main; print(0)")  # leaves compiled files
        print(f"a project of {FUNCTIONS} functions in three modules, milliseconds of CPU:")
        print(f"  getsource, parse and unparse by hand        {fresh(project, BY_HAND):8.2f}")
        print(f"  CODE, first in the process, all included    {fresh(project, COLD, 'code_fingerprint'):8.2f}")
        print(f"  CODE, after another fingerprint             {fresh(project, WARMED):8.2f}")
        fresh(project, COLD, "code_fingerprint", str(memo))
        print(
            f"  CODE, first, with a memo on disk            {fresh(project, COLD, 'code_fingerprint', str(memo)):8.2f}"
        )
        print(f"  TASK_SOURCE, first                          {fresh(project, COLD, 'source_fingerprint'):8.2f}")
        print(
            f"  TASK_SOURCE, first, with a memo on disk     {fresh(project, COLD, 'source_fingerprint', str(memo)):8.2f}"
        )
        sys.path.insert(0, str(project))
        step = (
            __import__("main").step if "main" not in sys.modules else __import__("importlib").import_module("main").step
        )

        from flowstone.fingerprints import code_fingerprint, source_fingerprint

        def carries(x, known=(1, 2), *, names={"a": [1, 2, 3]}):  # noqa: B006
            return known, names, step

        print("a second time, microseconds:")
        for name, fn in (("50 functions", step), ("a mutable default and a closure", carries)):
            print(f"  CODE of {name:<36}{again(code_fingerprint, fn):8.2f}")
            print(f"  TASK_SOURCE of {name:<29}{again(source_fingerprint, fn):8.2f}")


if __name__ == "__main__":
    main()
