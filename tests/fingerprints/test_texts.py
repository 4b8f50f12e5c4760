"""Code is what is loaded, wherever its text is, and never a newer text of its file."""

from __future__ import annotations

import ast
import importlib
import linecache
import sys
import time
import types
import zipfile
from pathlib import Path

import pytest

from flowstone.fingerprints import code_fingerprint, source_fingerprint
from flowstone.fingerprints.texts import Text, texts_of

PRINT = (
    "from flowstone.fingerprints import code_fingerprint, source_fingerprint; "
    "print(source_fingerprint({0}).digest.hex(), code_fingerprint({0}).digest.hex())"
)


def shown(fn) -> str:
    return source_fingerprint(fn).parts[0].text


def test_an_edit_that_is_not_loaded_does_not_change_the_fingerprint(project):
    path = project.write("job.py", "def step(x):\n    return x + 1\n")
    step = project.load("job").step
    before = source_fingerprint(step).digest
    path.write_text("def step(x):\n    return x + 2\n")

    assert source_fingerprint(step).digest == before


def test_an_edit_before_the_first_look_never_gives_the_fingerprint_of_the_new_text(project):
    path = project.write("job.py", "def step(x):\n    return x + 1\n")
    loaded = project.load("job").step
    path.write_text("def step(x):\n    return x + 2\n")
    stale = source_fingerprint(loaded).digest
    fresh = source_fingerprint(project.load("job").step).digest

    assert stale != fresh


def test_a_line_added_above_does_not_make_another_function_of_it(project):
    path = project.write("job.py", "def one(x):\n    return 1\n\ndef two(x):\n    return 2\n")
    module = project.load("job")
    path.write_text("\n\n\ndef two(x):\n    return 1\n\ndef one(x):\n    return 2\n")
    stale = {source_fingerprint(module.one).digest, source_fingerprint(module.two).digest}
    fresh = project.load("job")

    assert stale.isdisjoint({source_fingerprint(fresh.one).digest, source_fingerprint(fresh.two).digest})


def test_a_function_loaded_before_an_edit_finds_its_old_text_once_that_was_read(project):
    path = project.write("job.py", "def seen(x):\n    return 0\n\ndef step(x):\n    return x + 1  # one\n")
    module = project.load("job")
    source_fingerprint(module.seen)
    path.write_text("def step(x):\n    return 7\n")

    assert shown(module.step) == "def step(x):\n    return x + 1"


def test_a_reloaded_module_has_the_fingerprints_of_its_new_text(project):
    path = project.write("job.py", "import help_\n\ndef step(x):\n    return help_.scale(x)\n")
    helper = project.write("help_.py", "def scale(x):\n    return x * 2\n")
    step = project.load("job").step
    first = code_fingerprint(step).digest

    helper.write_text("def scale(x):\n    return x * 3\n")
    importlib.reload(sys.modules["help_"])
    second = code_fingerprint(step).digest
    helper.write_text("def scale(x):\n    return x * 2\n")
    importlib.reload(sys.modules["help_"])

    assert second != first
    assert code_fingerprint(step).digest == first
    assert path.exists()


def test_a_code_object_swapped_in_place_is_seen(project):
    """As the autoreload of notebooks does it: the function stays, its code does not."""
    path = project.write("job.py", "def step(x):\n    return x + 1\n")
    step = project.load("job").step
    first = source_fingerprint(step).digest
    path.write_text("def step(x):\n    return x + 22\n")
    new = project.load("job").step

    step.__code__ = new.__code__

    assert source_fingerprint(step).digest == source_fingerprint(new).digest != first


def test_a_stale_compiled_file_is_not_taken_for_the_text(project, monkeypatch):
    """Python itself runs a compiled file whose source changed within the same second and to the same size."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = project.write("job.py", "def step(x):\n    return x + 1\n", age=100)
    at = path.stat().st_mtime
    project.load("job")
    path.write_text("def step(x):\n    return x + 2\n")
    import os

    os.utime(path, (at, at))
    step = project.load("job").step
    assert step(1) == 2, "Python should have run the stale compiled file"

    assert shown(step) != "def step(x):\n    return x + 2"


def test_a_compiled_file_written_long_after_its_source_spares_compiling(project, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = project.write("job.py", "def step(x):\n    return x + 1\n")
    code = project.load("job").step.__code__
    (text,) = texts_of(str(path), {})
    late = (text.stamp[0], text.stamp[1] - 10**10 // 10**9 * 10**9, text.stamp[2] - 10**10, text.stamp[3])
    compiled = next((project.folder / "__pycache__").glob("job.*.pyc"))
    content = bytearray(compiled.read_bytes())
    content[8:12] = (late[1] // 10**9 & 0xFFFFFFFF).to_bytes(4, "little")
    compiled.write_bytes(content)
    aged = Text(str(path), text.content, late)
    monkeypatch.setattr(Text, "_compiled", lambda *_: pytest.fail("compiled the text"))

    assert aged.holds(code)


@pytest.mark.parametrize("damage", [b"", b"\0" * 16, b"garbage", None])
def test_a_damaged_compiled_file_is_passed_over(project, damage):
    path = project.write("job.py", "def step(x):\n    return x + 1\n")
    code = project.load("job").step.__code__
    folder = project.folder / "__pycache__"
    folder.mkdir(exist_ok=True)
    (folder / "job.cpython-300.pyc").write_bytes(damage or (importlib.util.MAGIC_NUMBER + b"\0" * 12 + b"xx"))

    assert Text(str(path), path.read_bytes(), None).holds(code)
    assert texts_of(str(path), {})[0].holds(code)


def test_cells_of_notebooks_have_sources_and_their_numbers_do_not_count():
    def run_cell(number: int, text: str):
        name = f"<ipython-input-{number}-abc>"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        namespace = {"__name__": "__main__", "__builtins__": __builtins__}
        exec(compile(text, name, "exec"), namespace)
        return namespace

    first = run_cell(1, "class Thing:\n    def go(self): return 1\n\ndef step(x):\n    return Thing().go() + x\n")
    again = run_cell(
        7,
        "# once more\nclass Thing:\n    def go(self):\n        return 1\n\ndef step(x):\n    return Thing().go() + x\n",
    )
    other = run_cell(8, "class Thing:\n    def go(self): return 2\n\ndef step(x):\n    return Thing().go() + x\n")

    assert code_fingerprint(first["step"]).digest == code_fingerprint(again["step"]).digest
    assert code_fingerprint(first["step"]).digest != code_fingerprint(other["step"]).digest
    assert code_fingerprint(first["step"]).parts[1].text.startswith("class Thing")


def test_future_imports_of_earlier_cells_do_not_hide_a_source():
    name, text = "<ipython-input-20-abc>", "def step(x: int):\n    def inner(y: float): return y\n    return inner(x)\n"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    namespace: dict[str, object] = {}
    exec(compile(text, name, "exec", flags=__import__("__future__").annotations.compiler_flag), namespace)

    assert shown(namespace["step"]).startswith("def step")


def test_modules_in_archives_have_sources(project):
    archive = project.folder / "lib.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("packed.py", "def step(x):\n    return x + 1  # one\n")
    project.write("plain.py", "def step(x):\n    return x + 1\n")
    sys.path.insert(0, str(archive))
    try:
        packed = importlib.import_module("packed")
    finally:
        sys.path.remove(str(archive))
    try:
        assert source_fingerprint(packed.step).digest == source_fingerprint(project.load("plain").step).digest
    finally:
        del sys.modules["packed"]


def test_a_script_has_the_fingerprints_of_the_same_file_as_a_module(project):
    text = (
        "class Config:\n    limit = 3\n\nCONFIG = [1, 2]\n\ndef step(x):\n    return Config.limit, CONFIG, __name__\n"
    )
    project.write("job.py", f"{text}\nif __name__ == '__main__':\n    {PRINT.format('step')}\n")
    project.write("same.py", text)

    as_script = project.run("job.py")
    assert as_script == project.run("-c", f"import job; {PRINT.format('job.step')}", PYTHONHASHSEED="7")
    assert as_script == project.run("-m", "job")
    assert as_script == project.run("-c", f"import same; {PRINT.format('same.step')}")


def test_a_script_run_by_a_relative_path_that_then_leaves_its_folder_keeps_its_source(project):
    text = (
        f"def step(x):\n    return 1\n\nimport os\nos.chdir('/')\n{PRINT.format('step')}\n"
        "print(source_fingerprint(step).parts[0].text)\n"
    )
    project.write("job.py", text)

    assert "no source" not in project.run("job.py")


def test_input_on_a_terminal_counts_by_its_bytecode_with_constants(project):
    def typed(number: int) -> str:
        return project.run(stdin=f"def step(x):\n    return {number}\n\n{PRINT.format('step')}\n")

    assert typed(42) != typed(43)
    assert typed(42) == typed(42)


def test_code_from_the_command_line_counts_by_its_bytecode_with_constants(project):
    def given(number: int) -> str:
        return project.run("-c", f"exec('def step(x):\\n    return {number}')\n{PRINT.format('step')}")

    assert given(42) != given(43)


def test_assertions_rewritten_by_pytest_do_not_hide_a_source(project):
    text = (
        "def step(x):\n    assert x > 0, 'positive'  # of course\n    return [assert_(y) for y in x]\n\n"
        "def assert_(x):\n    assert x\n"
    )
    project.write("plain.py", text)
    project.write("test_job.py", text + f"\ndef test_it():\n    {PRINT.format('step')}\n")
    plain = project.run("-c", f"import plain; {PRINT.format('plain.step')}")

    assert plain in project.run("-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_job.py")


def test_compiling_the_tree_gives_the_code_that_compiling_the_text_gives():
    """So that a text need only be parsed once; looked at on modules of the standard library."""
    for module in (ast, importlib, linecache, types, zipfile, time):
        path = Path(module.__file__) if hasattr(module, "__file__") else Path(ast.__file__)
        text = Text(str(path), path.read_bytes(), None)
        expected = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        assert all(text.holds(code) for code in expected.co_consts if isinstance(code, types.CodeType))


def test_lambdas_on_one_line_are_told_apart_also_when_nested_and_behind_wide_characters():
    fns = [lambda x: "ü" + x, lambda x: lambda y: y + x, lambda x: x + "ü"]
    inner = fns[1]("a")

    assert [shown(fn) for fn in (*fns, inner)] == [
        "lambda x: 'ü' + x",
        "lambda x: lambda y: y + x",
        "lambda x: x + 'ü'",
        "lambda y: y + x",
    ]


def test_lambdas_over_several_lines_are_found():
    fn = (
        lambda x, *,
        y=1:
        x
        + y
    )  # fmt: skip

    assert shown(fn) == "lambda x, *, y=1: x + y"


def test_assertions_that_are_left_out_make_another_fingerprint(project):
    project.write("job.py", "def step(x):\n    'Doc.'\n    assert x\n    return x\n")
    plain, optimised, more = (
        project.run(*flags, "-c", f"import job; {PRINT.format('job.step')}") for flags in ([], ["-O"], ["-OO"])
    )

    assert plain != optimised == more


def test_a_function_sent_to_another_process_by_value_keeps_its_fingerprints(project):
    """As task runners on other processes and machines get functions of a script."""
    project.write(
        "job.py",
        f"""
        import pickle, cloudpickle
        from flowstone import task

        LIMIT = [3]

        class Config:
            def get(self):
                return LIMIT

        def helper(x):
            return Config().get(), x

        @task(retries=2)
        def step(x):  # here
            return helper(x)

        with open("sent", "wb") as file:
            file.write(cloudpickle.dumps(step.fn))
        {PRINT.format("step.fn")}
        """,
    )
    sent = project.run("job.py")

    assert sent == project.run("-c", f"import pickle; fn = pickle.load(open('sent', 'rb')); {PRINT.format('fn')}")


def test_spawned_processes_give_the_fingerprints_of_their_parent(project):
    project.write(
        "job.py",
        """
        import multiprocessing

        class Config:
            limit = 3

        def step(x):
            return Config.limit

        def ask(_):
            from flowstone.fingerprints import code_fingerprint, source_fingerprint
            return source_fingerprint(step).digest.hex(), code_fingerprint(step).digest.hex()

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                (there,) = pool.map(ask, [1])
            print(there == ask(1))
        """,
    )
    assert project.run("job.py") == "True"
