"""What a report says of a run: asked of its master, or read from its state where none is at it.

What is asked of a master in another process and what the master itself knows at its end is the
same. A state that nobody is at has less: no slaves, no times of jobs, and of the settings those
alone that were changed while the run went on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from taskmaster import keys
from taskmaster.errors import BudgetSpent, Stopped, TaskmasterError
from taskmaster.master.records.job_records import FailedJob
from taskmaster.master.records.minute_row import HISTORY_COLUMNS
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.records.steering_records import SessionCommand, bad_end, unknown_ends, with_known_ends
from taskmaster.master.tally.failure_kinds import LONGEST_EXAMPLE_TRACEBACK, MOST_KINDS_COUNTED, FailureKinds
from taskmaster.master.tally.history import HELD_NAMES
from taskmaster.units import show_count, show_moment
from taskmaster.view.plot import points
from taskmaster.view.report import SIGNALLED
from taskmaster.view.snapshot import RunState

__all__ = ["MOST_FAILED", "Look", "conclusion", "conclusion_of_state", "facts_of_master", "facts_of_state"]

Look = Callable[[str, dict[str, Any]], Any]
"""Asks the master for something; gives None for what it does not know."""

REPORT_SCHEMA = 1  # of the report as JSON
MOST_FAILED = 1000  # failed jobs that are named
MOST_PAGES = 50  # of an answer in parts: more slaves or kinds are left out
MOST_SLAVES_REPORTED = 300
SAME_MOMENT_SECONDS = 0.1  # between the session's beginning and its row in the history
FINE_SECONDS = 1200.0  # a run that is not older is drawn by the second
LONGEST_REPORT_TEXT = 300


def facts_of_master(look: Look, status: Mapping[str, Any], failed: Sequence[FailedJob]) -> dict[str, Any]:
    """Return what a master says of its run.

    Args:
        look: Asks it.
        status: The status of the run.
        failed: The first of the failed jobs.
    """
    kinds, kinds_left = _all_rows(look, "kinds", "kinds")
    slaves, slaves_left = _all_rows(look, "slaves", "slaves", most=MOST_SLAVES_REPORTED)
    gone_before = (look("slaves", {"most": 1}) or {}).get("gone_before", 0)
    trail = (look("trail", {}) or {}).get("rows", [])
    return {
        **_common(status, failed),
        "points": points(_whole(_history(look, float((status.get("clock") or {}).get("started_at") or 0.0)), status)),
        "trail": trail,
        "trail_left_out": trail[0]["seq"] - 1 if trail else 0,
        "slaves": slaves,
        "slaves_left_out": slaves_left + gone_before,
        "kinds": kinds,
        "kinds_left_out": kinds_left,
        "settings": look("settings", {}) or [],
        "resume": status.get("resume") or "",
    }


def facts_of_state(record: RunRecord, target: str, kinds: FailureKinds, failed: Sequence[FailedJob]) -> dict[str, Any]:
    """Return what a state knows of its current run.

    Args:
        record: The run.
        target: What it belongs to.
        kinds: What its jobs have failed with.
        failed: The first of them.
    """
    clock = {"run_seconds": record.seconds, "started_at": record.started, "finished_at": record.finished}
    status = {
        "run": record.id,
        "target": target,
        "state": str(RunState.FINISHED if record.finished is not None else RunState.STOPPED),
        "settled": record.settled,
        "failed": record.failures,
        "skipped": record.skipped,
        "watermark": "" if record.mark is None else keys.show(record.mark),
        "clock": clock,
    }
    begun = record.command_line
    live = [
        {
            "name": change.name,
            "value": change.value or "on",
            "default": "",
            "source": "live",
            "by": change.by,
            "at": change.at,
        }
        for change in record.live
    ]
    return {
        **_common(status, failed),
        "points": points(list(_rows_of(record))),
        "trail": [row._asdict() for row in record.trail],
        "trail_left_out": record.trail[-1].seq - len(record.trail) if record.trail else 0,
        "kinds": [kind.describe(LONGEST_EXAMPLE_TRACEBACK) for kind in kinds.top(MOST_KINDS_COUNTED)],
        "kinds_left_out": 0,
        "settings": live,
        "resume": begun,
        "failed_again": f"{begun} --failed" if begun.startswith("tm-") and "--failed" not in begun.split() else "",
    }


_BADLY = "Workers could not end as they should: the log says what may be lost."
_UNKNOWN = "It was killed before it was known how {} ended, and something may be lost."


def conclusion(
    status: Mapping[str, Any], exit_code: int | None, error: BaseException | None, last: str, left_out: str = ""
) -> dict[str, Any]:
    """Return how a session has ended, or that it goes on.

    Args:
        status: The status of the run.
        exit_code: The exit code of the command; None if it goes on, or if that is unknown.
        error: The error that ended the session; None if there was none.
        last: What was said of the end, as a sentence.
        left_out: Why the run has probably left jobs out, as a sentence; "" if it has not.
    """
    if error is not None:
        code = error.exit_code if isinstance(error, TaskmasterError) else 1
        return _stopped(code, last or str(error) or type(error).__name__)
    if exit_code is None:
        why = (status.get("why") or {}).get("sentence", "")
        return _conclusion(
            str(status.get("state", "running")), "good", None, f"The run goes on. {_sentence(why)}".strip()
        )
    if exit_code == Stopped.exit_code:
        return _stopped(exit_code, last)
    failed = status.get("failed", 0)
    word = f"finished, {show_count(failed, 'failed job', form=',')}" if failed else "finished"
    if exit_code not in (0, 3):
        return _conclusion(word, "bad", exit_code, left_out or _BADLY)
    return {**_conclusion(word, "held" if failed else "good", exit_code, last), "finished": True}


def conclusion_of_state(record: RunRecord) -> dict[str, Any]:
    """Return how the last session of a run has ended that nobody is at."""
    if record.finished is not None:
        bad = record.left_out or bad_end(record.trail) is not None
        ended_with = 1 if bad else 3 if record.failures else 0
        return conclusion({"failed": record.failures}, ended_with, None, "", record.left_out or _lost(record))
    said = SessionCommand.begun() + SessionCommand.ended()
    last = next((row for row in reversed(record.trail) if row.command in said), None)  # a note may follow it
    if last is not None and last.command == SessionCommand.STOPPED:
        number = with_known_ends(last).after.removeprefix("exit code ")
        code = int(number) if number.isdecimal() else None
        why = last.reason or "It stopped where it can go on."
        return _stopped(code, f"{_sentence(why)} {lost}" if (lost := _lost(record)) else why)
    seen = f" soon after {show_moment(record.last_seen)}" if record.last_seen else ""
    return _conclusion(
        "not finished",
        "bad",
        None,
        f"No master is at work on it, and its state has no word of its end: it was killed, its machine went "
        f"down{seen}, or its end could not be written. What was settled up to the last checkpoint is settled.",
    )


def _lost(record: RunRecord) -> str:
    """Return what a session of the run may have lost, as a sentence; "" if nothing is."""
    row = bad_end(record.trail)
    workers = "" if row is None else unknown_ends(row)
    return "" if row is None else _UNKNOWN.format(workers) if workers else _BADLY


def _stopped(code: int | None, sentence: str) -> dict[str, Any]:
    """Return the conclusion of a session that ended before the run did: the same from a master as
    from a state.
    """
    orderly = code is None or code == Stopped.exit_code or code > SIGNALLED
    word = "stopped" if orderly or code == BudgetSpent.exit_code else "failed"
    return _conclusion(word, "held" if orderly else "bad", code, sentence)


def _conclusion(word: str, tone: str, exit_code: int | None, sentence: str) -> dict[str, Any]:
    return {"word": word, "tone": tone, "exit_code": exit_code, "sentence": sentence, "finished": False}


def _common(status: Mapping[str, Any], failed: Sequence[FailedJob]) -> dict[str, Any]:
    rows = [
        {
            "key": keys.NO_KEY if job.key is None else keys.show(job.key)[:LONGEST_REPORT_TEXT],
            "type": job.type[:LONGEST_REPORT_TEXT],
            "at": job.attempts[-1].at,
            "message": job.message[:LONGEST_REPORT_TEXT],
        }
        for job in failed[:MOST_FAILED]
    ]
    return {
        "schema": REPORT_SCHEMA,
        "made_at": time.time(),
        "zone": time.strftime("%Z (UTC%z)"),
        "status": dict(status),
        "failed_jobs": rows,
        "failed_jobs_left_out": max(0, int(status.get("failed") or 0) - len(rows)),
    }


def _all_rows(look: Look, what: str, count: str, most: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of something that is given in parts, and how many are left out."""
    rows: list[dict[str, Any]] = []
    total = 0
    for _ in range(MOST_PAGES):
        page = look(what, {"after": len(rows)})
        if not page or not page["rows"]:
            break
        rows += page["rows"]
        total = page[count]
        if len(rows) >= (total if most is None else min(total, most)):
            break
    return rows[:most], max(0, total - len(rows[:most]))


def _history(look: Look, started: float) -> list[dict[str, Any]]:
    """Return the rows of the whole run: of a young one, the last ten minutes by the second; of an
    older one, all as coarsely as its longer spans have it, so that the plot is even.
    """
    found: list[dict[str, Any]] = []
    fine = time.time() - started <= FINE_SECONDS
    for span in ("10m", "6h", "all"):
        rows = list(_span(look, span))
        if span == "10m" and not fine:
            rows = rows[-1:]  # so that the plot ends with the run
        first = found[0]["at"] if found else float("inf")
        found[:0] = [row for row in rows if row["at"] < first]
    return found


def _whole(rows: list[dict[str, Any]], status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows with one more for the session's beginning and one for this moment: a session
    of a second has no others.
    """
    began, now = (status.get("clock") or {}).get("session_at"), status.get("at")
    if began is None or now is None:
        return rows
    settled, failed = int(status.get("settled") or 0), int(status.get("failed") or 0)
    here = int((status.get("settled_by_outcome") or {}).get("failed") or 0)
    blank = {"held": "", "rate_limit": status.get("rate_limit")}
    first = {**blank, "at": began, "settled": settled - int(status.get("settled_here") or 0), "failed": failed - here}
    rows = [row for row in rows if abs(row["at"] - began) > SAME_MOMENT_SECONDS]
    before, after = ([row for row in rows if (row["at"] < began) is earlier] for earlier in (True, False))
    held = after[-1]["held"] if after else ""  # of the last second, which has no row
    last = {**blank, "at": now, "settled": settled, "failed": failed, "held": held}
    return [*before, first, *(row for row in after if row["at"] < now), last]


def _span(look: Look, span: str) -> Iterator[dict[str, Any]]:
    since = 0
    for _ in range(MOST_PAGES):
        page = look("history", {"span": span, "since_seq": since})
        if not page or not page["rows"]:
            return
        for row in page["rows"]:
            yield _named(page["columns"], page["held"], row)
        since = page["seq"]
        if not page["left"]:
            return


def _rows_of(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Return the rows that a state has, and how the run began and stands."""
    first = record.history[0].at if record.history else float("inf")
    if record.started and record.started < first:
        yield {"at": record.started, "settled": 0, "failed": 0, "held": "", "rate_limit": None}
    last, held = 0.0, ""
    for row in record.history:
        last = float(row.at)
        named = _named(HISTORY_COLUMNS, HELD_NAMES, row.values())
        held = named["held"]
        yield named
    ended = record.finished or (record.trail[-1].at if record.trail else 0.0)
    if ended > last:
        # The last row is of the end already, by whole seconds.
        held = held if ended - last < 1 else ""
        yield {"at": ended, "settled": record.settled, "failed": record.failures, "held": held, "rate_limit": None}


def _named(columns: Sequence[str], held: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    values = dict(zip(columns, row, strict=False))
    number = int(values.get("held") or 0)
    limit = values.get("rate_limit")
    values["held"] = held[number] if 0 <= number < len(held) else ""
    values["rate_limit"] = limit if limit is not None and limit > 0 else None
    return values


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("." if text and text[-1] not in ".!?" else "")
