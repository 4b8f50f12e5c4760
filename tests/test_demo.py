"""The demonstration shows what it claims, cleans up after itself, and leaves nobody running."""

from __future__ import annotations

import ast
import os
import re
import signal
import struct
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from flowstone.cli.demo import demo
from flowstone.demo import story
from flowstone.demo.story import CHAPTERS, Chapter, DemoFailed, Edit, Stage, Started, missing_packages
from flowstone.progress import TaskEnd

NAP = "import sys, time; print('napping', file=sys.stderr, flush=True); time.sleep(60)"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What `flowstone demo --fast` prints, and the folder it leaves; run under settings that would spoil it."""
    if missing := missing_packages():
        reason = f"the demo extra is not installed: {missing}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("demo") / "kept"
    environment = os.environ | {"FLOWSTONE_TASKS_DISABLE_CACHING": "true"}
    command = [sys.executable, "-m", "flowstone", "demo", "--fast", "--keep", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def test_first_run_computes_second_is_cached_and_edits_rerun_only_what_changed(told: tuple[str, Path]) -> None:
    counts = re.findall(r"^  (\d+) ran, (\d+) from the cache, ", told[0], re.MULTILINE)
    assert counts == [("17", "0"), ("0", "17"), ("3", "14"), ("1", "16")]


def test_the_table_repeats_the_counts_of_each_run(told: tuple[str, Path]) -> None:
    rows = re.findall(r"^\d [a-z_, ]+?  +(\d+) +(\d+) +[\d.]+ +([\d.]+)$", told[0], re.MULTILINE)
    assert [row[:2] for row in rows] == [("17", "0"), ("0", "17"), ("3", "14"), ("1", "16")]
    saved = [float(row[2]) for row in rows]
    assert saved[0] == 0
    assert saved[1] >= max(saved[2:]) >= min(saved[2:]) > 0


def test_an_edit_reruns_the_function_and_what_its_changed_result_reaches(told: tuple[str, Path]) -> None:
    runs = told[0].split("\nRun ")
    ran = [re.findall(r"^  ran +(\S.*?)  +[\d.]+ s$", run, re.MULTILINE) for run in runs]
    assert len(ran[0]) == 17
    assert ran[1:] == [[], ["by_carrier", "draw", "write"], ["clean"]]


def test_every_task_is_told_with_its_seconds_as_plain_lines(told: tuple[str, Path]) -> None:
    lines = re.findall(r"^  (?:ran|cached) +\S.*? +(?:saved +)?[\d.]+ s$", told[0], re.MULTILINE)
    assert len(lines) == 4 * 17
    assert "\x1b" not in told[0]
    assert "\r" not in told[0]


def test_the_report_is_one_page_with_its_chart(told: tuple[str, Path]) -> None:
    page = (told[1] / "report" / "report.html").read_text(encoding="utf-8")
    chart = b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', page)[1])  # type: ignore[index]
    assert chart == (told[1] / "report" / "chart.png").read_bytes()
    assert chart[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", chart[16:24]) == (1960, 700)
    assert "JetBlue Airways" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_model_beats_the_baseline(told: tuple[str, Path]) -> None:
    page = (told[1] / "report" / "report.html").read_text(encoding="utf-8")
    auc = {
        row: float(re.search(rf"<th>{row}</th>\s*<td>([\d.]+)</td>", page)[1])  # type: ignore[index]
        for row in ("carrier and hour", "all")
    }
    assert 0.5 < auc["carrier and hour"] < auc["all"] < 1


def test_the_script_and_the_cache_are_kept_when_asked(told: tuple[str, Path]) -> None:
    kept = (told[1] / "flights.py").read_text(encoding="utf-8")
    assert "median" in kept
    assert str(told[1]) in told[0]
    assert any((told[1] / "home" / "storage").iterdir())


def test_an_edit_that_changes_the_rows_reruns_all_that_depends_on_them_and_reads_nothing_again(
    told: tuple[str, Path],
) -> None:
    edit = Edit('flown["dep_delay"] >= 15', 'flown["dep_delay"] >= 20')
    tally = Stage(told[1], fast=True).play(Chapter("other rows", edit), lambda _: None).tally
    assert {end.name for end in tally.ends if end.cached} == {
        "read flights",
        "read weather",
        "read planes",
        "read airlines",
    }
    assert (tally.ran, tally.cached) == (13, 4)


def test_the_example_is_the_script_that_ships() -> None:
    example = Path(__file__).parents[1] / "examples" / "flights.py"
    if not example.is_file():
        pytest.skip("the examples are not beside these tests")
    assert example.resolve() == story.SCRIPT.resolve()


def test_every_edit_fits_the_script_and_leaves_it_valid() -> None:
    text = story.SCRIPT.read_text(encoding="utf-8")
    for edit in (chapter.edit for chapter in CHAPTERS if chapter.edit):
        before, text = text, edit.apply(text)
        assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(before))


@pytest.mark.parametrize("text", ["", "old old"])
def test_an_edit_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Edit("old", "new").apply(text)


def test_missing_packages_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "NEEDED", ("sys", "no_such_package"))
    result = CliRunner().invoke(demo, [])
    assert result.exit_code == 1
    assert result.output == 'Error: The demo needs no_such_package: pip install "flowstone[demo]"\n'


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "NEEDED", ())
    (tmp_path / "mine.txt").touch()
    result = CliRunner().invoke(demo, ["--keep", str(tmp_path)])
    assert result.exit_code == 1
    assert "is not empty" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the place of a script to be played instead of the pipeline."""
    path = tmp_path / "script.py"
    monkeypatch.setattr(story, "SCRIPT", path)
    yield path
    assert not _processes_with(str(tmp_path)), "a process was left behind"


def _processes_with(argument: str) -> list[int]:
    """Return the ids of other processes with `argument` on their command line; of none where there is no /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if argument.encode() in entry.read_bytes() and int(entry.parent.name) != os.getpid():
                found.append(int(entry.parent.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


TASKS = """
from flowstone import flow, task
from flowstone.cache_policies import INPUTS, TASK_SOURCE

@task(cache_policy=INPUTS + TASK_SOURCE, task_run_name="double {x}")
def double(x):
    return 2 * x

@flow
def main():
    print("the script prints", double(1))

main()
"""


def test_each_run_is_a_process_that_tells_what_its_tasks_do(script: Path, tmp_path: Path) -> None:
    script.write_text(TASKS)
    stage = Stage(tmp_path / "stage")
    stage.set_up()
    heard: list[Started | TaskEnd] = []
    first = stage.play(Chapter("first"), heard.append)
    (end,) = first.tally.ends
    assert heard == [Started("double 1"), end]
    assert (end.name, end.state) == ("double 1", "Completed")
    assert 0 < end.seconds < first.seconds
    again = stage.play(Chapter("again"), heard.append)
    assert again.tally.ends == [TaskEnd("double 1", "Cached", end.seconds)]
    edited = stage.play(Chapter("edited", Edit("2 * x", "x + x")), heard.append)
    assert [end.state for end in edited.tally.ends] == ["Completed"]


def test_what_a_script_prints_does_not_disturb_the_report(script: Path, tmp_path: Path) -> None:
    script.write_text("print('{\"started\": 1')")
    stage = Stage(tmp_path / "stage")
    stage.set_up()
    assert stage.play(Chapter("prints"), pytest.fail).tally.ends == []  # type: ignore[arg-type]


def test_a_script_that_fails_fails_the_demo(script: Path, tmp_path: Path) -> None:
    script.write_text("raise SystemExit(3)")
    stage = Stage(tmp_path / "stage")
    stage.set_up()
    with pytest.raises(DemoFailed, match="exit code 3"):
        stage.play(Chapter("fails"), lambda _: None)


def test_an_interrupted_run_is_ended(script: Path, tmp_path: Path) -> None:
    script.write_text(TASKS.replace("return 2 * x", NAP))
    stage = Stage(tmp_path / "stage")
    stage.set_up()

    def interrupt(event: object) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stage.play(Chapter("interrupted"), interrupt)
    assert time.monotonic() - began < 30


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_demo_ends_no_process_stays(how: signal.Signals, script: Path, tmp_path: Path) -> None:
    script.write_text(TASKS.replace("return 2 * x", NAP))
    program = (
        "from flowstone.demo import story; from flowstone.cli.demo import demo; from pathlib import Path;"
        f"story.NEEDED = (); story.SCRIPT = Path({str(script)!r}); demo(['--keep', {str(tmp_path / 'stage')!r}])"
    )
    log = tmp_path / "log"  # a pipe would be held open by the very process that must not stay
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-c", program], stderr=errors, stdout=subprocess.DEVNULL)
    while b"napping" not in log.read_bytes():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    assert process.wait(30) != 0
    assert b"Traceback" not in log.read_bytes()
    deadline = time.monotonic() + 10
    while _processes_with(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.02)  # the fixture checks that they are gone


def test_a_demo_that_breaks_off_leaves_no_folder(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "NEEDED", ())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    script.write_text("raise SystemExit(3)")
    result = CliRunner().invoke(demo, [])
    assert result.exit_code == 1
    assert "exit code 3" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]
