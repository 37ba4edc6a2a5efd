"""A peer with the key that says what no slave says: whatever it puts into a message, the honest
slave's jobs are done once each, and nothing counts that was not run.
"""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.master import Master

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.service import Service
from taskmaster.model import PROTOCOL, Answer, AnswerState, Failure, FailureKind, Report, ReportEnd
from taskmaster.slave.pool.in_flight import InFlight
from taskmaster.transport.plain import plain_dumps, plain_loads

JOBS = 40
HELLO = {
    "protocol": PROTOCOL, "version": "1", "session": "hostile", "name": "h:1", "workers": 2, "slots": 2, "held": [],
    "run": "r", "offers": [("t", 0, 1)], "python": "3.11", "code": "c", "callback": "m", "place": "/m.py",
    "target": "m.py",
}  # fmt: skip
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([2**31, -(2**63), 2**64, 2**2000, 32_767, 32_768, 32_769])
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["\x1b[2J", "\ud800", "\u202e", "i.1", "i.2", "finished", "crashed", "s" * 70, "9" * 5000])
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=6,
)
INDEX = st.integers(0, 4)


def service_of() -> tuple[Service, Broker]:
    broker = Broker("i", Limits(retries=0))
    broker.intake.add(range(JOBS))
    broker.batch_limit.note(1.0)
    broker.intake.exhaust()
    service = Master(broker, clock=lambda: 0.0).service
    service.hello({**HELLO, "session": "honest", "name": "good:1"})
    return service, broker


def said(service: Service, method: str, *arguments: Any) -> Any:
    """What the service answers to what has come over the wire; None where it refuses that."""
    try:
        return getattr(service, method)(*plain_loads(plain_dumps(arguments)))
    except ValueError:
        return None


def finish(service: Service, broker: Broker) -> None:
    """Have the honest slave do all that there is to do; the hostile one goes first."""
    service.bye("hostile")
    in_flight = InFlight()
    for _ in range(4 * JOBS):
        reports = [report.to_wire() for report in in_flight.reports()]
        answer = Answer.from_wire(service.exchange("honest", reports, (2, 10, 0, "")))
        assert answer.state is AnswerState.RUN
        in_flight.answered()
        if not answer.batches and not len(in_flight):
            break
        for lent in answer.batches:
            in_flight.finish(in_flight.take(lent), lent.count)


@st.composite
def changed(draw: st.DrawFn, fields: tuple[Any, ...]) -> tuple[Any, ...]:
    """Draw a message of which one or two fields are others."""
    found = list(fields)
    for at in draw(st.lists(st.integers(0, len(fields) - 1), min_size=1, max_size=2)):
        found[at] = draw(ODD)
    return tuple(found) if draw(st.integers(0, 9)) else (*found[: draw(st.integers(0, len(found)))], draw(ODD))


@given(st.dictionaries(st.sampled_from(sorted(HELLO)), ODD, min_size=1, max_size=3), st.booleans())
def test_a_hello_with_anything_in_it(odd: dict[str, Any], again: bool) -> None:
    """It is let in or told why not; the honest slave does all jobs."""
    service, broker = service_of()
    for _ in range(1 + again):
        answer = said(service, "hello", {**HELLO, **odd})
        assert answer is None or answer["ok"] or answer["why"].isprintable()
        plain_loads(plain_dumps(answer))
    said(service, "bye", odd.get("session", "hostile"))
    service.bye("hostile")
    finish(service, broker)

    assert broker.counts().settled == JOBS
    assert service.refused.isprintable()


@given(ODD)
def test_a_hello_that_is_anything(odd: Any) -> None:
    """It is told what it lacks."""
    service, _ = service_of()
    assert said(service, "hello", odd)["ok"] is False
    assert service.refused.isprintable()


@settings(max_examples=100, phases=[Phase.generate, Phase.shrink])
@given(st.data())
def test_an_exchange_with_anything_in_it(data: st.DataObject) -> None:
    """A report of a batch that it really has, with odd fields: what it makes of that is its own
    affair, and no job of others is lost.
    """
    service, broker = service_of()
    service.hello(HELLO)
    tokens = [batch.token for batch in Answer.from_wire(service.exchange("hostile", [], (2, 5, 0, ""))).batches]
    settled = 0
    for _ in range(data.draw(st.integers(1, 4))):
        token = [*tokens, "i.99"][data.draw(INDEX) % (len(tokens) + 1)]
        failure = Failure(data.draw(INDEX), "E", "m", "t", FailureKind.ERROR, worker=1).to_wire()
        if data.draw(st.booleans()):
            failure = data.draw(changed(failure))
        end = data.draw(st.sampled_from(list(ReportEnd)))
        upto, suspect, long = (data.draw(INDEX) for _ in range(3))
        report = Report(token, upto, suspects=(suspect,), long=(long,), end=end).to_wire()
        report = (*report[:3], (failure,), *report[4:])
        if data.draw(st.booleans()):
            report = data.draw(changed(report))
        want = (1, 2, 0, "") if data.draw(st.booleans()) else data.draw(changed((1, 2, 0, "")))
        session = "hostile" if data.draw(st.integers(0, 9)) else data.draw(ODD)
        reports = [report] if data.draw(st.integers(0, 9)) else data.draw(ODD)
        answer = said(service, "exchange", session, reports, want)
        if answer is not None:
            assert Answer.from_wire(answer).state in (AnswerState.RUN, AnswerState.UNKNOWN)
            tokens += [batch[0] for batch in answer[2]]
        assert broker.counts().settled >= settled
        settled = broker.counts().settled
    assert settled <= 5 * len(set(tokens))
    stopped = broker.settlement.stop
    if not stopped:
        finish(service, broker)
        counts = broker.counts()
        assert counts.settled == JOBS
        assert counts.queued + counts.leased == 0


@given(ODD, ODD)
def test_a_goodbye_that_is_anything(session: Any, bad_end: Any) -> None:
    """Only a slave that is there can say it, and what it says is a text of one line."""
    service, broker = service_of()
    service.hello(HELLO)
    said(service, "bye", session, bad_end)
    said(service, "bye", "hostile", bad_end)
    finish(service, broker)

    assert broker.counts().settled == JOBS
    assert all(one.isprintable() and len(one) < 400 for one in service.bad_ends)


@given(ODD, ODD)
def test_failed_jobs_are_asked_for_in_any_way(after: Any, kind: Any) -> None:
    """Nothing is changed by it."""
    service, _ = service_of()
    assert said(service, "failures", after, kind) in ([], None)


def test_who_takes_all_and_leaves_again_and_again_costs_no_job() -> None:
    """Under another name each time, and with as many workers as there may be: what it held is done
    by the honest slave, and nothing of it counts as failed.
    """
    broker, now = Broker("i", Limits(retries=0)), 0.0
    broker.intake.add(range(JOBS))
    broker.batch_limit.note(1.0)
    broker.intake.exhaust()
    service = Master(broker, clock=lambda: now).service
    broker.tick(now)
    for number in range(Limits().losses):  # beyond that, a job that is alone there counts as what ends it
        session = f"hoarder {number}"
        service.hello({**HELLO, "session": session, "workers": 4096, "slots": 4096, "offers": []})
        taken = Answer.from_wire(service.exchange(session, [], (8192, 32_768, 0, ""))).batches
        assert sum(batch.count for batch in taken) > 0
        service.closed(session)
        now += 3.0
        broker.tick(now)
    service.hello({**HELLO, "session": "honest", "name": "good:1", "offers": []})
    finish(service, broker)

    counts = broker.counts()
    assert (counts.settled, counts.failed, counts.queued + counts.leased) == (JOBS, 0, 0)
