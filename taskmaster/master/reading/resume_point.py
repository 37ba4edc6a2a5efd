"""The point where a resumed run goes on: whether the source yields first the job that was next when
the run stopped.

If another job comes, jobs may be left out; or the next job was removed, or others were added before
it. If keys are numbers or dates, the source is asked for the jobs after the key just before the
watermark's: if it yields the watermark's job and then the one that came first, there is no job
between the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import chain, islice
from typing import Any

from taskmaster import keys
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.source import Source, can_be_asked_again, is_users
from taskmaster.master.reading.successor import Expected, said_of
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.runtime.log import clean_logger

__all__ = ["ResumePoint"]

logger = clean_logger(__name__)

MOST_JOBS_ASKED_FOR = 100  # jobs, of which all but the last may have the watermark's key


class ResumePoint:
    """Compares the first job of a resumed run with the one that is expected. For the thread that
    reads the source.

    Args:
        source: the source.
        identity: tells jobs apart.
        checks: notes what is wrong.
        mark: encoded key of the watermark, None on a first run.
        expected: the job that is to come next.

    Attributes:
        expected: The text of that job until it has been compared; "" from then on.
    """

    def __init__(
        self, source: Source, identity: JobIdentity, checks: JobChecks, mark: str | None, expected: Expected
    ) -> None:
        self.expected = expected.said
        self._wanted = expected
        self._source = source
        self._identity = identity
        self._checks = checks
        self._mark = mark or ""
        self._read: Counter[Any] = Counter()  # fingerprints of the jobs up to the first one behind the watermark

    def begin(self) -> None:
        """Expect nothing of a source of Taskmaster's own: only the user's code may lose an
        order.
        """
        self.expected = self.expected if is_users(self._source) else ""

    def end(self) -> None:
        """Note that the source has ended."""
        said = "" if self._may_be_gone(None) else self.expected
        self.expected = self._checks.compare(self._source.name, said, "")

    def compare(self, job: Any, text: str | None, iterator: Iterator[Any]) -> Iterator[Any]:
        """Compare the next job of the source; return the iterator over the jobs after it.

        Args:
            job: The job.
            text: Its encoded key.
            iterator: The iterator that it comes from.
        """
        self._read[self._identity.fingerprint(job)] += 1
        if text == self._mark:
            return iterator
        came = said_of(self._mark, text or "")
        if self._may_be_gone(text):
            self.expected = came
        elif came != self.expected and text is not None and can_be_asked_again(self._source):
            # The first iterator is closed while others are open: they may share a cursor.
            self._source.close()
            if any(self._leads_here(before, text) for before in _just_before(keys.decode(self._mark))):
                logger.info("%s was to come next, and %s has come: jobs were changed there", self.expected, came)
                self.expected = came
            iterator = self._behind(self._source.iterate(keys.decode(self._mark), resume=True))
        self.expected = self._checks.compare(self._source.name, self.expected, came)
        return iterator

    def _may_be_gone(self, came: str | None) -> bool:
        """Return whether the session before may have run the expected job and removed it."""
        # Without a resume by key, the source is read up to the watermark: no job before it is
        # missing.
        return self._source.resumes_by_key and self._wanted.may_be_gone(self._mark, came)

    def _leads_here(self, before: Any, text: str) -> bool:
        """Return whether the source, resumed after a key, yields the watermark's jobs first, after
        jobs with that key itself, and then one with the key ``text``.
        """
        met = False
        try:
            asked = keys.encode(before)
            for job in islice(self._source.iterate(before, resume=True), MOST_JOBS_ASKED_FOR):
                found = self._identity.text(job)
                if found == self._mark:
                    met = True
                elif met or found != asked:
                    return met and found == text
        except Exception as exc:
            logger.debug("%s could not go on after %r: %s", self._source.name, before, exc)
        finally:
            self._source.close()
        return False

    def _behind(self, again: Iterator[Any]) -> Iterator[Any]:
        """Return the jobs after those that have been read; a job that is not certainly among these
        is yielded again.
        """
        for job in again:
            fingerprint = self._identity.fingerprint(job)
            if not fingerprint or not self._read[fingerprint]:
                return chain([job], again)
            self._read[fingerprint] -= 1
            if not self._read.total():
                break
        return again


def _just_before(key: Any) -> list[Any]:
    """Return the two keys next to a number or date: one of them comes before it in either order;
    none for other keys.
    """
    if type(key) in (tuple, list):
        return [type(key)([*key[:-1], last]) for last in _just_before(key[-1])] if key else []
    step: Any = {int: 1, date: timedelta(days=1), datetime: timedelta(microseconds=1)}.get(type(key))
    try:
        return [] if step is None else [key - step, key + step]
    except OverflowError:
        return []
