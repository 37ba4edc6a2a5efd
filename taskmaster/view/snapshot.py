"""The run at one moment: what the master says of itself, and every view shows. Pure: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

__all__ = ["RunState", "Snapshot"]


class RunState(StrEnum):
    """What a run is doing."""

    RUNNING = "running"
    THROTTLED = "throttled"
    PAUSED = "paused"
    DRAINING = "draining"
    STOPPED = "stopped"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The run at one moment; what every view shows. Durations in seconds.

    Attributes:
        run: id of the run.
        target: what the user named on the command line.
        state: what the run is doing.
        reason: why the run waits, or goes no faster, as a sentence for a person; "" when it does
            not.
        settled: jobs done or written down as failed, over the whole run, restarts included.
        failed: those of them that failed.
        settled_here: settled in this session, without what earlier sessions did.
        elapsed: seconds of this session.
        total: how many jobs the run has, if known.
        queued: jobs read and not handed out.
        leased: jobs handed out and not settled.
        parked: jobs that the watermark has passed while they still run or wait.
        waiting: jobs that failed and wait for another attempt.
        skipped: jobs that the callback left out; they count as settled.
        slaves: connected slaves.
        workers: worker processes of these.
        batch: jobs in the batch that was handed out last; 0 if none was.
        batch_reason: why it was not larger.
        watermark: the key up to which all is settled or parked, as text; "" when there is none.
        address: where the master serves, ``HOST:PORT``.
        share: which share of the work is settled, from 0 to 1, if the source can tell by the keys,
        share_here: and how much of that in this session.
    """

    run: str
    target: str
    state: RunState
    reason: str
    settled: int
    failed: int
    settled_here: int
    elapsed: float
    total: int | None
    queued: int
    leased: int
    parked: int
    waiting: int
    skipped: int
    slaves: int
    workers: int
    batch: int
    batch_reason: str
    watermark: str
    address: str
    share: float | None = None
    share_here: float = 0.0

    def to_wire(self) -> dict[str, Any]:
        """Return the fields as plain values, by name."""
        return {**asdict(self), "state": str(self.state)}

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> Snapshot:
        """Rebuild what ``to_wire`` gave. A master of another release may tell more than is known
        here, or less.
        """
        known = {one.name: value.get(one.name, _NOTHING.get(str(one.type))) for one in fields(cls)}
        try:
            known["state"] = RunState(known["state"])
        except ValueError:
            known["state"] = RunState.RUNNING
        return cls(**known)


_NOTHING = {"str": "", "int": 0, "float": 0.0}
"""By a field's type, what a snapshot says of something that it was not told."""
