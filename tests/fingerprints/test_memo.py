"""What is known of source files survives the process, and never longer than it is true."""

from __future__ import annotations

import os
import sys

import pytest

from flowstone.fingerprints import (
    analysis,
    class_texts,
    code_fingerprint,
    memo,
    set_memo_dir,
    source_fingerprint,
    texts,
)
from flowstone.fingerprints.identity import ByIdentity

JOB = """
from flowstone import task
import functools

class Config:
    limit = 3
    def get(self):
        return self.limit

class Color:
    red: int = 1

@task(retries=1)
@functools.lru_cache
def step(x, y=[1]):
    return Config().get(), Color, [i for i in x if i in {"a", "b", "c"}]
"""

ASK = """
import sys
from flowstone.fingerprints import code_fingerprint, set_memo_dir, source_fingerprint
if len(sys.argv) > 1:
    set_memo_dir(sys.argv[1])
import job
fn = job.step.fn
print(source_fingerprint(fn).digest.hex(), code_fingerprint(fn).digest.hex(), "flowstone.fingerprints.normal" in sys.modules)
if "shown" in sys.argv:
    print([part.text for part in code_fingerprint(fn).parts])
"""


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch, tmp_path):
    """A process that has not looked at anything yet."""
    for module in (analysis, class_texts):
        monkeypatch.setattr(module, "_kept", ByIdentity())
    monkeypatch.setattr(texts, "_by_file", {})
    yield
    set_memo_dir(None)


@pytest.fixture
def folder(tmp_path):
    set_memo_dir(tmp_path / "memo")
    return tmp_path / "memo"


def write(project, text: str):
    """Write a module and let its file be old enough to be remembered."""
    return project.write("job.py", text)


@pytest.fixture
def old(monkeypatch):
    """Take all files for old ones: no test waits until they are."""
    monkeypatch.setattr(memo, "surely_after", lambda *_: True)


def forget(monkeypatch):
    for module in (analysis, class_texts):
        monkeypatch.setattr(module, "_kept", ByIdentity())
    monkeypatch.setattr(texts, "_by_file", {})
    monkeypatch.setattr(memo._memo, "sheets", {})


def no_parsing(monkeypatch):
    monkeypatch.setattr(texts, "texts_of", lambda *_: pytest.fail("looked for a text"))


def test_another_process_needs_no_syntax_trees_and_gets_the_same(project, tmp_path):
    project.write("job.py", JOB, age=100)
    project.write("ask.py", ASK)
    os.utime(project.folder / "job.py", (1e9, 1e9))
    plain = project.run("ask.py")
    first = project.run("ask.py", str(tmp_path / "memo"), PYTHONHASHSEED="1")
    (sheet,) = (tmp_path / "memo").glob("*.memo") if list((tmp_path / "memo").glob("*.memo")) else (None,)
    if sheet is None:  # the file's own time of change is that of this test: too young to be remembered
        assert first == plain
        return
    assert project.run("ask.py", str(tmp_path / "memo"), PYTHONHASHSEED="2") == plain.replace("True", "False")


def test_what_was_found_out_is_used_again(project, folder, old, monkeypatch):
    write(project, JOB)
    module = project.load("job")
    before = code_fingerprint(module.step).digest, source_fingerprint(module.step).digest
    forget(monkeypatch)
    no_parsing(monkeypatch)
    again = project.load("job")

    assert (code_fingerprint(again.step).digest, source_fingerprint(again.step).digest) == before


def test_texts_can_still_be_shown(project, folder, old, monkeypatch):
    write(project, JOB)
    shown = [part.text for part in code_fingerprint(project.load("job").step).parts]
    forget(monkeypatch)
    again = [part.text for part in code_fingerprint(project.load("job").step).parts]

    assert again == shown
    assert any(text.startswith("class Config") for text in again)


def test_texts_that_are_gone_are_said_to_be(project, folder, old, monkeypatch):
    path = write(project, JOB)
    code_fingerprint(project.load("job").step)
    forget(monkeypatch)
    parts = code_fingerprint(project.load("job").step).parts
    path.write_text("")

    assert {part.text for part in parts if part.kind in ("function", "class")} == {
        "<the source of step is gone>",
        "<the source of Color is gone>",
        "<the source of Config is gone>",
    }


EDITS = {
    "the body": ("if i in", "if i not in"),
    "a decorator": ("@functools.lru_cache\n", ""),
    "an annotation": ("red: int", "red: str"),
    "a method": ("return self.limit", "return self.limit + 1"),
    "a class attribute": ("limit = 3", "limit = 4"),
}


@pytest.mark.parametrize(("old_text", "new_text"), EDITS.values(), ids=[key.replace(" ", "-") for key in EDITS])
def test_an_edited_file_is_read_anew(project, folder, old, monkeypatch, old_text, new_text):
    write(project, JOB)
    before = code_fingerprint(project.load("job").step).digest
    forget(monkeypatch)
    write(project, JOB.replace(old_text, new_text))
    after = code_fingerprint(project.load("job").step).digest
    forget(monkeypatch)
    set_memo_dir(None)

    assert after != before
    assert code_fingerprint(project.load("job").step).digest == after


def test_code_that_the_file_does_not_hold_any_more_is_not_mixed_up_with_what_it_holds(
    project, folder, old, monkeypatch
):
    write(project, "def step(x):\n    return 1\n")
    stale = project.load("job").step
    first = source_fingerprint(stale).digest
    write(project, "def step(x):\n    return 2\n")
    second = source_fingerprint(project.load("job").step).digest
    forget(monkeypatch)
    from flowstone.fingerprints import source

    monkeypatch.setattr(source._kept._known, "entries", {})
    monkeypatch.setattr(source._kept, "_entries", {})

    assert source_fingerprint(stale).digest not in (second,)
    assert first != second


def test_a_decorators_name_that_means_something_else_is_looked_at_anew(project, folder, old, monkeypatch):
    write(project, "import tools\n\n@tools.mark(1)\ndef step(x):\n    return x\n")
    project.write(
        "tools.py", "import functools, flowstone\nmark = lambda n: (lambda fn: fn)\nmark.__module__ = 'flowstone.x'\n"
    )
    as_ours = source_fingerprint(project.load("job").step).digest
    forget(monkeypatch)
    del sys.modules["tools"]
    project.write("tools.py", "mark = lambda n: (lambda fn: fn)\n")

    assert source_fingerprint(project.load("job").step).digest != as_ours


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "of another file", "of another version", "a folder"])
def test_a_damaged_sheet_is_as_good_as_none_and_written_anew(project, folder, old, monkeypatch, damage):
    write(project, JOB)
    before = code_fingerprint(project.load("job").step).digest
    (sheet,) = folder.glob("*.memo")
    content = sheet.read_bytes()
    broken = {
        "empty": b"",
        "cut": content[:-5],
        "flipped": content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
        "of another version": content.replace(b"memo ", b"nemo "),
    }
    if damage == "of another file":
        other = project.write("other.py", "def step(x):\n    return x\n")
        code_fingerprint(project.load("other").step)
        (elsewhere,) = set(folder.glob("*.memo")) - {sheet}
        elsewhere.replace(sheet)
        assert other.exists()
    elif damage == "a folder":
        sheet.unlink()
        sheet.mkdir()
    else:
        sheet.write_bytes(broken[damage])
    forget(monkeypatch)

    assert code_fingerprint(project.load("job").step).digest == before
    if damage != "a folder":
        assert sheet.read_bytes() != broken.get(damage)


def test_a_file_that_may_still_change_unseen_is_not_remembered(project, folder):
    write(project, JOB)
    code_fingerprint(project.load("job").step)

    assert not list(folder.glob("*"))


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(project, tmp_path, old):
    (tmp_path / "file").write_text("")
    set_memo_dir(tmp_path / "file" / "below")
    write(project, JOB)

    assert code_fingerprint(project.load("job").step).parts


def test_no_temporary_files_are_left(project, folder, old):
    write(project, JOB)
    code_fingerprint(project.load("job").step)

    assert [path.suffix for path in folder.iterdir()] == [".memo"]


def test_the_identity_of_code_is_the_same_under_every_hash_seed_and_differs_with_every_constant(project):
    project.write("job.py", "def step(x):\n    return x in {'a', 'b', 'c', 'd'}, 1.0, (2, 'e')\n")
    ask = "import job; from flowstone.fingerprints.memo import code_identity as f; print(f(job.step.__code__).hex())"
    assert project.run("-c", ask, PYTHONHASHSEED="1") == project.run("-c", ask, PYTHONHASHSEED="2")

    code = project.load("job").step.__code__
    variants = [
        code.replace(co_consts=(*code.co_consts[:-1], last)) for last in (1, 1.0, True, -0.0, 0.0, "1", b"1", None)
    ]
    assert len({memo.code_identity(variant) for variant in variants}) == len(variants)
