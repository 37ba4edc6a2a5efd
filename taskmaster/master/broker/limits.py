"""The caps of a broker. Values only."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LONGEST_OUTAGE_SECONDS", "Limits"]

LONGEST_OUTAGE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The caps of a broker; durations in seconds.

    Attributes:
        size: jobs queued, returned and parked.
        span: jobs from the watermark to the newest job read.
        batch_bytes: about how large a batch of several jobs may become.
        small_bytes: about how large a batch of jobs may become that are done within milliseconds.
        lease: silence after which a slave's leases end.
        grace: how long a closed connection keeps its leases.
        jobs: jobs handed out, however often each of them; None: all that there are.
        retries: attempts after the first that a job gets when its callback raises.
        backoff: wait before the second attempt; it doubles from one attempt to the next.
        crashes: workers that a job may kill, or outstay its time in, before it counts as failed.
        losses: slaves that may be lost with a job that they were given alone, before it counts as
            failed.
        job_timeout: what slaves give a job, or a call; None for as long as it takes.
        nice: how long a worker rests after a batch, in multiples of the time that the batch took.
        reclaim: for how long jobs that an earlier session parked are kept for the slaves that may
            still run them.
        state_timeout: how long the run waits for a state that cannot be written.
        outage: how long the run holds back while everything fails alike; 0: it never does.
        max_failures: failed jobs that the session stops after; None: it does not.
        max_share: share of failed jobs that the session stops after; None: it does not.
    """

    size: int = 10_000
    span: int = 100_000
    batch_bytes: int = 250_000
    small_bytes: int = 2_000_000
    lease: float = 60.0
    grace: float = 2.0
    jobs: int | None = None
    retries: int = 3
    backoff: float = 1.0
    crashes: int = 3
    losses: int = 5
    job_timeout: float | None = None
    nice: float = 0.0
    reclaim: float = 0.0
    state_timeout: float = 3600.0
    outage: float = LONGEST_OUTAGE_SECONDS
    max_failures: int | None = None
    max_share: float | None = None
