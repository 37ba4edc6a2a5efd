"""What the master does with requests beside applying them: what is logged and looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskmaster.errors import Interrupted
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.master.records.steering_records import HOLD, LiveChange, TrailRow
from taskmaster.master.steer_service import MOST_TRAIL_ROWS_ANSWERED, SteerService
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.master.why import WhyCode
from taskmaster.master.work_time import HELD_BY

BY = {"user": "anna", "host": "bastion", "via": "tm-ctl"}


def service(broker: Broker | None = None, line: str = "", **known: Any) -> SteerService:
    """A service of a run of which this is known."""
    record = RunRecord("run", resumed=bool(known), **known)
    return SteerService(
        broker or Broker("i", Limits(), record),
        threading.Lock(),
        Throttle(),
        record,
        apply=lambda *_: None,
        line=line,
        clock=lambda: 100.0,
    )


def request(number: int, command: str, reason: str = "") -> dict[str, Any]:
    """What a client sends."""
    return {"id": f"request-{number}", "command": command, "by": BY, "reason": reason}


def test_each_change_is_logged_once_and_as_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """A request that comes again, because its answer was lost, is not another change."""
    steers = service()
    steers.steer(request(1, "pause"), "10.0.0.9")
    steers.steer(request(2, "note", "a deploy"), "10.0.0.9")
    steers.steer(request(1, "pause"), "10.0.0.9")
    steers.steer(request(3, "stop"), "10.0.0.9")  # is refused: nothing runs yet

    logged = [record.getMessage() for record in caplog.records]
    assert [line.partition(" by ")[0] for line in logged] == ["pause", "note"]


def test_a_hold_is_counted_from_its_beginning_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the reason why a run is no faster is found once a second, and may be an old one."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    steers = service()
    steers.tick(WhyCode.WORKERS)
    now = 0.25
    steers.steer(request(1, "pause"), "10.0.0.9")
    now = 0.75
    steers.steer(request(2, "resume"), "10.0.0.9")
    now = 1.0
    steers.tick(WhyCode.PAUSED)
    now = 1.5
    steers.steer(request(3, "pause"), "10.0.0.9")
    now = 2.0
    steers.tick(WhyCode.THROTTLED)

    assert steers.work_time.held == dict.fromkeys(HELD_BY.values(), 0.0) | {"paused": 1.0}
    assert steers.work_time.working(now) == 1.0


def test_a_hold_that_was_over_before_the_start_holds_nothing() -> None:
    """And is not said to do so at the start."""
    steers = service(live=[LiveChange(HOLD, "", "bo@web", 10.0, "deploy", 50.0)])

    assert steers.steering.hold is None
    assert steers.steering.at_start("x.tmstate") == []
    assert [row.command for row in steers.steering.trail.after(0, 9)] == ["started", "resume"]


def test_a_state_is_not_damaged_by_a_long_command_line(tmp_path: Path) -> None:
    """A run with a hundred thousand characters of arguments can be resumed: the trail says how each
    session was begun, and a state refuses what no trail can be.
    """
    path, words = tmp_path / "x.tmstate", "tm-run x.py ids=" + "\udc80" * 30_000
    with closing(SqliteStore.open(path, RunIdentity.named("mod"), "mod.py")) as store:
        steers = service(line=words)
        steers.note("note", words, words)
        store.write(Checkpoint(mark=None, trail=steers.news(finished=False).trail))
        assert [row.command for row in store.load().trail] == ["started", "note"]
        assert store.load().trail[0].reason == ""


def test_a_request_for_another_run_is_refused() -> None:
    """By the id of the run, which the service knows."""
    steers = service()

    assert "is not at work here" in steers.steer({**request(1, "pause"), "run": "other"}, "p")["why"]
    assert steers.steer({**request(1, "pause"), "run": "run"}, "p")["ok"]


def test_the_trail_is_read_backwards_to_its_beginning() -> None:
    """A page at a time: no answer has more than a few rows."""
    steers = service()
    for number in range(2 * MOST_TRAIL_ROWS_ANSWERED):
        steers.note("note", str(number))
    found: list[dict[str, Any]] = []
    while page := steers.look("trail", {"before": found[0]["seq"]} if found else {})["rows"]:
        found[:0] = page

    assert [row["seq"] for row in found] == list(range(1, 2 * MOST_TRAIL_ROWS_ANSWERED + 2))


def test_nothing_is_promised_once_the_last_checkpoint_is_under_way() -> None:
    """It would not know of a pause, or of failed jobs that are to be run again."""
    steers = service()
    assert steers.steer(request(1, "pause"), "10.0.0.9")["ok"]
    steers.note_end(None)

    for number, command in enumerate(("resume", "retry", "note"), 2):
        arguments = {"all": "yes"} if command == "retry" else {}
        answer = steers.steer({**request(number, command), "arguments": arguments}, "10.0.0.9")
        assert not answer["ok"]
        assert "again in a moment" in answer["why"]
    assert steers.steering.hold is not None
    assert [row.command for row in steers.steering.trail.after(0, 10)] == ["started", "pause", "finished"]


class OwnSlave:
    """The slave that belongs to a run."""

    name, engine = "here:1", ""


@pytest.mark.parametrize(
    ("error", "own", "said"),
    [
        (None, False, "ends unknown: 5 workers"),
        (None, True, "ends unknown: 5 workers"),
        (Interrupted("", 2), True, "exit code 130, ends unknown: 2 workers"),
        (Interrupted("", 2), False, "exit code 130"),  # they wait for the next master, and tell it
    ],
)
def test_an_end_says_of_how_many_workers_it_is_not_known_yet_how_they_end(
    error: BaseException | None, own: bool, said: str
) -> None:
    """The state has it until the ends are known. The answer to a look meanwhile does not: it says
    what the end is if all workers end well.
    """
    broker = Broker("i", Limits())
    steers = service(broker)
    for name, workers in (("here:1", 2), ("web:1", 3), ("gone:1", 4)):
        broker.enter(ConnectedSlave(name, name, workers, workers, 0.0), ())
    broker.leave(broker.slaves["gone:1"])
    steers.connect(lambda: None, None, lambda: None, OwnSlave() if own else None, None)  # type: ignore[arg-type]
    steers.note_end(error)
    trail = steers.steering.trail

    known = said.partition("ends unknown")[0].removesuffix(", ")
    assert trail.unwritten()[-1].after == said
    assert steers.look("trail", {})["rows"][-1]["after"] == known
    steers.written(steers.news(finished=error is None))
    assert trail.ends_known() == ("unknown" in said)
    assert trail.after(0, 1)[0].after == known
    assert [row.seq for row in trail.unwritten()] == ([2] if "unknown" in said else [])
    assert not trail.ends_known()


def test_an_end_that_nobody_has_to_be_told_of_says_nothing_of_workers() -> None:
    """There are none."""
    steers = service()
    steers.note_end(None)

    assert steers.steering.trail.after(0, 1)[0].after == ""
    assert not steers.steering.trail.ends_known()


def test_a_request_that_means_no_failed_job_is_refused_and_one_that_was_answered_is_not_looked_at_again() -> None:
    """It is in neither the trail nor the log; the same id gives the answer that it had."""

    class Choice:
        """Knows of no failed job."""

        said = ""

        def none_meant(self, arguments: Mapping[str, str]) -> str:
            return self.said

    steers, choice = service(), Choice()
    steers._broker.settlement.failures = 1
    steers._choice = choice  # type: ignore[assignment]
    asked = {**request(1, "retry"), "arguments": {"kind": "KeyError"}}
    first = steers.steer(asked, "10.0.0.9")
    choice.said = "No failed job failed with Nope."

    assert first["ok"]
    assert steers.steer(asked, "10.0.0.9") == first
    refused = steers.steer({**request(2, "retry"), "arguments": {"kind": "Nope"}}, "10.0.0.9")
    assert refused == {"ok": False, "why": choice.said}
    assert [row.command for row in steers.steering.trail.after(0, 9)] == ["started", "retry"]
    assert steers.steer(request(3, "pause"), "10.0.0.9")["ok"]


def test_a_session_that_has_not_said_its_end_is_said_to_have_none() -> None:
    """At the next start, and in the trail before it; one that ended in any way is not."""
    begun = TrailRow(1, 50.0, "started", "", "", "", "master", "tm-run work.py", "", "")
    killed = service(trail=[begun, TrailRow(2, 60.0, "pause", "anna", "bastion", "", "tm-ctl", "", "", "")])
    ended = service(trail=[begun, TrailRow(2, 60.0, "stopped", "", "", "", "master", "SIGTERM", "", "")])

    said = killed.steering.at_start("x.tmstate")[0]
    at = time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(50.0))  # in the zone that another test has left
    assert f"ended without a word in the state soon after {at}: it was killed, its machine went down, or its" in said
    assert "its end could not be written." in said  # which it has said, on a full disk
    assert [row.command for row in killed.steering.trail.after(2, 9)] == ["killed", "started"]
    assert ended.steering.at_start("x.tmstate") == service().steering.at_start("x.tmstate") == []
    assert [row.command for row in ended.steering.trail.after(2, 9)] == ["started"]
