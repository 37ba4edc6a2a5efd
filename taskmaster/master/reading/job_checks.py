"""What is looked at in each job once, before it is handed out for the first time: that it has a
key, and that the keys come in order.

Never under the master's lock, for ``job_key`` is the user's. Jobs are looked at by the batch, with
loops of C's wherever their types allow it: of plain numbers, this costs some hundredths of what it
costs to hand them out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time
from itertools import chain
from operator import attrgetter, itemgetter
from pathlib import PurePath
from typing import Any

from taskmaster import keys
from taskmaster.errors import TaskmasterError, UsageError
from taskmaster.master.reading.key_order import KeyOrder
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import ParkedJob, PickledJob
from taskmaster.master.records.run_record import RunRecord
from taskmaster.model import Job
from taskmaster.runtime.child_process import children_kept_out
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import users_traceback

__all__ = ["JobChecks"]

logger = clean_logger(__name__)

# A moment can have a time zone that cannot be stored, so that its type alone says nothing.
SAFE = keys.KEY_SCALARS - {datetime, time}
KEYS_OF_ROWS = ("pk", "id")
KEY_OF_JOB = attrgetter("key")


class JobChecks:
    """Checks each job before it is handed out for the first time.

    Args:
        identity: tells jobs apart.
        record: the run as it was at the start of this session; None for a new one.
        tell: called, without the master's lock, with what speaks for jobs that are left out, before
            the next job is handed out: it has to be in the state by then.

    Attributes:
        identity: Tells jobs apart.
        error: What is so wrong with the jobs that nothing more may be handed out.
        doubt: What speaks for jobs that this session leaves out, as a sentence; "" if nothing does.
    """

    def __init__(
        self, identity: JobIdentity, record: RunRecord | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.error: TaskmasterError | None = None
        self.doubt = ""
        self.identity = identity
        self._tell = tell
        self._order: KeyOrder | None = None
        self._resumed = record is not None and record.mark is not None
        self._before = record.left_out if record is not None else ""
        self._name = ""
        self._sure = False
        self._seen = 0  # position up to which jobs were looked at

    def follow_order(self, name: str, order: KeyOrder) -> None:
        """Watch the order of the keys from now on.

        Args:
            name: the name of the source in messages.
            order: a new one, which knows at most the key after which the source was to go on.
        """
        self._name, self._order = name, order

    def trust(self) -> None:
        """Look at one job of a batch: the source is one of Taskmaster's own, and makes the keys."""
        self._sure = True

    @property
    def order(self) -> KeyOrder | None:
        """The order of the keys, if it is followed."""
        return self._order

    @property
    def seen(self) -> int:
        """How many jobs of this session were looked at."""
        return self._seen

    @property
    def fault(self) -> str:
        """What is wrong with the order of the keys, "" if nothing is known to be."""
        return self._order.fault if self._order is not None else ""

    @property
    def left_out(self) -> str:
        """Why the run, which was resumed, leaves jobs out; "" if nothing speaks for that. What an
        earlier session has found stays true: nothing has read those jobs since.
        """
        if self.fault and self._resumed:
            return (
                f"This run was resumed although {self._name} does not yield its jobs in the order of their keys "
                f"({self.fault}): it has probably left jobs out. Mend the order, and run all again with --reset."
            )
        return self.doubt or self._before

    def compare(self, name: str, said: str, came: str) -> str:
        """Compare the job that comes first in a resumed run with the one that was next when it
        stopped; return what is still to be compared, which is nothing.

        Args:
            name: the name of the source in messages.
            said: what was said of that one, "" if nothing was.
            came: the same of this one, "" if none has come.
        """
        if said != came:
            now = came or "nothing after that key"
            self.doubt = (
                f"{name} does not go on where it was: when the run stopped, there was {said}, and now there is {now}. "
                "Unless jobs were removed or added just there, this run leaves jobs out: yield them in the same order "
                "each time, and begin after `last`, compared as they are sorted. --reset runs all again."
            )
            logger.warning("%s", self.doubt)
            self._tell(self.left_out)
        return ""

    def check(self, first: int, jobs: list[Any]) -> UsageError | None:
        """Check the jobs of a batch, unless that was done before.

        Args:
            first: position of its first job; negative for jobs that an earlier session has parked.
            jobs: its jobs, at least one.

        Returns:
            The error of the first job that has no key which can be stored.
        """
        if first < self._seen:
            return None
        self._seen = first + len(jobs)
        if self._sure:
            return None if self.identity.text(jobs[-1]) is not None else self._error(jobs[-1])
        if len(jobs) == 1 and type(jobs[0]) in SAFE and self.identity.job_key is None:
            found = jobs  # it runs none of the user's code, to keep children of which takes two system calls
        else:
            with children_kept_out():
                found = take_keys(jobs, self.identity)
        if found and self._order is not None and self._order.breaks(found) and not self.doubt:
            logger.warning("%s", order_warning(self._name, self.fault))
            if self._resumed:
                self._tell(self.left_out)
        return None if len(found) == len(jobs) else self._error(jobs[len(found)])

    def _error(self, job: Any) -> UsageError:
        try:
            self.identity.check(job)
        except UsageError as exc:
            return exc
        except BaseException as exc:
            why = ": ".join(filter(None, (type(exc).__name__, str(exc))))
            return UsageError(
                f"The key of the job {self.identity.show(job)} cannot be taken: {why}.",
                user_traceback=users_traceback(exc),
            )
        return UsageError(
            f"The key of the job {self.identity.show(job)} could not be taken, and could at the second attempt: "
            "job_key(job) must always give the same key for the same job."
        )


def order_warning(name: str, fault: str) -> str:
    """Say what is wrong with the order of a source's keys, and how to mend it."""
    return (
        f"{name} takes `last`, and does not yield its jobs in the order of their keys: {fault}. A run that is stopped "
        "goes on after one key, so that a resumed run would leave jobs out. Have the jobs sorted by their key, and "
        f"begin after `last`; or let {name} not take `last`: then a resumed run reads it again, up to the key where "
        "it was."
    )


def take_keys(jobs: list[Any], identity: JobIdentity) -> list[Any]:
    """Return the keys of jobs, up to the first job that has none which can be stored."""
    try:
        found = _at_once(jobs, identity)
    except BaseException:  # a job of another kind, or whatever the user's code raises, such as SystemExit
        found = None
    if found is not None:
        return found
    found = []
    for job in jobs:
        try:
            key = identity.key(job)
            keys.encode(key)
        except BaseException:
            break
        found.append(key)
    return found


def _at_once(jobs: list[Any], identity: JobIdentity) -> list[Any] | None:
    """Return the keys of jobs of one kind, which all have one; None if they have to be looked at
    one by one.
    """
    first = jobs[0]
    kind = type(first)
    if kind is Job:
        return _storable(list(map(KEY_OF_JOB, jobs)))
    if kind is PickledJob:
        return None
    if identity.job_key is not None:
        return _by_job_key(jobs, identity.job_key)
    if kind is dict:
        name = next(name for name in KEYS_OF_ROWS if first.get(name) is not None)
        return _storable(list(map(itemgetter(name), jobs)), none=False)
    if kind in SAFE or kind in (tuple, list) or issubclass(kind, PurePath):
        return _storable(jobs)
    # A row of a database has its values by their names in its own way, and is looked at alone.
    name = next(name for name in KEYS_OF_ROWS if not hasattr(kind, "keys") and getattr(first, name, None) is not None)
    return _storable(list(map(attrgetter(name), jobs)), none=False)


def _by_job_key(jobs: list[Any], job_key: Callable[[Any], Any]) -> list[Any] | None:
    """Do the same with a function that gives the key of a job, unless some bring their keys."""
    kinds = set(map(type, jobs))
    if Job in kinds or any(issubclass(kind, ParkedJob) for kind in kinds):
        return None
    found = list(map(job_key, jobs))
    return _storable(found) or _storable(list(map(keys.plain_value, found)))


def _storable(found: list[Any], *, none: bool = True) -> list[Any] | None:
    """Return the keys if their types say that all can be stored."""
    if type(found[0]) is int and type(sum(found)) is int:
        return found  # the sum of ints with a value of any other type is no int, or there is none
    kinds = set(map(type, found))
    if kinds <= SAFE:
        return found if none or type(None) not in kinds else None
    if kinds <= {tuple, list} and set(map(type, chain.from_iterable(found))) <= SAFE:
        return found
    if len(kinds) == 1 and issubclass(next(iter(kinds)), PurePath):
        return list(map(str, found))
    return None
