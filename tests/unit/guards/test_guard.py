"""Guards: limits, hysteresis, and what is not known."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from taskmaster.errors import UsageError
from taskmaster.guards import Floor, Guard, Unknown
from taskmaster.guards.guard import Backlog


def lag(**given: Any) -> Guard:
    return Guard(lambda: 0.0, 5, "replication lag", "s", **given)


def test_a_guard_waits_above_its_limit_and_says_both() -> None:
    """The limit itself is allowed."""
    guard = lag()

    assert guard.judge(5) == ""
    assert guard.judge(7.2) == "replication lag 7.2 s, above 5 s"
    assert (guard.value, guard.limit, guard.reason) == (7.2, 5, "replication lag 7.2 s, above 5 s")


def test_a_guard_goes_on_when_the_value_has_fallen_well_below() -> None:
    """To four fifths; what rises to the same number for the first time is no reason to wait."""
    guard = lag()

    assert guard.judge(4.5) == ""
    assert guard.judge(5.004) == "replication lag 5 s, above 5 s"
    assert guard.judge(4.5) == "replication lag 4.5 s, was above 5 s and has to fall to 4 s"
    assert guard.judge(Decimal("4.0")) == ""
    assert guard.judge(4.5) == ""


def test_a_limit_of_nothing_can_be_met() -> None:
    """No waiting lock at all."""
    guard = Guard(lambda: 0, 0, "waiting locks")

    assert guard.judge(0) == ""
    assert guard.judge(1) == "waiting locks 1, above 0"
    assert guard.judge(0) == ""


def test_below_means_below() -> None:
    """The limit itself is too much."""
    guard = lag(strict=True)

    assert guard.judge(5) == "replication lag 5 s, not below 5 s"
    assert guard.judge(4.5) == "replication lag 4.5 s, was not below 5 s and has to fall to 4 s"
    assert guard.judge(4) == ""


@pytest.mark.parametrize("value", [None, float("nan"), "many", object()])
def test_what_is_no_number_is_unknown(value: object) -> None:
    """And means wait, also after a value that was fine."""
    guard = lag()
    guard.judge(0)

    assert guard.judge(value).startswith("replication lag is unknown: ")
    assert guard.value is None


def test_what_cannot_be_read_is_unknown() -> None:
    """``Unknown`` says why; anything else is raised, and leaves no old value behind."""

    def read() -> float:
        raise errors.pop(0)

    errors: list[Exception] = [Unknown("nobody is there"), ZeroDivisionError()]
    guard = Guard(read, 5, "replication lag")
    guard.judge(0)

    assert guard() == "replication lag is unknown: nobody is there"
    guard.judge(0)
    with pytest.raises(ZeroDivisionError):
        guard()
    assert (guard.value, guard.reason) == (None, "replication lag is unknown")


def test_doubt_does_not_end_the_wait() -> None:
    """A value that was too large and then unknown has to fall as far as ever."""
    guard = lag()
    guard.judge(7)
    guard.judge(None)

    assert guard.judge(4.5)
    assert not guard.judge(4)


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf"), "5", None, True])
def test_a_limit_is_a_number(limit: Any) -> None:
    """Where it is given, not when the run waits for ever."""
    with pytest.raises(UsageError, match="replication lag"):
        Guard(lambda: 0, limit, "replication lag")


def test_large_and_small_numbers_are_readable() -> None:
    """No exponents, no needless zeros."""
    assert Guard(lambda: 0, 1_000_000, "rows").judge(12_345_678) == "rows 12345678, above 1000000"
    assert Guard(lambda: 0, 0.001, "share").judge(0.25) == "share 0.25, above 0.001"


def test_a_floor_waits_below_its_limit_and_says_both() -> None:
    """The limit itself is allowed; then the number has to rise to five quarters."""
    floor = Floor(lambda: 0.0, 10, "free space", "%")

    assert floor.judge(10) == ""
    assert floor.judge(9.5) == "free space 9.5 %, below 10 %"
    assert floor.judge(11) == "free space 11 %, was below 10 % and has to rise to 12.5 %"
    assert floor.judge(12.5) == ""
    assert floor.judge(11) == ""
    with pytest.raises(UsageError, match="free space is 0"):
        Floor(lambda: 0.0, 0, "free space")


def test_bytes_are_shown_in_units() -> None:
    """Also by the second."""
    assert Floor(lambda: 0, 2**30, "space", "B").judge(5 * 2**20) == "space 5M, below 1G"
    assert Guard(lambda: 0, 2**20, "log", "B/s").judge(2**21) == "log 2M/s, above 1M/s"


@pytest.mark.parametrize(
    ("guard", "value", "utilisation"),
    [
        (Guard(lambda: 0, 5, "lag"), 2.5, 0.5),
        (Guard(lambda: 0, 5, "lag"), 11, 11 / 6),
        (Guard(lambda: 0, 50, "lag"), 100, 2.0),
        (Guard(lambda: 0, 0, "locks"), 0, 0.0),
        (Guard(lambda: 0, 0, "locks"), 1, 1.0),
        (Guard(lambda: 0, 0, "locks"), 0.5, float("inf")),
        (Guard(lambda: 0, 4, "locks", strict=True), 3, 0.75),
        (Floor(lambda: 0, 10, "space"), 20, 0.5),
        (Floor(lambda: 0, 5, "connections that are free"), 20, 0.25),
        (Floor(lambda: 0, 10, "space"), 0, float("inf")),
        (Guard(lambda: 0, 5, "lag"), None, None),
    ],
)
def test_how_near_to_its_limit_a_value_is(guard: Guard, value: Any, utilisation: float | None) -> None:
    """Above 1 the run has to wait; nothing where nothing is known. What is counted and allowed is
    not at its limit, and many of what there should be are far from it.
    """
    guard.judge(value)

    assert guard.utilisation == utilisation


def test_a_backlog_that_grows_is_nearer_to_its_limit_than_its_value() -> None:
    """By what it will be six seconds later; it makes the run wait only above the limit itself."""
    now = 0.0
    backlog = Backlog(lambda: 0.0, 10, "lag", "s", clock=lambda: now)
    found = []
    for value in (0.0, 1.0, 2.0, 2.0, 1.0, None, 2.0, 10.5):
        now += 1
        backlog.judge(value)
        found.append((backlog.utilisation, backlog.reason != ""))

    assert found[:3] == [(0.0, False), (pytest.approx(0.7), False), (pytest.approx(0.8), False)]
    assert found[4] == (pytest.approx(0.25), False)
    assert found[5] == (None, True)
    assert found[7][1]
