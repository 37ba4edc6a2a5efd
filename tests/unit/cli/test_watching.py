"""``tm-ctl status``: what it says of a run, and how it watches one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskmaster.cli import watching
from taskmaster.errors import ConnectError
from taskmaster.runner import steer_client
from taskmaster.view.snapshot import RunState, Snapshot
from taskmaster.view.status import Rate

RUN = Snapshot(
    run="r1", target="work.py", state=RunState.RUNNING, reason="", settled=500, failed=0, settled_here=400,
    elapsed=100.0, total=1000, queued=7, leased=3, parked=2, waiting=0, skipped=0, slaves=1, workers=2, batch=5,
    batch_reason="half a second", watermark="498", address="127.0.0.1:5050",
)  # fmt: skip
STATUS = {**RUN.to_wire(), "rates": {"10s": 20.0}}


def test_a_status_is_said_in_lines() -> None:
    """The progress line, then a line for each thing, cleaned."""
    first, *lines = watching.described({**STATUS, "target": "work\x1b[2J.py"})

    assert "500" in first
    assert "Target:    work" in lines[0]
    assert not any("\x1b" in line for line in lines)
    assert "Rate:      4.00/s over this session; above, the last 10 seconds" in lines
    assert "Watermark: 498" in lines
    assert "Jobs:      7 in queue, 3 handed out, 2 parked" in lines
    assert "Slaves:    1, with 2 worker processes" in lines
    assert "Batch:     5 jobs (half a second)" in lines
    assert not any(line.startswith("Oldest:") for line in lines)


def test_the_job_that_runs_longest_and_the_reason_are_named() -> None:
    """With the slave and the worker, and with what cures what holds the run."""
    lines = watching.described(
        {
            **STATUS, "reason": "deploy", "running": "42", "running_on": "host:7", "running_worker": 3,
            "running_for": 61.0, "watermark": "", "batch": 0,
            "why": {"code": "paused", "sentence": "paused by ann", "cure": "`tm-ctl resume` lets it go on."},
        },
        Rate(),
    )  # fmt: skip

    assert "State:     running: deploy" in lines
    assert "Why:       paused by ann. `tm-ctl resume` lets it go on." in lines
    assert "Oldest:    job 42, for 1m1s on host:7, worker 3" in lines
    assert "Watermark: none yet" in lines
    assert "Batch:     none yet" in lines
    assert not any(line.startswith("Rate:") for line in lines)


def test_a_pace_is_said_once() -> None:
    """In the line that says why, and neither as the state nor in the first line."""
    paced = "pace 34 %: probe 2.9 ms of 3 ms allowed, 2 ms without the run"
    why = {"code": "pace", "sentence": paced, "cure": "It goes faster by itself."}
    lines = watching.described({**STATUS, "reason": paced, "why": why})

    assert [line for line in lines if paced in line] == [f"Why:       {paced}. It goes faster by itself."]
    assert "State:     running" in lines


def test_one_look_says_the_rate_of_the_last_ten_seconds() -> None:
    """And not the mean of the session, which is what a program that looks once would find."""
    recent = watching.as_object(STATUS)
    mean = watching.as_object({name: value for name, value in STATUS.items() if name != "rates"})

    assert recent["rate"] == pytest.approx(20.0)
    assert mean["rate"] == pytest.approx(4.0)


class Master:
    """Answers as it is told; after that it is gone."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)

    def status(self) -> dict[str, Any]:
        """Give the next answer."""
        if not self.answers:
            raise ConnectError("connection refused")
        return self.answers.pop(0)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the pauses between two looks, which take no time here."""
    found: list[float] = []
    monkeypatch.setattr(watching.time, "sleep", found.append)
    return found


def watch(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any], as_json: bool) -> None:
    """Watch a master that gives these answers."""
    monkeypatch.setattr(steer_client, "SteerClient", lambda *_, **__: Master(*answers))
    watching.watching("127.0.0.1:5050", None, None, as_json=as_json)


def test_a_run_is_watched_until_it_is_over(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An object a second for programs; the last one says that it has finished."""
    watch(monkeypatch, STATUS, {**STATUS, "state": "finished", "elapsed": 101.0}, as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [line["state"] for line in lines] == ["running", "finished"]
    assert pauses == [watching.WATCH_PAUSE_SECONDS]


def test_a_master_that_is_gone_ends_the_watching(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what happened, beside the lines."""
    watch(monkeypatch, STATUS, as_json=False)
    said = capsys.readouterr()

    assert len(said.out.splitlines()) == 1
    assert "does not answer any more: connection refused" in said.err


def test_in_a_terminal_it_is_drawn_in_place(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All lines, over those of the second before."""
    monkeypatch.setattr(watching.sys.stdout, "isatty", lambda: True)
    watch(monkeypatch, {**STATUS, "state": "stopped"}, as_json=False)

    said = capsys.readouterr().out
    assert said.startswith("\x1b[H")
    assert "Target:" in said
