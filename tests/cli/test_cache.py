"""`flowstone cache` shows and changes what is in a store, for people and for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from flowstone.cli import tables
from flowstone.filesystems import LocalFileSystem
from flowstone.records import RecordInfo
from flowstone.results import ResultStore
from flowstone.signing import Keyring

Run = Callable[..., Result]
Write = Callable[..., None]
DAY = 86400.0
THEIRS = Keyring.from_text("theirs")
COMMANDS = ["ls", "show", "path", "rm", "prune", "stats", "check", "export", "import"]


@pytest.fixture
def store(home: Path) -> ResultStore:
    return ResultStore(LocalFileSystem(home / "storage"))


@pytest.fixture
def write(store: ResultStore) -> Write:
    """Writes a record some days old."""

    def write(key: str, value: object = "value", days: float = 1, ring: Keyring | None = None, **info: Any) -> None:
        target = store if ring is None else ResultStore(store.result_storage, keyring=ring)
        made = RecordInfo(key, time.time() - days * DAY, **info)
        target.publish([target.stage(made, value)])

    return write


@pytest.fixture
def folder(home: Path) -> Path:
    return home / "storage"


def keys(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if not name.startswith(".flowstone")}


def data(shown: Result) -> Any:
    assert shown.exit_code in (0, 1), shown.output
    return json.loads(shown.stdout)


def break_(folder: Path, key: str) -> None:
    content = bytearray((folder / key).read_bytes())
    content[100] ^= 1
    (folder / key).unlink()
    (folder / key).write_bytes(content)


# --- all of them


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(run: Run, name: str) -> None:
    shown = run("cache", name, "--help")
    assert shown.exit_code == 0
    assert "Usage: flowstone cache" in shown.output


@pytest.mark.parametrize(
    "arguments", [["ls"], ["stats"], ["check"], ["prune", "--expired"], ["rm", "--all"], ["export", "out.tar"]]
)
def test_an_empty_home_is_an_empty_store_and_no_failure(run: Run, home: Path, arguments: list[str]) -> None:
    shown = run("cache", *arguments)
    assert shown.exit_code == 0, shown.output
    assert not (home / "storage").exists()
    assert run("cache", *arguments, "--json", *(["--overwrite"] if "out.tar" in arguments else [])).exit_code == 0


@pytest.mark.parametrize("arguments", [["ls"], ["stats"], ["check"], ["prune", "--expired"], ["show", "k"]])
def test_a_store_that_is_not_there_is_an_error(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("mistyped", "photos"):
        shown = run("cache", *arguments, "--store", str(tmp_path / name))
        assert shown.exit_code == 1
        assert "There is no store in" in shown.stderr


def test_another_store_may_be_named_by_path_or_url(run: Run, tmp_path: Path) -> None:
    other = ResultStore(LocalFileSystem(tmp_path / "other"))
    other.publish([other.stage(RecordInfo("k", time.time()), 1)])

    for place in (str(tmp_path / "other"), f"file://{tmp_path}/other"):
        assert [entry["key"] for entry in data(run("cache", "ls", "--json", "--store", place))] == ["k"]


def test_a_store_in_halves_is_named_by_both(run: Run, tmp_path: Path) -> None:
    halves = ResultStore(LocalFileSystem(tmp_path / "payloads"), LocalFileSystem(tmp_path / "heads"))
    halves.publish([halves.stage(RecordInfo("k", time.time()), b"x" * 500)])
    where = ["--store", str(tmp_path / "payloads"), "--key-storage", str(tmp_path / "heads")]

    assert data(run("cache", "ls", "--json", *where))[0]["size"] > 500
    assert run("cache", "check", *where).exit_code == 0
    assert run("cache", "rm", "k", *where).exit_code == 0
    assert keys(tmp_path / "payloads") == keys(tmp_path / "heads") == set()


# --- ls


def test_a_program_gets_all_records_newest_first(run: Run, write: Write) -> None:
    for number in range(60):
        write(f"k{number}", days=number)
    shown = data(run("cache", "ls", "--json"))

    assert [entry["key"] for entry in shown] == [f"k{number}" for number in range(60)]
    assert len(run("cache", "ls").stdout.splitlines()) == 61


def test_a_person_sees_the_first_fifty_with_short_keys(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tables", "cache_look", "cache_views"):
        monkeypatch.setattr(f"flowstone.cli.{name}.for_person", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    for number in range(52):
        write(f"{number:02}" * 32, days=number)
    shown = run("cache", "ls")

    assert "00" * 8 + " " in shown.stdout
    assert "00" * 9 not in shown.stdout
    assert "2 records more; --limit 0 shows all." in shown.stderr
    assert "51" * 8 not in shown.stdout
    assert "51" * 8 in run("cache", "ls", "--limit", "0").stdout


def test_an_entry_says_what_a_record_is(run: Run, write: Write) -> None:
    write("k", [1], days=2, task_name="load", task_module="jobs", duration=2.5, expires=time.time() - DAY, policy="P")
    (entry,) = data(run("cache", "ls", "-o", "json"))

    assert (entry["key"], entry["state"], entry["task"]) == ("k", "expired", "jobs.load")
    assert (entry["duration_seconds"], entry["policy"], entry["serializer"]) == (2.5, "P", "pickle")
    assert abs(entry["age_seconds"] - 2 * DAY) < 60
    assert entry["created"] < entry["expires"]
    line = run("cache", "ls").stdout.splitlines()[1].split("  ")
    assert [cell.strip() for cell in line if cell.strip()][:2] == ["k", "expired"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--task", "load"], "a"),
        (["--task", "jobs.*"], "a"),
        (["--prefix", "p/"], "d"),
        (["--glob", "?"], "abc"),
        (["--older-than", "5d"], "b"),
        (["--newer-than", "36h"], "acd"),
        (["--larger-than", "5KB"], "c"),
        (["--smaller-than", "5KB", "--newer-than", "2d"], "ad"),
        (["--expired"], "d"),
        (["--state", "fresh"], "abc"),
        (["--run", "r1"], "a"),
        (["--unused-for", "1h"], ""),
    ],
)
def test_options_choose_records_and_all_of_them_must_fit(
    run: Run, write: Write, options: list[str], expected: str
) -> None:
    write("a", task_name="load", task_module="jobs", task_run_id="r1")
    write("b", days=9)
    write("c", b"x" * 9000)
    write("p/d", expires=time.time() - 1)

    assert "".join(sorted(entry["key"][-1] for entry in data(run("cache", "ls", "--json", *options)))) == expected


@pytest.mark.parametrize(
    ("sort", "expected"), [("age", "abc"), ("size", "cab"), ("took", "bca"), ("task", "bca"), ("key", "abc")]
)
def test_records_are_sorted_and_limited(run: Run, write: Write, sort: str, expected: str) -> None:
    write("a", b"x" * 200, days=1, duration=1, task_name="z")
    write("b", b"x" * 100, days=2, duration=3, task_name="x")
    write("c", b"x" * 300, days=3, duration=2, task_name="y")

    def order(*options: str) -> str:
        return "".join(entry["key"] for entry in data(run("cache", "ls", "--json", "--sort", sort, *options)))

    assert order() == expected
    assert order("--reverse") == expected[::-1]
    assert order("--limit", "2") == expected[:2]
    assert order("--limit", "2", "--reverse") == expected[::-1][:2]


def test_files_that_are_no_records_are_counted_and_shown_if_asked_for(run: Run, write: Write, folder: Path) -> None:
    write("k")
    (folder / "notes.txt").write_text("dear")
    shown = run("cache", "ls")

    assert "notes.txt" not in shown.stdout
    assert "Not shown: 1 file that never held a record" in shown.stderr
    assert "notes.txt" in run("cache", "ls", "--state", "no record").stdout


def test_damaged_and_foreign_records_are_listed_with_their_state(run: Run, write: Write, folder: Path) -> None:
    write("a")
    write("b", ring=THEIRS)
    break_(folder, "a")

    assert {entry["key"]: entry["state"] for entry in data(run("cache", "ls", "--json"))} == {
        "a": "damaged",
        "b": "foreign",
    }


@pytest.mark.parametrize("option", [["--older-than", "seven"], ["--larger-than", "big"], ["--sort", "luck"]])
def test_an_option_that_makes_no_sense_is_a_usage_error(run: Run, option: list[str]) -> None:
    assert run("cache", "ls", *option).exit_code == 2


# --- show and path


def test_a_record_shows_everything_it_says_of_itself(run: Run, write: Write, folder: Path) -> None:
    expires = time.time() + 3 * DAY
    parts = (("inputs", "ab" * 16), ("task_source", "cd" * 16))
    write(
        "k",
        task_name="load",
        task_module="jobs",
        duration=2.5,
        expires=expires,
        parts=parts,
        policy="INPUTS",
        task_run_id="r1",
        flow_run_id="f1",
        items=3,
    )
    shown = run("cache", "show", "k").stdout

    for text in ("jobs.load", "in 3.0 d", "2.5 s", "INPUTS", "r1", "f1", "ab" * 16, "cd" * 16, str(folder / "k")):
        assert text in shown
    told = data(run("cache", "show", "k", "--json"))
    assert told["parts"] == dict(parts)
    assert (told["path"], told["items"], told["flow_run_id"]) == (str(folder / "k"), 3, "f1")
    assert told["signed_by"]


def test_the_beginning_of_a_key_will_do_if_it_is_the_only_one(run: Run, write: Write, folder: Path) -> None:
    write("abc")
    write("abd")
    write("ab")

    assert data(run("cache", "show", "abc", "--json"))["key"] == "abc"
    assert data(run("cache", "show", "ab", "--json"))["key"] == "ab"
    ambiguous = run("cache", "show", "a")
    assert ambiguous.exit_code == 1
    assert "More than one key" in ambiguous.stderr
    assert run("cache", "path", "abc").stdout.strip() == str(folder / "abc")
    missing = run("cache", "show", "zzz")
    assert (missing.exit_code, "no record with the key 'zzz'" in missing.stderr) == (1, True)


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", ".flowstone-store", ""])
def test_a_key_that_leads_out_of_the_store_is_refused(run: Run, write: Write, key: str) -> None:
    write("k")
    for command in ("show", "path", "rm"):
        shown = run("cache", command, key)
        assert shown.exit_code == 1
        assert shown.stderr.startswith("Error: ")


@pytest.mark.parametrize("what", ["damaged", "foreign", "nothing", "junk"])
def test_a_record_in_any_state_can_be_shown(run: Run, write: Write, folder: Path, what: str) -> None:
    write("k", ring=THEIRS if what == "foreign" else None)
    if what == "damaged":
        break_(folder, "k")
    if what in ("nothing", "junk"):
        (folder / "k").write_bytes(b"" if what == "nothing" else os.urandom(300))
    shown = run("cache", "show", "k")

    assert shown.exit_code == 0
    assert what in shown.stdout or "no record" in shown.stdout
    assert data(run("cache", "show", "k", "--json"))["key"] == "k"


def test_path_without_a_key_is_the_place_of_the_store(run: Run, folder: Path) -> None:
    assert run("cache", "path").stdout.strip() == str(folder)
    assert run("cache", "path", "--store", "memory://m").stdout.strip() == "memory://m"


def test_a_store_without_files_has_no_paths(run: Run) -> None:
    store = ResultStore("memory://paths")
    store.publish([store.stage(RecordInfo("k", time.time()), 1)])
    shown = run("cache", "path", "k", "--store", "memory://paths")

    assert shown.exit_code == 1
    assert "not in files" in shown.stderr


# --- rm


def test_rm_removes_by_key(run: Run, write: Write, folder: Path) -> None:
    for key in ("a", "b", "c"):
        write(key)
    shown = run("cache", "rm", "a", "b")

    assert shown.exit_code == 0
    assert "Removed 2 records" in shown.stdout
    assert keys(folder) == {"c"}


def test_rm_removes_nothing_if_one_key_is_not_there(run: Run, write: Write, folder: Path) -> None:
    write("abc")
    shown = run("cache", "rm", "abc", "ab")

    assert shown.exit_code == 1
    assert keys(folder) == {"abc"}


def test_rm_removes_what_fits_and_is_ours(run: Run, write: Write, folder: Path) -> None:
    write("a", task_name="load")
    write("b", task_name="train")
    write("c", ring=THEIRS)

    run("cache", "rm", "--task", "load")
    assert keys(folder) == {"b", "c"}
    run("cache", "rm", "--all")
    assert keys(folder) == {"c"}
    run("cache", "rm", "--state", "foreign")
    assert keys(folder) == set()


@pytest.mark.parametrize("arguments", [[], ["k", "--all"], ["k", "--task", "x"]])
def test_rm_wants_to_know_exactly_what(run: Run, write: Write, folder: Path, arguments: list[str]) -> None:
    write("k")
    assert run("cache", "rm", *arguments).exit_code == 2
    assert keys(folder) == {"k"}


def test_rm_of_everything_spares_files_that_are_no_records(run: Run, write: Write, folder: Path) -> None:
    write("k")
    (folder / "notes.txt").write_text("dear")
    run("cache", "rm", "--all")

    assert keys(folder) == {"notes.txt"}


@pytest.mark.parametrize("arguments", [["rm", "k"], ["rm", "--all"], ["prune", "--older-than", "0"]])
@pytest.mark.parametrize(("answer", "left"), [("n\n", {"k"}), ("y\n", set())])
def test_a_person_is_asked_first(
    run: Run,
    write: Write,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    answer: str,
    left: set[str],
) -> None:
    monkeypatch.setattr("flowstone.cli.ask.is_person", lambda: True)
    write("k", duration=90)
    shown = run("cache", *arguments, given=answer)

    assert "Remove 1 record" in shown.output
    assert "took 90 s to compute?" in shown.output
    assert keys(folder) == left
    assert shown.exit_code == (1 if left else 0)


@pytest.mark.parametrize("arguments", [["rm", "k"], ["prune", "--older-than", "0"]])
def test_yes_answers_before_it_is_asked_and_a_dry_run_does_not_ask(
    run: Run, write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr("flowstone.cli.ask.is_person", lambda: True)
    write("k")
    dry = run("cache", *arguments, "--dry-run")
    assert "Would remove 1 record" in dry.stdout
    assert keys(folder) == {"k"}
    assert run("cache", *arguments, "--yes").exit_code == 0
    assert keys(folder) == set()


def test_what_is_in_use_is_not_removed_and_said_to_be(run: Run, write: Write, store: ResultStore, folder: Path) -> None:
    write("k")
    manager = store.lock_manager
    assert manager is not None
    manager.acquire_lock("k", "a run")
    try:
        shown = run("cache", "rm", "k")
    finally:
        manager.release_lock("k", "a run")

    assert keys(folder) == {"k"}
    assert "k stayed: in use" in shown.stderr


# --- prune


def test_prune_removes_by_age_expiry_and_size(run: Run, write: Write, folder: Path) -> None:
    write("old", days=40)
    write("expired", expires=time.time() - 1)
    write("large", b"x" * 50_000, duration=1)
    write("small", b"x", duration=1)
    report = data(run("cache", "prune", "--older-than", "30d", "--expired", "--json"))

    assert {removal["key"]: removal["because"] for removal in report["removals"]} == {
        "old": "too old",
        "expired": "expired",
    }
    assert (report["records"], report["removed"]) == (4, 2)
    run("cache", "prune", "--max-size", "10KB", "--by", "cost")
    assert keys(folder) == {"small"}


def test_a_dry_prune_lists_what_would_go(run: Run, write: Write) -> None:
    write("k", days=40, task_name="load")
    shown = run("cache", "prune", "--older-than", "30d", "--dry-run").stdout

    assert "too old" in shown
    assert "load" in shown
    assert "Would remove 1 record" in shown
    assert data(run("cache", "prune", "--older-than", "30d", "--dry-run", "--json"))["removals"][0]["outcome"] == (
        "would be removed"
    )


def test_a_prune_that_is_told_nothing_is_a_usage_error(run: Run, write: Write) -> None:
    assert run("cache", "prune").exit_code == 2


def test_prune_narrows_to_a_task(run: Run, write: Write, folder: Path) -> None:
    write("a", task_name="load")
    write("b", task_name="train")
    run("cache", "prune", "--task", "load")
    assert keys(folder) == {"b"}


# --- stats and check


def test_stats_count_by_task_state_and_age(run: Run, write: Write, folder: Path) -> None:
    write("a", task_name="load", duration=60)
    write("b", task_name="load", duration=60, days=9)
    write("c", ring=THEIRS)
    told = data(run("cache", "stats", "--json"))

    assert (told["total"]["records"], told["total"]["seconds"]) == (2, 120)
    assert told["by_task"]["load"]["records"] == 2
    assert told["by_state"]["foreign"]["records"] == 1
    assert sum(group["records"] for group in told["by_age"]) == 2
    shown = run("cache", "stats").stdout
    assert "2 fresh, 1 foreign" in shown
    assert str(folder) in shown


def test_check_fails_while_something_serious_is_wrong_and_repairs_it(run: Run, write: Write, folder: Path) -> None:
    write("a")
    write("b")
    assert run("cache", "check").exit_code == 0
    break_(folder, "a")

    shown = run("cache", "check")
    assert shown.exit_code == 1
    assert "damaged record" in shown.stdout
    assert "1 serious fault," in shown.stdout
    assert data(run("cache", "check", "--json"))["faults"][0]["where"] == "a"
    repaired = run("cache", "check", "--repair")
    assert repaired.exit_code == 0
    assert "removed" in repaired.stdout
    assert keys(folder) == {"b"}
    assert run("cache", "check").exit_code == 0


def test_what_harms_nobody_is_told_and_no_failure(run: Run, write: Write, folder: Path) -> None:
    write("k", ring=THEIRS)
    (folder / "notes.txt").write_text("dear")
    shown = run("cache", "check")

    assert shown.exit_code == 0
    assert "2 other findings" in shown.stdout


def test_payloads_are_verified_unless_heads_are_enough(run: Run, write: Write, folder: Path) -> None:
    write("k", b"x" * 50_000)
    content = bytearray((folder / "k").read_bytes())
    content[-1] ^= 1
    (folder / "k").write_bytes(content)

    assert run("cache", "check").exit_code == 1
    assert run("cache", "check", "--heads-only").exit_code == 0


@pytest.mark.skipif(os.name == "nt", reason="modes say nothing there")
def test_a_signing_key_that_others_can_read_is_found(run: Run, write: Write, home: Path) -> None:
    write("k")
    (home / "signing.key").chmod(0o644)
    shown = run("cache", "check", "--repair", "--foreign", "--yes")

    assert shown.exit_code == 1
    assert "signing key" in shown.stdout
    assert "0644" in shown.stdout
    assert keys(home / "storage") == {"k"}


def test_removing_what_is_not_ours_wants_a_repair_and_asks(
    run: Run, write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("k", ring=THEIRS)
    write("ours")
    assert run("cache", "check", "--foreign").exit_code == 2
    monkeypatch.setattr("flowstone.cli.ask.is_person", lambda: True)
    assert run("cache", "check", "--repair", "--foreign", given="n\n").exit_code == 1
    assert keys(folder) == {"k", "ours"}
    assert run("cache", "check", "--repair", "--foreign", "--yes").exit_code == 0
    assert keys(folder) == {"ours"}


# --- export and import


def test_records_travel_by_file(run: Run, write: Write, tmp_path: Path, home: Path) -> None:
    write("a", task_name="load")
    write("b")
    shown = run("cache", "export", "out.tar", "--task", "load")
    assert "Exported 1 record" in shown.stdout

    imported = run("cache", "import", "out.tar", "--store", str(tmp_path / "other"))
    assert imported.exit_code == 0
    assert "Imported 1 record" in imported.stdout
    assert keys(tmp_path / "other") == {"a"}
    again = run("cache", "import", "out.tar", "--store", str(tmp_path / "other"))
    assert "1 record not needed: it is here already." in again.stdout
    assert run("cache", "export", "out.tar").exit_code == 1
    assert data(run("cache", "export", "out.tar", "--overwrite", "--json"))["records"] == 2


def test_an_archive_of_another_home_comes_in_by_its_key_or_by_trust(run: Run, tmp_path: Path, folder: Path) -> None:
    from flowstone import housekeeping
    from flowstone.signing import load_keyring

    theirs = ResultStore(
        LocalFileSystem(tmp_path / "theirs"), keyring=load_keyring(None, tmp_path / "their-home", lambda _: None)
    )
    theirs.publish([theirs.stage(RecordInfo("k", time.time()), 1)])
    housekeeping.export(theirs, housekeeping.EVERYTHING, "theirs.tar")

    refused = run("cache", "import", "theirs.tar")
    assert refused.exit_code == 1
    assert "give that key, or trust" in refused.stderr
    assert run("cache", "import", "theirs.tar", "--key", str(tmp_path / "their-home" / "signing.key")).exit_code == 0
    assert keys(folder) == {"k"}
    run("cache", "rm", "k")
    assert data(run("cache", "import", "theirs.tar", "--trust", "--json"))["ok"]
    assert keys(folder) == {"k"}


def test_a_shared_key_may_be_given_as_text(run: Run, tmp_path: Path, folder: Path) -> None:
    from flowstone import housekeeping

    theirs = ResultStore(LocalFileSystem(tmp_path / "theirs"), keyring=THEIRS)
    theirs.publish([theirs.stage(RecordInfo("k", time.time()), 1)])
    housekeeping.export(theirs, housekeeping.EVERYTHING, "theirs.tar")
    Path("key.txt").write_text("theirs\n")
    Path("empty.txt").write_text("\n")

    assert run("cache", "import", "theirs.tar", "--key", "empty.txt").exit_code == 1
    assert run("cache", "import", "theirs.tar", "--key", "key.txt", "--dry-run").stdout.startswith(
        "Would import 1 record"
    )
    assert run("cache", "import", "theirs.tar", "--key", "key.txt", "--together").exit_code == 0
    assert keys(folder) == {"k"}


def test_what_is_no_archive_is_one_line_and_exit_code_1(run: Run) -> None:
    Path("junk.tar").write_bytes(b"junk" * 500)
    shown = run("cache", "import", "junk.tar")

    assert shown.exit_code == 1
    assert len(shown.stderr.splitlines()) == 1
    assert run("cache", "import", "missing.tar").exit_code == 2


# --- cost and completion


def test_only_a_table_for_a_person_loads_rich(home: Path, write: Write) -> None:
    write("k")
    script = (
        "import sys\n"
        "from flowstone.cli import main\n"
        "for command in (['ls'], ['ls', '--json'], ['show', 'k'], ['stats'], ['check'], ['rm', 'k', '--dry-run']):\n"
        "    main(['cache', *command], standalone_mode=False)\n"
        "heavy = {'rich', 'cloudpickle', 'asyncio', 'numpy', 'tomlkit', 'obstore', 'flowstone.filesystems.objects'}\n"
        "loaded = heavy & set(sys.modules) - set(before)\n"
        "assert not loaded, loaded\n"
    )
    before = "import sys, flowstone\nbefore = list(sys.modules)\n"
    subprocess.run([sys.executable, "-c", before + script], check=True, stdout=subprocess.DEVNULL)


def test_keys_are_completed(home: Path, write: Write) -> None:
    write("abc")
    environment = {
        **os.environ,
        "_FLOWSTONE_COMPLETE": "bash_complete",
        "COMP_WORDS": "flowstone cache show a",
        "COMP_CWORD": "3",
    }
    shown = subprocess.run([sys.executable, "-m", "flowstone"], capture_output=True, text=True, env=environment)
    assert shown.stdout.splitlines() == ["plain,abc"]


def test_a_person_is_told_from_a_program_by_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (True, False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda answer=answer: answer)
        assert tables.for_person() is answer
