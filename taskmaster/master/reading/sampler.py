"""A sample of a source: every job is read, some are passed on.

Made by ``taskmaster.runner.sample_run``. Which jobs are chosen is a matter of their keys alone, so
that it is the same ones each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

from taskmaster.master.job_identity import Identity
from taskmaster.master.reading.source import Source

__all__ = ["BURST", "Sampler"]

BURST = 1000
"""Jobs of the sample that are held back until there are so many, or no more: then the workers have
enough to do that one can see how fast they are.
"""


class Sampler:
    """A source (see ``taskmaster.master.reading.source``) that yields a share of another one's
    jobs.

    Args:
        source: the other one.
        identity: tells its jobs apart.
        share: which part of them to yield, above 0 and up to 1.
        clock: seconds that never go back.

    Attributes:
        read: jobs read so far.
        chosen: those of them that belong to the sample.
        reading: seconds that reading has taken, without those that the reader wanted no more.
        handed_at: when the first job was passed on; None while none was.
    """

    def __init__(
        self, source: Source, identity: Identity, share: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.read = self.chosen = 0
        self.reading = 0.0
        self.handed_at: float | None = None
        self._source = source
        self._identity = identity
        self._below = share * 2.0**64
        self._clock = clock

    def iterate(self, last: Any) -> Iterator[Any]:  # noqa: ARG002  # a sample is not resumed
        """Yield the jobs of the sample, in the order of the source.

        Raises:
            KeyUnstorable: a job has no key, or one that cannot be stored.
        """
        held: list[Any] = []
        began = self._clock()
        try:
            jobs = self._source.iterate()
            self._identity.use(self._source.job_key)
            for job in jobs:
                self.read += 1
                if self._belongs(job):
                    self.chosen += 1
                    held.append(job)
                if len(held) >= BURST:
                    self.reading += self._clock() - began
                    yield from self._pass_on(held)
                    held = []
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
