"""Metrics in a file: whole at any time, there after the end, and no harm to the run."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from support.shown import Shown

from taskmaster.errors import UsageError
from taskmaster.runner import metrics_file
from taskmaster.runner.metrics_file import MetricsFile, check_metrics_file
from taskmaster.view.snapshot import RunState, Snapshot

RUN = Snapshot(
    run="r", target="t", state=RunState.FINISHED, reason="", settled=5, failed=0, settled_here=5, elapsed=1.0,
    total=9, queued=1, leased=1, parked=0, waiting=0, skipped=0, slaves=1, workers=1, batch=1, batch_reason="",
    watermark="", address="",
)  # fmt: skip


def described(snapshot: Snapshot) -> dict[str, Any]:
    """As a run describes itself."""
    return {"run": snapshot.run, "target": snapshot.target, "state": str(snapshot.state), "settled": snapshot.settled}


def test_it_says_how_the_run_ended(tmp_path: Path) -> None:
    """Readable by another user whatever the umask is, under its name only when it is whole; all
    else is shown as ever.
    """
    shown, place = Shown(), tmp_path / "tm.prom"
    former = os.umask(0o077)
    try:
        view = MetricsFile(shown, str(place), lambda: {"state": "running"}, described)
        view.update(RUN)
        view.say("x")
        view.close(RUN)
    finally:
        os.umask(former)

    assert 'taskmaster_state{run="r",state="finished",target="t"} 1.0' in place.read_text()
    assert place.stat().st_mode & 0o777 == 0o644
    assert shown.what == ["update", "x", "close"]
    assert [path.name for path in tmp_path.iterdir()] == ["tm.prom"]


def test_it_is_written_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a write has failed, of which one warning tells."""
    monkeypatch.setattr(metrics_file, "METRICS_FILE_SECONDS", 0.001)
    asked, enough = [], threading.Event()

    def status() -> dict[str, Any]:
        asked.append(1)
        if len(asked) == 20:
            enough.set()
        if len(asked) % 4 < 2:
            raise OSError("no space")
        return {"state": "running"}

    view = MetricsFile(Shown(), str(tmp_path / "tm.prom"), status, described)
    assert enough.wait(30)
    view.close(RUN)

    assert "finished" in (tmp_path / "tm.prom").read_text()


def test_a_write_that_fails_or_hangs_hurts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The directory has gone, and the status never comes: the run ends all the same."""
    monkeypatch.setattr(metrics_file, "METRICS_FILE_SECONDS", 0.001)
    monkeypatch.setattr(metrics_file, "LAST_WRITE_SECONDS", 0.01)
    never = threading.Event()
    hanging = MetricsFile(Shown(), str(tmp_path / "x.prom"), lambda: {"state": never.wait()}, described)
    hanging.close(RUN)
    never.set()
    hanging._thread.join()
    with caplog.at_level(logging.WARNING):
        view = MetricsFile(Shown(), str(tmp_path / "gone" / "x.prom"), lambda: {"state": "running"}, described)
        view.close(RUN)
        view._thread.join()

    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize(("path", "why"), [("no/x.prom", "no directory"), (".", "which is a directory")])
def test_a_file_that_cannot_be_had_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, why: str
) -> None:
    """Before the run begins, with what would help; and a missing library is, too."""
    monkeypatch.chdir(tmp_path)
    check_metrics_file("x.prom")
    with pytest.raises(UsageError, match=why):
        check_metrics_file(path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install '\.\[web\]'"):
        check_metrics_file("x.prom")
