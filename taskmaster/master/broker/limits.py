"""The caps of a broker. Values only, which an operator can change while the run goes on."""

from __future__ import annotations

from dataclasses import fields

from taskmaster.records import changing

__all__ = ["LONGEST_OUTAGE_SECONDS", "Limits"]

LONGEST_OUTAGE_SECONDS = 3600.0


@changing(compared=True)
class Limits:
    """The caps of a broker; durations in seconds. A field that an option sets is called like it.

    Attributes:
        size: Most jobs that are queued, given back or parked.
        span: Most jobs from the watermark to the newest job read.
        span_follows: Whether the span may be several times the number of jobs that slaves hold,
            where that is more; and of jobs that are parked before they are handed out, there may be
            more than ``size``, so that each slot has one.
        batch_bytes: About how many bytes a batch of several jobs may have.
        small_bytes: About how many bytes a batch of very short jobs may have.
        lease: Silence after which a slave's leases end.
        lease_grace: How long a closed connection keeps its leases.
        limit: Most jobs that are handed out, however often each of them; None: any number.
        retries: How often a job is tried again when its callback raises.
        backoff: Wait before the second attempt; it doubles from one attempt to the next.
        crashes: Worker deaths and time-outs after which a job counts as failed.
        losses: Losses of a slave that had been given the job alone, after which the job counts as
            failed.
        job_timeout: How long a job, or a call of several, may take; None: any time.
        nice: How long a worker rests after a batch, in multiples of the time that the batch took.
        reclaim: How long jobs that an earlier session parked are kept for the slaves that may
            still run them.
        state_timeout: How long the run waits for a state that cannot be written.
        outage: How long the run holds back while everything fails alike; 0: it never does.
        max_failures: Failed jobs after which the session stops; None: it does not.
        max_failed_fraction: Fraction of failed jobs after which the session stops; None: no limit.
    """

    size: int = 10_000
    span: int = 100_000
    span_follows: bool = False
    batch_bytes: int = 250_000
    small_bytes: int = 2_000_000
    lease: float = 60.0
    lease_grace: float = 2.0
    limit: int | None = None
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
    max_failed_fraction: float | None = None

    @property
    def told_slaves(self) -> tuple[float | None, float]:
        """What slaves have to know: how long a job may take, and how long workers rest."""
        return self.job_timeout, self.nice

    def follow(self, other: Limits) -> None:
        """Take over the values of others; all parts of the broker share these ones."""
        for one in fields(self):
            setattr(self, one.name, getattr(other, one.name))
