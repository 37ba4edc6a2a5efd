"""What a slave holds and has to say of it."""

from __future__ import annotations

import pytest

from taskmaster.model import Failure, WireBatch
from taskmaster.slave.pool.held_batch import HeldBatch
from taskmaster.slave.pool.in_flight import MOST_REPORTED_VALUES, InFlight


def take(in_flight: InFlight, token: str = "t", count: int = 10) -> HeldBatch:
    return in_flight.take(WireBatch(token, count, separate=False, alone=False, avoid=0, blob=b""))


def test_news_are_reported_until_they_are_answered() -> None:
    """The same again if the connection broke."""
    in_flight = InFlight()
    held = take(in_flight)
    in_flight.progress(held, 3)
    first = in_flight.reports()
    in_flight.unanswered()

    assert in_flight.reports() == first
    assert [(report.token, report.upto) for report in first] == [("t", 3)]

    in_flight.answered()

    assert in_flight.reports() == []
    assert not in_flight.news()


def test_progress_during_an_exchange_is_news() -> None:
    """What was not in the report is in the next one."""
    in_flight = InFlight()
    held = take(in_flight)
    in_flight.progress(held, 3)
    in_flight.reports()
    in_flight.progress(held, 4)
    in_flight.answered()

    assert [report.upto for report in in_flight.reports()] == [4]


def test_an_end_during_an_exchange_is_news() -> None:
    """The answer is to a report that did not say it; a batch that was forgotten then would be
    waited for, for ever.
    """
    in_flight = InFlight()
    held = take(in_flight)
    in_flight.progress(held, 3)
    in_flight.reports()
    in_flight.finish(held, 10)
    in_flight.answered()

    assert [(report.upto, report.end) for report in in_flight.reports()] == [(10, "finished")]

    in_flight.answered()

    assert in_flight.settled


def test_a_failure_is_repeated_until_its_job_counts() -> None:
    """It is heard of before the position moves on; the master counts it only then."""
    in_flight = InFlight()
    held = take(in_flight)
    failure = Failure(3, "ValueError", "bad", "")
    held.fail(failure)
    in_flight.progress(held, 3)

    assert in_flight.reports()[0].failures == (failure,)

    in_flight.answered()
    in_flight.progress(held, 4)

    assert in_flight.reports()[0].failures == (failure,)

    in_flight.answered()
    in_flight.progress(held, 5)

    assert in_flight.reports()[0].failures == ()


def test_an_ended_batch_is_forgotten_when_the_master_has_heard_of_it() -> None:
    """Not before."""
    in_flight = InFlight()
    held = take(in_flight)
    in_flight.finish(held, 10)

    assert len(in_flight) == 0
    assert not in_flight.settled
    assert [(report.end, report.upto, report.keep) for report in in_flight.reports()] == [("finished", 10, 10)]

    in_flight.answered()

    assert in_flight.settled
    assert (in_flight.done, in_flight.failed) == (10, 0)


def test_a_batch_that_stopped_early_gives_the_rest_back() -> None:
    """Its report keeps what ran."""
    in_flight = InFlight()
    held = take(in_flight)
    in_flight.finish(held, 4)

    assert [(report.upto, report.keep, report.end) for report in in_flight.reports()] == [(4, 4, "finished")]
    assert in_flight.done == 4


def test_a_crash_names_its_suspects() -> None:
    """Without any, the batch is only given back."""
    in_flight = InFlight()
    in_flight.crash(take(in_flight, "a"), [4], "crashed by SIGKILL")
    in_flight.crash(take(in_flight, "b"), [], "crashed by SIGKILL")

    assert [(report.end, report.suspects) for report in in_flight.reports()] == [("crashed", (4,)), ("dropped", ())]


def test_void_leases_are_not_reported() -> None:
    """What is worked on is named, to be recalled; what has ended is forgotten."""
    in_flight = InFlight()
    running, ended = take(in_flight, "running"), take(in_flight, "ended")
    in_flight.finish(ended, 10)

    assert in_flight.void() == [running]
    assert in_flight.reports() == []
    assert in_flight.tokens == []

    in_flight.finish(running, 10)

    assert in_flight.settled
    assert in_flight.done == 10, "only what was reported, or could have been, counts"


def test_progress_never_goes_back() -> None:
    """Positions are read at odd moments."""
    in_flight = InFlight()
    held = take(in_flight)
    in_flight.progress(held, 5)
    in_flight.progress(held, 2)

    assert held.upto == 5


def test_what_another_master_takes_over_is_reported_to_it() -> None:
    """Its end, or its failure, even one that the former master has heard of; the rest of the batch
    is void.
    """
    in_flight = InFlight()
    held = take(in_flight, "a.1", 3)
    in_flight.progress(held, 1)
    held.runs_long(1)

    assert in_flight.reports()[0].long == (1,)

    in_flight.answered()
    in_flight.ticket("a.1", 1, 7)

    assert in_flight.offers == [("a.1", 1, 7)]

    held.fail(Failure(1, "E", "why", ""))
    in_flight.progress(held, 2)
    in_flight.reports()
    in_flight.answered()
    former = in_flight.tokens
    in_flight.adopt("a.1", 1, "b.1")
    in_flight.void(former)
    (report,) = in_flight.reports()

    assert (report.token, report.upto, report.end) == ("b.1", 1, "finished")
    assert [(failure.index, failure.message) for failure in report.failures] == [(0, "why")]


@pytest.mark.parametrize("timed_out", [False, True])
def test_what_was_taken_over_can_still_crash(timed_out: bool) -> None:
    """And is blamed for it; a second master takes it over from the first."""
    in_flight = InFlight()
    held = take(in_flight, "a.1", 3)
    held.runs_long(0)
    in_flight.ticket("a.1", 0, 7)
    for token in ("b.1", "c.1"):
        former = in_flight.tokens
        (offered,) = in_flight.offers
        in_flight.adopt(offered[0], offered[1], token)
        in_flight.void(former)

        assert in_flight.offers == [(token, 0, 7)]

    in_flight.crash(held, [0], "killed", timed_out=timed_out)
    (report,) = in_flight.reports()

    assert (report.token, report.end) == ("c.1", "timeout" if timed_out else "crashed")
    assert report.suspects == (0,)


def test_what_ended_while_there_was_no_master_counts_with_the_next_one() -> None:
    """A job that was named when it was handed out, in a batch of its own."""
    in_flight = InFlight()
    held = take(in_flight, "a.1", 1)
    in_flight.ticket("a.1", 0, 7)
    in_flight.finish(held, 1)
    former = in_flight.tokens
    in_flight.adopt("a.1", 0, "b.1")

    assert in_flight.void(former) == []
    (report,) = in_flight.reports()
    assert (report.token, report.upto, report.end) == ("b.1", 1, "finished")


@pytest.mark.parametrize(("sent", "end"), [(False, "lost"), (True, "dropped")])
def test_a_loss_of_all_workers_is_not_held_against_a_job_twice(sent: bool, end: str) -> None:
    """The master may have heard of it before the connection broke, and leases the job anew."""
    in_flight = InFlight()
    held = take(in_flight, "a.1", 1)
    in_flight.ticket("a.1", 0, 7)
    in_flight.crash(held, [0], "killed together with the process that forks the workers", beside=2)
    if sent:
        in_flight.reports()
    in_flight.unanswered()
    former = in_flight.tokens
    in_flight.adopt("a.1", 0, "a.2")
    in_flight.void(former)

    assert [(report.token, report.end) for report in in_flight.reports()] == [("a.2", end)]


def test_what_another_master_takes_over_is_counted_once_by_its_slave() -> None:
    """Whether it has ended before or ends later, well or badly: the slave's last line says it."""
    in_flight = InFlight()
    held = [take(in_flight, token, 1) for token in ("a.1", "a.2", "a.3", "a.4")]
    for one in held:
        in_flight.ticket(one.lent.token, 0, 7)

    def end(well: HeldBatch, badly: HeldBatch) -> None:
        badly.fail(Failure(0, "E", "why", ""))
        in_flight.finish(well, 1)
        in_flight.finish(badly, 1)

    end(held[0], held[1])
    for master in "bc":
        former = in_flight.tokens
        for number, token in enumerate(former):
            in_flight.adopt(token, 0, f"{master}.{number}")
        in_flight.void(former)
    end(held[2], held[3])

    assert (in_flight.done, in_flight.failed) == (2, 2)


def test_a_call_of_a_job_that_was_taken_over_can_raise() -> None:
    """Its error is told as one of the call, and not as the death of a worker."""
    in_flight = InFlight()
    held = take(in_flight, "a.1", 1)
    held.together = True
    in_flight.ticket("a.1", 0, 7)
    former = in_flight.tokens
    in_flight.adopt("a.1", 0, "b.1")
    in_flight.void(former)
    in_flight.raised(held, [0], Failure(0, "E", "why", ""))
    (report,) = in_flight.reports()

    assert (report.token, report.end, report.suspects, report.together) == ("b.1", "raised", (0,), True)
    assert [failure.message for failure in report.failures] == ["why"]


def test_what_waits_and_was_taken_over_can_be_given_back() -> None:
    """At once, also by the second master after the one that handed it out: another worker may wait
    for it. When its turn would come here, it ends.
    """
    in_flight = InFlight()
    held = take(in_flight, "a.1", 1)
    in_flight.ticket("a.1", 0, 7)
    for old, new in (("a.1", "b.1"), ("b.1", "c.1")):
        former = in_flight.tokens
        in_flight.adopt(old, 0, new)
        in_flight.void(former)
    heir = in_flight.by_token("c.1")

    assert heir is not None
    assert heir.origin is held

    in_flight.gave_back(held, 0)

    assert in_flight.urgent()
    assert [(report.token, report.keep, report.end) for report in in_flight.reports()] == [("c.1", 0, "")]

    in_flight.answered()
    in_flight.finish(held, 0)

    assert [(report.token, report.upto, report.end) for report in in_flight.reports()] == [("c.1", 0, "dropped")]
    in_flight.answered()
    assert in_flight.settled


def test_a_lease_that_nobody_here_knows_is_given_back() -> None:
    """It would never be reported."""
    in_flight = InFlight()
    in_flight.adopt("a.1", 0, "b.1")
    (report,) = in_flight.reports()

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
    in_flight = InFlight()
    held = take(in_flight, count=1000)
    for _ in range(2):
        for index in range(1000):
            held.runs_long(Counted(index))
    in_flight.progress(held, 0, [Counted(index) for index in range(0, 1000, 2)])
    for index in range(1, 1000):
        held.fail(Failure(Counted(index), "E", "why", ""))

    assert in_flight.reports()[0].long == tuple(range(1000))

    in_flight.answered()

    assert [failure.index for failure in held.failures] == list(range(1, 1000, 2))
    assert Counted.compared < 20_000


def test_a_report_that_is_refused_is_found_and_made_again_with_the_bare_facts() -> None:
    """It would be refused for ever, and the others with it."""
    in_flight = InFlight()
    good, bad = take(in_flight, "good"), take(in_flight, "bad")
    in_flight.finish(good, 10)
    bad.fail(Failure(3, "ValueError", "no", "", "bogus", 7.0, 42))
    in_flight.progress(bad, 4)

    assert len(in_flight.reports()) == 2
    assert in_flight.refused("not a report") is None
    assert [report.token for report in in_flight.reports()] == ["good"]

    in_flight.answered()

    assert [report.token for report in in_flight.reports()] == ["bad"]
    assert in_flight.refused("not a report") is None

    (report,) = in_flight.reports()
    (failure,) = report.failures

    assert (report.upto, failure.index, failure.kind, failure.after) == (4, 3, "error", -1.0)
    assert "did not accept" in failure.message
    assert "(not a report)" in failure.message

    in_flight.answered()

    assert not in_flight.news()
    assert not in_flight.singly


def test_a_report_is_not_suspected_for_what_was_asked_for_beside_it() -> None:
    """The master may have failed to hand out a batch: the same again, alone, is accepted."""
    in_flight = InFlight()
    held = take(in_flight)
    held.fail(Failure(3, "ValueError", "no", "where"))
    in_flight.progress(held, 4)
    first = in_flight.reports()

    assert in_flight.refused("SystemExit") is None
    assert in_flight.singly
    assert in_flight.reports() == first

    in_flight.answered()

    assert in_flight.reports() == []
    assert not in_flight.singly


def test_bare_facts_that_are_refused_cost_the_lease() -> None:
    """Its batch is named, to be given up; so is nothing when nothing was said."""
    in_flight = InFlight()
    assert in_flight.refused("no") == ""

    held = take(in_flight)
    in_flight.finish(held, 10, -1.0)
    refusals = []
    for _ in range(3):
        assert len(in_flight.reports()) == 1
        refusals.append(in_flight.refused("no"))

    assert refusals[:2] == [None, None]

    while refusals[-1] is None:
        in_flight.reports()
        refusals.append(in_flight.refused("no"))
        assert len(refusals) < 6

    assert refusals[-1] == "t"
    assert in_flight.void(["t"]) == []
    assert in_flight.settled


def test_what_is_given_back_is_urgent() -> None:
    """A worker may be waiting for it; progress alone can wait for the next report."""
    in_flight = InFlight()
    held = take(in_flight)
    in_flight.progress(held, 3)

    assert not in_flight.urgent()

    held.keep = 6  # as the pool does when jobs are wanted back

    assert in_flight.urgent()
    assert [report.keep for report in in_flight.reports()] == [6]

    in_flight.answered()

    assert not in_flight.urgent()


def test_the_end_of_a_batch_is_urgent_unless_such_ends_are_gathered() -> None:
    """What did not end as it should is told at once."""
    in_flight = InFlight()
    held = take(in_flight)
    in_flight.finish(held, held.keep)

    assert in_flight.urgent()
    assert not in_flight.urgent(gathers=True)

    in_flight.reports()
    in_flight.answered()

    assert not in_flight.urgent()

    in_flight.drop(take(in_flight))

    assert in_flight.urgent(gathers=True)


def test_many_jobs_that_ended_out_of_turn_are_reported_in_several_exchanges() -> None:
    """Together they would be too much for the master, which would take it for a lost connection,
    again and again.
    """
    in_flight = InFlight()
    batches, jobs = 32, 20_000
    for number in range(batches):
        in_flight.progress(take(in_flight, str(number), jobs), 0, range(1, jobs))
    told: list[str] = []
    while reports := in_flight.reports():
        assert sum(len(report.extra) for report in reports) <= MOST_REPORTED_VALUES + jobs
        told += [report.token for report in reports]
        in_flight.answered()

    assert told == [str(number) for number in range(batches)]
