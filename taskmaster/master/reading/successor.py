"""The job that comes next after the watermark: said when a run stops, and looked for when it is
resumed.

An order that a resume would lose is often one that nobody can see in the keys: texts in the order
of another collation, ``last`` taken for an offset, a list that is sorted in another way each time.
"""

from __future__ import annotations

import threading
from typing import Any

from taskmaster import keys
from taskmaster.master.broker.broker import Broker
from taskmaster.master.job_identity import JobIdentity
from taskmaster.master.run_record import RunRecord
from taskmaster.master.steering.records import SessionCommand

__all__ = ["expected", "said_of", "successor"]


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


def expected(record: RunRecord) -> str:
    """Return what ``successor`` has said when the run last stopped; "" where it has not, or the
    watermark has moved since. A session after that one may have been killed before it compared.
    """
    ended = SessionCommand.ended()
    last = next((row for row in reversed(record.trail) if row.command in ended), None)
    if last is None or record.mark is None or not last.before.startswith(_begin(record.mark)):
        return ""
    return last.before


def _begin(mark: str) -> str:
    return f"key {keys.show(mark)}, then "
