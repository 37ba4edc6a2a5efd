"""What the status says beside the snapshot: by the schema that is shipped, and never too long."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
from support.master import Master

import taskmaster.view
from taskmaster.errors import UsageError
from taskmaster.guards import Guard
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.checkpointer import Checkpointer
from taskmaster.master.completion import Completion
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.run_details import MOST_STATUS_BYTES, RunDetails
from taskmaster.master.run_status import RunParts
from taskmaster.master.steer_service import SteerService
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.master.why import WhyCode
from taskmaster.model import PROTOCOL, Answer, Failure, Report, ReportEnd
from taskmaster.view.snapshot import RunState, Snapshot

SCHEMA = json.loads(Path(taskmaster.view.__file__).with_name("status.schema.json").read_text("utf-8"))
TRACE = 'Traceback (most recent call last):\n  File "/srv/{}.py", line {}, in clean\n    x()\n'


class Settings:
    """Settings as many, and as long, as there may be."""

    rate: float | None = None

    def start_value(self, name: str) -> str:
        raise UsageError(name)

    def changed(self, values: Any) -> Any:
        raise UsageError(str(values))

    def rows(self, live: Any, *, everything: bool = False) -> list[dict[str, Any]]:
        return [
            {"name": f"n{number}", "value": "\u20ac" * 5000, "default": None, "source": "default"}
            for number in range(40)
        ]


class Run:
    """The parts of a run that a status is made of."""

    def __init__(self, resume: str = "tm-run x.py 2") -> None:
        self.lock = threading.Lock()
        self.broker = Broker("i", Limits(retries=0))
        record = RunRecord("r", resumed=False, started=5.0)
        guard = Guard(lambda: 3.0, 5.0, "load")
        self.throttle = Throttle(None, [guard])
        self.throttle._hooks[0].ask()
        identity = JobIdentity()
        self.steers = SteerService(
            self.broker, self.lock, self.throttle, record, settings=Settings(), apply=lambda *_: None
        )
        self.master = Master(self.broker, identity, lock=self.lock, throttle=self.throttle)
        self.reader: Any = SimpleNamespace(error=None, skipped=None, waits=lambda now: 0.0)
        self.checkpointer = Checkpointer(
            MemoryStore(), self.broker, self.lock, identity, Dedup(record), record, steers=self.steers
        )
        source = Source([])
        parts = RunParts(
            broker=self.broker,
            lock=self.lock,
            reader=self.reader,
            source=source,
            throttle=self.throttle,
            completion=Completion(source, record),
            record=record,
            checks=JobChecks(identity),
            steers=self.steers,
        )
        self.details = RunDetails(
            parts,
            checkpointer=self.checkpointer,
            reports=self.master.reports,
            refusals=lambda: 2,
            incarnation="r.i",
            resume=resume,
        )

    def hello(self, name: str) -> None:
        """Let a slave in."""
        about = {"protocol": PROTOCOL, "session": name, "name": name, "workers": 2, "slots": 2}
        assert self.master.service.hello(about)["ok"]

    def batch(self, name: str, jobs: int) -> str:
        """Give jobs to a slave."""
        self.broker.batch_limit.note(1.0)
        (batch,) = Answer.from_wire(self.master.service.exchange(name, [], (1, jobs, jobs, ""))).batches
        return batch.token

    def report(self, name: str, report: Report) -> None:
        """Take a report."""
        self.master.service.exchange(name, [report.to_wire()], (0, 1, 0, ""))

    def status(self) -> dict[str, Any]:
        """Return the status, as it comes out of the wire."""
        counts = self.broker.counts()
        snapshot = Snapshot(
            run="r", target="x.py", state=RunState.RUNNING, reason="", elapsed=10.0, total=None, watermark="",
            address="", why="workers", rate_limit=self.throttle.rate, **counts.shown(),
        )  # fmt: skip
        return dict(json.loads(json.dumps(self.details.status(snapshot), allow_nan=False)))


def test_a_status_is_as_its_schema_says() -> None:
    """Empty, and with jobs, failures, a guard, a hold; and each field of it is in the schema."""
    run = Run()
    jsonschema.validate(run.status(), SCHEMA)
    run.broker.intake.add(range(100))
    run.hello("web1:1")
    token = run.batch("web1:1", 10)
    failure = Failure(3, "KeyError", "x", TRACE.format("jobs", 31))
    run.report("web1:1", Report(token, 10, failures=(failure,), keep=10, end=ReportEnd.FINISHED, seconds=0.01))
    run.batch("web1:1", 4)
    run.steers.steer({"id": "1" * 32, "command": "pause", "by": {"user": "a", "host": "h", "via": "x"}}, "10.0.0.9")
    run.details.tick(WhyCode.PAUSED)
    run.reader.skipped = 7
    run.throttle.set_rate(40.0, "--rate")
    found = run.status()

    jsonschema.validate(found, SCHEMA)
    assert set(found) == set(SCHEMA["properties"])
    assert (found["done"], found["failed"], found["attempts_failed"]["exception"]) == (9, 1, 1)
    assert found["kinds"][0]["where"] == "jobs.py:31 clean()"
    assert found["job_seconds"]["count"] == 10
    assert found["holder"]["key"] == "10"
    assert found["holder"]["slave"] == "web1:1"
    assert found["hold"]["by"] == "a@h"
    assert found["source"]["state"] == "skipping"
    assert found["rate_limit"] == 40.0
    assert found["guards"] == [{"name": "load", "value": 3.0, "limit": 5.0}]
    assert (found["slaves_refused"], found["steered"]) == (2, {"pause": 1})
    assert found["resume"] == "tm-run x.py 2"


def test_the_command_that_goes_on_is_whole_or_not_there() -> None:
    """Without its last words, it would be the command of another run."""
    for words, told in ((100, 100), (2000, 0)):
        found = Run("tm-run x.py since=1 " + "a=1 " * words).status()

        jsonschema.validate(found, SCHEMA)
        assert found["resume"].count("a=1") == told


def test_a_job_that_runs_long_is_listed() -> None:
    """With its key, slave, attempt, and for how long; the longest first, ten at most: those that
    their slaves name, and none that was handed out ahead and has not begun.
    """
    run = Run()
    run.broker.intake.add(range(100))
    began = time.monotonic()
    for number in range(1, 13):
        name = f"web{number}:1"
        run.hello(name)
        run.broker.leases.tick(began - 200.0 + number)
        token = run.batch(name, 1)
        lease = next(lease for lease in run.broker.leases if lease.token == token)
        run.broker.leases.tick(began - 100.0 + number)
        run.broker.leases.note(lease, Report(token, 0, worker=77))
        run.batch(name, 1)
    run.broker.leases.tick(began)
    longest = run.status()["longest"]

    assert [one["key"] for one in longest] == [str(2 * number) for number in range(10)]
    assert 102 <= longest[0]["seconds"] < 160
    assert (longest[0]["slave"], longest[0]["attempt"]) == ("web1:1", 1)


def test_a_status_has_an_end_whatever_fails() -> None:
    """A thousand failures in as many ways, with long texts that JSON makes six times as long."""
    run = Run()
    run.broker.intake.add(range(2000))
    run.hello("web1:1")
    token = run.batch("web1:1", 1000)
    failures = tuple(
        Failure(n, "\u20ac" * 200, "\u20ac" * 2000, TRACE.format("\u20ac" * 900, n) + "\u20ac" * 5000)
        for n in range(1000)
    )
    run.report("web1:1", Report(token, 1000, failures=failures, keep=1000, end=ReportEnd.FINISHED, seconds=1.0))
    found = run.status()

    jsonschema.validate(found, SCHEMA)
    assert len(json.dumps(found)) <= MOST_STATUS_BYTES
    assert len(found["kinds"]) == 20
    assert found["kinds_left_out"] >= 80


def test_failed_attempts_have_reasons_and_lost_slaves_are_counted() -> None:
    """A worker that died, a job that took too long, a slave that is gone."""
    run = Run()
    run.broker.intake.add(range(100))
    run.hello("web1:1")
    for end in (ReportEnd.CRASHED, ReportEnd.TIMEOUT):
        token = run.batch("web1:1", 2)
        run.report("web1:1", Report(token, 1, keep=2, end=end, suspects=(1,), detail="gone"))
    run.batch("web1:1", 2)
    for silent in range(0, 90, 5):
        run.broker.tick(time.monotonic() + silent)
    run.master.reports.figures.tick()
    found = run.status()

    assert found["attempts_failed"] == {"exception": 0, "crash": 1, "timeout": 1, "lost": 1}
    assert found["retries"] == 2
    assert (found["slaves"], found["slaves_lost"]) == (0, 1)


def test_history_and_kinds_are_answered_by_the_page() -> None:
    """The history after a number, by the span; the kinds twenty at a time."""
    run = Run()
    run.details._speeds._samples[0] = (0.0, 0, 0)  # a second has passed
    run.throttle.set_rate(40.0, "--rate")
    run.details.tick(WhyCode.THROTTLED)
    answer = run.details.look_history({"since_seq": 0, "span": "10m"})
    row = dict(zip(answer["columns"], answer["rows"][0], strict=True))

    assert answer["held"][row["held"]] == "throttled"
    assert row["rate_limit"] == 40
    assert run.details.look_history({"since_seq": answer["seq"], "span": "10m"})["rows"] == []
    assert run.details.look_history({"since_seq": "x"})["seconds"] == 1.0
    assert run.details.look_kinds({"after": None}) == {"rows": [], "kinds": 0, "others": 0}
