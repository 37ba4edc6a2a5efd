"""Which keys are equal where values are compared."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from taskmaster import keys
from taskmaster.master.broker.watermark import END
from taskmaster.master.records.key_equality import same

EAST = timezone(timedelta(hours=1))
BERLIN = ZoneInfo("Europe/Berlin")
NAIVE = datetime.fromisoformat("2024-01-01")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Decimal("3.0"), Decimal("3.00")),
        (Decimal("1e3"), 1000),
        (1, True),
        (0, False),
        (2, 2.0),
        (-1, -1.0),
        (-0.0, 0.0),
        (10**20, float(10**20)),
        (datetime(2024, 1, 1, 3, tzinfo=EAST), datetime(2024, 1, 1, 2, tzinfo=UTC)),
        (datetime(2024, 1, 1, 1, tzinfo=BERLIN), datetime(2024, 1, 1, tzinfo=UTC)),
        (time(4, tzinfo=EAST), time(3, tzinfo=UTC)),
        ((1, Decimal("3.0")), (1.0, Decimal("3.00"))),
        ([1, [2]], [1, [2.0]]),
        ("Bob", "bob"),
        ("bob", "bob "),
        ("b\u00f6b", "BOB"),
        ("b\u00f6b", "bo\u0308b"),
        ("STRASSE", "stra\u00dfe"),
        ((1, "A"), (1, "a")),
    ],
)
def test_keys_that_compare_equal_somewhere_are_the_same(one: object, other: object) -> None:
    """A source that goes on after one of them leaves the other out."""
    assert same(keys.encode(one), keys.encode(other))
    assert same(keys.encode(other), keys.encode(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (-1, 1),
        (1, "1"),
        (1, (1,)),
        ((1,), [1]),
        (None, 0),
        (None, ""),
        (b"a", b"A"),
        ("a", "b"),
        ("\u0301", "\u0302"),
        ("", " \u0301"),
        (Decimal("sNaN"), 1),
        (Decimal("NaN"), float("nan")),
        (NAIVE, NAIVE.replace(tzinfo=UTC)),
        (NAIVE, NAIVE.date()),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)),
        ((1, "a"), (1, "b")),
    ],
)
def test_keys_that_differ_everywhere_are_not(one: object, other: object) -> None:
    """Between these a run can be cut."""
    assert not same(keys.encode(one), keys.encode(other))
    assert not same(keys.encode(other), keys.encode(one))


def test_the_same_text_is_the_same_key() -> None:
    """Also where a value is not equal to itself."""
    assert same(keys.encode(float("nan")), keys.encode(float("nan")))


def test_the_end_of_a_source_and_what_is_no_key_are_the_same_as_nothing_else() -> None:
    """They stand where a key could, and are compared with keys."""
    for key in (1, "", "a", 2.0, (1, 2)):
        assert not same(END, keys.encode(key))
        assert not same(keys.encode(key), END)
    assert not same("{", "1.5")
