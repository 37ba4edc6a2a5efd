"""What a run says at its start and at its end."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.summary import Summary
from taskmaster.runner.announcements import Announcements, command_again, without_message


class Said:
    """A console that keeps what is said, and a store that has a location."""

    location = "/somewhere/run.tmstate"

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def say_kinds(self, kinds: object) -> None:
        self.lines.append(f"kinds: {kinds}")

    def kinds(self, most: int) -> list:
        return []


@pytest.mark.parametrize(("failures", "jobs"), [(1, "The failed job is"), (7, "The 7 failed jobs are")])
def test_a_run_of_failed_jobs_does_not_say_that_it_resumes(failures: int, jobs: str) -> None:
    """It reads nothing: one sentence says what is run, and where the state is."""
    said = Said()
    record = RunRecord("run", resumed=True, mark="50000", settled=50_000, failures=failures)
    Announcements(said, said).start_of_failed(record)  # type: ignore[arg-type]

    (line,) = said.lines
    assert line == (
        f"{jobs} run again as read then, and nothing else: the source is not read, so that what was mended there "
        "is not seen. The state is /somewhere/run.tmstate"
    )


@pytest.mark.parametrize(("failed", "came"), [(0, "all of them went well"), (2, "2 of them failed once more")])
def test_the_end_of_such_a_run_says_what_came_of_it(failed: int, came: str) -> None:
    """And that the run itself can be resumed."""
    said = Said()
    summary = Summary("run", 75, 50_000, failed, 7, 1.0, said.location)
    Announcements(said, said).failed_again(summary)  # type: ignore[arg-type]

    assert came in said.lines[0]
    assert "The run itself has not come to its end" in said.lines[0]
    assert said.lines[-1].startswith("Resume it with: ")


@pytest.mark.parametrize("given", [["--env=TOKEN=s3cret"], ["--env", "TOKEN=s3cret"]])
def test_the_command_that_goes_on_tells_no_value_of_a_variable(monkeypatch, given):
    """It stays in logs and in the status; the name alone takes the value from the environment."""
    monkeypatch.setattr(sys, "argv", ["tm-run", "jobs.py", *given, "--engine=dask"])

    command = command_again()

    assert "s3cret" not in command
    assert "TOKEN" in command
    assert "--engine=dask" in command


@pytest.mark.parametrize("given", [["--guard={}"], ["--guard", "{}"]])
@pytest.mark.parametrize("url", ["https://h.example/check?token=s3cret", " HTTP://me:s3cret@h.example/s3cret"])
def test_the_command_that_goes_on_tells_no_address_of_a_guard(monkeypatch, given, url):
    """The service is named by its scheme and host; another guard stays as it was given."""
    words = [word.format(f"http={url}") for word in given]
    monkeypatch.setattr(sys, "argv", ["tm-run", "jobs.py", *words, "--guard=cpu_load=80%", "--guard", "disk_free=5%@/"])

    command = command_again()

    assert "s3cret" not in command
    assert "h.example" in command
    assert "--guard=cpu_load=80% --guard disk_free=5%@/" in command


@pytest.mark.parametrize("dsn", ["postgresql://me:s3crt@h/b", "host=h password=s3crt"])
def test_the_command_that_goes_on_says_that_a_password_was_left_out(monkeypatch, dsn):
    """In a comment of the shell's, only where one was, and as what is to be put in."""
    monkeypatch.setattr(sys, "argv", ["tm-run", "jobs.py", f"--pace=1.5x@{dsn}"])

    command = command_again("--failed")

    assert "s3crt" not in command
    assert command.endswith(" --failed  # a password was left out: put it in for ***")
    monkeypatch.setattr(sys, "argv", ["tm-run", "jobs.py", "--pace=1.5x@host=h"])
    assert "#" not in command_again()


def test_the_tracebacks_that_were_shown_are_known_whatever_their_jobs() -> None:
    """So that the end of a run does not show the same one again, with another job's message."""
    first, second = (f"Traceback:\n  File x\nValueError: {number}\n" for number in (1, 2))

    class Store(Said):
        def kinds(self, most: int) -> list:
            return [(4, SimpleNamespace(traceback=first))]

    store = Store()
    shown = Announcements(store, store).failures(Summary("run", 4, 9, 4, 7, 1.0, store.location))  # type: ignore[arg-type]

    assert without_message(second) in shown
    assert without_message("Traceback:\n  File y\nKeyError: 1\n") not in shown
