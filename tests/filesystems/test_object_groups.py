"""Groups in an object store: visible together or not at all, whatever dies, stalls or races."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from flowstone.exceptions import StoreError
from flowstone.filesystems.object_pointer import MAGIC, PLAIN_MOST, POINTER_SIZE, Pointer
from flowstone.filesystems.objects import ObjectStorage

Lab = Callable[..., ObjectStorage]

OLD = {"a": b"old a", "b": None, "c": b"old c"}
NEW = {"a": b"new a", "b": b"new b", "c": b"new c"}
GROUP = [(key, [value]) for key, value in NEW.items()]


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def prepared(lab: Lab) -> ObjectStorage:
    """A storage in whose place the old values are."""
    storage = lab()
    for key, value in OLD.items():
        if value is not None:
            storage.put(key, [value])
    storage.client.requests.clear()
    return storage


def read(storage: ObjectStorage, keys: object = ("a", "b", "c")) -> dict[str, bytes | None]:
    blobs = {key: storage.get(key) for key in keys}  # type: ignore[attr-defined]
    return {key: None if blob is None else bytes(blob.data) for key, blob in blobs.items()}


def listed(storage: ObjectStorage) -> dict[str, int]:
    return {entry.key: entry.size for entry in storage.scan()}


def leftovers(storage: ObjectStorage) -> list[str]:
    return [version.path for version in storage.client.list("") if version.path.startswith(".flowstone")]


# --- the plain case


def test_a_published_group_is_there_and_leaves_nothing_else(lab: Lab, prepared: ObjectStorage) -> None:
    prepared.publish(GROUP)
    assert read(lab()) == NEW
    assert listed(lab()) == {key: len(value) for key, value in NEW.items()}
    assert leftovers(lab()) == []


def test_a_single_record_costs_one_request(prepared: ObjectStorage) -> None:
    prepared.publish([("a", [b"1"])])
    prepared.put("b", [b"2"])
    assert [doing for doing, _ in prepared.client.requests] == ["write", "write"]


def test_once_published_a_member_is_read_with_one_request(lab: Lab, prepared: ObjectStorage) -> None:
    prepared.publish(GROUP)
    reader = lab()
    reader.get("a")
    reader.stamp("b")
    reader.head("c", 3)
    assert len(reader.client.requests) == 3


def test_the_last_of_two_blobs_under_one_key_counts(lab: Lab) -> None:
    lab().publish([("a", [b"1"]), ("b", [b"2"]), ("a", [b"3"])])
    assert read(lab(), "ab") == {"a": b"3", "b": b"2"}


def test_members_may_be_empty_or_of_many_parts(lab: Lab) -> None:
    lab().publish([("a", []), ("b", [b""]), ("c", [b"x", bytearray(b"y"), memoryview(b"z")])])
    assert read(lab()) == {"a": b"", "b": b"", "c": b"xyz"}


def test_a_large_member_is_sent_once_and_stays_behind_its_pointer(lab: Lab, prepared: ObjectStorage) -> None:
    large = bytes(PLAIN_MOST + 1)
    prepared.publish([("a", [large]), ("b", [b"small"])])
    assert [path for doing, path in prepared.client.requests if doing in ("write", "replace") and path == "a"] == [
        "a",  # the pointer that waits for the verdict
        "a",  # the pointer that does not
    ]
    reader = lab()
    assert read(reader, "ab") == {"a": large, "b": b"small"}
    assert listed(reader) == {"a": len(large), "b": 5, "c": 5}
    assert reader.head("a", 4) == bytes(4)
    before = reader.stamp("a")
    assert before == reader.get("a").stamp  # type: ignore[union-attr]
    reader.publish([("a", [b"short"]), ("b", [b"again"])])
    assert read(lab(), "ab") == {"a": b"short", "b": b"again"}
    assert lab().stamp("a") != before


def test_deleting_a_large_member_removes_its_bytes(lab: Lab) -> None:
    storage = lab()
    storage.publish([("a", [bytes(PLAIN_MOST + 1)]), ("b", [b"small"])])
    assert storage.delete("a") is True
    assert storage.get("a") is None
    assert all("/new-" not in path for path in leftovers(storage))


# --- death at every step


@pytest.mark.parametrize("done", [False, True], ids=["before the request", "after the request"])
def test_killed_at_any_step_a_group_is_whole_or_absent_for_everybody(
    lab: Lab, done: bool, killed: type[BaseException], hand: Hand
) -> None:
    outcomes = []
    for step in itertools.count():
        seed(lab)
        writer = lab()
        writer.client.kill_at(step, done=done)
        try:
            writer.publish(GROUP)
        except killed:
            pass
        else:
            break
        outcomes.append(check_after_death(lab, hand))
        wipe(lab)
    assert OLD in outcomes
    assert NEW in outcomes
    assert outcomes == sorted(outcomes, key=lambda outcome: outcome == NEW), "a later death undid a commit"


def seed(lab: Lab) -> None:
    for key, value in OLD.items():
        if value is not None:
            lab().put(key, [value])


def wipe(lab: Lab) -> None:
    storage = lab()
    for version in list(storage.client.list("")):
        storage.client.delete(version.path)


def check_after_death(lab: Lab, hand: Hand) -> dict[str, bytes | None]:
    """All readers agree on one of the two states, at once and for good; then the place is as good as new."""
    reader = lab(clock=hand)
    state = read(reader)
    assert state in (OLD, NEW)
    assert read(lab(), "cba") == state
    assert listed(lab()) == {key: len(value) for key, value in state.items() if value is not None}
    for key, value in state.items():
        assert lab().head(key, 3) == (None if value is None else value[:3])
        assert (lab().stamp(key) is None) == (value is None)
    hand.now += 31.0
    assert read(reader) == state, "the reader who finishes what the dead one began sees no difference"
    assert read(lab()) == state
    fresh = lab(clock=hand)
    fresh.publish([("a", [b"after"]), ("b", [b"after"])])
    assert read(lab()) == {"a": b"after", "b": b"after", "c": state["c"]}
    lab().sweep(older_than=-1.0)
    lab().sweep(older_than=-1.0)  # takes the verdicts the first one gave
    assert read(lab()) == {"a": b"after", "b": b"after", "c": state["c"]}
    assert leftovers(lab()) == []
    return state


@pytest.mark.parametrize("done", [False, True], ids=["before the request", "after the request"])
def test_a_sweep_alone_finishes_what_a_dead_writer_left(lab: Lab, done: bool, killed: type[BaseException]) -> None:
    for step in itertools.count():
        seed(lab)
        writer = lab()
        writer.client.kill_at(step, done=done)
        try:
            writer.publish(GROUP)
        except killed:
            pass
        else:
            break
        state = read(lab())
        lab().sweep(older_than=-1.0)
        assert read(lab()) == state
        lab().sweep(older_than=-1.0)
        assert leftovers(lab()) == []
        plain = {version.path: version.size for version in lab().client.list("")}
        assert {key: plain[key] for key, value in state.items() if value is not None} == listed(lab())
        wipe(lab)


def test_a_value_written_while_the_group_was_prepared_outlives_the_group(
    lab: Lab, prepared: ObjectStorage, killed: type[BaseException]
) -> None:
    def meddle(number: int, doing: str, path: str) -> None:
        if doing == "replace" and path == "a" and not written:
            written.append(lab().put("a", [b"in between"]))
        if path.endswith("/verdict"):
            raise killed

    written: list[object] = []
    prepared.client.before = meddle
    with pytest.raises(killed):
        prepared.publish(GROUP)
    assert written
    assert read(lab()) == {**OLD, "a": b"in between"}


def test_a_value_deleted_while_the_group_was_prepared_does_not_come_back(
    lab: Lab, prepared: ObjectStorage, killed: type[BaseException]
) -> None:
    for verdict in ("dead", "aborted"):
        lab().put("a", [b"old a"])
        writer = lab()

        def meddle(number: int, doing: str, path: str, verdict: str = verdict) -> None:
            if doing == "replace" and path == "a" and not deleted:
                deleted.append(lab().delete("a"))
            if path.endswith("/verdict") and (verdict == "dead" or not asked):
                asked.append(path)
                raise killed if verdict == "dead" else StoreError("down for a moment")

        deleted: list[bool] = []
        asked: list[str] = []
        writer.client.before = meddle
        with pytest.raises((killed, StoreError)):
            writer.publish(GROUP)
        assert deleted == [True]
        assert read(lab()) == {**OLD, "a": None}
        lab().sweep(older_than=-1.0)
        assert read(lab()) == {**OLD, "a": None}


def test_a_sweep_keeps_large_members_until_nothing_leads_to_them(lab: Lab) -> None:
    lab().publish([("a", [bytes(PLAIN_MOST + 1)]), ("b", [b"small"])])
    for _ in range(3):
        lab().sweep(older_than=-1.0)
    assert len(read(lab(), "a")["a"] or b"") == PLAIN_MOST + 1
    lab().put("a", [b"short"])
    report = lab().sweep(older_than=-1.0)
    assert report.removed == 2, "the bytes and the list of keys"
    assert report.bytes > PLAIN_MOST
    assert read(lab(), "ab") == {"a": b"short", "b": b"small"}
    assert leftovers(lab()) == []


def test_a_sweep_leaves_the_living_alone(lab: Lab, prepared: ObjectStorage) -> None:
    swept = []

    def sweep_now(number: int, doing: str, path: str) -> None:
        swept.append(lab().sweep(older_than=60.0))

    prepared.client.before = sweep_now
    prepared.publish(GROUP)
    assert read(lab()) == NEW
    assert all(report.removed == 0 and report.finished == 0 for report in swept)
    assert any(report.kept > 0 for report in swept)


# --- forced interleavings


def test_a_reader_between_any_two_steps_sees_all_or_none_and_never_goes_back(lab: Lab, prepared: ObjectStorage) -> None:
    seen: list[dict[str, bytes | None]] = []
    fresh_each_time = lab
    lasting = lab()

    def look(number: int, doing: str, path: str) -> None:
        for reader in (fresh_each_time(), lasting):
            seen.append(read(reader))
            assert listed(reader) == {key: len(value) for key, value in seen[-1].items() if value is not None}

    prepared.client.before = look
    prepared.client.after = look
    prepared.publish(GROUP)
    assert seen == [state for state in seen if state == OLD] + [state for state in seen if state == NEW]
    assert seen[0] == OLD
    assert seen[-1] == NEW


@pytest.mark.parametrize("order", ["abc", "cba"])
def test_a_reader_overtaken_at_any_of_its_steps_never_sees_new_then_old(lab: Lab, order: str) -> None:
    """The writer stops before its step p; the reader begins, and at its step r the writer runs to its end."""
    seed(lab)
    counting = lab()
    counting.publish(GROUP)
    total = len(counting.client.requests)
    for step in range(total):
        for turn in itertools.count():
            wipe(lab)
            seed(lab)
            overtaken = overtake(lab, step, turn, order)
            if not overtaken:
                break


def overtake(lab: Lab, step: int, turn: int, order: str) -> bool:
    """Return whether the reader got as far as its step `turn`."""
    writer, reader = lab(), lab()
    stopped, go, finished = threading.Event(), threading.Event(), threading.Event()

    def stop(number: int, doing: str, path: str) -> None:
        if number == step:
            stopped.set()
            assert go.wait(10)

    def publish() -> None:
        writer.publish(GROUP)
        finished.set()

    def let_go(number: int, doing: str, path: str) -> None:
        if number == turn:
            go.set()
            assert finished.wait(10)

    writer.client.before = stop
    reader.client.before = let_go
    thread = threading.Thread(target=publish)
    thread.start()
    assert stopped.wait(10)
    values = list(read(reader, order).items())
    overtaken = go.is_set()
    go.set()
    thread.join(10)
    are_new = [value == NEW[key] for key, value in values]
    assert all(value in (OLD[key], NEW[key]) for key, value in values)
    assert are_new == sorted(are_new), f"step {step}, turn {turn}: {values}"
    assert read(lab()) == NEW
    return overtaken


@pytest.mark.parametrize("pause", range(0, 40, 3))
def test_two_groups_with_the_same_keys_end_as_one_of_them(lab: Lab, pause: int, hand: Hand) -> None:
    """The first stops before one of its steps, for so long that the second does not wait for it; then it goes on."""
    seed(lab)
    first, second = lab(clock=hand), lab(clock=hand)
    second._groups._sleep = lambda seconds: setattr(hand, "now", hand.now + seconds)
    states = []

    def interrupt(number: int, doing: str, path: str) -> None:
        if number == pause:
            second.publish([(key, [value + b" of the second"]) for key, value in NEW.items()])
            states.append(read(lab()))

    first.client.before = interrupt
    first.publish(GROUP)
    of_second = {key: value + b" of the second" for key, value in NEW.items()}
    committed = next(step for step, (doing, path) in enumerate(first.client.requests) if path.endswith("/verdict"))
    assert states in ([], [of_second])
    assert read(lab()) == (of_second if states and committed < pause else NEW)


def test_many_groups_at_once_on_the_same_keys_leave_one_whole_group(lab: Lab) -> None:
    errors: list[BaseException] = []

    def publish(number: int) -> None:
        try:
            for turn in range(3):
                storage = lab(workers=4, patience=0.5)
                storage._groups._sleep = time.sleep
                storage.publish([(key, [f"{number} {turn}".encode()]) for key in "abcd"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not [error for error in errors if "kept setting the group aside" not in str(error)]
    values = set(read(lab(), "abcd").values())
    assert len(values) == 1
    assert None not in values


def test_a_writer_who_was_set_aside_while_asleep_does_not_believe_it_published(
    lab: Lab, prepared: ObjectStorage, hand: Hand
) -> None:
    """Asleep before its verdict, it is aborted by a reader; awake, it tries again and all of it is there."""
    reader = lab(clock=hand)

    def sleep_before_the_verdict(number: int, doing: str, path: str) -> None:
        if path.endswith("/verdict") and not reader._groups._verdicts:
            assert read(reader) == OLD
            hand.now += 31.0
            assert read(reader) == OLD
            assert reader._groups._verdicts != {}

    prepared.client.before = sleep_before_the_verdict
    prepared.publish(GROUP)
    assert read(lab()) == NEW
    assert read(reader) == NEW


def test_a_write_or_delete_of_a_key_on_its_way_counts_as_later(lab: Lab, prepared: ObjectStorage) -> None:
    def meddle(number: int, doing: str, path: str) -> None:
        if doing == "create" and path.endswith("/verdict"):
            lab().put("a", [b"single"])
            assert lab().delete("b") is False, "nobody sees it yet"
            assert lab().delete("c") is True

    prepared.client.before = meddle
    prepared.publish(GROUP)
    assert read(lab()) == {"a": b"single", "b": NEW["b"], "c": None}


def test_create_only_wins_where_a_group_is_not_yet_visible_and_loses_where_it_is(
    lab: Lab, prepared: ObjectStorage
) -> None:
    outcomes = []

    def create(number: int, doing: str, path: str) -> None:
        if path.endswith("/verdict") and not outcomes:
            outcomes.append(lab().put("b", [b"created"], "create-only"))
            outcomes.append(lab().put("a", [b"created"], "create-only"))

    prepared.client.before = create
    prepared.publish(GROUP)
    assert outcomes[0] is not None
    assert outcomes[1] is None
    assert lab().put("c", [b"created"], "create-only") is None
    assert read(lab()) == {**NEW, "b": b"created"}


# --- requests that fail


def faults(lab: Lab, *, applied: bool) -> Iterator[tuple[int, ObjectStorage]]:
    """Yield writers one of whose requests fails, each in turn: lost on the way there, or on the way back."""
    for step in itertools.count():
        writer = lab()

        def fail(number: int, doing: str, path: str, step: int = step) -> None:
            if number == step:
                raise StoreError("the network is down")

        if applied:
            writer.client.after = fail
        else:
            writer.client.before = fail
        yield step, writer
        if len(writer.client.requests) <= step:
            return


@pytest.mark.parametrize("applied", [False, True], ids=["request lost", "answer lost"])
def test_a_failed_request_means_all_or_an_error_and_nothing(lab: Lab, applied: bool) -> None:
    for step, writer in faults(lab, applied=applied):
        wipe(lab)
        seed(lab)
        try:
            writer.publish(GROUP)
        except StoreError:
            expected = OLD
        else:
            expected = NEW
        assert read(lab()) == expected, step
        assert read(reborn(writer)) == expected, step
        again = lab()
        again.publish(GROUP)
        assert read(lab()) == NEW


def test_a_lost_answer_that_made_the_client_ask_again_changes_nothing(lab: Lab, prepared: ObjectStorage) -> None:
    prepared.client.repeats = True
    prepared.publish(GROUP)
    assert read(lab()) == NEW
    groups = {path.split("/")[2] for _, path in prepared.client.requests if path.startswith(".flowstone/groups")}
    assert len(groups) == 1, "it needed a second attempt"
    assert leftovers(lab()) == []


def test_a_lost_answer_loses_no_old_value_when_the_group_is_aborted(lab: Lab, prepared: ObjectStorage) -> None:
    def fail_once(number: int, doing: str, path: str) -> None:
        if path.endswith("/verdict") and not failed:
            failed.append(path)
            raise StoreError("down for a moment")

    failed: list[str] = []
    prepared.client.repeats = True
    prepared.client.before = fail_once
    with pytest.raises(StoreError):
        prepared.publish(GROUP)
    assert read(lab()) == OLD
    lab().sweep(older_than=-1.0)
    assert read(lab()) == OLD


def test_a_create_only_write_that_was_asked_twice_has_won(lab: Lab) -> None:
    storage = lab()
    storage.client.repeats = True
    assert storage.put("a", [b"1"], "create-only") == storage.stamp("a")
    assert lab().put("a", [b"2"], "create-only") is None
    assert read(lab(), "a") == {"a": b"1"}


def reborn(storage: ObjectStorage) -> ObjectStorage:
    """Return the storage with its memory of verdicts, but with requests that work."""
    storage.client.before = storage.client.after = lambda number, doing, path: None
    return storage


def test_when_the_store_stays_down_the_error_says_that_the_outcome_is_open(lab: Lab, prepared: ObjectStorage) -> None:
    def fail(number: int, doing: str, path: str) -> None:
        if path.endswith("/verdict"):
            raise StoreError("the network is down")

    prepared.client.before = fail
    with pytest.raises(StoreError, match="together or not at all"):
        prepared.publish(GROUP)
    assert read(lab()) == OLD


def test_a_reader_who_may_not_write_still_reads_what_a_dead_writer_left(
    lab: Lab, killed: type[BaseException], hand: Hand
) -> None:
    for verdict_given in (False, True):
        wipe(lab)
        seed(lab)
        writer = lab()
        verdict = next(step for step, (_, path) in enumerate(requests_of_publish(lab)) if path.endswith("/verdict"))
        wipe(lab)
        seed(lab)
        writer.client.kill_at(verdict, done=verdict_given)
        with pytest.raises(killed):
            writer.publish(GROUP)
        reader = lab(clock=hand)

        def refuse(number: int, doing: str, path: str) -> None:
            if doing in ("write", "create", "replace", "delete", "copy"):
                raise StoreError("not allowed")

        reader.client.before = refuse
        for _ in range(3):
            assert read(reader) == (NEW if verdict_given else OLD)
            hand.now += 31.0


def requests_of_publish(lab: Lab) -> list[tuple[str, str]]:
    writer = lab()
    writer.publish(GROUP)
    return writer.client.requests


def test_a_pointer_whose_bytes_are_gone_is_a_miss_and_can_be_written_over(lab: Lab) -> None:
    storage = lab()
    storage.publish([("a", [bytes(PLAIN_MOST + 1)]), ("b", [b"small"])])
    (payload,) = [path for path in leftovers(storage) if "/new-" in path]
    storage.client.delete(payload)
    assert lab().get("a") is None
    assert lab().put("a", [b"again"]) is not None
    assert lab().get("a").data == b"again"  # type: ignore[union-attr]


# --- bytes that look like a pointer


@pytest.mark.parametrize("how", ["put", "create", "swap", "publish"])
def test_bytes_that_look_like_a_pointer_are_bytes(lab: Lab, how: str) -> None:
    storage = lab()
    hostile = Pointer("g", pending=True, new=None).encode()
    assert len(hostile) == POINTER_SIZE
    if how == "put":
        stamp = storage.put("a", [hostile[:5], hostile[5:]])
    elif how == "create":
        stamp = storage.put("a", [hostile], "create-only")
    elif how == "swap":
        stamp = storage.compare_and_swap("a", [hostile], storage.put("a", [b"before"]))
    else:
        storage.publish([("a", [hostile]), ("b", [b"other"])])
        stamp = storage.stamp("a")
    assert storage.get("a") == (hostile, stamp)
    assert storage.stamp("a") == stamp
    assert storage.head("a", 20) == hostile[:20]
    assert listed(storage)["a"] == POINTER_SIZE
    storage.sweep(older_than=-1.0)
    assert storage.get("a") == (hostile, stamp)


def test_any_bytes_of_the_size_of_a_pointer_are_bytes(lab: Lab) -> None:
    storage = lab()
    for data in (b"x" * POINTER_SIZE, MAGIC.ljust(POINTER_SIZE, b"{"), MAGIC + b"[]".ljust(POINTER_SIZE - len(MAGIC))):
        storage.client.put("a", [data])  # as if it had come there without us
        assert storage.get("a").data == data  # type: ignore[union-attr]
        storage.publish([("a", [b"new"]), ("b", [data])])
        assert storage.get("b").data == data  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "path", ["a", "../secret", ".flowstone/locks/x", ".flowstone/groups/../../a", ".flowstone/groups/g/../../../a"]
)
def test_a_pointer_leads_nowhere_but_to_the_groups(lab: Lab, path: str) -> None:
    forged = Pointer("", pending=False, new=(path, 3)).encode()  # type: ignore[arg-type]
    assert Pointer.decode(forged) is None
    storage = lab()
    storage.client.put("k", [forged])
    assert storage.get("k").data == forged  # type: ignore[union-attr]
