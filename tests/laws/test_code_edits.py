"""A corpus of edits to real projects on disk: which must make a task run again, and which must not.

The cases stand in `code_edits/*.txt`: a title with what is expected of TASK_SOURCE and CODE, the files before
(`----`), and those that differ after (`++++`). Each version of a project has its own folder, and is fingerprinted in
processes with different hash seeds, in different orders.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

CORPUS = Path(__file__).parent / "code_edits"
OTHER_PYTHONS = os.environ.get("FLOWSTONE_TEST_PYTHONS", "").split()  # interpreters that have flowstone's dependencies


class Case(NamedTuple):
    title: str
    source: str
    code: str
    ask: str
    before: dict[str, str]
    after: dict[str, str]


def read_cases() -> list[Case]:
    cases = []
    for path in sorted(CORPUS.glob("*.txt")):
        for block in re.split(r"^==== ", path.read_text(), flags=re.M)[1:]:
            head, *files = re.split(r"^(----|\+\+\+\+) (.*)\n", block, flags=re.M)
            title, source, code = (part.strip() for part in head.splitlines()[0].split("|"))
            ask = re.search(r"^ask (.*)$", head, flags=re.M)
            versions: dict[str, dict[str, str]] = {"----": {}, "++++": {}}
            for mark, name, text in zip(files[::3], files[1::3], files[2::3]):
                versions[mark][name] = text
            cases.append(Case(title, source, code, ask[1] if ask else "main:step", versions["----"], versions["++++"]))
    return cases


CASES = read_cases()


def write(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def ask_process(projects: list[tuple[str, str]], seed: str, python: str = sys.executable) -> list[list[str]]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [python, str(CORPUS / "run.py")],
        input=json.dumps(projects),
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Corpus(NamedTuple):
    before: list[tuple[str, str]]
    after: list[tuple[str, str]]
    digests_before: list[list[str]]
    digests_after: list[list[str]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("edits")
    before, after = [], []
    for number, case in enumerate(CASES):
        before.append((write(root / "before" / str(number), case.before), case.ask))
        after.append((write(root / "elsewhere" / "after" / str(number), {**case.before, **case.after}), case.ask))
    digests_before = ask_process(before, "1")
    digests_after = ask_process(after[::-1], "2")[::-1]  # imported in another order
    return Corpus(before, after, digests_before, digests_after)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.title.replace(" ", "-") for case in CASES])
def test_an_edit_reruns_exactly_what_it_concerns(corpus: Corpus, number: int) -> None:
    case, before, after = CASES[number], corpus.digests_before[number], corpus.digests_after[number]
    assert len(before) == 2, before[0]
    assert len(after) == 2, after[0]
    verdicts = ["same" if old == new else "rerun" for old, new in zip(before, after)]
    assert verdicts == [case.source.removeprefix("source "), case.code.removeprefix("code ")]


def test_an_unchanged_project_has_the_same_fingerprints_in_another_process(corpus: Corpus) -> None:
    again = ask_process(corpus.before[::-1], "3")[::-1]
    differing = [case.title for case, old, new in zip(CASES, corpus.digests_before, again) if old != new]
    assert differing == []


@pytest.mark.parametrize("python", OTHER_PYTHONS or [pytest.param("", marks=pytest.mark.skip("no other Python given"))])
def test_another_python_version_gives_the_same_fingerprints(corpus: Corpus, python: str) -> None:
    there = ask_process(corpus.after, "4", python)
    differing = [case.title for case, old, new in zip(CASES, corpus.digests_after, there) if old != new]
    assert differing == []


def test_the_corpus_has_enough_cases_with_titles_of_their_own() -> None:
    titles = [case.title for case in CASES]
    assert len(titles) == len(set(titles))
    assert len(titles) >= 60
    assert all(case.before != {**case.before, **case.after} for case in CASES)
