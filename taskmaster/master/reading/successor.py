"""The job that comes next after the watermark: said with each checkpoint and when a run stops, and
looked for when it is resumed.

An order that a resume would lose is often one that nobody can see in the keys: texts in the order
of another collation, ``last`` taken for an offset, a list that is sorted in another way each time.
"""

from __future__ import annotations

import ast
import threading
from typing import Any, NamedTuple

from taskmaster import keys
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.watermark import Watermark
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.records.steering_records import SessionCommand

__all__ = ["NOTHING_EXPECTED", "Expected", "expected", "recorded_successor", "said_of", "successor"]


class Expected(NamedTuple):
    """Which job is to come next in a resumed run.

    Attributes:
        said: What was said of it, as ``said_of`` writes it; "" where nothing is known.
        killed: Whether the session before has said it with its last checkpoint, and was killed:
            that job may have been run, and its callback may have removed it.
    """

    said: str
    killed: bool = False

    def may_be_gone(self, mark: str, came: str | None) -> bool:
        """Return whether the job was removed, as far as the keys of its neighbours can say: it lay
        between the watermark and what has come instead.

        Args:
            mark: The encoded key of the watermark.
            came: The encoded key of the job that came instead; None if none came.
        """
        if not self.killed:
            return False
        try:
            gone = ast.literal_eval(self.said.removeprefix(_begin(mark)))
            last = keys.decode(mark)
            if came is None:
                return bool(gone > last)
            return bool(last < gone < keys.decode(came) or last > gone > keys.decode(came))
        except (ValueError, SyntaxError, TypeError, ArithmeticError):
            return True  # a moment or the like, whose order is followed


NOTHING_EXPECTED = Expected("")


def said_of(mark: str, following: str) -> str:
    """Return what is kept in the trail: the watermark's key, and the next one; both encoded."""
    return f"{_begin(mark)}{keys.show(following)}"


def successor(broker: Broker, lock: threading.Lock, identity: JobIdentity) -> str:
    """Return which job comes next, as ``said_of`` writes it; "" where that is not known."""
    with lock:
        jobs, low = _waiting_at_low(broker), broker.watermark.low
    try:
        following = identity.text(jobs[0]) if jobs else None
    except BaseException:  # whatever job_key raises
        return ""
    with lock:
        watermark = broker.watermark
        if following is None or watermark.low != low:
            return ""
        watermark.settle_successor(following)
        if watermark.cut != low or watermark.mark is None:
            return ""  # the job before has the same key, or none
        return said_of(watermark.mark, following)


def _waiting_at_low(broker: Broker) -> list[Any]:
    broker.intake.settle_known()
    low = broker.watermark.low
    again = broker.redelivery.between(low, low + 1)
    return broker.intake.head_at_low() or [batch.jobs[low - batch.first] for batch in again[:1] if batch.first <= low]


def recorded_successor(watermark: Watermark) -> str:
    """Return which job comes next by what the watermark has noted, as ``said_of`` writes it; "" if
    unknown.
    """
    mark, following = watermark.mark, watermark.following
    return said_of(mark, following) if mark is not None and following else ""


def expected(record: RunRecord) -> Expected:
    """Return which job comes next, if the last session to move the watermark has said that."""
    killed = False
    for row in reversed(record.trail):
        if row.command == SessionCommand.FINISHED:
            break
        killed = killed or row.command in SessionCommand.begun()
        # One that was killed before it has moved the watermark says nothing of it.
        if row.command in (SessionCommand.STOPPED, *SessionCommand.begun()) and row.before:
            goes_on = record.mark is not None and row.before.startswith(_begin(record.mark))
            return Expected(row.before, killed) if goes_on else NOTHING_EXPECTED
    return NOTHING_EXPECTED


def _begin(mark: str) -> str:
    return f"key {keys.show(mark)}, then "
