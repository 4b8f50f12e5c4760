"""Progress tells of each task run as it ends, and sums up what the cache has saved."""

from __future__ import annotations

from io import StringIO

import pytest

from flowstone import task
from flowstone.cache_policies import INPUTS
from flowstone.progress import Tally, TaskEnd, show_progress


@pytest.fixture(autouse=True)
def _home(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWSTONE_HOME", str(tmp_path))


def test_a_line_for_each_run_and_the_sum_at_the_end() -> None:
    @task(cache_policy=INPUTS, task_run_name="double {x}")
    def double(x: int) -> int:
        return 2 * x

    out = StringIO()
    with show_progress(out) as tally:
        assert double(1) == double(1) == 2
        ran, cached = tally.ends
        assert out.getvalue() == f"{ran}\n{cached}\n"
    assert (ran.name, ran.state, ran.cached) == ("double 1", "Completed", False)
    assert cached == ("double 1", "Cached", ran.seconds)
    assert out.getvalue().splitlines()[2:] == ["1 ran, 1 from the cache, saved 0.0 s"]


def test_a_task_without_run_names_goes_by_its_own() -> None:
    @task
    def plain() -> None: ...

    with show_progress(StringIO()) as tally:
        plain()
    assert [end.name for end in tally.ends] == ["plain"]


def test_a_failed_run_is_told_and_the_sum_follows_the_error() -> None:
    @task
    def broken() -> None:
        raise RuntimeError("broken")

    out = StringIO()
    with pytest.raises(RuntimeError, match="broken"), show_progress(out):
        broken()
    first, last = out.getvalue().splitlines()
    assert first.startswith("failed  broken ")
    assert last == "1 ran, 0 from the cache"


def test_nothing_is_told_after_the_block() -> None:
    @task
    def plain() -> None: ...

    out = StringIO()
    with show_progress(out) as tally:
        pass
    plain()
    assert tally.ends == []
    assert out.getvalue() == "0 ran, 0 from the cache\n"


def test_standard_output_is_looked_up_when_it_is_written_to(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress():
        pass
    assert capsys.readouterr().out == "0 ran, 0 from the cache\n"


def test_what_was_saved_is_what_the_cached_bodies_took() -> None:
    tally = Tally()
    tally.ends += [TaskEnd("a", "Completed", 5.0), TaskEnd("b", "Cached", 2.0), TaskEnd("c", "Cached", 0.25)]
    assert (tally.ran, tally.cached, tally.seconds_saved) == (1, 2, 2.25)
    assert str(tally) == "1 ran, 2 from the cache, saved 2.2 s"
    assert str(tally.ends[1]) == "cached  b" + 31 * " " + "saved    2.00 s"
