"""Programs that run on when their worker ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from taskmaster.slave.worker import left_programs


@pytest.mark.parametrize("by_proc", [True, False])
def test_what_runs_on_in_the_group_is_named(monkeypatch: pytest.MonkeyPatch, *, by_proc: bool) -> None:
    """Also where the system does not list its processes; not what has a session of its own."""
    monkeypatch.setattr(left_programs, "OTHERS_SECONDS", 0.0)
    monkeypatch.setattr(left_programs, "SHOWN", 1000)  # the tests may run in a group with many others
    if not by_proc:
        monkeypatch.setattr(left_programs, "Path", lambda _: Path("/nowhere"))
    with (
        subprocess.Popen(["sleep", "1001"]) as kept,
        subprocess.Popen(["sleep", "1002"], start_new_session=True) as apart,
    ):
        sentence = left_programs.wait_for_others()
        kept.kill()
        apart.kill()

    assert "1001" in sentence
    assert "1002" not in sentence
