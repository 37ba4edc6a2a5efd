"""The run at one moment, as the master describes it and as every view shows it. Pure: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from enum import StrEnum
from typing import Any

from taskmaster.records import record

__all__ = ["FailedBy", "HeldBy", "RunState", "SlaveState", "Snapshot"]


class RunState(StrEnum):
    """What a run is doing."""

    RUNNING = "running"
    RESUMING = "resuming"
    THROTTLED = "throttled"
    PAUSING = "pausing"
    PAUSED = "paused"
    DRAINING = "draining"
    ENDING = "ending"
    STOPPED = "stopped"
    FINISHED = "finished"


class HeldBy(StrEnum):
    """What holds a run back, or slows it, as its history, its clocks and its metrics count it."""

    PAUSED = "paused"
    THROTTLED = "throttled"
    RATE = "rate"
    SOURCE = "source"
    SLAVES = "slaves"
    STATE = "state"


class SlaveState(StrEnum):
    """How a slave is there, or how it has gone."""

    AT_WORK = "at work"
    QUIET = "quiet"
    AWAY = "away"
    """Its connection is lost, and its leases have not ended yet."""
    SAID_GOODBYE = "said goodbye"
    LOST = "lost"


class FailedBy(StrEnum):
    """Why an attempt did not end well."""

    EXCEPTION = "exception"
    CRASH = "crash"
    TIMEOUT = "timeout"
    LOST = "lost"


@record()
class Snapshot:
    """The run at one moment; what every view shows. Durations in seconds.

    Attributes:
        run: The id of the run.
        target: The TARGET on the command line.
        state: What the run is doing.
        reason: Why the run waits or goes no faster, as a sentence for a person; "" if nothing holds
            it.
        settled: Jobs of the whole run that are done or written down as failed, restarts included.
        failed: Settled jobs that failed.
        settled_here: Jobs that this session settled.
        elapsed: Seconds of this session.
        total: Number of jobs of the run; None if unknown.
        queued: Jobs that were read and not handed out.
        leased: Jobs that were handed out and are not settled.
        parked: Jobs that the watermark has passed while they still run or wait.
        waiting: Failed jobs that wait for another attempt.
        skipped: Settled jobs that the callback left out.
        slaves: Connected slaves.
        workers: Worker processes of the connected slaves.
        batch: Jobs in the batch that was handed out last; 0 if there was none.
        batch_reason: Why that batch was not larger.
        watermark: The key up to which all jobs are settled or parked, as text; "" if there is none.
        address: Where the master serves, ``HOST:PORT``.
        share: Part of the work that is settled, from 0 to 1; None if the source cannot tell it from
            the keys.
        share_here: Part of the work that this session settled.
        running: The key of the job that has been running for longest, as text; "" if none runs, or
            not for long.
        running_for: For how long.
        running_on: "host:pid" of its slave.
        running_worker: Process id of its worker; 0 if that is not known.
        why: What holds the run or limits it, as one word for programs.
        why_sentence: What holds the run or limits it, as a sentence; there is one in every state.
        cure: What can be done about it; "" where nothing need be.
        why_since: Since when it holds the run (seconds since the epoch); 0 where that is not known.
        working: Seconds of this session without those in which the run was paused.
        engine: The standing of the engine that runs the slaves, as text; "" if there is none.
        rate_limit: Jobs a second that may be handed out at most; None: as many as the slaves can
            take.
        pace_searches: Whether the pace measures, or rises fast: how fast the run is says nothing
            yet.
        most_job_seconds: Within which 95 % of this session's jobs ended; 0 if that is not known.
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
    running: str = ""
    running_for: float = 0.0
    running_on: str = ""
    running_worker: int = 0
    why: str = ""
    why_sentence: str = ""
    cure: str = ""
    why_since: float = 0.0
    working: float = 0.0
    engine: str = ""
    rate_limit: float | None = None
    pace_searches: bool = False
    most_job_seconds: float = 0.0

    def to_wire(self) -> dict[str, Any]:
        """Return the fields as plain values, by name."""
        return {**asdict(self), "state": str(self.state)}

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot of which ``to_wire`` gave the fields.

        A master of another release may send more fields, or fewer.
        """
        why = value.get("why")
        if isinstance(why, Mapping):  # as ``view.status.to_json`` has it
            names = {"why": "code", "why_sentence": "sentence", "cure": "cure", "why_since": "since_at"}
            value = {**value, **{name: why.get(part) for name, part in names.items()}}
        known = {one.name: value.get(one.name, _NOTHING.get(str(one.type))) for one in fields(cls)}
        try:
            known["state"] = RunState(known["state"])
        except ValueError:
            known["state"] = RunState.RUNNING
        return cls(**known)


_NOTHING = {"str": "", "int": 0, "float": 0.0}
"""By a field's type, what a snapshot says of something that it was not told."""
