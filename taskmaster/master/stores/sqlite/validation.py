"""What the tables and values of a state file have to be to be believed.

A checksum in a row says that its values are those that were written, not who has written them. A
file from elsewhere can have right checksums and still hold a view that never ends in a table's
place, a time that no clock shows, or a text nested so deeply that Python gives up.

Guarantees: whatever such a file holds is refused with ValueError, before it takes much time or
memory, and is never passed on.
"""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from collections.abc import Iterable
from typing import Any

from taskmaster import keys
from taskmaster.master.records.fingerprints import FINGERPRINT_BYTES
from taskmaster.master.records.job_records import Attempt

__all__ = [
    "attempts_of",
    "check_failed",
    "check_history",
    "check_live",
    "check_parked",
    "check_run",
    "check_schema",
    "check_trail",
    "loads",
]

MAX_DESCRIPTION = 2**20
"""Characters of a job's capped description, or of an exception's class."""
MAX_ATTEMPTS_TEXT = 2**26
"""Characters of the attempts of a job, each with its capped traceback."""
MAX_STEERING_TEXT = 2**16
"""Characters of what is kept of steering in one column."""
LAST_MOMENT = 253_402_300_800.0  # seconds until the year 10000, the first that calendars do not show
SQLITES_OWN = "sqlite_"  # begins the names of its statistics and of the indexes that it makes itself


def check_schema(connection: sqlite3.Connection, expected: Iterable[str], more: Iterable[str] = ()) -> None:
    """Refuse a file with other tables, or with views or triggers, which run what somebody has
    written into them.

    Args:
        connection: to the file; nothing else was asked of it so far.
        expected: the statements that make the tables and indexes.
        more: Those of tables that an older state lacks.

    Raises:
        ValueError: something is missing, or more than was made.
    """
    wanted = {_normal(statement) for statement in expected}
    known = wanted.union(map(_normal, more))
    found = set()
    for kind, name, statement in connection.execute("SELECT type, name, sql FROM sqlite_schema"):
        if kind in ("table", "index") and str(name).startswith(SQLITES_OWN):
            continue
        text = _normal(str(statement))
        if text not in known:
            raise ValueError(f"it has a {str(kind)[:20]} {str(name)[:60]!r} that no Taskmaster has made")
        found.add(text)
    if not wanted <= found:
        raise ValueError("a table is missing in it")


def check_run(values: tuple[Any, ...]) -> None:
    """Refuse what cannot be a run.

    Args:
        values: the values of its row, from its id on, in the order of the statement that reads
            runs.

    Raises:
        ValueError: a value is not of its kind, or out of its range.
    """
    run, started, finished, mark, bound, edge, waiting, settled, failures, skipped, seconds = values[:11]
    _check("run's id", isinstance(run, str))
    _check("start", _is_moment(started))
    _check("end", finished is None or _is_moment(finished))
    for key in (mark, bound):
        _check_key(key)
    _check("watermark", isinstance(edge, bytes) and isinstance(waiting, bytes))
    _check("counters", all(type(number) is int and number >= 0 for number in (settled, failures, skipped)))
    _check("duration", type(seconds) in (int, float) and math.isfinite(seconds))


def check_parked(number: Any, key: Any, payload: Any, fingerprint: Any) -> None:
    """Refuse what cannot be a parked job.

    Raises:
        ValueError: a value is not of its kind.
    """
    _check("parked job", type(number) is int and isinstance(payload, bytes))
    _check("parked job", isinstance(fingerprint, bytes) and len(fingerprint) == FINGERPRINT_BYTES)
    _check("key", isinstance(key, str))
    _check_key(key)


def check_live(values: tuple[Any, ...]) -> None:
    """Refuse what cannot be a change that an operator has made.

    Args:
        values: The columns of its row: run, name, value, by, at, reason and until.

    Raises:
        ValueError: a value is not of its kind, or too long.
    """
    _, name, value, by, at, reason, until = values
    _check("live change", all(_is_short(text) for text in (name, value, by, reason)))
    _check("time of a live change", _is_moment(at) and (until is None or _is_moment(until)))


def check_trail(values: tuple[Any, ...]) -> None:
    """Refuse what cannot be a row of the trail.

    Args:
        values: The columns of its row: run, its number, when, and its texts.

    Raises:
        ValueError: a value is not of its kind, or too long.
    """
    _, number, at, *texts = values
    _check("trail", type(number) is int and number > 0 and _is_moment(at) and all(map(_is_short, texts)))


def check_history(values: tuple[Any, ...], size: int) -> None:
    """Refuse what cannot be a row of the history.

    Args:
        values: The columns of its row: run, when, and its numbers.
        size: Bytes of these, eight each.

    Raises:
        ValueError: a value is not of its kind, or no number that there is.
    """
    _, at, numbers = values
    _check("history", type(at) is int and _is_moment(at) and isinstance(numbers, bytes) and len(numbers) == size)
    _check("history", all(map(math.isfinite, struct.unpack(f"<{size // 8}d", numbers))))


def check_failed(values: tuple[Any, ...]) -> None:
    """Refuse what cannot be a failed job, before its checksum is looked at: to do that takes time
    and memory by the length of its texts.

    Args:
        values: the values of its row: run, id, key, job, payload, type and attempts.

    Raises:
        ValueError: a value is not of its kind, or too long.
    """
    _, number, key, job, payload, kind, attempts = values[:7]
    _check("failed job", type(number) is int and isinstance(payload, bytes | None))
    for text, most in ((job, MAX_DESCRIPTION), (kind, MAX_DESCRIPTION), (attempts, MAX_ATTEMPTS_TEXT)):
        _check("failed job", isinstance(text, str) and len(text) <= most)
    _check_key(key)


def attempts_of(text: str) -> tuple[Attempt, ...]:
    """Return the attempts of a text from the state.

    Raises:
        ValueError: the text is no list of attempts.
    """
    if text == "[]":
        return ()  # so it is for nearly all of a million parked jobs
    told = loads(text)
    _check("attempts", isinstance(told, list))
    return tuple(map(_attempt, told))


def loads(text: str) -> Any:
    """Return what a text of JSON says.

    Raises:
        ValueError: it says nothing, something that is no JSON, such as NaN, or is nested too
            deeply.
    """
    try:
        return _decode(text)
    except RecursionError:
        raise ValueError("a value in it is nested too deeply") from None


def _attempt(values: Any) -> Attempt:
    _check("attempts", isinstance(values, list) and len(values) in (5, 6))
    attempt = Attempt(*values)
    _check("time of an attempt", _is_moment(attempt.at))
    _check("attempts", all(isinstance(text, str) for text in values[1:5]) and isinstance(attempt.crash, bool))
    return attempt


def _check_key(text: Any) -> None:
    _check("key", isinstance(text, str | None))
    if text is not None:
        keys.decode(text)


def _is_short(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= MAX_STEERING_TEXT


def _is_moment(value: Any) -> bool:
    return type(value) in (int, float) and -LAST_MOMENT < value < LAST_MOMENT


def _check(what: str, fits: bool) -> None:  # it reads like an assertion
    if not fits:
        raise ValueError(f"the {what} in it cannot be right")


def _no_constant(name: str) -> Any:
    raise ValueError(f"it has {name} where a number is expected")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def _normal(statement: str) -> str:
    return " ".join(statement.split())
