"""A sample of a source: every job is read, some are passed on.

Which jobs are chosen is a matter of their keys alone, so that it is the same ones each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

from taskmaster.master.reading.early_pickles import EarlyPickles
from taskmaster.master.reading.source import Source
from taskmaster.master.reading.weights import weigh
from taskmaster.master.records.job_identity import JobIdentity

__all__ = ["BURST_JOBS", "Sampler"]

BURST_JOBS = 1000
BURST_BYTES = 16 * 1024 * 1024
"""Jobs of the sample, and bytes of them, that are held back before they are passed on together:
then the workers have enough to do that one can see how fast they are.
"""


class Sampler:
    """A source that yields a part of another one's jobs.

    Args:
        source: the other one.
        identity: tells its jobs apart.
        fraction: which part of them to yield, above 0 and up to 1.
        clock: seconds that never go back.

    Attributes:
        read: How many jobs were read so far.
        chosen: How many of them belong to the sample.
        reading: For how many seconds the source was read, without those in which nobody asked.
        handed_at: When the first job was passed on; None while none was.
    """

    def __init__(
        self, source: Source, identity: JobIdentity, fraction: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.read = self.chosen = 0
        self.reading = 0.0
        self.handed_at: float | None = None
        self._source = source
        self._identity = identity
        self._below = fraction * 2.0**64
        self._clock = clock

    def iterate(self, last: Any) -> Iterator[Any]:  # noqa: ARG002  # a sample is not resumed
        """Yield the jobs of the sample, in the order of the source.

        Raises:
            KeyUnstorable: a job has no key, or one that cannot be stored.
        """
        held: list[Any] = []
        weight = 0
        early = EarlyPickles(self._source.name, self._identity)
        began = self._clock()
        try:
            jobs = self._source.iterate()
            self._identity.use(self._source.job_key)
            for job in jobs:
                self.read += 1
                if self._belongs(job):
                    self.chosen += 1
                    if early.on:  # the source may change it before it is passed on
                        job = early.take(job)  # noqa: PLW2901  # it is the same job
                        early.review()
                    held.append(job)
                    weight += weigh(job)
                if len(held) >= BURST_JOBS or weight > BURST_BYTES:
                    self.reading += self._clock() - began
                    yield from self._pass_on(held)
                    held, weight = [], 0
                    began = self._clock()
            self.reading += self._clock() - began
            yield from self._pass_on(held)
        finally:
            self._source.close()

    def _pass_on(self, jobs: list[Any]) -> list[Any]:
        if self.handed_at is None and jobs:
            self.handed_at = self._clock()
        return jobs

    def _belongs(self, job: Any) -> bool:
        text = self._identity.text(job)
        if text is None:
            text = self._identity.check(job)  # says what is wrong with it
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) < self._below
