"""What tells a run's jobs apart: keys and fingerprints, taken with the user's ``job_key`` where the
module has one.

Runs the user's code, so never under the master's lock.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from taskmaster import keys
from taskmaster.errors import KeyUnstorable
from taskmaster.master.records.fingerprints import fingerprint, fingerprint_of_key
from taskmaster.master.records.job_records import ParkedJob, PickledJob
from taskmaster.runtime.tracebacks import one_line

__all__ = ["JobIdentity"]

_REPR = reprlib.Repr()
_REPR.maxother = _REPR.maxstring = _REPR.maxlong = 200


class JobIdentity:
    """Keys and fingerprints of jobs.

    Args:
        job_key: the user's function from a job to its key, if there is one.
    """

    def __init__(self, job_key: Callable[[Any], Any] | None = None) -> None:
        self._job_key = job_key

    def use(self, job_key: Callable[[Any], Any] | None) -> None:
        """Take keys with the source's own function, unless the user has given one."""
        self._job_key = self._job_key or job_key

    @property
    def job_key(self) -> Callable[[Any], Any] | None:
        """The function of the user's or of the source's that gives keys, if there is one."""
        return self._job_key

    def key(self, job: Any) -> Any:
        """Return the key of a job; raises what the user's code raises.

        Raises:
            KeyUnstorable: it has none.
        """
        if isinstance(job, ParkedJob):
            return keys.decode(job.key)
        return keys.key_of(job, self._job_key)

    def check(self, job: Any) -> str:
        """Return the encoded key of a job, after a round trip through the codec.

        Raises:
            KeyUnstorable: the job has no key, or one that would not come back as it went in, or
                another one each time.
        """
        return self._check(job, self.key(job))

    def check_for_parking(self, job: Any) -> tuple[str, bytes]:
        """Return the same with the fingerprint of the job, whose key is taken once for both."""
        key = self.key(job)
        text = self._check(job, key)
        return text, job.fingerprint if isinstance(job, ParkedJob) else self._fingerprint(job, key, text)

    def _check(self, job: Any, key: Any) -> str:
        text = keys.check(key)
        if self._job_key is not None and not isinstance(job, ParkedJob):
            self._ask_again(job, text)
        return text

    def _ask_again(self, job: Any, text: str) -> None:
        """Let ``job_key`` give the key of a job once more: a resumed run finds jobs by it."""
        try:
            again = keys.show(keys.encode(self.key(job)))
        except BaseException as exc:
            again = f"raised {one_line(exc)}"
        if again != keys.show(text):
            raise KeyUnstorable(
                f"job_key(job) has given the key {keys.show(text)} for the job {self.show(job)}, and when it was asked "
                f"again: {again}. It is called several times for a job, so it must not change the job, and must give "
                "the same key each time: make the key of what the job is, such as its id or a hash by hashlib."
            )

    def text(self, job: Any) -> str | None:
        """Return the encoded key, None where the job has none that can be stored, whatever the
        user's code raises.
        """
        if isinstance(job, ParkedJob):
            return job.key
        try:
            return keys.encode(keys.key_of(job, self._job_key))
        except BaseException:
            return None

    def fingerprint(self, job: Any) -> bytes:
        """Return the fingerprint of key and payload; b"" for a job without a key."""
        if isinstance(job, ParkedJob):
            return job.fingerprint
        try:
            key = keys.key_of(job, self._job_key)
            text = keys.encode(key)
        except BaseException:
            return b""
        return self._fingerprint(job, key, text)

    @staticmethod
    def _fingerprint(job: Any, key: Any, text: str) -> bytes:
        payload = keys.payload_of(job)
        if payload is key:
            return fingerprint_of_key(text)  # to encode it once more takes as long as all the rest
        try:
            return fingerprint(text, payload)
        except BaseException:
            # It cannot be pickled, so it has failed and will fail again: it must not be written
            # down twice.
            kind = type(payload)
            return blake2b(f"{text}\0{kind.__module__}.{kind.__qualname__}".encode(), digest_size=16).digest()

    @staticmethod
    def show(job: Any) -> str:
        """Return the job as a person may want to see it: its repr, at most about 200 characters."""
        if isinstance(job, ParkedJob):
            return job.job if isinstance(job, PickledJob) else keys.show(job.key)
        try:
            return _REPR.repr(keys.payload_of(job))
        except BaseException as exc:
            return f"<a {type(job).__name__} whose repr raises {type(exc).__name__}>"
