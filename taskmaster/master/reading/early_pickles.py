"""Jobs as they were when they were yielded: what a source changes afterwards must not reach a
worker.

A job is pickled when it is sent, which is long after it was read. A generator that yields one and
the same dict, list, row or array again and again, changed, would have all workers run its last
content. So the first jobs of a session are pickled at once, and looked at again: if one has changed
by then, all jobs of the session are pickled as they are read, which is slower and right. Later, one
job of each chunk is looked at once more, or of one chunk in ten where jobs are large; a source that
begins to change its jobs only then is an error.

Plain values cannot change and cost nothing here.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any

from taskmaster import keys
from taskmaster.errors import SourceError
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import ParkedJob, PickledJob
from taskmaster.runtime.log import clean_logger

__all__ = ["EarlyPickles"]

logger = clean_logger(__name__)

FIRST_JOBS = 1000  # the first ten chunks, each twice as large as the one before, have a few more
FIRST_BYTES = 4 * 1024 * 1024  # limit for the pickles of these jobs: fewer jobs are checked where they are large


class EarlyPickles:
    """Pickles jobs as soon as they are yielded, if the source changes them afterwards.

    Args:
        name: the name of the source in messages.
        identity: tells jobs apart.

    Attributes:
        on: Whether jobs are pickled as they are read.
    """

    def __init__(self, name: str, identity: JobIdentity) -> None:
        self.on = True
        self._name = name
        self._identity = identity
        self._changes = False
        self._first: list[tuple[Any, int]] = []  # jobs that were pickled at once, and the hash of what came of it
        self._jobs, self._bytes = FIRST_JOBS, FIRST_BYTES  # that may still come, until the source is trusted
        self._review_at = FIRST_JOBS - 1  # jobs that may still come when the first ones are looked at again
        self._sample: tuple[Any, int] | None = None

    def taken(self, jobs: Iterable[Any]) -> Iterator[Any]:
        """Return the jobs as they are now, one by one as they come."""
        return map(self.take, jobs)

    def take(self, job: Any) -> Any:
        """Return the job as it is now; itself where it cannot change, or has no key, or cannot be
        pickled, which is noticed later.
        """
        self._jobs -= 1
        payload = keys.payload_of(job)
        if isinstance(job, ParkedJob) or _is_fixed(payload):
            return job
        text = self._identity.text(job)
        if text is None:
            return job
        try:
            blob = pickle.dumps(payload, protocol=5)
        except BaseException:
            return job
        self._bytes -= len(blob)
        if not self._changes:
            self._first.append((payload, hash(blob)))
        return PickledJob(-1, text, blob, self._identity.fingerprint(job), job=self._identity.show(job))

    def review(self) -> None:
        """See whether one of the first jobs has changed since, and whether the source can be
        trusted; called after each part of a chunk.
        """
        due = self._jobs <= max(0, self._review_at) or self._bytes <= 0
        if not self.on or self._changes or not due:
            return
        self._review_at = FIRST_JOBS - 2 * (FIRST_JOBS - self._jobs)  # to look at all after each job takes long
        if any(_changed(payload, digest) for payload, digest in self._first):
            self._changes = True
            self._first.clear()
            logger.info(
                "%s changes jobs that it has yielded, as when it yields the same dict or list again: each is pickled "
                "as it is read, which is slower",
                self._name,
            )
        elif self._jobs <= 0 or self._bytes <= 0:
            self.on = False
            self._first.clear()

    def look_again(self, newest: Any) -> None:
        """Look once more at the job of the last call, and remember another one.

        Raises:
            SourceError: it has changed since.
        """
        sample, self._sample = self._sample, None
        if sample is not None and _changed(keys.payload_of(sample[0]), sample[1]):
            raise SourceError(
                f"{self._name} has changed a job after it had yielded it: the one with the key "
                f"{keys.show(self._identity.text(sample[0]) or keys.NO_KEY)}. Jobs are sent later than they are "
                "yielded, so that some were run with the content of others. Let it yield a new object each time, such "
                "as dict(row), list(row) or row.copy(); then run all again with --reset."
            )
        payload = keys.payload_of(newest)
        if isinstance(newest, ParkedJob) or _is_fixed(payload):
            return
        try:
            self._sample = newest, hash(pickle.dumps(payload, protocol=5))
        except BaseException:  # it fails when it is handed out, with its key
            return


def _is_fixed(payload: Any) -> bool:
    """Return whether a value cannot change: a plain one, or a tuple of such."""
    kind = type(payload)
    return kind in keys.KEY_SCALARS or (kind is tuple and set(map(type, payload)) <= keys.KEY_SCALARS)


def _changed(payload: Any, digest: int) -> bool:
    try:
        return hash(pickle.dumps(payload, protocol=5)) != digest
    except BaseException:
        return True
