"""A record opens for who holds its key, whole and unchanged, and for nobody else."""

from __future__ import annotations

import pickle
import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flowstone._version import VERSION
from flowstone.exceptions import RecordError
from flowstone.records import (
    ALIGNMENT,
    JOINT_SIZE,
    MAGIC,
    PREFIX_SIZE,
    MissReason,
    RecordInfo,
    bytes_to_open,
    open_head,
    open_payload,
    seal,
)
from flowstone.signing import Keyring, SigningKey

RING = Keyring.from_text("ours")
INFO = RecordInfo(
    key="a/b-ü",
    created=1000.5,
    expires=2000.25,
    task_name='na"me\n',
    task_module="m.ö",
    task_run_id="r1",
    flow_run_id="f1",
    duration=1.25,
    parts=(("inputs", "ab12"), ('s"x', "")),
    policy="INPUTS",
    state_name="Done",
    state_message="it is\u2028so",
    value_token="beef",
    items=7,
)


def sealed(main: bytes = b"payload", buffers: tuple[bytes, ...] = (), **options: Any) -> bytes:
    record = seal(options.pop("info", INFO), main, buffers, RING.writing, serializer="pickle", **options)
    return b"".join((record.head, *record.payload))


def opened(data: bytes, key: str = INFO.key, ring: Keyring = RING) -> tuple[bytes, list[bytes]]:
    head = open_head(data, key, ring.reading)
    main, buffers = open_payload(head, data, head.start)
    return bytes(main), [bytes(buffer) for buffer in buffers]


def reason_of(data: bytes, key: str = INFO.key, ring: Keyring = RING) -> str:
    with pytest.raises(RecordError) as caught:
        opened(data, key, ring)
    return caught.value.reason


def test_what_was_sealed_is_what_opens() -> None:
    assert opened(sealed()) == (b"payload", [])


def test_the_header_tells_everything_it_was_told() -> None:
    data = sealed(serializer_version=3)
    info = open_head(data, INFO.key, RING.reading).info

    assert info[:14] == INFO[:14]
    assert (info.serializer, info.serializer_version) == ("pickle", 3)
    assert (info.size, info.payload_size) == (len(data), 7)
    assert info.flowstone == VERSION
    assert info.python
    assert info.host
    assert len(info.payload_digest) == 64


def test_a_record_without_expiry_never_expires() -> None:
    head = open_head(sealed(info=RecordInfo(key="k", created=1.0)), "k", RING.reading)

    assert head.expiry is None
    assert head.info.expires is None
    assert head.info.flow_run_id is None
    assert head.info.items is None


def test_raw_buffers_lie_aligned_and_come_back() -> None:
    buffers = (b"x" * 5000, b"", b"yz" * 4000)
    data = sealed(b"m" * 33, buffers)
    head = open_head(data, INFO.key, RING.reading)
    main, views = open_payload(head, data, head.start)

    assert bytes(main) == b"m" * 33
    assert tuple(bytes(view) for view in views) == buffers
    positions = [data.index(buffer) for buffer in buffers if buffer]
    assert [position % ALIGNMENT for position in positions] == [0, 0]
    assert head.start % ALIGNMENT == 0


@pytest.mark.parametrize("main", [b"", b"p", b"p" * 3000, b"p" * 5000, b"p" * (3 << 20)])
def test_every_size_opens(main: bytes) -> None:
    assert opened(sealed(main))[0] == main


def test_a_small_record_is_one_piece_and_a_large_one_is_not_copied() -> None:
    small = seal(INFO, b"x", (), RING.writing, serializer="pickle")
    payload = b"x" * JOINT_SIZE
    large = seal(INFO, payload, (), RING.writing, serializer="pickle")

    assert small.payload == ()
    assert len(small.head) == small.size <= JOINT_SIZE
    assert large.payload[0] is payload
    assert len(large.head) + len(payload) == large.size


@pytest.mark.parametrize("main", [b"p", b"p" * 5000])
def test_every_flipped_byte_is_seen(main: bytes) -> None:
    data = sealed(main, (b"b" * 100, b"c" * 10))
    positions = range(len(data)) if len(data) < 1000 else [*range(800), *range(800, len(data), 37), len(data) - 1]
    for position in positions:
        for bit in (1, 0x80):
            torn = bytearray(data)
            torn[position] ^= bit
            assert reason_of(bytes(torn)) in (MissReason.DAMAGED.value, MissReason.NEWER_FORMAT.value), position


def test_every_flipped_byte_behind_the_format_number_is_called_damage() -> None:
    data = sealed()
    for position in range(42, len(data)):
        torn = bytearray(data)
        torn[position] ^= 0xFF
        assert reason_of(bytes(torn)) == MissReason.DAMAGED.value


@pytest.mark.parametrize("main", [b"p", b"p" * 5000])
def test_every_truncation_is_seen(main: bytes) -> None:
    data = sealed(main, (b"b" * 100,))
    for length in range(len(data)):
        assert reason_of(data[:length]) == MissReason.DAMAGED.value


@pytest.mark.parametrize("main", [b"p", b"p" * 5000])
def test_whatever_follows_the_end_is_seen(main: bytes) -> None:
    assert reason_of(sealed(main) + b"\0") == MissReason.DAMAGED.value


def test_a_record_of_another_key_is_foreign() -> None:
    assert reason_of(sealed(), key="a/c") == MissReason.DAMAGED.value


def test_a_record_signed_by_a_stranger_is_foreign() -> None:
    assert reason_of(sealed(), ring=Keyring.from_text("theirs")) == MissReason.DAMAGED.value


def test_an_old_key_still_reads_but_does_not_write() -> None:
    rotated = Keyring.from_text("new, ours")

    assert opened(sealed(), ring=rotated)[0] == b"payload"
    by_new = seal(INFO, b"x", (), rotated.writing, serializer="pickle").head
    assert reason_of(by_new) == MissReason.DAMAGED.value


def test_a_key_name_does_not_vouch_for_its_secret() -> None:
    forged = SigningKey(b"\1" * 32)
    forged.id = RING.writing.id
    data = seal(INFO, b"x", (), forged, serializer="pickle").head

    assert reason_of(data) == MissReason.DAMAGED.value


@pytest.mark.parametrize("data", [pickle.dumps([1]), pickle.dumps([1]) * 100, b"", MAGIC, b"\0" * 500])
def test_what_is_no_record_is_foreign(data: bytes) -> None:
    assert reason_of(data) == MissReason.DAMAGED.value


@pytest.mark.parametrize("length", [42, PREFIX_SIZE, 5000])
def test_a_newer_format_is_named_as_such(length: int) -> None:
    data = bytearray(sealed(b"p" * 5000))
    struct.pack_into("<H", data, 40, 2)

    assert reason_of(bytes(data[:length])) == MissReason.NEWER_FORMAT.value


def test_the_head_alone_is_authenticated_without_the_payload() -> None:
    data = sealed(b"p" * 100_000)
    needed = bytes_to_open(data[:PREFIX_SIZE])

    assert needed < 1000
    assert open_head(data[:needed], INFO.key, RING.reading).info.task_name == INFO.task_name


def test_a_head_that_claims_gigabytes_is_not_waited_for() -> None:
    data = bytearray(sealed(b"p" * 5000))
    struct.pack_into("<I", data, 52, 0xFFFFFFFF)

    assert bytes_to_open(data) == PREFIX_SIZE
    assert reason_of(bytes(data)) == MissReason.DAMAGED.value


def test_header_verification_skips_the_raw_buffers_and_nothing_else() -> None:
    data = bytearray(sealed(b"m" * 10, (b"b" * 5000,)))
    head = open_head(bytes(data), INFO.key, RING.reading)
    data[-1] ^= 1
    assert open_payload(head, bytes(data), head.start, buffers_too=False)[1][0][-1] == ord("b") ^ 1
    with pytest.raises(RecordError):
        open_payload(head, bytes(data), head.start)

    data[head.start] ^= 1
    with pytest.raises(RecordError):
        open_payload(head, bytes(data), head.start, buffers_too=False)


def test_what_is_interpreted_cannot_change_after_the_check() -> None:
    memory = bytearray(sealed(b"m" * 5000))
    view = memoryview(memory)
    head = open_head(view, INFO.key, RING.reading)
    main, _ = open_payload(head, view, head.start)
    memory[:] = b"\0" * len(memory)

    assert bytes(main) == b"m" * 5000
    assert head.info.task_name == INFO.task_name


def test_a_small_record_in_memory_that_changes_after_the_check_is_seen() -> None:
    memory = bytearray(sealed(b"m" * 10))
    view = memoryview(memory)
    head = open_head(view, INFO.key, RING.reading)
    memory[-1] ^= 1

    with pytest.raises(RecordError):
        open_payload(head, view, head.start)


def test_a_split_record_keeps_its_payload_elsewhere() -> None:
    record = seal(INFO, b"m" * 10, (b"b" * 70,), RING.writing, serializer="pickle", split=True)
    head = open_head(record.head, INFO.key, RING.reading)
    payload = b"".join(record.payload)

    assert head.split
    main, buffers = open_payload(head, payload, 0)
    assert (bytes(main), [bytes(buffer) for buffer in buffers]) == (b"m" * 10, [b"b" * 70])
    with pytest.raises(RecordError):
        open_payload(head, b"x" * len(payload), 0)


def test_fields_of_a_later_writer_are_passed_over() -> None:
    from flowstone.records.info import read_info

    info = read_info(b'{"task_name":"t","invented_later":[1]}', {"key": "k", "created": 1.0})

    assert info == RecordInfo(key="k", created=1.0, task_name="t")


def test_the_version_written_into_records_is_that_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
