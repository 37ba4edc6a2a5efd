"""``tm-ctl failures``: how failed jobs are printed and chosen."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from taskmaster.cli.echo import echo, echo_json
from taskmaster.errors import UsageError
from taskmaster.redaction import clean_lines
from taskmaster.units import show_moment
from taskmaster.view.status import STATUS_SCHEMA

__all__ = ["Style", "check_styles", "show", "with_keys"]

FORMULA = tuple(
    "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)
PLAIN_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
CSV_COLUMNS = ("id", "key", "job", "type", "message", "attempts", "first", "last", "slave", "traceback",
           "first_time", "last_time")  # fmt: skip


class Style(StrEnum):
    """How failed jobs are printed."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


def show(found: Iterable[Any], *, style: Style, tracebacks: bool) -> int:
    """Print failed jobs; return how many.

    Args:
        found: The jobs, as ``taskmaster.master.records.job_records.FailedJob``; read once, however
            many they are.
        style: How they are printed.
        tracebacks: Whether the text has the traceback of each attempt.
    """
    if style is Style.CSV:
        return _as_csv(found)
    if style is Style.JSON:
        return _as_json(found)
    return _as_text(found, tracebacks=tracebacks)


def _plain(job: Any) -> dict[str, Any]:
    from taskmaster import keys

    last = job.attempts[-1]
    return {
        "id": job.id,
        "key": None if job.key is None else keys.show(job.key),
        "job": job.job,
        "type": last.type,
        "message": last.message,
        "attempts": [attempt._asdict() for attempt in job.attempts],
        "first": job.attempts[0].at,
        "last": last.at,
        "slave": last.slave,
        "traceback": last.traceback,
    }


def _as_json(found: Iterable[Any]) -> int:
    count = 0
    for count, job in enumerate(found, 1):  # noqa: B007  # the number of the last one is wanted
        echo_json({"schema": STATUS_SCHEMA, **_plain(job)})
    return count


def _as_csv(found: Iterable[Any]) -> int:
    writer = csv.writer(sys.stdout)
    writer.writerow(CSV_COLUMNS)
    count = 0
    for count, job in enumerate(found, 1):  # noqa: B007
        row = _plain(job)
        row["attempts"] = len(row["attempts"])
        row["first_time"], row["last_time"] = _time_of(row["first"]), _time_of(row["last"])
        writer.writerow([_cell(row[name]) for name in CSV_COLUMNS])
    return count


def _time_of(at: float) -> str:
    """Return a time in ISO 8601, in the time zone of this machine; "" for one out of range."""
    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return ""


def _cell(value: Any) -> str:
    """Return a value in a form that a spreadsheet shows and does not run.

    A spreadsheet takes a text that begins with a sign of ``FORMULA`` for a formula, and would run
    the text of an exception. Numbers stay numbers.
    """
    text = clean_lines("" if value is None else str(value))
    return f"'{text}" if text[:1] in FORMULA and not PLAIN_NUMBER.fullmatch(text) else text


def _as_text(found: Iterable[Any], *, tracebacks: bool) -> int:
    count = 0
    kinds: dict[str, list[Any]] = {}  # type: number of jobs, key and message of the first
    for count, job in enumerate(found, 1):  # noqa: B007
        row = _plain(job)
        kind = kinds.setdefault(row["type"], [0, _key(row), row["message"]])
        kind[0] += 1
        echo(*_lines(row, tracebacks=tracebacks))
    if count:
        echo("")
    for name, (number, key, message) in sorted(kinds.items(), key=lambda item: -item[1][0]):
        example = str(message).partition("\n")[0]
        echo(f"{number} x {name}, for example the job with the key {key}: {example}")
    return count


def _lines(row: dict[str, Any], *, tracebacks: bool) -> Iterator[str]:
    attempts = row["attempts"]
    number = f"{len(attempts)} attempt{'s' if len(attempts) > 1 else ''}"
    yield f"{_key(row)}  {row['type']}: {row['message'].partition(chr(10))[0]}"
    when = show_moment(row["last"])
    yield f"    job {row['job']}; {number}, the last at {when} by {row['slave'] or 'the master'}"
    if tracebacks:
        for attempt in attempts:
            what = f"{attempt['type']}: {attempt['message']}"
            yield f"    {show_moment(attempt['at'])}  {attempt['slave']}  {what}"
            yield from ("        " + line for line in attempt["traceback"].splitlines())


def _key(row: dict[str, Any]) -> str:
    from taskmaster.keys import NO_KEY

    return NO_KEY if row["key"] is None else str(row["key"])


def check_styles(*, as_json: bool, as_csv: bool) -> Style:
    """Return how to print, from the two flags.

    Raises:
        UsageError: Both are given.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv are given, and only one of them can be: leave one out.")
    return Style.JSON if as_json else Style.CSV if as_csv else Style.TEXT


def with_keys(found: Iterable[Any], wanted: Sequence[str]) -> Iterator[Any]:
    """Yield the jobs with these keys, which are written as they are shown or as they are stored."""
    from taskmaster import keys

    for job in found:
        if not set(wanted).isdisjoint(keys.spellings(job.key)):
            yield job
