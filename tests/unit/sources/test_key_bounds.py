"""Where a run ends is decided once, and what came later, or is in another order now, is said."""

from __future__ import annotations

from typing import Any

import pytest

from taskmaster.errors import UsageError
from taskmaster.sources.key_bounds import BoundedSource, fraction


class Numbers(BoundedSource):
    """The numbers of a list."""

    def __init__(self, keys: list[int], order: str | None = None) -> None:
        super().__init__()
        self.keys = keys
        self.order = order

    def __repr__(self) -> str:
        return "numbers"

    def _end(self, *, descending: bool) -> Any:
        return (max if descending else min)(self.keys, default=None)

    def _is_below_another(self, key: Any) -> bool:
        return any(key < other for other in self.keys)

    def _check_end(self, key: Any) -> None:
        if type(key) is not int:
            raise UsageError(f"{key!r} is no key")

    def _reckons(self) -> bool:
        return True

    def _order(self) -> str | None:
        return self.order


def test_the_ends_are_fixed_when_the_run_is_new():
    """A later session takes them over, whatever there is then."""
    bound = Numbers([1, 5, 9]).bounds(None)
    later = Numbers([5, 20])

    assert bound == (1, 9)
    assert later.bounds(bound) == bound
    assert [later.position(key) for key in (1, 5, 9)] == [0.0, 0.5, 1.0]
    assert Numbers([]).bounds(None) is None
    with pytest.raises(UsageError, match="'a' is no key"):
        later.bounds((1, "a"))


@pytest.mark.parametrize(
    ("now", "later"), [([1, 9], False), ([1], False), ([1, 9, 10], True), ([10], True), ([], False)]
)
def test_what_came_later_is_known(now, later):
    """Also where the highest row of then is gone."""
    bound = Numbers([1, 9]).bounds(None)
    source = Numbers(now)

    assert source.later() is None
    source.bounds(bound)
    assert source.later() is later


def test_a_table_that_was_empty_has_later_rows():
    """There was no end to remember."""
    source = Numbers([])
    source.bounds(None)
    assert source.later() is False
    source.keys = [1]
    assert source.later() is True


def test_another_order_is_refused():
    """A key that became a text is sorted in another way; an older state has noted no order."""
    bound = Numbers([1, 9], "integer").bounds(None)

    assert bound == (1, 9, "integer")
    assert Numbers([1, 9], "integer").bounds(bound) == bound
    assert Numbers([1, 9], "integer").bounds((1, 9)) == bound
    assert Numbers([1, 9]).bounds(bound) == (1, 9)
    with pytest.raises(UsageError, match=r"that of integer, and is that of text now.*--reset"):
        Numbers([1, 9], "text").bounds(bound)


@pytest.mark.parametrize(
    ("first", "last", "at", "expected"),
    [(0, 10, 5, 0.5), (10, 0, 9, 0.1), (3, 3, 3, None), (0, float("inf"), 1, None), (float("nan"), 1, 1, None)],
)
def test_a_fraction_of_the_way(first, last, at, expected):
    """In either direction; None where one cannot reckon."""
    assert fraction(first, last, at) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("now", "older"), [([1, 5, 9], False), ([9], False), ([1, 12], False), ([1, 5], True), ([], True)]
)
def test_a_table_that_ends_before_its_former_end_may_be_an_older_copy(
    now: list[int], older: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A resumed run reads none of the rows before its last key again, although what was done to
    them is gone from a restored database.
    """
    bound = Numbers([1, 5, 9]).bounds(None)
    assert not caplog.messages

    Numbers(now).bounds(bound)
    assert [message for message in caplog.messages if "an older copy" in message] == caplog.messages
    assert bool(caplog.messages) is older
    if older:
        assert f"the numbers ends at key {max(now, default=None)}, and ended at 9" in caplog.messages[0]


def test_where_callbacks_may_have_changed_what_is_read_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A condition such as "not done yet" fits fewer and fewer rows."""
    monkeypatch.setattr(Numbers, "_reads_all", lambda _: False)
    Numbers([1]).bounds(Numbers([1, 9]).bounds(None))

    assert not caplog.messages
