"""Which failed jobs an operator wants to be run again: a choice that means none is refused.

It is looked at before the request is applied, outside of the master's lock, because the keys of
failed jobs are in the state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from taskmaster import keys
from taskmaster.errors import StateBusy
from taskmaster.master.broker.broker import Broker
from taskmaster.master.records.job_records import FailedJob
from taskmaster.master.tally.failure_kinds import FailureKinds

__all__ = ["FailedChoice"]

MOST_KEYS_COMPARED = 2000  # failed jobs whose keys are compared; nobody waits for more
CHECKPOINT_WAIT_SECONDS = 0.2  # for a checkpoint that is being written
MOST_KINDS_NAMED = 10  # kinds of failure in one refusal


class FailedChoice:
    """An operator's choice of failed jobs that are run again.

    Args:
        broker: Knows how many jobs have failed.
        lock: Guards it, and the kinds.
        kinds: What jobs have failed with.
        failed: Gives failed jobs of the state; see ``Store.failed``.
    """

    def __init__(
        self,
        broker: Broker,
        lock: threading.Lock,
        kinds: FailureKinds,
        failed: Callable[[int, int, str | None, float], Sequence[FailedJob]],
    ) -> None:
        self._broker = broker
        self._lock = lock
        self._kinds = kinds
        self._failed = failed

    def none_meant(self, arguments: Mapping[str, str]) -> str:
        """Return why no failed job is meant by the arguments of ``retry``, as a sentence; "" if one
        is, or if that cannot be known now.
        """
        kind, job = arguments.get("kind"), arguments.get("job")
        with self._lock:
            number, numbers = self._broker.counts().failed, self._kinds.by_class()
        if not number or (kind is None) == (job is None):
            return ""  # what is wrong with that is said where it is applied
        if job is not None:
            return self._no_such_key(job, number)
        if numbers is None or kind in numbers:
            return ""
        import difflib  # only here: a run whose operator is not mistaken does without

        near = difflib.get_close_matches(str(kind), numbers, 1)
        named = ", ".join(f"{name} ({count})" for name, count in list(numbers.items())[:MOST_KINDS_NAMED])
        more = f", and {len(numbers) - MOST_KINDS_NAMED} others" if len(numbers) > MOST_KINDS_NAMED else ""
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"No failed job failed with {kind}.{hint} The failed jobs of this run failed with: {named}{more}."

    def _no_such_key(self, job: str, number: int) -> str:
        try:
            page = self._failed(0, MOST_KEYS_COMPARED, None, CHECKPOINT_WAIT_SECONDS)
        except StateBusy:
            return ""
        if len(page) < number or any(job in keys.spellings(one.key) for one in page):
            return ""  # of those that the state does not have yet, nothing is known
        return (
            f"No failed job has the key {job}: {number} of this run count as failed, which `tm-ctl failures` lists "
            "with their keys."
        )
