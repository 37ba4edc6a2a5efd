"""What a slave holds and has to say of it."""

from __future__ import annotations

import pytest

from taskmaster.model import Failure, Lent
from taskmaster.slave.in_flight import Desk, Held


def take(desk: Desk, token: str = "t", count: int = 10) -> Held:
    return desk.take(Lent(token, count, separate=False, alone=False, avoid=0, blob=b""))


def test_news_are_reported_until_they_are_answered() -> None:
    """The same again if the connection broke."""
    desk = Desk()
    held = take(desk)
    desk.progress(held, 3)
    first = desk.reports()
    desk.unanswered()

    assert desk.reports() == first
    assert [(report.token, report.upto) for report in first] == [("t", 3)]

    desk.answered()

    assert desk.reports() == []
    assert not desk.news()


def test_progress_during_an_exchange_is_news() -> None:
    """What was not in the report is in the next one."""
    desk = Desk()
    held = take(desk)
    desk.progress(held, 3)
    desk.reports()
    desk.progress(held, 4)
    desk.answered()

    assert [report.upto for report in desk.reports()] == [4]


def test_an_end_during_an_exchange_is_news() -> None:
    """The answer is to a report that did not say it; a batch that was forgotten then would be
    waited for, for ever.
    """
    desk = Desk()
    held = take(desk)
    desk.progress(held, 3)
    desk.reports()
    desk.finish(held, 10)
    desk.answered()

    assert [(report.upto, report.end) for report in desk.reports()] == [(10, "finished")]

    desk.answered()

    assert desk.settled


def test_a_failure_is_repeated_until_its_job_counts() -> None:
    """It is heard of before the position moves on; the master counts it only then."""
    desk = Desk()
    held = take(desk)
    failure = Failure(3, "ValueError", "bad", "")
    desk.fail(held, failure)
    desk.progress(held, 3)

    assert desk.reports()[0].failures == (failure,)

    desk.answered()
    desk.progress(held, 4)

    assert desk.reports()[0].failures == (failure,)

    desk.answered()
    desk.progress(held, 5)

    assert desk.reports()[0].failures == ()


def test_an_ended_batch_is_forgotten_when_the_master_has_heard_of_it() -> None:
    """Not before."""
    desk = Desk()
    held = take(desk)
    desk.finish(held, 10)

    assert len(desk) == 0
    assert not desk.settled
    assert [(report.end, report.upto, report.keep) for report in desk.reports()] == [("finished", 10, 10)]

    desk.answered()

    assert desk.settled
    assert (desk.done, desk.failed) == (10, 0)


def test_a_batch_that_stopped_early_gives_the_rest_back() -> None:
    """Its report keeps what ran."""
    desk = Desk()
    held = take(desk)
    desk.finish(held, 4)

    assert [(report.upto, report.keep, report.end) for report in desk.reports()] == [(4, 4, "finished")]
    assert desk.done == 4


def test_a_crash_names_its_suspects() -> None:
    """Without any, the batch is only given back."""
    desk = Desk()
    desk.crash(take(desk, "a"), [4], "crashed by SIGKILL")
    desk.crash(take(desk, "b"), [], "crashed by SIGKILL")

    assert [(report.end, report.suspects) for report in desk.reports()] == [("crashed", (4,)), ("dropped", ())]


def test_void_leases_are_not_reported() -> None:
    """What is worked on is named, to be recalled; what has ended is forgotten."""
    desk = Desk()
    running, ended = take(desk, "running"), take(desk, "ended")
    desk.finish(ended, 10)

    assert desk.void() == [running]
    assert desk.reports() == []
    assert desk.tokens == []

    desk.finish(running, 10)

    assert desk.settled
    assert desk.done == 10, "only what was reported, or could have been, counts"


def test_progress_never_goes_back() -> None:
    """Positions are read at odd moments."""
    desk = Desk()
    held = take(desk)
    desk.progress(held, 5)
    desk.progress(held, 2)

    assert held.upto == 5


def test_what_another_master_takes_over_is_reported_to_it() -> None:
    """Its end, or its failure, even one that the former master has heard of; the rest of the batch
    is void.
    """
    desk = Desk()
    held = take(desk, "a.1", 3)
    desk.progress(held, 1)
    desk.runs_long(held, 1)

    assert desk.reports()[0].long == (1,)

    desk.answered()
    desk.ticket("a.1", 1, 7)

    assert desk.offers == [("a.1", 1, 7)]

    desk.fail(held, Failure(1, "E", "why", ""))
    desk.progress(held, 2)
    desk.reports()
    desk.answered()
    former = desk.tokens
    desk.adopt("a.1", 1, "b.1")
    desk.void(former)
    (report,) = desk.reports()

    assert (report.token, report.upto, report.end) == ("b.1", 1, "finished")
    assert [(failure.index, failure.message) for failure in report.failures] == [(0, "why")]


@pytest.mark.parametrize("timed_out", [False, True])
def test_what_was_taken_over_can_still_crash(timed_out: bool) -> None:
    """And is blamed for it; a second master takes it over from the first."""
    desk = Desk()
    held = take(desk, "a.1", 3)
    desk.runs_long(held, 0)
    desk.ticket("a.1", 0, 7)
    for token in ("b.1", "c.1"):
        former = desk.tokens
        (offered,) = desk.offers
        desk.adopt(offered[0], offered[1], token)
        desk.void(former)

        assert desk.offers == [(token, 0, 7)]

    desk.crash(held, [0], "killed", timed_out=timed_out)
    (report,) = desk.reports()

    assert (report.token, report.end) == ("c.1", "timeout" if timed_out else "crashed")
    assert report.suspects == (0,)


def test_a_lease_that_nobody_here_knows_is_given_back() -> None:
    """It would never be reported."""
    desk = Desk()
    desk.adopt("a.1", 0, "b.1")
    (report,) = desk.reports()

    assert (report.token, report.end) == ("b.1", "dropped")


class Counted(int):
    """An index that counts how often one is compared with another."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return int(self) == other

    __hash__ = int.__hash__


def test_many_jobs_at_once_cost_no_more_than_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of coroutines that run for long are looked at several times a second."""
    monkeypatch.setattr(Counted, "compared", 0)
    desk = Desk()
    held = take(desk, count=1000)
    for _ in range(2):
        for index in range(1000):
            desk.runs_long(held, Counted(index))
    desk.progress(held, 0, [Counted(index) for index in range(0, 1000, 2)])
    for index in range(1, 1000):
        desk.fail(held, Failure(Counted(index), "E", "why", ""))

    assert desk.reports()[0].long == tuple(range(1000))

    desk.answered()

    assert [failure.index for failure in held.failures] == list(range(1, 1000, 2))
    assert Counted.compared < 20_000


def test_a_report_that_is_refused_is_found_and_made_again_with_the_bare_facts() -> None:
    """It would be refused for ever, and the others with it."""
    desk = Desk()
    good, bad = take(desk, "good"), take(desk, "bad")
    desk.finish(good, 10)
    desk.fail(bad, Failure(3, "ValueError", "no", "", "bogus", 7.0, 42))
    desk.progress(bad, 4)

    assert len(desk.reports()) == 2
    assert desk.refused("not a report") is None
    assert [report.token for report in desk.reports()] == ["good"]

    desk.answered()

    assert [report.token for report in desk.reports()] == ["bad"]
    assert desk.refused("not a report") is None

    (report,) = desk.reports()
    (failure,) = report.failures

    assert (report.upto, failure.index, failure.kind, failure.after) == (4, 3, "error", -1.0)
    assert "did not accept" in failure.message
    assert "(not a report)" in failure.message

    desk.answered()

    assert not desk.news()
    assert not desk.singly


def test_a_report_is_not_suspected_for_what_was_asked_for_beside_it() -> None:
    """The master may have failed to hand out a batch: the same again, alone, is accepted."""
    desk = Desk()
    held = take(desk)
    desk.fail(held, Failure(3, "ValueError", "no", "where"))
    desk.progress(held, 4)
    first = desk.reports()

    assert desk.refused("SystemExit") is None
    assert desk.singly
    assert desk.reports() == first

    desk.answered()

    assert desk.reports() == []
    assert not desk.singly


def test_bare_facts_that_are_refused_cost_the_lease() -> None:
    """Its batch is named, to be given up; so is nothing when nothing was said."""
    desk = Desk()
    assert desk.refused("no") == ""

    held = take(desk)
    desk.finish(held, 10, -1.0)
    refusals = []
    for _ in range(3):
        assert len(desk.reports()) == 1
        refusals.append(desk.refused("no"))

    assert refusals[:2] == [None, None]

    while refusals[-1] is None:
        desk.reports()
        refusals.append(desk.refused("no"))
        assert len(refusals) < 6

    assert refusals[-1] == "t"
    assert desk.void(["t"]) == []
    assert desk.settled


def test_what_is_given_back_is_urgent() -> None:
    """A worker may be waiting for it; progress alone can wait for the next report."""
    desk = Desk()
    held = take(desk)
    desk.progress(held, 3)

    assert not desk.urgent()

    held.keep = 6  # as the pool does when jobs are wanted back

    assert desk.urgent()
    assert [report.keep for report in desk.reports()] == [6]

    desk.answered()

    assert not desk.urgent()
