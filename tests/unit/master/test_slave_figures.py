"""What is known of each slave: counted per report, and of those that have gone."""

from __future__ import annotations

import pytest
from support.master import Master

from taskmaster.job_times import counted
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import Quieted
from taskmaster.master.slave_figures import MOST_GONE, SORTED_BY, Durations, SlaveFigures
from taskmaster.model import PROTOCOL, Answer, Failure, FailureKind, Report, ReportEnd


class Run:
    """A service with jobs, and slaves that say hello as they are named."""

    def __init__(self) -> None:
        self.broker = Broker("i", Limits(retries=0))
        self.broker.intake.add(range(100_000))
        self.broker.batch_limit.note(1.0)
        master = Master(self.broker, clock=lambda: 0.0)
        self.service, self.figures = master.service, master.reports.figures

    def hello(self, name: str) -> None:
        """A slave of two workers."""
        about = {"protocol": PROTOCOL, "session": name, "name": name, "workers": 2, "slots": 2}
        assert self.service.hello({**about, "version": "1.0.0", "python": "3.11.2"})["ok"]

    def batch(self, name: str, jobs: int) -> str:
        """A batch for a slave."""
        (batch,) = Answer.from_wire(self.service.exchange(name, [], (1, jobs, jobs, ""))).batches
        return batch.token

    def row(self, name: str) -> dict:
        """What is said of a slave."""
        return next(row for row in self.figures.named(self.figures.rows()) if row["name"] == name)


def test_jobs_and_time_are_counted_by_slave() -> None:
    """Done and failed, and how long one takes; none runs for long as long as its slave does not say
    so.
    """
    run = Run()
    run.hello("web1:1")
    run.hello("web2:1")
    token = run.batch("web1:1", 10)
    report = Report(
        token, 10, failures=(Failure(3, "KeyError", "x", ""),), keep=10, end=ReportEnd.FINISHED, seconds=0.01
    )
    assert not run.figures.whole.averaged
    run.service.exchange("web1:1", [report.to_wire()], (0, 1, 0, ""))
    assert run.figures.whole.averaged
    run.batch("web2:1", 7)
    one, other = run.row("web1:1"), run.row("web2:1")

    assert (one["done"], one["failed"], one["in_hand"], one["state"]) == (9, 1, 0, "at work")
    assert one["p50"] == pytest.approx(0.001, rel=0.5)
    assert (one["release"], one["python"], one["workers"]) == ("1.0.0", "3.11.2", 2)
    assert (other["done"], other["in_hand"], other["longest"]) == (0, 7, "")


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_slave_whose_workers_have_jobs_of_an_hour_is_busy(ahead: int) -> None:
    """Its jobs have not ended, and count all the same, from when they began; what it has beside
    them does not.
    """
    run = Run()
    run.figures._clock = lambda: 0.0
    run.hello("web1:1")
    for worker in (7, 8):
        token = run.batch("web1:1", 1)
        lease = next(lease for lease in run.broker.leases if lease.token == token)
        run.broker.leases.tick(10.0)
        run.broker.leases.note(lease, Report(token, 0, worker=worker))
        run.broker.leases.tick(0.0)
    for _ in range(ahead):
        run.batch("web1:1", 1)
    run.figures._clock = lambda: 1000.0
    row = run.row("web1:1")

    assert row["busy_share"] == pytest.approx(0.993)
    assert (row["longest"], row["longest_seconds"], row["worker"]) == ("0", 993.0, 7)
    assert run.figures.rows(sort="busy_share")[0][0]["busy_share"] == row["busy_share"]


@pytest.mark.parametrize("sort", [*SORTED_BY, "", "no such column"])
def test_slaves_are_sorted_and_given_in_pages(sort: str) -> None:
    """All of them, each once, whatever the size of a page; those that have gone are among them."""
    run = Run()
    run.figures._clock = lambda: 100.0
    for number in range(7):
        name = f"web{number}:1"
        run.hello(name)
        token = run.batch(name, 5)
        done = Report(token, 5, keep=5, end=ReportEnd.FINISHED, seconds=0.01 * (number * 3 % 7 + 1))
        run.service.exchange(name, [done.to_wire()] if number % 2 else [], (0, 1, 0, ""))
    run.service.bye("web5:1")
    whole = run.figures.rows(sort=sort)
    pages = [row for first in range(0, 9, 3) for row in run.figures.rows(first, 3, sort)]

    assert pages == whole
    assert len(run.figures) == len({row["name"] for row, _ in whole}) == 7
    if sort in SORTED_BY:
        values = [row[sort] or 0 for row, _ in whole]
        assert values == sorted(values, reverse=sort != "name")


def test_a_job_that_was_left_out_has_not_failed() -> None:
    """As the run counts it."""
    run = Run()
    run.hello("web1:1")
    token = run.batch("web1:1", 3)
    skipped = Failure(1, "Skip", "", "", FailureKind.SKIP)
    run.service.exchange(
        "web1:1", [Report(token, 3, failures=(skipped,), keep=3, end=ReportEnd.FINISHED).to_wire()], (0, 1, 0, "")
    )

    assert (run.row("web1:1")["done"], run.row("web1:1")["failed"]) == (2, 0)


def test_the_same_report_twice_counts_once() -> None:
    """Reports are cumulative, and may be repeated."""
    run = Run()
    run.hello("web1:1")
    report = Report(run.batch("web1:1", 10), 4)
    for _ in range(2):
        run.service.exchange("web1:1", [report.to_wire()], (0, 1, 0, ""))

    assert run.row("web1:1")["done"] == 4


def test_a_slave_that_has_gone_is_listed_with_how_it_went() -> None:
    """Said goodbye, or lost; up to a number of them."""
    run = Run()
    run.hello("web1:1")
    run.hello("web2:1")
    run.service.bye("web1:1")
    run.broker.slaves.drop("web2:1")
    run.figures.tick()

    assert run.row("web1:1")["state"] == "said goodbye"
    assert run.row("web2:1")["state"] == "lost"
    for number in range(MOST_GONE + 5):
        run.hello(f"spot:{number}")
        run.service.bye(f"spot:{number}")
    assert len(run.figures.rows()) == MOST_GONE
    assert run.figures.gone_before == 7


def test_a_quiet_slave_says_so() -> None:
    """And one that says hello again goes on counting."""
    run = Run()
    run.hello("web1:1")
    report = Report(run.batch("web1:1", 10), 4)
    run.service.exchange("web1:1", [report.to_wire()], (0, 1, 0, ""))
    run.hello("web1:1")
    run.broker.slaves.silence("web1:1", Quieted("web1:1", ends=True))

    assert run.row("web1:1")["state"] == "quiet"
    assert run.row("web1:1")["done"] == 4


def test_what_a_slave_gives_back_does_not_make_its_job_younger() -> None:
    """A pause, or `quiet`, asks for what has not begun; the one that runs goes on."""
    run = Run()
    run.hello("web1:1")
    token = run.batch("web1:1", 10)
    (lease,) = run.broker.leases
    run.broker.leases.tick(20.0)
    run.broker.leases.note(lease, Report(token, 4, worker=7))
    run.broker.leases.tick(60.0)
    given_back = run.broker.leases.note(lease, Report(token, 4, worker=7, keep=5))

    assert given_back == [5, 6, 7, 8, 9]
    assert lease.moved == 20.0
    run.broker.leases.note(lease, Report(token, 5, worker=7, keep=5))
    assert lease.moved == 60.0


@pytest.mark.parametrize("seconds", [0.0, 1e-12, 1e-6, 0.02, 1.0, 3600.0, 1e12])
def test_a_quantile_is_within_a_factor_of_two(seconds: float) -> None:
    """From nanoseconds to years; nothing is known of nothing."""
    durations = Durations()

    assert durations.quantile(0.5) is None
    durations.add(seconds * 10, 10)
    found = durations.quantile(0.95)
    assert found is not None
    if 1e-6 <= seconds <= 3600.0:
        assert seconds / 2 <= found <= 2 * seconds


def test_a_slow_job_among_many_is_seen_at_its_share() -> None:
    """The median is that of the quick ones."""
    durations = Durations()
    durations.add(0.9, 900)
    durations.add(100.0, 100)

    assert durations.quantile(0.5) == pytest.approx(0.001, rel=0.5)
    assert durations.quantile(0.95) == pytest.approx(1.0, rel=0.5)


def test_a_slave_that_nobody_has_met_has_no_figures() -> None:
    """As in a test that adds slaves itself."""
    broker = Broker("i", Limits())

    assert SlaveFigures(broker, repr).rows() == []


def test_times_of_single_jobs_are_taken_where_a_report_has_them() -> None:
    """The slow one of a batch is seen, and the mean of the batch is nowhere."""
    durations = Durations()
    durations.add_times(counted([0.001] * 9 + [0.9]))

    assert durations.count == 10
    assert durations.seconds == pytest.approx(0.909)
    assert durations.longest == 0.9
    assert durations.quantile(0.5) == pytest.approx(0.001, rel=0.5)
    assert durations.quantile(0.95) == pytest.approx(0.9, rel=0.5)
    assert not durations.averaged
