"""Arrays: no copy where memory is contiguous, small ones elsewhere."""

from __future__ import annotations

import tracemalloc

import pytest

np = pytest.importorskip("numpy")

from flowstone.hashing import token  # noqa: E402

LARGE = 64 << 20


def peak(value: object) -> int:
    """The most memory in use, beyond what was before, while a token is made."""
    token(value[:2])  # type: ignore[index]  # what is imported for the type does not count
    tracemalloc.start()
    try:
        token(value)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_contiguous_array_is_not_copied() -> None:
    assert peak(np.zeros(LARGE // 8)) < LARGE * 0.001


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a[::2],
        lambda a: a.reshape(-1, 8).T,
        lambda a: a.reshape(8, -1).T,
        lambda a: np.asfortranarray(a.reshape(2048, -1)),
        lambda a: a.reshape(64, 64, -1).transpose(2, 0, 1),
        lambda a: a[::-1],
    ],
)
def test_another_layout_costs_a_few_megabytes_however_large_the_array(make: object) -> None:
    array = make(np.arange(LARGE // 8, dtype="f8"))  # type: ignore[operator]

    used = peak(array)

    assert used <= 9 << 20
    assert token(array) == token(np.ascontiguousarray(array))


def test_a_frame_is_not_copied() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({f"c{i}": np.arange(LARGE // 64, dtype="f8") for i in range(8)})

    assert peak(frame) < LARGE * 0.02


def test_the_values_of_a_range_index_are_never_all_there() -> None:
    pd = pytest.importorskip("pandas")

    assert peak(pd.RangeIndex(LARGE // 8)) < LARGE * 0.2
