"""What a script hears of its run, and what becomes of the errors of the function that hears it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from support.shown import Shown

from taskmaster.runner.progress_hook import ProgressHook
from taskmaster.view.snapshot import RunState, Snapshot
from taskmaster.view.status import Rate, to_json

RUN = Snapshot(
    run="r", target="t", state=RunState.RUNNING, reason="", settled=5, failed=0, settled_here=5, elapsed=1.0,
    total=9, queued=1, leased=1, parked=0, waiting=0, skipped=0, slaves=1, workers=1, batch=1, batch_reason="",
    watermark="", address="",
)  # fmt: skip


def described(snapshot: Snapshot) -> dict[str, Any]:
    """As a run describes itself."""
    return to_json(snapshot, Rate())


def test_a_script_hears_once_a_second_and_at_the_end() -> None:
    """The same object as programs read; and the other view is shown everything."""
    heard: list[dict[str, Any]] = []
    shown, now = Shown(), [0.0]
    hook = ProgressHook(shown, heard.append, described, lambda: now[0])
    for _ in range(11):
        hook.update(RUN)
        now[0] += 0.25
    hook.close(RUN)
    hook.say("x")

    assert len(heard) == 4
    assert heard[0]["settled"] == 5
    assert heard[0]["state"] == "running"
    assert shown.what == ["update"] * 11 + ["close", "x"]


def test_a_function_that_raises_is_shown_once_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on without it."""
    calls = []

    def broken(status: dict[str, Any]) -> None:
        calls.append(status)
        raise ValueError("no such gauge")

    hook = ProgressHook(Shown(), broken, described, lambda: 100.0 * len(calls))
    hook.update(RUN)
    hook.update(RUN)
    hook.close(RUN)

    assert len(calls) == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no such gauge" in caplog.text
