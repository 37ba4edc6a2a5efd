"""Jobs on their way from the source into the queue, by the chunk: as many as there is room for, in
number and in bytes.

All of it in the source's own thread. The user's code runs here and never under the master's lock; a
job can be handed out as soon as it is yielded.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from taskmaster.errors import SourceError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.reading.early_pickles import EarlyPickles
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.weights import LIGHT_BYTES, Weights, is_light, weigh
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.pickling import pickled

__all__ = ["QUEUE_BYTES", "Chunks"]

QUEUE_BYTES = 64 * 1024 * 1024
"""About how many bytes of jobs may be queued, whatever ``--size`` says."""

CHUNK_JOBS = 8192
CHUNK_BYTES = 1024 * 1024
"""Most jobs, and about most bytes of them, that are taken from the source before it is asked again
whether there is room.
"""

STEP_JOBS = 1024
"""Most jobs taken before it is looked at how large they are."""

SAMPLED_JOBS = 2
"""Jobs of a step that are looked at beside the last one: every other job may be large."""

HEAVY_CHECK_FRACTION = 0.1
"""Fraction of the chunks of large jobs after which one is looked at again, which takes as long as
to send it.
"""


class Chunks:
    """Moves jobs from the source into the queue, chunk by chunk.

    Args:
        broker: whose queue is filled.
        lock: guards the broker.
        identity: tells jobs apart.
        checks: gets the faults of the jobs.
        name: the name of the source in messages.
    """

    def __init__(
        self, broker: Broker, lock: threading.Lock, identity: JobIdentity, checks: JobChecks, name: str
    ) -> None:
        self._broker = broker
        self._lock = lock
        self._checks = checks
        self._chance = random.Random()
        self._early_pickles = EarlyPickles(name, identity)
        self._weights = Weights(self._chance.random)
        self._light = False  # the newest jobs are of a kind that cannot be large
        self._most = 1  # jobs of the next chunk

    def room(self, jobs: int) -> int:
        """Return how many jobs to read now.

        Args:
            jobs: how many the broker would take.
        """
        with self._lock:
            queued = self._broker.intake.queued
            head = self._broker.intake.read - queued
            per_job = self._broker.batch_limit.bytes_per_job
        if queued and self._weights.queued(head) >= QUEUE_BYTES:
            return 0
        return min(jobs, self._most, max(1, int(CHUNK_BYTES / max(1.0, per_job))))

    def expect(self, first: Any) -> None:
        """Look at the first job, which is read with the next chunk."""
        self._measure(first)
        self._light = is_light(first)

    def read(self, iterator: Iterator[Any], room: int) -> None:
        """Read a chunk of at most ``room`` jobs. Raises what the user's code raises.

        Raises:
            SourceError: the source has changed a job that it had yielded.
        """
        # In steps, so that jobs that become large all at once are noticed before many more of them
        # are read.
        while room > 0 and self._read_step(iterator, min(STEP_JOBS, room)):
            room -= STEP_JOBS
        self._most = min(CHUNK_JOBS, self._most * 2)
        newest = self._broker.intake.newest(0, self._chance)
        if newest and (not self._weights.cut or self._chance.random() < HEAVY_CHECK_FRACTION):
            self._look_for_change(newest[0])

    def begin_small(self) -> None:
        """Read a single job next, and more from one chunk to the next."""
        self._most = 1

    def taken(self, job: Any) -> Any:
        """Return a job that is read alone, as it is now."""
        if self._early_pickles.on:
            job = self._early_pickles.take(job)
            self._early_pickles.review()
        return job

    def add_alone(self, job: Any) -> None:
        """Note the weight of a job that was read alone and is queued; the caller holds the lock."""
        self._weights.add(self._broker.intake.read, weigh(job))

    def _read_step(self, iterator: Iterator[Any], step: int) -> bool:
        """Read some jobs; return whether more may be read now."""
        intake = self._broker.intake
        with self._lock:
            before = intake.read
        jobs: Iterable[Any] = itertools.islice(iterator, step)
        if self._early_pickles.on:
            jobs = self._early_pickles.taken(jobs)
        light = self._light
        intake.add(jobs if light else self._weights.weighed(jobs, CHUNK_BYTES))
        self._early_pickles.review()
        with self._lock:
            end = intake.read
            cut = not light and self._weights.cut
            if end - before < step and not cut:
                intake.exhaust()
        newest = intake.newest(0 if cut else SAMPLED_JOBS, self._chance)
        self._light = all(map(is_light, newest)) if newest else light
        # Of jobs that cannot be large, one is enough to say how many make a batch.
        sizes = [self._measure(job) for job in (newest[:1] if self._light else newest)]
        if end > before:
            # What weighing cannot see into is pickled. Of three jobs, the middle one counts: a
            # large one among many small ones is no measure for all.
            least = 0.0 if cut else (end - before) * (LIGHT_BYTES if light else float(_middle(sizes)))
            self._weights.add(end, least if light else max(least, self._weights.newest))
        return not cut and not intake.exhausted and light == self._light

    def _measure(self, job: Any) -> int:
        """Return the size of a job's pickle, and let it count for the size of batches; 0 for a job
        that cannot be pickled, which fails when it is handed out, with its key.
        """
        try:
            size = len(pickled(job))
        except BaseException:
            return 0
        with self._lock:
            self._broker.batch_limit.note(size)
        return size

    def _look_for_change(self, newest: Any) -> None:
        """See that the source leaves alone what it has yielded; else nothing that is queued may be
        run.
        """
        try:
            self._early_pickles.look_again(newest)
        except SourceError as exc:
            with self._lock:
                self._broker.refuse()
            self._checks.error = exc
            raise


def _middle(sizes: list[int]) -> int:
    """Return the middle one of some sizes, of two the larger one; 0 if there is none."""
    return sorted(sizes)[len(sizes) // 2] if sizes else 0
