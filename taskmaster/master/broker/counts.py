"""What the broker tells: its numbers, and what the next checkpoint has to say. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from taskmaster.master.broker.watermark import SettledRange
from taskmaster.master.run_record import Checkpoint

__all__ = ["Collected", "Counts"]


@dataclass(frozen=True, slots=True)
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

    def shown(self) -> dict[str, Any]:
        """Return the numbers by name, as a ``Snapshot`` has them."""
        return {name: number for name, number in asdict(self).items() if name != "mark"}


@dataclass(frozen=True, slots=True)
class Collected:
    """What the next checkpoint has to say.

    Attributes:
        checkpoint: all of it but for fingerprints, which take the user's code, and the time.
        edge: the settled jobs whose key is the watermark's.
        ranges: what is settled above the watermark and not in the store.
        recognised: jobs of earlier sessions that the source has yielded again; each is collected
            once.
    """

    checkpoint: Checkpoint
    edge: Sequence[SettledRange]
    ranges: Sequence[SettledRange]
    recognised: Sequence[SettledRange]
