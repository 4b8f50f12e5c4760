"""What a script defines is found again by the script, and comes as a copy to everybody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import dataclasses, enum, sys
from pathlib import Path
from flowstone.serializers import PickleSerializer
S = PickleSerializer()
here = Path({folder!r})
def save(value, name="blob"): (here / name).write_bytes(S.dumps(value))
def load(name="blob"): return S.loads((here / name).read_bytes())
"""

DEFINITIONS = """
@dataclasses.dataclass
class Point:
    x: int
    def doubled(self): return self.x * FACTOR
class Colour(enum.Enum):
    RED = 1
class Outer:
    class Inner:
        pass
def scale(x): return x * FACTOR
FACTOR = 2
"""

VALUE = "{'p': Point(1), 'c': Colour.RED, 'i': Outer.Inner(), 'f': scale, 'l': [lambda: Point(3)], 'k': Point}"


class Folder:
    """Runs small programs that share a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, code: str, name: str = "script.py", *, how: str = "file") -> str:
        text = HEAD.format(folder=str(self.path)) + code
        file = self.path / name
        file.write_text(text)
        arguments = {
            "file": [str(file)],
            "module": ["-m", file.stem],
            "text": ["-c", text],
            "import": ["-c", f"import {file.stem}"],
        }[how]
        ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=self.path, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_script_run_again_finds_its_own_classes(folder: Folder) -> None:
    folder.run(DEFINITIONS + f"save({VALUE})")
    told = folder.run(
        DEFINITIONS
        + """
v = load()
print(v['p'] == Point(1), v['c'] is Colour.RED, type(v['i']) is Outer.Inner, v['f'] is scale, v['k'] is Point,
      v['l'][0]() == Point(3))"""
    )
    assert told == "True True True True True True"


def test_an_edited_class_is_the_new_class(folder: Folder) -> None:
    folder.run(DEFINITIONS + "save(Point(1))")
    told = folder.run(DEFINITIONS.replace("* FACTOR", "* 10") + "print(load().doubled(), type(load()) is Point)")
    assert told == "10 True"


def test_a_renamed_class_cannot_be_loaded(folder: Folder) -> None:
    folder.run(DEFINITIONS + "save(Point(1))")
    told = folder.run(
        DEFINITIONS.replace("Point", "Pixel")
        + """
try: load()
except AttributeError as error: print(error)"""
    )
    assert told == "the program has no Point any more"


def test_another_program_gets_a_copy(folder: Folder) -> None:
    folder.run(DEFINITIONS + f"save({VALUE})")
    told = folder.run(
        """
v = load()
print(v['p'].x, v['p'].doubled(), v['c'].name, v['f'](5), v['l'][0]().x, type(v['p']) is v['k'],
      type(load()['p']) is v['k'])""",
        "other.py",
    )
    assert told == "1 2 RED 10 3 True True"


def test_another_program_with_another_class_of_that_name_gets_the_copy(folder: Folder) -> None:
    folder.run(DEFINITIONS + "save(Point(1))")
    told = folder.run(
        """
class Point:
    def doubled(self): return 'not me'
print(load().doubled(), type(load()) is Point)""",
        "other.py",
    )
    assert told == "2 False"


def test_the_same_program_at_another_place_finds_its_own_class(folder: Folder) -> None:
    folder.run(DEFINITIONS + "save(Point(1))")
    assert folder.run(DEFINITIONS + "print(load() == Point(1))", "moved.py") == "True"


def test_a_program_that_imports_the_script_gets_the_script_s_class(folder: Folder) -> None:
    folder.run(DEFINITIONS + "if __name__ == '__main__': save(Point(1))")
    told = folder.run(
        "import script\nprint(type(load()) is script.Point)",
        "other.py",
    )
    assert told == "True"


@pytest.mark.parametrize(("first", "second"), [("text", "text"), ("module", "module"), ("file", "module")])
def test_it_does_not_matter_how_the_program_is_started(folder: Folder, first: str, second: str) -> None:
    folder.run(DEFINITIONS + "save(Point(1))", how=first)
    assert folder.run(DEFINITIONS + "print(load() == Point(1))", how=second) == "True"


def test_a_spawned_child_and_its_parent_speak_of_the_same_class(folder: Folder) -> None:
    told = folder.run(
        DEFINITIONS
        + """
import multiprocessing
def child(name):
    save(Point(7), 'from child')
    assert load('from parent') == Point(5)
if __name__ == '__main__':
    save(Point(5), 'from parent')
    process = multiprocessing.get_context('spawn').Process(target=child, args=('x',))
    process.start(); process.join()
    print(process.exitcode, load('from child') == Point(7))"""
    )
    assert told == "0 True"


def test_a_class_that_came_by_value_goes_back_as_the_program_s_own(folder: Folder) -> None:
    """What a worker of a cluster does: its own `__main__` is another program."""
    folder.run(
        DEFINITIONS
        + """
import cloudpickle
(here / 'shipped').write_bytes(cloudpickle.dumps(Point))"""
    )
    folder.run("import pickle\nsave([pickle.loads((here / 'shipped').read_bytes())(4)])", "worker.py")
    assert folder.run(DEFINITIONS + "print(load() == [Point(4)])") == "True"


def test_only_what_the_value_refers_to_is_sent_along(folder: Folder) -> None:
    """Not a function that happens to be called like a key, with all the data it uses."""
    told = folder.run(
        """
import os
BIG = os.urandom(300_000)
def data(): return BIG
class Box: pass
box = Box(); box.data = 1; box.Box = 'Box'
print(len(S.dumps(box)) < 5000, len(S.dumps([data, box])) > 300_000)"""
    )
    assert told == "True True"


def test_a_definition_that_drags_too_much_along_stays_at_home(folder: Folder) -> None:
    code = "BIG = bytes(3_000_000)\ndef use(): return len(BIG)\n"
    assert folder.run(code + "save(use)\nprint((here / 'blob').stat().st_size < 5000, load()())") == "True 3000000"


def test_a_class_that_cannot_be_copied_is_still_found_by_its_program(folder: Folder) -> None:
    code = "import threading\nLOCK = threading.Lock()\nclass Guard:\n    def use(self): return LOCK\n"
    folder.run(code + "save(Guard())")
    assert folder.run(code + "print(type(load()) is Guard)") == "True"
    told = folder.run("try: load()\nexcept AttributeError as error: print(error)", "other.py")
    assert "could not send it along" in told
