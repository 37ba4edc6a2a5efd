"""Keys of jobs: how a job's key is found, kept without loss, and shown.

A key is stored as text: JSON, with a tag where JSON has no such type. ``decode`` gives back exactly
what ``encode`` got, type and value; what cannot promise that is refused. Keys are only ever
compared for equality, as text, or by ``key_equality`` of the master: their order is the source's.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

from taskmaster.errors import KeyUnstorable, named
from taskmaster.model import Job

__all__ = [
    "KEY_SCALARS",
    "check",
    "decode",
    "encode",
    "key_of",
    "payload_of",
    "plain_value",
    "show",
]

NO_KEY = "(none)"  # as the key of a job without one is shown
LONGEST_KEY_SHOWN = 200  # characters of a key that a person is shown

KEY_SCALARS = frozenset({type(None), bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta, UUID})
"""Types of plain values. All can be keys, but for moments in a time zone that has no name."""

_LARGEST_INT = 10**18 - 1  # beyond it, the digits are written in another way
_INTS = {int}
_dumps = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode
_loads = json.JSONDecoder().raw_decode
# The keys of ranges, of which a master reads a million when it starts: half of the time.
_INT = "(?:0|-?[1-9][0-9]{0,17})"
_INT_TUPLE = re.compile(rf'\{{"tuple":\[{_INT}(?:,{_INT})*\]\}}')


def encode(key: Any) -> str:
    """Return a key as text.

    Raises:
        KeyUnstorable: The key, or a part of it, is of a type that cannot be stored.

    Example::

        encode(5) == '5'
        encode((1, "a")) == '{"tuple":[1,"a"]}'
    """
    if type(key) is int and -_LARGEST_INT <= key <= _LARGEST_INT:
        return int.__repr__(key)
    text = _simple(key)
    return _dumps(_plain(key)) if text is None else text


def decode(text: str) -> Any:
    """Return the key that ``encode`` made this text of.

    Raises:
        ValueError: ``encode`` did not make it.
    """
    if _INT_TUPLE.fullmatch(text):
        return tuple(map(int, text[10:-2].split(",")))
    try:
        value, end = _loads(text)
        if end != len(text):
            raise ValueError(f"not an encoded key: {_short(text[end:])} follows it")
        return _key(value)
    except RecursionError:
        raise ValueError("not an encoded key: it is nested too deeply") from None


def check(key: Any) -> str:
    """Encode, decode and compare, so that a key which would not come back as it went in is noticed
    before it is needed.

    Raises:
        KeyUnstorable: It would not.
    """
    text = _simple(key)
    if text is not None:
        return text
    text = encode(key)
    try:
        back = decode(text)
        same = encode(back) == text and _alike(back, key)
    except (ValueError, TypeError, KeyError, OSError) as exc:
        raise KeyUnstorable(f"The key {_short(key)} does not survive being stored ({exc}). {_HOW}") from exc
    if not same:
        raise KeyUnstorable(f"The key {_short(key)} does not survive being stored. {_HOW}")
    return text


def show(text: str) -> str:
    """Return an encoded key as a person writes it, in at most 200 characters and without control
    characters.
    """
    try:
        shown = repr(decode(text))
    except ValueError:
        shown = text
    shown = shown[: LONGEST_KEY_SHOWN + 1]  # before each character of it is looked at
    shown = "".join(char if char.isprintable() else "?" for char in shown)
    return shown if len(shown) <= LONGEST_KEY_SHOWN else shown[: LONGEST_KEY_SHOWN - 1] + "\N{HORIZONTAL ELLIPSIS}"


def spellings(text: str | None) -> tuple[str, ...]:
    """Return how a person may write an encoded key, the most exact first; None is the key of a job
    that has none.
    """
    if text is None:
        return (NO_KEY,)
    try:
        plain = str(decode(text))
    except ValueError:
        plain = text
    # What a shell leaves of the quotes around a text, too.
    return tuple(dict.fromkeys((show(text), text, plain)))


def key_of(job: Any, job_key: Callable[[Any], Any] | None = None) -> Any:
    """Return the key of a job.

    In this order: ``Job.key``; ``job_key(job)``; ``pk`` or ``id`` (an attribute, or the entry of a
    mapping); the job itself if it is a plain value, or a tuple or list of them. A number or text of
    numpy's counts as the Python value that it stands for, and a path as its text.

    Raises:
        KeyUnstorable: It has none.
    """
    kind = type(job)
    if kind is Job:
        return plain_value(job.key)
    if job_key is not None:
        return plain_value(job_key(job))
    if kind in KEY_SCALARS:
        return job
    plain = plain_value(job)
    if type(plain) in KEY_SCALARS:
        return plain
    for name in ("pk", "id"):
        found = _entry(job, name) if hasattr(job, "keys") else _own(job, name)
        if found is not None:
            return plain_value(found)
    if kind in (tuple, list):
        alien = _alien(plain)
        if alien is None:
            return plain
        raise KeyUnstorable(
            f"The job {_short(job)} has no key: it is a {kind.__name__}, which would be its own key if it did not "
            f"hold {named(alien)}. {_HOW}"
        )
    raise KeyUnstorable(f"The job {_short(job)} has no key: it is {named(kind)} without pk or id. {_HOW}")


def plain_value(key: Any) -> Any:
    """Return what a key stands for: a scalar of numpy's as Python's, a path as text, in a tuple or
    list too; any other value as it is.
    """
    kind = type(key)
    if kind in KEY_SCALARS:
        return key
    if kind in (tuple, list):
        if KEY_SCALARS.issuperset(map(type, key)):
            return key
        # The very same object where nothing changes: that a job is its own key is told by that.
        parts = [plain_value(part) for part in key]
        same = all(new is old for new, old in zip(parts, key, strict=True))
        return key if same else kind(parts)
    if isinstance(key, PurePath):
        return str(key)
    generic = getattr(sys.modules.get("numpy"), "generic", None)
    if generic is not None and isinstance(key, generic) and key.dtype.kind in "biufSU":
        value = key.item()
        return value if type(value) in KEY_SCALARS else key
    return key


def payload_of(job: Any) -> Any:
    """Return the value that the callback is called with: a ``Job``'s payload, or the job itself."""
    return job.payload if type(job) is Job else job


_HOW = (
    "Give it one: yield Job(key, payload), or define job_key(job) beside get_jobs. A key is None, bool, int, float, "
    "str, bytes, Decimal, datetime, date, time, timedelta, UUID, or a tuple or list of these."
)


def _simple(key: Any) -> str | None:
    """Return the text of a key that surely comes back as it went in, which takes a tenth of the
    time of trying that; None for any other. Most keys are such: ints, and pairs of them.
    """
    kind = type(key)
    if kind is int:
        return int.__repr__(key) if -_LARGEST_INT <= key <= _LARGEST_INT else None
    if kind is str:
        return _dumps(key) if key.isascii() else None  # two halves of a character would come back as one
    if kind is tuple and set(map(type, key)) == _INTS and min(key) >= -_LARGEST_INT and max(key) <= _LARGEST_INT:
        return f'{{"tuple":[{",".join(map(int.__repr__, key))}]}}'
    return None


def _plain(key: Any) -> Any:
    """Return a key as JSON can hold it."""
    kind = type(key)
    if kind is int:
        return key if -_LARGEST_INT <= key <= _LARGEST_INT else {"int": hex(key)}
    if kind in (bool, str, type(None)):
        return key
    if kind in (tuple, list):
        return {kind.__name__: [_plain(part) for part in key]}
    writer = _WRITERS.get(kind)
    if writer is None:
        raise KeyUnstorable(f"The key {_short(key)} is {named(kind)}, which cannot be stored. {_HOW}")
    return {kind.__name__: writer(key)}


def _key(value: Any) -> Any:
    if not isinstance(value, dict):
        if isinstance(value, float | list):
            raise ValueError("not an encoded key")  # noqa: TRY004  # the text is wrong, not the caller
        return value
    ((name, content),) = value.items()
    try:
        if name in ("tuple", "list"):
            parts = [_key(part) for part in content]
            return tuple(parts) if name == "tuple" else parts
        return _KEY_READERS[name](content)
    except (LookupError, TypeError, AttributeError, ArithmeticError, OSError) as exc:
        raise ValueError(f"not an encoded key: {name}") from exc


def _write_datetime(moment: datetime) -> Any:
    zone = moment.tzinfo
    if zone is None or type(zone) is timezone:
        return [moment.isoformat(), moment.fold]
    from zoneinfo import ZoneInfo

    if type(zone) is not ZoneInfo:
        raise KeyUnstorable(f"The key {_short(moment)} has a time zone of type {type(zone).__name__}. {_HOW}")
    if zone.key is None:
        raise KeyUnstorable(f"The key {_short(moment)} has a time zone without a name. {_HOW}")
    return [moment.replace(tzinfo=None).isoformat(), moment.fold, zone.key]


def _read_datetime(content: list[Any]) -> datetime:
    moment = datetime.fromisoformat(content[0]).replace(fold=content[1])
    if len(content) <= 2:
        return moment
    from zoneinfo import ZoneInfo

    return moment.replace(tzinfo=ZoneInfo(content[2]))


def _write_time(moment: time) -> Any:
    if moment.tzinfo is not None and type(moment.tzinfo) is not timezone:
        raise KeyUnstorable(f"The key {_short(moment)} has a time zone that depends on the day. {_HOW}")
    return [moment.isoformat(), moment.fold]


_WRITERS: dict[type, Callable[[Any], Any]] = {
    float: repr,
    bytes: lambda content: b64encode(content).decode(),
    Decimal: str,
    datetime: _write_datetime,
    date: date.isoformat,
    time: _write_time,
    timedelta: lambda span: [span.days, span.seconds, span.microseconds],
    UUID: str,
}
_KEY_READERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "float": float,
    "bytes": b64decode,
    "Decimal": Decimal,
    "datetime": _read_datetime,
    "date": date.fromisoformat,
    "time": lambda content: time.fromisoformat(content[0]).replace(fold=content[1]),
    "timedelta": lambda parts: timedelta(*parts),
    "UUID": UUID,
}


def _alike(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, Decimal):
        return str(one) == str(other)
    return bool(one == other)


def _entry(job: Any, name: str) -> Any:
    """Return an entry of a mapping, or of a database row that has ``keys`` without being one."""
    try:
        return job[name] if name in job.keys() else None  # noqa: SIM118  # a row's own `in` looks at its values
    except (TypeError, LookupError):
        return None


def _own(job: Any, name: str) -> Any:
    """Return an attribute of an object; a class, a module or a function is nobody's row."""
    if isinstance(job, type) or callable(job):
        return None
    found = getattr(job, name, None)
    return None if callable(found) else found


def _alien(value: Any) -> type | None:
    """Return the type of the first part of a tuple or list that cannot be stored; None if all of it
    can.
    """
    try:
        encode(value)
    except (KeyUnstorable, RecursionError):
        pass
    else:
        return None
    for part in value:
        if type(part) in (tuple, list):
            found = None if part is value else _alien(part)
        else:
            found = None if _can_be_stored(part) else type(part)
        if found is not None:
            return found
    return type(value)  # it holds itself, or is nested too deeply


def _can_be_stored(value: Any) -> bool:
    try:
        encode(value)
    except KeyUnstorable:
        return False
    return True


def _short(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
