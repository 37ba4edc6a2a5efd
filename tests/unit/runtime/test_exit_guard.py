"""``os._exit`` of the user's code in the master."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from taskmaster.runtime.exit_guard import exit_guarded


class Ended(BaseException):
    """Stands in for the end of the process."""


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """With which codes the process would have ended."""
    codes: list[int] = []

    def end(status: int) -> None:
        codes.append(status)
        raise Ended

    monkeypatch.setattr(os, "_exit", end)
    return codes


@pytest.mark.parametrize(("given", "code"), [(0, 1), (False, 1), (1, 1), (7, 7)])
def test_success_in_the_middle_of_a_run_is_none(ends: list[int], given: Any, code: int) -> None:
    """Any other code is left as it is."""
    with exit_guarded(), pytest.raises(Ended):
        os._exit(given)

    assert ends == [code]


@pytest.mark.parametrize("status", [0, 1, 7])
def test_it_says_who_did_it(ends: list[int], capfd: pytest.CaptureFixture[str], status: int) -> None:
    """Where that was, and that the run can go on, with whatever code."""

    def get_jobs() -> None:
        os._exit(status)

    with exit_guarded(), pytest.raises(Ended):
        get_jobs()

    said = capfd.readouterr().err
    assert "get_jobs" in said
    assert __file__ in said
    assert "goes on" in said


def test_children_and_what_comes_after_are_left_alone(ends: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that was forked has an end of its own."""
    before: Callable[[int], Any] = os._exit
    with exit_guarded():
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(Ended):
            os._exit(0)

    assert ends == [0]
    assert os._exit is before


def test_one_guard_in_another_speaks_once(ends: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    """A module may be imported in the middle of a run."""
    with exit_guarded(), exit_guarded(execs=False), pytest.raises(Ended):
        os._exit(0)

    assert ends == [1]
    assert capfd.readouterr().err.count("called os._exit(0)") == 1
