"""The console: Taskmaster's own lines are clean, whatever is in them."""

from __future__ import annotations

import logging

import pytest

from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.runtime.log import clean_logger
from taskmaster.view.console import Console

HOSTILE = "n\x1b]0;PWN\x07\nFAKE LINE\r\u202e\x9b2J"


def test_what_the_console_says_is_clean(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of the run, kinds of failure with their class, and log lines."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    job = FailedJob(1, None, "j", None, (Attempt(5.0, HOSTILE, HOSTILE, HOSTILE, f"Traceback\n{HOSTILE}"),))
    with Console("none", "") as console:
        console.say(f"Resuming at key {HOSTILE}")
        console.say_kinds([(3, job)])
        clean_logger("taskmaster.test_of_the_console").warning("lost the slave %s", HOSTILE)
        logging.getLogger("taskmaster.of_somebody_else").warning(HOSTILE)

    err = capsys.readouterr().err
    assert not set(err) & set("\x1b\x07\r\u202e\x9b")
    assert "3 x n" in err
    assert "lost the slave n" in err
    assert "\nFAKE LINE" not in err.partition("of_somebody_else")[0]  # another's log may have several lines


def test_what_has_failed_is_said_before_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind, and then its traceback: one reads what it is before one reads a crash."""
    jobs = [
        FailedJob(1, str(n), str(n), None, (Attempt(5.0, "vm:1", name, "m", f"Traceback of {name}"),))
        for n, name in enumerate(("KeyError", "ValueError"))
    ]
    with Console("none", "") as console:
        console.say_kinds([(3, jobs[0]), (2, jobs[1])])

    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "3 x KeyError", "  Traceback of KeyError", "2 x ValueError", "  Traceback of ValueError",
    ]  # fmt: skip
