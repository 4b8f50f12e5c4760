"""What is kept of an object goes with it."""

from __future__ import annotations

import gc
import subprocess
import sys

from flowstone.fingerprints.identity import ByIdentity


class Thing:
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


def test_equal_objects_are_kept_apart():
    kept: ByIdentity[str] = ByIdentity()
    one, other = Thing(), Thing()
    kept.keep(one, "one")

    assert kept.get(one) == "one"
    assert kept.get(other) is None


def test_an_entry_goes_with_its_object():
    kept: ByIdentity[str] = ByIdentity()
    thing = Thing()
    kept.keep(thing, "one")
    del thing
    gc.collect()

    assert not kept.entries


def test_what_cannot_be_referred_to_weakly_is_not_kept():
    kept: ByIdentity[str] = ByIdentity()
    assert kept.keep(1, "one") == "one"
    assert kept.get(1) is None


def test_the_oldest_go_when_there_are_too_many():
    kept: ByIdentity[int] = ByIdentity(most=3)
    things = [Thing() for _ in range(5)]
    for place, thing in enumerate(things):
        kept.keep(thing, place)

    assert [kept.get(thing) for thing in things] == [None, None, 2, 3, 4]


def test_the_end_of_the_interpreter_is_quiet():
    text = "from flowstone.fingerprints import code_fingerprint as f\ng = [lambda: 1, lambda: 2]\nprint(len({f(x) for x in g}))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)

    assert (done.stdout.strip(), done.stderr) == ("2", "")
