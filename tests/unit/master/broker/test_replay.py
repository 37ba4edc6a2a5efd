"""Failed jobs that are run again beside others: which, how often, and what they count as."""

from __future__ import annotations

import pytest
from support.master import settle

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.replay import Selection
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.records.job_records import Attempt, FailedJob, ParkedJob
from taskmaster.master.records.run_record import RunRecord
from taskmaster.model import Failure, FailureKind, Report, ReportEnd, Want


def failed(number: int, kind: str = "KeyError", payload: bytes | None = b"p") -> FailedJob:
    return FailedJob(number, str(number), str(number), payload, (Attempt(0.0, "s", kind, "bad", ""),))


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ({"key": "7"}, "no failed job has the key 7"),
        ({"kind": "ValueError"}, "no failed job failed with ValueError"),
        ({"key": "7", "kind": "ValueError"}, "no failed job that failed with ValueError has the key 7"),
        ({"key": "2"}, "1 of the failed jobs cannot be run again: they could not be pickled"),
        ({"key": "1"}, ""),
        ({}, "1 of the failed jobs cannot be run again: they could not be pickled"),
    ],
)
def test_what_comes_to_nothing_says_so(which: dict[str, str], said: str) -> None:
    """An order that no job, or not every job, could follow."""
    selection = Selection(2, **which)  # type: ignore[arg-type]
    page = [one for one in (failed(1), failed(2, payload=None)) if which.get("kind") in (None, "KeyError")]
    selection.chosen(page)

    assert selection.came_to_nothing() == said


class Run:
    """A broker whose run has five failed jobs, with one slave."""

    def __init__(self, jobs: int = 3, parked: int = 0, **limits: float) -> None:
        left = [ParkedJob(n, str(n), b"x", b"f" * 16) for n in range(parked)]
        record = RunRecord("run", resumed=True, mark="0", settled=10, failures=5, next_failed=6, parked=left)
        self.broker = Broker("i", Limits(**{"retries": 0} | limits), record)
        self.broker.intake.add(range(100, 100 + jobs))
        self.broker.intake.exhaust()
        self.broker.batch_limit.note(1.0)
        self.slave = ConnectedSlave("s", "s", 8, 8, 0.0)
        self.broker.enter(self.slave, ())

    def ask(self, **which: str) -> Selection:
        """Somebody wants failed jobs again."""
        selection = Selection(5, **which)
        self.broker.replay.ask(selection)
        return selection

    def bring(self, selection: Selection, page: list[FailedJob]) -> None:
        """What the store gives is brought."""
        chosen = selection.chosen(page)
        self.broker.add_failed(chosen, last=not page or selection.left <= 0)

    def end(self, *, well: bool = True, kind: FailureKind = FailureKind.ERROR) -> object:
        """The next job is handed out, and ends; gives it."""
        lease = self.broker.take(self.slave, Want(1, 1))
        assert lease is not None
        failures = () if well else (Failure(0, "KeyError", "bad", "", kind),)
        assert settle(self.broker, lease, Report(lease.token, 1, failures=failures, keep=1, end=ReportEnd.FINISHED))
        return lease.batch.jobs[0]

    def crash(self) -> None:
        """The worker that the next job is handed out to dies."""
        lease = self.broker.take(self.slave, Want(1, 1))
        assert lease is not None
        report = Report(lease.token, 0, keep=1, end=ReportEnd.CRASHED, suspects=(0,), detail="signal 9")
        assert settle(self.broker, lease, report)


def test_failed_jobs_go_out_before_anything_new_and_count_as_mended() -> None:
    """The run is not over before all of them have come and ended."""
    run = Run(jobs=1)
    selection = run.ask()
    run.bring(selection, [failed(1), failed(2)])

    assert [getattr(run.end(), "id", None) for _ in range(2)] == [1, 2]
    counts = run.broker.counts()
    assert (counts.settled, counts.failed) == (10, 3)
    assert run.broker.replay.cleared == [1, 2]
    assert run.end() == 100
    assert not run.broker.finished
    run.bring(selection, [])
    assert run.broker.finished
    assert run.broker.counts().settled == 11


def test_one_that_fails_again_stays_failed_and_is_charged_once() -> None:
    """It keeps its id; the budget does not count it a second time."""
    run = Run(max_failures=0)
    run.bring(run.ask(), [failed(1)])
    run.end(well=False)

    assert run.broker.counts().failed == 5
    assert run.broker.replay.cleared == []
    assert run.broker.settlement.failures == 0
    assert run.broker.settlement.stop == ""
    assert len(run.broker.settlement.failed.all()) == 1


def test_what_is_run_again_already_is_not_run_twice() -> None:
    """Neither while it runs, nor before the store has heard that it went well."""
    run = Run()
    first, second = run.ask(), run.ask()
    run.bring(first, [failed(n) for n in (1, 2, 3, 4, 5)])

    assert run.broker.redelivery.jobs == 5
    run.end()
    run.bring(second, [failed(n) for n in (1, 2, 3, 4, 5)])
    assert run.broker.redelivery.jobs == 4
    assert not run.broker.replay.asked


def test_only_those_are_chosen_that_were_asked_for() -> None:
    """By key, as it is shown; those without a payload cannot be run again."""
    selection = Selection(5, key="2")

    assert selection.chosen([failed(1), failed(2), failed(3, payload=None)]) == [failed(2)]
    assert (selection.left, selection.after) == (2, 3)
    assert Selection(5).chosen([failed(3, payload=None)]) == []


def test_jobs_that_fail_meanwhile_are_not_run_again_without_end() -> None:
    """No more are looked at than had failed when it was asked for."""
    run = Run()
    selection = run.ask()
    run.bring(selection, [failed(n) for n in (1, 2, 3)])
    run.bring(selection, [failed(n) for n in (4, 99)])

    assert not run.broker.replay.wants_more


def test_positions_are_not_those_of_parked_jobs() -> None:
    """Which an earlier session has left, below 0, too."""
    run = Run(parked=3)
    run.bring(run.ask(), [failed(1), failed(2)])
    ended = [run.end() for _ in range(5)]

    assert sorted(getattr(job, "id", -1) for job in ended) == [0, 1, 1, 2, 2]
    assert run.broker.parking.to_forget == [0, 1, 2]
    assert run.broker.replay.cleared == [1, 2]


def test_a_page_is_as_large_as_there_is_room() -> None:
    """At most --size of them wait at a time; nothing is brought where nobody asks."""
    run = Run(size=10)

    assert run.broker.replay_room() == 0
    selection = run.ask()
    assert run.broker.replay_room() == 10
    run.bring(selection, [failed(n) for n in (1, 2, 3, 4)])
    assert run.broker.replay_room() == 6


@pytest.mark.parametrize("retries", [0, 1, 3])
@pytest.mark.parametrize("kind", [FailureKind.ERROR, FailureKind.FINAL, FailureKind.TIMEOUT])
def test_one_that_fails_again_stays_failed_where_the_source_splits_jobs(retries: int, kind: FailureKind) -> None:
    """It was as small as can be when it failed first; a job that was asked to be split would count
    as mended, without ever having gone well.
    """
    run = Run(jobs=0, retries=retries, crashes=1 + retries, backoff=0.0)
    run.broker.intake.plan(parks=True, splits=True)
    run.bring(run.ask(), [failed(1)])
    run.broker.replay.asked.clear()
    for attempt in range(1 + retries):
        run.broker.tick(float(attempt))
        if len(run.broker.replay) and kind is FailureKind.TIMEOUT:
            run.crash()
        elif len(run.broker.replay):
            run.end(well=False, kind=kind)

    assert run.broker.intake.write_ahead.next_split() is None
    assert run.broker.replay.cleared == []
    assert len(run.broker.replay) == 0
    assert run.broker.counts().failed == 5
    assert [job.id for job in run.broker.settlement.failed.all()] == [1]
