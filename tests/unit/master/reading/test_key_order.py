"""When the order of keys is worth a warning, and when it is not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from taskmaster.master.reading.key_order import KeyOrder

SIZES = (1, 2, 3, 100)


def fault_of(keys: list[Any], size: int, *last: Any) -> str:
    """The fault that is found in keys which come in batches of a size."""
    order = KeyOrder(*last)
    for at in range(0, len(keys), size):
        order.breaks(keys[at : at + size])
    return order.fault


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DISORDER: dict[str, list[Any]] = {
    "numbers in no order": [5, 3, 9, 1, 7, 2],
    "one that is out of order": [1, 2, 3, 5, 4, 6],
    "first up, then down": [1, 2, 3, 2, 1],
    "one that comes back after others": [1, 1, 2, 2, 1],
    "floats": [0.5, 1.5, 1.0],
    "numbers of several types": [1, Decimal("2.5"), 2.25],
    "bytes": [b"a", b"c", b"b"],
    "days": [date(2026, 1, 1), date(2026, 1, 3), date(2026, 1, 2)],
    "moments": [NOON, NOON + timedelta(2), NOON + timedelta(1)],
    "UUIDs": [UUID(int=1), UUID(int=3), UUID(int=2)],
    "tuples": [(1, 1), (1, 2), (2, 1), (1, 3)],
    "the second part of tuples": [(1, 1), (1, 3), (1, 2)],
    "numbers in front of text": [(1, "b"), (3, "a"), (2, "c")],
    "numbers behind equal text": [("a", 1), ("a", 3), ("a", 2)],
    "lists": [[1], [3], [2]],
}
ORDER: dict[str, list[Any]] = {
    "ascending": [1, 2, 3, 10],
    "descending": [10, 3, 2, 1],
    "equal ones in a row": [1, 1, 2, 2, 3],
    "all equal": [7, 7, 7],
    "text, whose order is the collation's": ["b", "a", "C", "\u00e4", "z"],
    "text in front of numbers": [("b", 1), ("a", 2), ("C", 1), ("a", 1)],
    "two parts that go different ways": [(1, 9), (1, 3), (2, 8), (2, 1)],
    "numbers and what cannot be compared with them": [1, None, 2, "a", 3],
    "no number": [1.0, float("nan"), 2.0],
    "Decimals that are no numbers": [Decimal(1), Decimal("sNaN"), Decimal(2)],
    "moments with and without a zone": [NOON, NOON.replace(tzinfo=None), NOON + timedelta(1)],
    "tuples that become longer": [(1,), (1, 2), (2,)],
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", DISORDER)
def test_disorder_is_found(kind: str, size: int) -> None:
    """However the jobs were cut into batches."""
    assert "came after" in fault_of(DISORDER[kind], size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ORDER)
def test_no_order_that_a_database_may_have_is_a_fault(kind: str, size: int) -> None:
    """A false warning is worse than none: text is not compared, and each part may go its own
    way.
    """
    assert fault_of(ORDER[kind], size) == ""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("keys", "last"),
    [
        ([1, 2, 3], 500),  # ``last`` is ignored
        ([1000, 999, 998], 701),  # WHERE id > last ORDER BY id DESC
        ([(1, 1), (1, 2), (2, 1)], (5, 0)),
        (["a", "b", "c", "d"], "b"),  # text cannot be compared, but ``last`` itself comes among the others
        ([NOON, NOON + timedelta(1)], NOON + timedelta(9)),
    ],
)
def test_a_source_that_does_not_go_on_after_last_is_found(keys: list[Any], last: Any, size: int) -> None:
    """It ignores ``last``, or turns its order around."""
    assert f"asked to go on after {last!r}" in fault_of(keys, size, last)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("keys", "last"),
    [([5, 6, 7], 5), ([6, 7], 5), ([4, 3], 5), ([5, 5, 4], 5), (["b", "b", "c"], "b"), (["c", "d"], "b"), ([1], None)],
)
def test_a_source_may_begin_at_last_or_behind_it(keys: list[Any], last: Any, size: int) -> None:
    """In either direction."""
    assert fault_of(keys, size, last) == ""


def test_one_fault_is_enough() -> None:
    """It is told once, and what comes later does not change it."""
    order = KeyOrder()

    assert order.breaks([1, 3, 2])
    first = order.fault
    assert not order.breaks([9, 1])
    assert order.fault == first
