"""Exact values: settings for a driver that would otherwise change values or fail on them.

For the connections of this package's sources. A value that Python's type cannot hold, or that the
driver would send back changed, such as the date ``infinity``, 15 March 44 BC or an interval of a
year, becomes the server's text, which a statement takes as it is. A ``real`` becomes the double
with which the server compares; ``bytea`` becomes ``bytes``, which can be sent to a worker.
"""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["read_exactly"]

# The types, and their arrays, as the server numbers them (select oid, typarray from pg_type).
BYTEA, FLOAT4, NUMERIC = (17, 1001), (700, 1021), (1700, 1231)
DATES = ((1082, 1182), (1114, 1115), (1184, 1185))  # date, timestamp, timestamptz
TIMES_OF_DAY = ((1083, 1183), (1266, 1270))  # time, timetz
INTERVAL = (1186, 1187)

HYPHEN, LAST_OF_BC = ord("-"), ord("C")


def is_date_of_python(text: bytes) -> bool:
    """Return whether Python has such a date, alone or with a time: its year has four digits and is
    AD, unlike in 0044-03-15 BC, 12024-03-15 and infinity.
    """
    return len(text) > 4 and text[4] == HYPHEN and text[-1] != LAST_OF_BC


def is_time_of_python(text: bytes) -> bool:
    """Return whether Python has such a time: it is not 24:00."""
    return text[:2] != b"24"


def is_interval_of_python(text: bytes) -> bool:
    """Return whether an interval has only days and seconds: drivers would turn a year into 365
    days.
    """
    return not (b"mon" in text or b"year" in text or b"infinity" in text)


def is_finite(text: bytes) -> bool:
    """Return whether a numeric is finite, or NaN: psycopg2 sends Decimal("Infinity") as NaN."""
    return b"Infinity" not in text


def single(value: Any) -> Any:
    """Return the double that equals a ``real``: the driver reads its text, such as 0.1, as another
    one close to it.
    """
    return struct.unpack("f", struct.pack("f", value))[0] if isinstance(value, float) else value


KINDS_OF_TIME: tuple[tuple[tuple[int, int], Callable[[bytes], bool]], ...] = (
    *((types, is_date_of_python) for types in DATES),
    *((types, is_time_of_python) for types in TIMES_OF_DAY),
    (INTERVAL, is_interval_of_python),
)


def read_exactly(connection: Any) -> None:
    """Have psycopg2 or psycopg 3 return exact values on a connection; leave other drivers alone."""
    # From sys.modules: with another driver, neither is imported for this.
    psycopg2 = sys.modules.get("psycopg2.extensions")
    if psycopg2 is not None and isinstance(connection, psycopg2.connection):
        _set_up_psycopg2(connection, psycopg2)
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(connection, psycopg.Connection):
        _set_up_psycopg(connection)


def _set_up_psycopg2(connection: Any, driver: Any) -> None:
    own = set(map(id, vars(sys.modules["psycopg2._psycopg"]).values()))

    def register(types: tuple[int, int], cast: Callable[[Any, Any, Any], Any]) -> None:
        base = driver.string_types[types[0]]
        if types[0] in connection.string_types or id(base) not in own:
            return  # the user has a conversion of their own
        one = driver.new_type(types[:1], "EXACT", functools.partial(cast, base))
        driver.register_type(one, connection)
        driver.register_type(driver.new_array_type(types[1:], "EXACT[]", one), connection)

    register(BYTEA, lambda base, text, cursor: None if text is None else bytes(base(text, cursor)))
    register(FLOAT4, lambda base, text, cursor: single(base(text, cursor)))
    for types, is_of_python in (*KINDS_OF_TIME, (NUMERIC, is_finite)):
        register(types, functools.partial(_cast_or_text, is_of_python))


def _cast_or_text(is_of_python: Callable[[bytes], bool], base: Any, text: str | None, cursor: Any) -> Any:
    if text is None:
        return None
    try:
        return base(text, cursor) if is_of_python(text.encode()) else text
    except (ValueError, OverflowError):
        return text


def _set_up_psycopg(connection: Any) -> None:
    from psycopg import DataError
    from psycopg.adapt import Loader
    from psycopg.pq import Format

    def register(oid: int, loaded: Callable[[Any, Any], Any]) -> None:
        base = connection.adapters.get_loader(oid, Format.TEXT)
        if base is None or not base.__module__.startswith(("psycopg.", "psycopg_binary.", "psycopg_c.")):
            return  # the user has a conversion of their own

        class Exact(Loader):
            def __init__(self, oid: int, context: Any = None) -> None:
                super().__init__(oid, context)
                self._load = base(oid, context).load

            def load(self, data: Any) -> Any:
                return loaded(self._load, data)

        connection.adapters.register_loader(oid, Exact)

    def text_unless(is_of_python: Callable[[bytes], bool]) -> Callable[[Any, Any], Any]:
        def loaded(load: Any, data: Any) -> Any:
            text = bytes(data)
            try:
                return load(data) if is_of_python(text) else text.decode()
            except DataError:
                return text.decode()

        return loaded

    register(FLOAT4[0], lambda load, data: single(load(data)))
    for (oid, _), is_of_python in KINDS_OF_TIME:
        register(oid, text_unless(is_of_python))
