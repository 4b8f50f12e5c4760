"""The same key if and only if the same value: in this process, in others, under other hash seeds, on other Pythons."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
THOROUGH = bool(os.environ.get("CI")) or int(os.environ.get("FLOWSTONE_TEST_ROUNDS", "1")) > 1
SEEDS = ("0", "1", "4242")[: 3 if THOROUGH else 1]  # the seed of this process is one more
SLOW = () if THOROUGH else ("science", "torch")  # a dozen seconds to import
CORE = ("blake3", "cloudpickle", "click", "rich", "tomlkit")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pairs", HERE / "pairs.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["pairs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pairs = _load()
FAMILIES = {family.name: family for family in pairs.families()}


@functools.cache
def _tokens(name: str) -> dict[str, list[str]]:
    told: dict[str, list[str]] = pairs.tokens(FAMILIES[name])
    return told


def _absent(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def test_the_table_is_large_and_no_row_stands_twice() -> None:
    rows = [(row.family, row.title) for family in FAMILIES.values() for row in family.rows]
    assert len(rows) >= 1200
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_equal_values_share_a_token_and_different_ones_do_not(name: str) -> None:
    family = FAMILIES[name]
    if missing := family.missing():
        if name == "jax":
            pytest.skip("JAX is too large to ask for")
        _absent(f"not installed: {', '.join(missing)}")

    told = _tokens(name)

    wrong = [row.title for row in family.rows if not _holds(row, *told[row.title])]
    assert not wrong, "\n".join(wrong)
    assert all(len(token) <= 128 for row in family.rows if row.verdict != "!!" for token in told[row.title])


def _holds(row: Any, left: str, right: str) -> bool:
    if row.verdict == "!!":
        return bool(left == row.right)
    return (left == right) is (row.verdict == "<=>")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_what_differs_from_one_value_is_not_confused_with_another_row(name: str) -> None:
    """Over a whole family: sides written differently, and nowhere called the same, do not meet by accident."""
    family = FAMILIES[name]
    if family.missing():
        pytest.skip("told by the test above")
    told = _tokens(name)
    same: dict[str, str] = {}

    def root(side: str) -> str:
        while side in same:
            side = same[side]
        return side

    by_token: dict[str, set[str]] = {}
    for row in family.rows:
        if row.verdict == "<=>" and root(row.left) != root(row.right):
            same[root(row.left)] = root(row.right)
    for row in family.rows:
        if row.verdict == "<!>":
            for side, token in zip((row.left, row.right), told[row.title]):
                by_token.setdefault(token, set()).add(root(side))
    met = {token: sides for token, sides in by_token.items() if len(sides) > 1}
    for row in family.rows:
        if row.verdict == "<!>":
            assert not any({root(row.left), root(row.right)} <= sides for sides in met.values()), row.title


def _run(python: str, code: str, seed: str, path: str = "") -> dict[str, dict[str, list[str]]]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONWARNINGS": "ignore"}
    if path:
        environment["PYTHONPATH"] = path
    done = subprocess.run(
        [python, "-c", code], cwd=HERE, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return told


def _assert_same(one: dict[str, Any], other: dict[str, Any], names: Callable[[str], bool] = lambda name: True) -> None:
    assert one.keys() == other.keys()
    apart = [
        f"{name}: {title}"
        for name in filter(names, one)
        for title in one[name]
        if one[name][title] != other[name][title] and not title.startswith("!!")
    ]
    assert not apart, "\n".join(apart)


@pytest.mark.filterwarnings("ignore")
def test_tokens_are_the_same_in_every_process_whatever_its_hash_seed() -> None:
    here = {name: _tokens(name) for name, family in FAMILIES.items() if name not in SLOW and not family.missing()}

    for seed in SEEDS:
        _assert_same(here, _run(sys.executable, f"import pairs; pairs.main(*{list(here)!r})", seed))


MAIN = """
import dataclasses, enum, functools, json, sys
from collections import namedtuple
from flowstone.hashing import token

class Plain:
    limit = 3
    def __init__(self, a): self.a = a
    def next(self, other=None): return Plain(self.a + 1)

class Child(Plain):
    def next(self): return super().next()

@dataclasses.dataclass
class Data:
    a: int
    b: "Data | None" = None

class Colour(enum.Enum):
    RED = 1

Point = namedtuple("Point", "x y")

def helper(x): return x + 1

def outer(x): return helper(x) * 2

values = {
    "instance": Plain(1), "child": Child(1), "data": Data(1, Data(2)), "enum": Colour.RED, "tuple": Point(1, 2),
    "class": Plain, "child class": Child, "enum class": Colour, "function": outer, "lambda": lambda x: x,
    "partial": functools.partial(outer, 1), "method": Plain(1).next, "set": {Colour.RED, "a", Point(1, 2)},
    "list": [Data(i) for i in range(100)],
}
print(json.dumps({"main": {name: [token(value).hex()] for name, value in values.items()}}))
"""


def test_what_is_defined_in_a_script_has_the_same_token_in_every_run_wherever_the_script_lies(tmp_path: Path) -> None:
    told = []
    for seed in ("0", "1"):
        script = tmp_path / seed / "script.py"
        script.parent.mkdir()
        script.write_text(MAIN)
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
        told.append(json.loads(done.stdout))

    tokens = [token for (token,) in told[0]["main"].values()]
    assert len(set(tokens)) == len(tokens)
    _assert_same(*told)


def _other_pythons() -> list[Path]:
    """Interpreters of other versions that can be found and run."""
    found = []
    roots = [Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"]
    for minor in (11, 12, 13, 14):
        if minor == sys.version_info.minor:
            continue
        places = [path / "bin" / "python" for root in roots for path in sorted(root.glob(f"3.{minor}.*"))]
        if on_path := shutil.which(f"python3.{minor}"):
            places.append(Path(on_path))
        works = [place for place in places if _says(place, "import sys; print(sys.version_info.minor)") == str(minor)]
        found += works[:1]
    return found


def _says(python: Path, code: str) -> str:
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _equipped(python: Path, folder: Path) -> Path:
    """An environment for another Python with the packages flowstone cannot do without; kept between runs."""
    inside = folder / "venv" / "bin" / "python"
    imports = "import " + ", ".join(CORE)
    if _says(inside, f"{imports}; print('ready')") != "ready":
        uv = shutil.which("uv")
        if uv is None:
            _absent(f"{python} is there, but uv is not, to equip it")
        for command in (
            ["venv", "-q", "--clear", "--python", python, inside.parents[1]],
            ["pip", "install", "-q", "--python", inside, *CORE],
        ):
            done = subprocess.run(
                [str(uv), *map(str, command)], capture_output=True, text=True, timeout=300, check=False
            )
            if done.returncode:
                _absent(f"{python} could not be equipped: {done.stderr[-500:]}")
    return inside


def test_tokens_are_the_same_on_other_versions_of_python(request: pytest.FixtureRequest) -> None:
    others = _other_pythons()
    if not others:
        _absent("there is no other version of Python here")
    cache = request.config.cache
    assert cache is not None
    stdlib = [name for name, family in FAMILIES.items() if not family.needs]
    code = f"import pairs; pairs.main(*{stdlib!r})"
    here = _run(sys.executable, code, "7")

    for python in others:
        version = _says(python, "import sys; print(sys.version_info.minor)")
        inside = _equipped(python, cache.mkdir(f"flowstone-python-{version}"))
        _assert_same(here, _run(str(inside), code, "8", path=str(SOURCE)))
