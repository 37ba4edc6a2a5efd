"""Values as the server has them, where a driver would change them or fail.

For the connections that this package reads over. A value that Python's type cannot hold, or that
the driver would not send back as it came, such as the date ``infinity``, 15 March 44 BC or an
interval of a year, is the server's own text: a statement takes it back as it is. A ``real`` is the
number that the server compares with; ``bytea`` is ``bytes``, which can be sent to a worker.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["read_exactly"]

# The types, and their arrays, as the server numbers them (select oid, typarray from pg_type).
BYTEA, FLOAT4, NUMERIC = (17, 1001), (700, 1021), (1700, 1231)
MOMENTS = ((1082, 1182), (1114, 1115), (1184, 1185), (1083, 1183), (1266, 1270), (1186, 1187))
# Texts of moments that a driver would change. Months and years have no number of days; psycopg2
# makes them 30 and 365.
CHANGED = re.compile(r"infinity|\b24:00|mon|year|\bBC", re.IGNORECASE)

Cast = Callable[[str], Any]


def read_exactly(connection: Any) -> None:
    """Have psycopg2 or psycopg 3 give values as this module says; other drivers are left alone."""
    # Asked of what is loaded: with another driver, neither is imported for this.
    psycopg2 = sys.modules.get("psycopg2.extensions")
    if psycopg2 is not None and isinstance(connection, psycopg2.connection):
        _set_up_psycopg2(connection, psycopg2)
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(connection, psycopg.Connection):
        _set_up_psycopg(connection)


def _moment(text: str, cast: Cast) -> Any:
    if CHANGED.search(text):
        return text
    try:
        return cast(text)
    except Exception:  # each driver raises another class for a year that Python has not
        return text


def _finite(text: str, cast: Cast) -> Any:
    # psycopg2 sends Decimal("Infinity") as NaN.
    return text if "Infinity" in text else cast(text)


def _single(text: str, cast: Cast) -> Any:
    """Return the double that equals a ``real``: 0.1 is the double next to it, and none."""
    value = cast(text)
    return struct.unpack("f", struct.pack("f", value))[0] if isinstance(value, float) else value


def _set_up_psycopg2(connection: Any, driver: Any) -> None:
    own = set(map(id, vars(sys.modules["psycopg2._psycopg"]).values()))

    def register(types: tuple[int, int], name: str, convert: Callable[[str, Cast], Any]) -> None:
        base = driver.string_types[types[0]]
        if types[0] in connection.string_types or id(base) not in own:
            return  # the user has said how they want it

        def value_of(text: str | None, cursor: Any) -> Any:
            return None if text is None else convert(text, lambda given: base(given, cursor))

        one = driver.new_type(types[:1], name, value_of)
        driver.register_type(one, connection)
        driver.register_type(driver.new_array_type(types[1:], f"{name}[]", one), connection)

    register(BYTEA, "BYTES", lambda text, cast: bytes(cast(text)))
    register(FLOAT4, "SINGLE", _single)
    register(NUMERIC, "FINITE", _finite)
    for types in MOMENTS:
        register(types, "MOMENT", _moment)


def _set_up_psycopg(connection: Any) -> None:
    from psycopg.adapt import Loader
    from psycopg.pq import Format

    def register(oid: int, convert: Callable[[str, Cast], Any]) -> None:
        base = connection.adapters.get_loader(oid, Format.TEXT)
        if base is None or not base.__module__.startswith(("psycopg.", "psycopg_binary.", "psycopg_c.")):
            return  # the user has said how they want it

        class Exact(Loader):
            def __init__(self, oid: int, context: Any = None) -> None:
                super().__init__(oid, context)
                self._base = base(oid, context)

            def load(self, data: Any) -> Any:
                return convert(bytes(data).decode(), lambda _: self._base.load(data))

        connection.adapters.register_loader(oid, Exact)

    register(FLOAT4[0], _single)
    for oid, _ in MOMENTS:
        register(oid, _moment)
