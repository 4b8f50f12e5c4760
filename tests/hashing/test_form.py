"""How tokens are combined, and what people see of them."""

from __future__ import annotations

from flowstone.hashing import buffer_digest, buffer_hasher, combine, digest, part_digest, token


def test_domain_names_tokens_and_order_all_count() -> None:
    items = [("a", token(1)), ("b", token(2))]
    told = {
        combine("inputs", items),
        combine("code", items),
        combine("inputs", items[::-1]),
        combine("inputs", items[:1]),
        combine("inputs", [("a", token(2)), ("b", token(1))]),
        combine("inputs", [("ab", token(1)), ("", token(2))]),
        combine("inputs", []),
    }

    assert len(told) == 7
    assert {len(key) for key in told} == {32}


def test_names_and_tokens_cannot_run_into_each_other() -> None:
    assert combine("d", [("a", b"bc")]) != combine("d", [("ab", b"c")])
    assert combine("d", [("a", b"b"), ("c", b"d")]) != combine("d", [("a", b"bc"), ("", b"d")])


def test_items_may_come_from_an_iterator() -> None:
    assert combine("d", iter([("a", b"1")])) == combine("d", [("a", b"1")])


def test_a_part_is_shown_by_sixteen_hexadecimal_digits() -> None:
    shown = {part_digest(token(value)) for value in (1, 2, "a" * 100, [1])}

    assert len(shown) == 4
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in shown)


def test_a_digest_is_64_hexadecimal_digits_and_differs_where_tokens_do() -> None:
    assert len(digest(1)) == 64
    assert digest(1) == digest(1)
    assert len({digest(1), digest(True), digest("1"), digest([1])}) == 4


def test_bytes_have_one_digest_in_one_piece_and_in_many() -> None:
    data = bytes(range(256)) * 20_000
    hasher = buffer_hasher()
    for start in range(0, len(data), 1_000_003):
        hasher.update(data[start : start + 1_000_003])

    assert hasher.digest() == buffer_digest(data) == buffer_digest(memoryview(data))
