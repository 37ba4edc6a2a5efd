"""What the service makes of reports."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from support.master import Master

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.failure_budget import ALIKE_ATTEMPTS
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import Quieted
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.service import Service
from taskmaster.model import PROTOCOL, Answer, AnswerState, Failure, FailureKind, Report, ReportEnd, WireBatch
from taskmaster.slave.pool.in_flight import InFlight

SLAVE = {"protocol": PROTOCOL, "session": "s", "name": "s", "workers": 1, "slots": 1}


def service_of(jobs: list, **limits: float) -> tuple[Service, Broker]:
    """A service whose jobs have all been read, with one slave."""
    broker = Broker("i", Limits(**limits))  # type: ignore[arg-type]
    broker.intake.add(jobs)
    broker.batch_limit.note(1.0)
    broker.intake.exhaust()
    service = Master(broker, clock=lambda: 0.0).service
    service.hello(SLAVE)
    return service, broker


def lent_by(service: Service, count: int) -> WireBatch:
    """A batch of at most so many jobs."""
    return Answer.from_wire(service.exchange("s", [], (1, count, count, ""))).batches[0]


def test_a_bad_end_is_remembered_with_its_slave() -> None:
    """It is kept as text that a terminal can show; what an unknown session says is not kept."""
    service, _ = service_of([])
    service.bye("another", "nothing was lost here")
    for said in ("", 7, None, "teardown()\x1b[2J raised\nOSError" + 999 * "x"):
        service.hello(SLAVE)
        service.bye("s", said)

    (found,) = service.bad_ends
    assert found.startswith("s: teardown()?[2J raised OSErrorxxx")
    assert len(found) == 303


def test_a_bad_end_of_a_slave_that_counts_as_lost_is_remembered() -> None:
    """Its workers took longer to end than a slave may be silent."""
    broker = Broker("i", Limits())
    master = Master(broker, clock=lambda: 0.0)
    master.service.hello(SLAVE)
    broker.slaves.drop("s")
    master.reports.figures.tick()
    for _ in range(2):
        master.service.bye("s", "the disk was full.")
    master.service.bye([], "the disk was full.")

    assert master.service.bad_ends == ["s: the disk was full"]


def test_slaves_that_have_not_said_goodbye_are_known_by_name() -> None:
    """Of those that were there when the run was over."""
    service, _ = service_of([])
    for name in ("a", "b", "c"):
        service.hello({**SLAVE, "session": name, "name": f"{name}:1"})
    service.bye("a")
    assert service.unheard == {}
    service.end()
    service.bye("s")
    service.bye("b", "the disk was full")

    assert service.unheard == {"c": "c:1"}


def test_abort_is_heard_although_another_job_could_not_be_unpickled() -> None:
    """The failure of the call is that of its first job, not the first of the batch."""
    service, broker = service_of(["bad", "a", "b"])
    in_flight = InFlight()
    held = in_flight.take(lent_by(service, 3))
    held.together = True
    held.fail(Failure(0, "UnpicklingError", "cannot be unpickled", ""))
    in_flight.raised(held, (1, 2), Failure(1, "Abort", "the token has expired", "", FailureKind.ABORT))
    service.exchange("s", [report.to_wire() for report in in_flight.reports()], (0, 1, 0, ""))

    assert broker.settlement.stop == "the callback raised Abort: the token has expired"


def test_who_asks_for_a_retry_does_not_stop_the_run() -> None:
    """A rate limit at the very beginning looks like a cause that makes all jobs fail, and is
    none.
    """
    for kind, stops in ((FailureKind.RETRY, False), (FailureKind.ERROR, True)):
        service, broker = service_of(list(range(2 * ALIKE_ATTEMPTS)))
        in_flight = InFlight()
        held = in_flight.take(lent_by(service, ALIKE_ATTEMPTS))
        for index in range(held.lent.count):
            held.fail(Failure(index, "Retry", "slow down", "", kind, 1.0))
        in_flight.finish(held, held.lent.count)
        service.exchange("s", [report.to_wire() for report in in_flight.reports()], (0, 1, 0, ""))

        assert held.lent.count == ALIKE_ATTEMPTS
        assert bool(broker.settlement.stop) is stops


def test_a_slave_that_an_operator_ends_is_not_told_that_the_run_is_over() -> None:
    """An engine's fleet would take that for the end of all its slaves."""
    service, broker = service_of([])
    broker.slaves.silence("s", Quieted("s", ends=True))
    assert Answer.from_wire(service.exchange("s", [], (1, 1, 0, ""))).state is AnswerState.LEAVE
    service.end()
    assert Answer.from_wire(service.exchange("s", [], (1, 1, 0, ""))).state is AnswerState.OVER


@pytest.mark.parametrize("seconds", [1e9, 1e308, math.inf, math.nan, -1.0])
def test_a_report_took_a_time_that_there_is(seconds: float) -> None:
    """The sum of two others would be no number, and a history with it in a state is refused."""
    with pytest.raises(ValueError, match="took no time that there is"):
        Report.from_wire(Report("t", 1, seconds=seconds).to_wire())


def test_a_key_that_takes_long_while_a_report_is_taken_loses_no_slave() -> None:
    """It is the user's code, in the thread that hears the slaves: their silence is ours."""
    now = [0.0]

    def job_key(job: int) -> int:
        for _ in range(70 if reporting else 0):
            now[0] += 1.0
            broker.tick(now[0])
        return job

    reporting = False
    broker = Broker("i", Limits(lease=60.0))
    broker.intake.add(range(3))
    broker.intake.exhaust()
    service = Master(broker, JobIdentity(job_key), clock=lambda: now[0]).service
    service.hello(SLAVE)
    lent = lent_by(service, 3)
    reporting = True
    report = Report(lent.token, lent.count, keep=lent.count, end=ReportEnd.FINISHED)
    service.exchange("s", [report.to_wire()], (0, 1, 0, ""))

    assert broker.slaves.get("s") is not None
    assert broker.settlement.done == lent.count


def test_each_slave_that_is_not_let_in_is_remembered_with_what_it_was_told() -> None:
    """Also one of another release, which was forgotten, so that `why` asked for a slave; nothing of
    its name moves a cursor.
    """
    service, _ = service_of([1])
    for info, name in (
        ({**SLAVE, "protocol": PROTOCOL - 1, "version": "0.9.9", "name": "web3:8\x1b[2J"}, "web3:8?[2J: It runs"),
        ({**SLAVE, "workers": "many", "name": "web4:9"}, "web4:9: The slave's hello lacks"),
        ("no slave", "It runs"),
    ):
        before = service.refusals
        answer = service.hello(info)  # type: ignore[arg-type]

        assert not answer["ok"]
        assert service.refused.startswith(name)
        assert not service.refused.endswith(".")
        assert service.refusals == before + 1


def test_a_peer_that_says_bad_ends_without_end_does_not_fill_the_state() -> None:
    """Each is a row of the trail: a hundred are enough to know that something is wrong. But one
    that comes after somebody has said that nothing is lost is news.
    """
    noted: list[str] = []

    trail = SimpleNamespace(bad_end=None)

    def note(_command: str, reason: str, _after: str) -> None:
        noted.append(reason)
        trail.bad_end = reason

    service, _ = service_of([])
    service._steers = SimpleNamespace(note=note, steering=SimpleNamespace(trail=trail))  # type: ignore[assignment]
    for number in range(500):
        service.hello(SLAVE)
        service.bye("s", f"teardown() raised {number}")

    assert len(noted) == len(service.bad_ends) == 100
    assert noted[0] == "s: teardown() raised 0"
    assert service.bad_ends[-1] == "s: teardown() raised 499"

    trail.bad_end = None  # as after ``tm-ctl note --fine``
    for number in range(500, 600):
        service.hello(SLAVE)
        service.bye("s", f"teardown() raised {number}")

    assert noted[100:] == ["s: teardown() raised 500"]
