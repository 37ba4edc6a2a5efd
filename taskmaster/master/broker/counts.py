"""What the broker tells: its numbers, and what the next checkpoint has to say. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from taskmaster.master.broker.watermark import SettledRange
from taskmaster.master.records.run_record import Checkpoint
from taskmaster.records import record

__all__ = ["Collected", "Counts", "RunningJob"]


class RunningJob(NamedTuple):
    """A job in a slave's hands.

    Attributes:
        job: the job.
        seconds: for how long no job of its batch has begun or ended.
        slave: "host:pid" of the slave.
        worker: process id of its worker; 0 if the slave has not said it.
    """

    job: Any
    seconds: float
    slave: str
    worker: int


@record()
class Counts:
    """The numbers of a broker at one moment.

    Attributes:
        settled: jobs done or written down as failed, over the whole run, restarts included.
        failed: those of them that failed.
        skipped: those of them that the callback left out.
        settled_here: jobs that have come to an end in this session.
        queued: jobs that can be handed out.
        leased: jobs handed out and not settled.
        parked: jobs that the watermark has passed while they still run or wait.
        waiting: jobs that failed and wait for another attempt.
        slaves: connected slaves.
        workers: worker processes of these.
        batch: jobs in the batch that was handed out last; 0 if none was.
        batch_reason: why it was not larger.
        mark: encoded key of the watermark; None when there is none.
        oldest: the job that has been running for longest, as far as the leases tell; None if none
            runs.
        alone: whether nothing else is left to be handed out.
        next_due: seconds until a job that waits is tried again; None if none waits.
    """

    settled: int
    failed: int
    skipped: int
    settled_here: int
    queued: int
    leased: int
    parked: int
    waiting: int
    slaves: int
    workers: int
    batch: int
    batch_reason: str
    mark: str | None
    oldest: RunningJob | None
    alone: bool
    next_due: float | None

    def shown(self) -> dict[str, Any]:
        """Return the numbers by name, as a ``Snapshot`` has them."""
        return {name: getattr(self, name) for name in _SHOWN}


_SHOWN = [one.name for one in fields(Counts) if one.name not in ("mark", "oldest", "alone", "next_due")]


@record()
class Collected:
    """What the next checkpoint has to say.

    Attributes:
        checkpoint: The checkpoint without fingerprints (the user's code computes them) and time.
        edge: The settled jobs whose key is the watermark's.
        ranges: Ranges settled above the watermark that the store does not have yet.
        recognised: Jobs settled in earlier sessions that the source has yielded again. Each is
            collected once.
    """

    checkpoint: Checkpoint
    edge: Sequence[SettledRange]
    ranges: Sequence[SettledRange]
    recognised: Sequence[SettledRange]
