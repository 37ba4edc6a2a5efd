"""The token bucket, and what the service makes of the throttle; the clock is the test's own."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest
import support.master
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.guards import Guard
from taskmaster.guards.pace import Pace
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.throttle.pacing import Pacing
from taskmaster.master.throttle.throttle import LONGEST_POLL_PAUSE_SECONDS, Throttle, TokenBucket
from taskmaster.model import PROTOCOL, Answer, Report, ReportEnd, Want


@given(
    rate=st.sampled_from([0.01, 0.5, 1.0, 1.5, 7.0, 100.0, 1000.0, 123_456.0]),
    asks=st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(-3, 40_000)), max_size=60),
)
def test_no_stretch_of_time_has_more_than_the_rate_and_one_burst(rate: float, asks: list[tuple[float, int]]) -> None:
    """Whoever asks whenever for however much."""
    bucket, now = TokenBucket(rate), 100.0
    spent: list[tuple[float, int]] = []
    for pause, wanted in asks:
        now += pause
        jobs = min(bucket.available(wanted, now), max(1, wanted))
        bucket.spend(jobs)
        spent.append((now, jobs))
    for first, (begin, _) in enumerate(spent):
        total = 0
        for at, jobs in spent[first:]:
            total += jobs
            assert total <= rate * (at - begin) + max(1.0, rate) + 1e-3


@pytest.mark.parametrize("rate", [0.1, 0.5, 3.0, 100.0, 1000.0])
def test_who_waits_as_long_as_told_gets_the_rate(rate: float) -> None:
    """And gets something each time, never an answer in vain."""
    bucket, jobs, calls = TokenBucket(rate), 0, 0
    now = bucket.wait_seconds(10_000, 0.0)
    while now < 100 / min(1.0, rate):
        ready = bucket.available(10_000, now)
        assert ready
        bucket.spend(ready)
        jobs += ready
        calls += 1
        now += bucket.wait_seconds(10_000, now)

    assert jobs == pytest.approx(rate * now, rel=0.02)
    assert calls <= 11 * now


def test_a_run_does_not_begin_with_a_burst() -> None:
    """One job at once, the others at the rate; what was not handed out for a minute is not made
    good for either.
    """
    bucket = TokenBucket(100.0)

    assert bucket.available(10_000, 50.0) == 0  # one is there, and more are worth waiting for
    assert bucket.wait_seconds(10_000, 50.0) == pytest.approx(0.09)
    assert bucket.available(1, 50.0) == 1
    assert bucket.available(10_000, 110.0) == 100


def test_few_jobs_are_not_held_back_until_they_are_many() -> None:
    """Who wants a single job gets it when there is one."""
    bucket = TokenBucket(1000.0)
    bucket.spend(1)

    assert bucket.wait_seconds(1, 0.0) <= 0.001
    assert bucket.available(1, 0.001) == 1
    assert bucket.available(100, 0.001) == 0


def test_what_comes_back_unused_may_be_handed_out_again() -> None:
    """But no more than a burst is saved up."""
    bucket = TokenBucket(10.0)
    assert bucket.available(5, 10.0) == 1
    bucket.spend(1)
    bucket.spend(-1)
    assert bucket.available(5, 10.0) == 1
    assert bucket.available(5, 20.0) == 10
    bucket.spend(10)
    assert bucket.available(5, 21.0) == 10
    bucket.spend(-10)
    assert bucket.available(5, 21.0) == 10


class Master:
    """A service with a clock of the test's own, and slaves that do their jobs in no time."""

    def __init__(self, throttle: Throttle, slaves: int = 1, jobs: int = 100_000) -> None:
        self.now = 0.0
        self.broker = Broker("i", Limits(lease=1e9))
        self.broker.batch_limit.note(1.0)
        self.broker.intake.add(list(range(jobs)))
        self.service = support.master.Master(self.broker, throttle=throttle, clock=lambda: self.now).service
        for number in range(slaves):
            about = {"protocol": PROTOCOL, "session": f"s{number}", "name": "n", "workers": 2, "slots": 2}
            assert self.service.hello({**about, "python": "3.11.0"})["ok"]

    def exchange(self, slave: int = 0, reports: list[Report] | None = None, jobs: int = 32_768) -> Answer:
        wire = [report.to_wire() for report in reports or []]
        return Answer.from_wire(self.service.exchange(f"s{slave}", wire, tuple(Want(4, jobs, jobs, ""))))

    def run(
        self, slaves: int, seconds: float, late: Callable[[], float] = float, *, ahead: bool = False
    ) -> tuple[list[tuple[float, int]], int]:
        """What was handed out when, and the number of calls, while each slave asks as soon as it is
        told to, or as much later as ``late`` says. With ``ahead``, it asks for another batch as
        soon as it has one.
        """
        due: list[tuple[float, int, list[Report]]] = [(0.0, slave, []) for slave in range(slaves)]
        handed, calls = [], 0
        while due[0][0] < seconds:
            self.now, slave, reports = heapq.heappop(due)
            answer = self.exchange(slave, reports)
            calls += 1
            if answer.batches and ahead:
                calls += 1
                more = self.exchange(slave)
                answer = answer._replace(batches=answer.batches + more.batches)
            handed.append((self.now, sum(lent.count for lent in answer.batches)))
            done = [Report(lent.token, lent.count, keep=lent.count, end=ReportEnd.FINISHED) for lent in answer.batches]
            heapq.heappush(due, (self.now + (0.001 if done else answer.pause) + late(), slave, done))
        return handed, calls


@pytest.mark.parametrize(
    ("slaves", "rate"), [(1, 1000.0), (2, 1000.0), (2, 50.0), (20, 1000.0), (200, 5000.0), (3, 2.0)]
)
def test_the_rate_is_reached_with_few_calls(slaves: int, rate: float) -> None:
    """At least 95 percent of it, in no second much more than it, with a few tens of calls a
    second.
    """
    handed, calls = Master(Throttle(rate), slaves).run(slaves, 10.0)

    total = sum(jobs for _, jobs in handed)
    assert 0.95 * rate * 10 <= total <= rate * 10 + max(1.0, rate)
    for begin, _ in handed:
        assert sum(jobs for at, jobs in handed if begin <= at < begin + 1.0) <= 2 * rate + 1
    assert calls <= 10 * 60 + 200 * 3
    assert max(jobs for _, jobs in handed) <= max(1, rate)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(("slaves", "rate"), [(1, 0.5), (3, 0.5), (3, 0.1), (3, 2.0), (10, 0.5), (3, 10.0), (40, 3.0)])
def test_slaves_as_they_are_get_the_rate(slaves: int, rate: float, ahead: bool) -> None:
    """They ask a little late, so that the job is not quite there for the next one that comes; and
    they ask for what they need next before they have done what they have.
    """
    late = random.Random(13)
    handed, _ = Master(Throttle(rate), slaves).run(slaves, 200 / rate, lambda: late.uniform(0.0, 0.03), ahead=ahead)

    assert 0.9 * 200 <= sum(jobs for _, jobs in handed) <= 200 + max(1.0, rate)


def test_jobs_that_are_handed_out_again_count_too() -> None:
    """What failed puts as much load on the database as the first time."""
    master = Master(Throttle(10.0), jobs=5)
    assert master.exchange(jobs=1).batches
    master.service.bye("s0")  # the slave gives it back

    about = {"protocol": PROTOCOL, "session": "s0", "name": "n", "workers": 2, "slots": 2, "python": "3.11.0"}
    assert master.service.hello(about)["ok"]
    assert master.exchange(jobs=1).batches == ()
    master.now = 0.1
    assert [one.count for one in master.exchange(jobs=1).batches] == [1]


def test_what_a_slave_has_not_begun_costs_nothing() -> None:
    """A batch that one worker gives back for another one is charged once."""
    master = Master(Throttle(10.0))
    master.exchange(jobs=1)
    master.now = 1.0
    (lent,) = master.exchange().batches
    assert lent.count == 10

    again = master.exchange(0, [Report(lent.token, 0, keep=4)])

    assert [one.count for one in again.batches] == [6]


def test_the_rate_says_that_it_is_what_holds_the_run_back() -> None:
    """While it does; a run whose slaves take less than it allows is not held back by it."""
    throttle = Throttle(1000.0)
    master = Master(throttle)
    assert throttle.limiting(master.now) == ""
    assert throttle.allow(Want(1, 1), master.now)
    assert throttle.limiting(master.now) == ""
    master = Master(throttle)
    master.exchange()
    assert throttle.limiting(master.now) == "held at --rate 1000 a second"
    master.now = 1.0
    master.exchange()
    assert master.broker.batch_limit.reason == "--rate 1000 a second"
    assert throttle.limiting(1000.0) == ""


def asked(*answers: Any) -> Throttle:
    """A throttle whose hooks have answered so."""
    throttle = Throttle(hooks=[lambda answer=answer: answer for answer in answers], clock=lambda: 0.0)
    for hook in throttle._hooks:
        hook.ask()
    return throttle


def guarded(value: float) -> Throttle:
    """A throttle whose guard has read a value; its limit is 10."""
    throttle = Throttle(hooks=[Guard(lambda: value, 10, "lag")], clock=lambda: 0.0)
    throttle._hooks[0].ask()
    return throttle


def test_a_guard_near_its_limit_slows_the_run() -> None:
    """Workers rest, batches and ranges are short, and no more are out than may be at once."""
    throttle = guarded(7.5)
    lent: list[float | None] = []
    throttle.watch(lambda: (out, 10), lent.append)
    out = 0

    assert throttle.rest == pytest.approx(1.0)
    small = throttle.allow(Want(4, 1000), 0.0)
    assert small is not None
    assert 100 <= small.jobs <= 300
    assert lent[0] == pytest.approx(0.1, abs=0.01)
    assert throttle.slowing() == "slowed to 50 %: lag is near its limit"
    out = 10  # twice half of the workers
    assert throttle.allow(Want(4, 1000), 0.0) is None
    assert 0 < throttle.poll_pause(Want(4, 1000), 0.0) < 1.0


def test_a_pace_has_ranges_short_before_the_first_is_made() -> None:
    """They are made while the database is measured: the first ones would be as long as ever."""
    lent: list[float | None] = []
    Throttle(pacing=Pacing(Pace("1.5x", lambda: 0.001), lambda: 0.0)).watch(lambda: (0, 2), lent.append)

    assert lent == [0.01]


@pytest.mark.parametrize("value", [0, 5])
def test_a_guard_far_from_its_limit_costs_nothing(value: float) -> None:
    """Nobody rests, and batches are as they are wanted; a function without a number slows
    nothing.
    """
    for throttle in (guarded(value), asked("")):
        throttle.watch(lambda: (1000, 1), lambda _: None)
        assert throttle.rest == 0.0
        assert throttle.allow(Want(4, 1000), 0.0) == Want(4, 1000)
        assert throttle.poll_pause(Want(4, 1000), 0.0) == 0.0
        assert throttle.slowing() == ""


def test_every_hook_has_to_allow_it() -> None:
    """One of them is enough to wait, and all that say so are named."""
    assert asked("", None, False, 0).why(0.0) == ""
    assert asked("", "lag").why(0.0) == "lag"
    assert asked("lag", "", "locks").why(0.0) == "lag; locks"


def test_while_a_hook_says_wait_nothing_is_handed_out_and_reports_are_taken() -> None:
    """The slave is told to ask again in a second; what it holds is not asked back; drain and the
    end are heard of.
    """
    throttle = asked("")
    master = Master(throttle, slaves=2)
    (lent, *_) = master.exchange().batches
    throttle._hooks[0]._answer = "lag"

    answer = master.exchange(0, [Report(lent.token, lent.count, keep=lent.count, end=ReportEnd.FINISHED)])

    assert (answer.state, answer.batches, answer.recalls, answer.stale) == ("run", (), (), ())
    assert answer.pause == pytest.approx(1.0)
    assert master.broker.settlement.settled == lent.count
    assert not master.broker.slaves.unfed
    master.broker.drain()
    assert master.exchange().state == "drain"
    master.service.end()
    assert master.exchange().state == "over"


def test_many_slaves_do_not_all_ask_every_second() -> None:
    """What they ask in vain costs the master little, however many they are."""
    master = Master(asked("lag"), slaves=2000)
    pauses = [master.exchange(number).pause for number in range(2000)]

    assert pauses[0] == pytest.approx(1.0)
    assert all(sum(begin <= pause < begin + 1.0 for pause in pauses) <= 126 for begin in (1.0, 2.5, 5.5))
    assert max(pauses) == pytest.approx(LONGEST_POLL_PAUSE_SECONDS)


def test_a_run_with_nothing_left_is_over_although_it_is_throttled() -> None:
    """There is nothing to hand out that it could wait for."""
    throttle = asked("")
    master = Master(throttle, jobs=1)
    (lent,) = master.exchange().batches
    throttle._hooks[0]._answer = "lag"
    master.broker.intake.exhaust()
    assert not master.broker.over

    master.exchange(0, [Report(lent.token, 1, keep=1, end=ReportEnd.FINISHED)])

    assert master.broker.over


def test_another_rate_begins_without_what_the_former_one_had_saved() -> None:
    """Nor is anything saved up of what comes back that was handed out at the former one."""
    throttle = Throttle(1000.0, clock=lambda: 0.0)
    assert throttle.allow(Want(1, 10_000), 0.0) is None
    assert throttle.allow(Want(1, 10_000), 10.0) == Want(1, 1000, 0, "--rate 1000 a second")
    throttle.spend(500)
    throttle.set_rate(10.0, "10/s, set by anna")
    throttle.spend(-400)

    first = throttle.allow(Want(1, 100), 10.0)
    assert first == Want(1, 1, 0, "10/s, set by anna")
    assert throttle.limiting(10.0) == "held at 10/s, set by anna"
    throttle.spend(1)
    throttle.spend(-1)
    assert throttle.allow(Want(1, 100), 10.0) == first
    throttle.set_rate(None, "")
    assert throttle.allow(Want(1, 100), 10.0) == Want(1, 100)
    assert throttle.limiting(10.0) == ""


def test_a_rate_that_is_taken_away_while_it_is_asked_for_is_still_an_answer() -> None:
    """The status asks without the lock."""

    class Changing(Throttle):
        """Its bucket is gone when it is looked at for the second time."""

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name == "_bucket":
                self._bucket = None
            return found

    assert Changing(5.0).rate == 5.0
