"""Which failed jobs a request means: one that means none is refused, and says which there are."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from taskmaster import keys
from taskmaster.errors import StateBusy
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.failed_choice import FailedChoice
from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.master.tally.failure_kinds import MOST_KINDS_COUNTED, FailureKinds


def failed(number: int, kind: str) -> FailedJob:
    """A job that failed with a class."""
    return FailedJob(number, keys.encode(f"post-{number}"), "", None, (Attempt(5.0, "web1:1", kind, "no", ""),))


def choice(jobs: Sequence[FailedJob], stored: Sequence[FailedJob] | None = None, *, busy: bool = False) -> FailedChoice:
    """What is known where these have failed, and the state has ``stored`` of them."""
    broker, kinds = Broker("i", Limits()), FailureKinds()
    broker.settlement.failures = len(jobs)
    for job in jobs:
        kinds.add(job)

    def page(after: int, most: int, kind: str | None, wait: float) -> Sequence[FailedJob]:
        assert (after, kind) == (0, None)
        assert 0 <= wait < 1
        if busy:
            raise StateBusy("a checkpoint is being written")
        return list(jobs if stored is None else stored)[:most]

    return FailedChoice(broker, threading.Lock(), kinds, page)


JOBS = [failed(1, "KeyError"), failed(2, "ValueError"), failed(3, "ValueError")]


def test_a_class_that_no_job_failed_with_is_refused_with_those_that_there_are() -> None:
    """The most frequent first, each with its number; and the nearest of them is asked for."""
    said = choice(JOBS).none_meant({"kind": "ValueErrors"})

    assert said == (
        "No failed job failed with ValueErrors. Did you mean ValueError? "
        "The failed jobs of this run failed with: ValueError (2), KeyError (1)."
    )
    assert "Did you mean" not in choice(JOBS).none_meant({"kind": "Nope"})
    assert choice(JOBS).none_meant({"kind": "KeyError"}) == ""


def test_a_key_that_no_failed_job_has_is_refused() -> None:
    """However one spells it; the command that lists the keys is named."""
    for given in ("post-2", "'post-2'", keys.encode("post-2")):
        assert choice(JOBS).none_meant({"job": given}) == ""
    said = choice(JOBS).none_meant({"job": "post-9"})
    assert said.startswith("No failed job has the key post-9: 3 of this run count as failed")
    assert "tm-ctl failures" in said


def test_what_cannot_be_known_now_is_not_refused() -> None:
    """Jobs that no checkpoint has yet, a state that is busy, kinds that are not told apart; and
    what is wrong with the request itself is said elsewhere.
    """
    assert choice(JOBS, JOBS[:2]).none_meant({"job": "post-9"}) == ""
    assert choice(JOBS, busy=True).none_meant({"job": "post-9"}) == ""
    many = [failed(number, f"Kind{number}") for number in range(MOST_KINDS_COUNTED + 1)]
    assert choice(many).none_meant({"kind": "Nope"}) == ""
    assert choice([]).none_meant({"kind": "Nope"}) == ""
    assert choice(JOBS).none_meant({"all": "yes"}) == ""
    assert choice(JOBS).none_meant({"kind": "Nope", "job": "post-9"}) == ""
