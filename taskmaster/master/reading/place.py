"""The place where a resumed run goes on: whether the job that was next when the run stopped comes
first.

Where another one comes, jobs may be left out, or that one was removed, or others were added just
there. A source whose keys have a key just before each can be asked: if the watermark's job comes
after that key, and then the one that came first, there is nothing between the two.
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

__all__ = ["Place"]

logger = clean_logger(__name__)

MOST_JOBS_ASKED_FOR = 100  # jobs, of which all but the last may have the watermark's key


class Place:
    """See the module. For the thread that reads the source.

    Args:
        source: is read from here on.
        identity: tells jobs apart.
        checks: are told what is wrong.
        mark: encoded key of the watermark, None on a first run.
        expected: which job is to come next.

    Attributes:
        expected: How that job was said, as long as it is waited for; "" from then on.
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
        """Expect nothing of a source that is none of the user's own code, now that it is known."""
        self.expected = self.expected if is_users(self._source) else ""

    def end(self) -> None:
        """Note that nothing comes any more."""
        said = "" if self._may_be_gone(None) else self.expected
        self.expected = self._checks.compare(self._source.name, said, "")

    def look(self, job: Any, text: str | None, iterator: Iterator[Any]) -> Iterator[Any]:
        """Look at the next job that has come, and return the iterator over those behind it.

        Args:
            job: The job.
            text: Its encoded key.
            iterator: What it came from.
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
        """Return whether the session before may have run and removed what was to come next."""
        # Where the source was read up to the watermark, nothing is removed before it.
        return self._source.resumes_by_key and self._wanted.may_be_gone(self._mark, came)

    def _leads_here(self, before: Any, text: str) -> bool:
        """Return whether the source, asked to go on after a key, yields the watermark's jobs first,
        but for those with that key itself, and then one with this key.
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
        """Return the jobs behind those that have been read; one that is not certainly among them
        comes again.
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
    """Return the keys next to one, of which one comes before it in whichever order; none if that is
    not known.
    """
    if type(key) in (tuple, list):
        return [type(key)([*key[:-1], last]) for last in _just_before(key[-1])] if key else []
    step: Any = {int: 1, date: timedelta(days=1), datetime: timedelta(microseconds=1)}.get(type(key))
    try:
        return [] if step is None else [key - step, key + step]
    except OverflowError:
        return []
