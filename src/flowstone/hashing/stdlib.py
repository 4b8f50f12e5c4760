"""Values of the standard library: dates, numbers, names, containers."""

from __future__ import annotations

import sys
from typing import Any

from flowstone.hashing.form import Node, Refused, buffer_digest
from flowstone.hashing.registry import register_type

_TIMES = (".tzinfo",)


def _datetime(value: Any) -> Node:
    fields = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold)
    return Node("datetime", (value.tzinfo, fields), _TIMES)


def _time(value: Any) -> Node:
    return Node("time", (value.tzinfo, (value.hour, value.minute, value.second, value.microsecond, value.fold)), _TIMES)


def _date(value: Any) -> Node:
    return Node("date", (value.year, value.month, value.day))


def _timedelta(value: Any) -> Node:
    return Node("timedelta", (value.days, value.seconds, value.microseconds))


def _timezone(value: Any) -> Node:
    return Node("timezone", value.__getinitargs__())


def _zone(value: Any) -> Node:
    if value.key is None:
        raise Refused(type(value), "it was read from a file and has no key")
    return Node("ZoneInfo", (value.key,))


def _decimal(value: Any) -> Node:
    return Node("Decimal", (str(value),))


def _fraction(value: Any) -> Node:
    return Node("Fraction", (value.numerator, value.denominator))


def _uuid(value: Any) -> Node:
    return Node("UUID", (value.bytes,))


def _path(value: Any) -> Node:
    kind = type(value)
    flavour = kind.__name__ if kind.__module__.partition(".")[0] == "pathlib" else ""
    return Node("path", (flavour, str(value)), kind=None if flavour else kind)


def _pattern(value: Any) -> Node:
    return Node("pattern", (value.pattern, int(value.flags)))


def _address(value: Any) -> Node:
    return Node("ipaddress", (type(value).__name__, str(value)))


def _array(value: Any) -> Node:
    if sys.byteorder == "big" and value.itemsize > 1:
        value = value[:]
        value.byteswap()
    content = value.tobytes() if value.typecode == "u" else memoryview(value).cast("B")
    return Node("array.array", (value.typecode, value.itemsize, buffer_digest(content)))


def _deque(value: Any) -> Node:
    return Node("deque", (value.maxlen, list(value)))


def _ordered_dict(value: Any) -> Node:
    return Node("OrderedDict", (list(value), list(value.values())))


def _counter(value: Any) -> Node:
    return Node("Counter", (dict(value),))


def _defaultdict(value: Any) -> Node:
    return Node("defaultdict", (value.default_factory, dict(value)), (".default_factory", ""))


def _chain_map(value: Any) -> Node:
    return Node("ChainMap", (value.maps,), (".maps",))


def _string_io(value: Any) -> Node:
    text, newline, position, _ = value.__getstate__()
    return Node("StringIO", (text, newline, position))


def _bytes_io(value: Any) -> Node:
    with value.getbuffer() as content:
        return Node("BytesIO", (buffer_digest(content), value.tell()))


for _name, _encoder in {
    "datetime.datetime": _datetime,
    "datetime.time": _time,
    "datetime.date": _date,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _timezone,
    "zoneinfo.ZoneInfo": _zone,
    "decimal.Decimal": _decimal,
    "fractions.Fraction": _fraction,
    "uuid.UUID": _uuid,
    "re.Pattern": _pattern,
    "array.array": _array,
    "collections.deque": _deque,
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "collections.defaultdict": _defaultdict,
    "collections.ChainMap": _chain_map,
    "_io.StringIO": _string_io,
    "_io.BytesIO": _bytes_io,
}.items():
    register_type(_name, _encoder)

for _module in ("pathlib", "pathlib._local"):
    register_type(f"{_module}.PurePath", _path, subclasses=True)

for _kind in ("Address", "Network", "Interface"):
    register_type(f"ipaddress.IPv4{_kind}", _address)
    register_type(f"ipaddress.IPv6{_kind}", _address)
