"""Children that the user's code forks in the master, and that come back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.throttle.hooks import Hook
from taskmaster.runtime.child_process import children_kept_out
from taskmaster.user_code import target

CAME_BACK = 99  # the exit code of a child that nobody has kept out


def fork() -> int:
    """Fork as a user's function does that forgets that both come back."""
    sys.stdout.flush()
    return os.fork()


def code_of(run: Callable[[list[int]], Any]) -> int:
    """Return how the child ends that ``run`` forks and whose number it notes."""
    owner, children = os.getpid(), []
    try:
        run(children)
    finally:
        if os.getpid() != owner:
            os._exit(CAME_BACK)
    return os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])


def raising(number: int) -> None:
    if number == 0:
        raise SystemExit(3)


def test_a_child_ends_where_the_users_code_does() -> None:
    """By a return, or by what it raises; the parent goes on."""

    def returns(children: list[int]) -> None:
        with children_kept_out():
            children.append(fork())

    def raises(children: list[int]) -> None:
        with children_kept_out():
            children.append(fork())
            raising(children[0])

    assert code_of(returns) == 0
    assert code_of(raises) == 3


def test_a_child_of_a_hook_does_not_ask_on() -> None:
    """It would outlive the command, in a thread that asks every second."""

    def asked(children: list[int]) -> None:
        Hook(lambda: children.append(fork())).ask()

    assert code_of(asked) == 0


def test_a_child_of_job_key_does_not_hand_out_jobs() -> None:
    """Keys are also taken where batches are handed out."""

    def checked(children: list[int]) -> None:
        def job_key(job: int) -> int:
            if not children:
                children.append(fork())
            return job

        JobChecks(JobIdentity(job_key)).check(0, [1, 2, 3])

    assert code_of(checked) == 0


def test_a_child_of_an_import_is_no_second_run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that forks while it is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forks_at_import.py").write_text("import os\nnumber = os.fork()\n")

    def imported(children: list[int]) -> None:
        children.append(target.load(target.parse("forks_at_import.py")).number)

    assert code_of(imported) == 0


def test_an_import_that_ends_the_process_is_no_success(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose module calls ``os._exit(0)`` has done nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exits_at_import.py").write_text("import os\nos._exit(0)\n")

    def ends(children: list[int]) -> None:
        children.append(fork())
        if children[0] == 0:
            target.load(target.parse("exits_at_import.py"))

    assert code_of(ends) == 1
