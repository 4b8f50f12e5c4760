"""What a record says of itself, and how that is written: plain JSON, never anything that could execute."""

from __future__ import annotations

import os
from _json import encode_basestring_ascii as _quoted  # the encoder of json itself, without the 3 ms of importing json
from collections.abc import Sequence
from enum import Enum
from sys import version_info
from typing import Any, Final, NamedTuple

from flowstone._version import VERSION


class MissReason(Enum):
    """Why a look-up gave nothing; the value is how a person reads it."""

    ABSENT = "no record"
    EXPIRED = "expired"
    TOO_OLD = "older than this reader accepts"
    DAMAGED = "foreign or damaged"
    NEWER_FORMAT = "written by a newer flowstone"
    UNREADABLE = "the store cannot be read"
    UNKNOWN_SERIALIZER = "unknown serializer"
    UNSAFE_SERIALIZER = "its serializer could execute code"
    CANNOT_LOAD = "the value cannot be loaded"
    HALF_MISSING = "half of it is missing"
    REFRESHED = "a refresh was asked for"


class RecordInfo(NamedTuple):
    """What a record says of itself.

    Times are seconds since the epoch, `duration` is seconds, sizes are bytes. `parts` are the named parts of the key
    with their digests. `value_token` names the content of the value where it is known; `items` is how many a generator
    gave. The fields from `serializer` on are filled in when the record is written.
    """

    key: str
    created: float
    expires: float | None = None
    task_name: str = ""
    task_module: str = ""
    task_run_id: str = ""
    flow_run_id: str | None = None
    duration: float = 0.0
    parts: tuple[tuple[str, str], ...] = ()
    policy: str = ""
    state_name: str = "Completed"
    state_message: str | None = None
    value_token: str | None = None
    items: int | None = None
    serializer: str = ""
    serializer_version: int = 1
    size: int = 0
    payload_size: int = 0
    payload_digest: str = ""
    host: str = ""
    python: str = ""
    flowstone: str = ""


def info_json(info: RecordInfo, serializer_version: int) -> str:
    """Write the fields that the fixed part of the head does not hold as one JSON object in ASCII.

    By hand, because the fields are few and known and every write comes here.
    """
    quoted, maybe = _quoted, _maybe_quoted
    return (
        f'{{"task_name":{quoted(info.task_name)},"task_module":{quoted(info.task_module)},'
        f'"task_run_id":{quoted(info.task_run_id)},"flow_run_id":{maybe(info.flow_run_id)},'
        f'"duration":{float(info.duration)!r},"parts":{_parts(info.parts)},"policy":{quoted(info.policy)},'
        f'"state_name":{quoted(info.state_name)},"state_message":{maybe(info.state_message)},'
        f'"value_token":{maybe(info.value_token)},"items":{"null" if info.items is None else int(info.items)},'
        f'"serializer_version":{int(serializer_version)},{_written_by()}}}'
    )


def author_of(task_name: str, task_module: str) -> bytes:
    """Return how the header of a record begins that this task wrote."""
    return f'{{"task_name":{_quoted(task_name)},"task_module":{_quoted(task_module)},'.encode("ascii")


def read_info(text: bytes, known: dict[str, Any]) -> RecordInfo:
    """Return the info of an authenticated head: the fields of its JSON, and those `known` from its fixed part.

    Fields of a later writer are passed over, fields of an earlier one have their defaults.
    """
    import json  # tools and explanations ask for this; the path of a hit never comes here

    fields = json.loads(text)
    told = {name: fields[name] for name in RecordInfo._fields if name in fields}
    told["parts"] = tuple((name, digest) for name, digest in told.get("parts", ()))
    return RecordInfo(**{**told, **known})


def _parts(parts: Sequence[tuple[str, str]]) -> str:
    return f"[{','.join([f'[{_quoted(name)},{_quoted(digest)}]' for name, digest in parts])}]"


def _maybe_quoted(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


class _Writer:
    """The fields that are the same in all records of this process, made at the first record."""

    text: str = ""


_WRITER: Final = _Writer()


def _written_by() -> str:
    if not _WRITER.text:
        host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
        python = ".".join(map(str, version_info[:3]))
        _WRITER.text = f'"host":{_quoted(host)},"python":"{python}","flowstone":{_quoted(VERSION)}'
    return _WRITER.text
