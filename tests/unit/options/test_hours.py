"""The hours in which a run hands jobs out, on days of every kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.errors import UsageError
from taskmaster.options.hours import parse_hours

BERLIN = ZoneInfo("Europe/Berlin")


def open_at(text: str, *wall: int, zone: ZoneInfo = BERLIN, fold: int = 0) -> bool:
    return parse_hours(text).why(datetime(*wall, tzinfo=zone, fold=fold)) == ""


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        ((2026, 11, 28, 21, 59), False),
        ((2026, 11, 28, 22, 0), True),
        ((2026, 11, 29, 0, 0), True),
        ((2026, 11, 29, 5, 59), True),
        ((2026, 11, 29, 6, 0), False),
        ((2026, 11, 29, 12, 0), False),
    ],
)
def test_window_may_pass_midnight(wall, expected):
    """It opens at its first minute and is closed from its last one on."""
    assert open_at("22:00-06:00 Europe/Berlin", *wall) is expected


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        ((2026, 11, 27, 19, 0), False),  # Friday
        ((2026, 11, 27, 21, 0), True),
        ((2026, 11, 28, 5, 0), True),  # Friday's window reaches into Saturday
        ((2026, 11, 28, 7, 0), True),  # the weekend's own
        ((2026, 11, 29, 23, 59), True),
        ((2026, 11, 30, 0, 0), False),  # Sunday's ends at midnight, and Monday's opens at eight
        ((2026, 11, 30, 5, 0), False),
        ((2026, 11, 30, 20, 0), True),
    ],
)
def test_windows_belong_to_the_days_on_which_they_open(wall, expected):
    """Several windows, each with its days."""
    assert open_at("mon-fri 20:00-06:00, sat,sun 00:00-24:00 Europe/Berlin", *wall) is expected


def test_days_may_pass_the_end_of_the_week():
    """From Saturday to Monday are three days."""
    text = "sat-mon 10:00-11:00 UTC"

    assert [open_at(text, 2026, 11, day, 10, 30, zone=ZoneInfo("UTC")) for day in range(23, 30)] == [
        True, False, False, False, False, True, True,
    ]  # fmt: skip


def test_night_on_which_the_clocks_go_back_is_open_an_hour_longer():
    """Half past two comes twice, and both times it is night."""
    text = "22:00-06:00 Europe/Berlin"

    assert open_at(text, 2026, 10, 25, 2, 30, fold=0)
    assert open_at(text, 2026, 10, 25, 2, 30, fold=1)
    assert open_at(text, 2026, 10, 25, 5, 59)
    assert not open_at(text, 2026, 10, 25, 6, 0)


def test_night_on_which_the_clocks_go_forward_ends_at_six_on_the_clock():
    """The hour that there is not is no hour too many at the end."""
    text = "22:00-06:00 Europe/Berlin"

    assert open_at(text, 2026, 3, 29, 5, 59)
    assert not open_at(text, 2026, 3, 29, 6, 0)


def test_reason_says_when_it_goes_on():
    """The day, the time and how long that is, in the zone that was given."""
    hours = parse_hours("mon-fri 22:00-06:00 Europe/Berlin")

    assert hours.why(datetime(2026, 11, 28, 12, 0, tzinfo=BERLIN)) == (
        "outside of the hours mon-fri 22:00-06:00 Europe/Berlin; jobs go on Monday at 22:00, in 58 h 1 min"
    )


def test_without_a_zone_the_machine_s_is_meant(monkeypatch):
    """As cron does."""
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert open_at("09:00-10:00", 2026, 11, 28, 0, 30, zone=ZoneInfo("UTC"))
        assert not open_at("09:00-10:00", 2026, 11, 28, 9, 30, zone=ZoneInfo("UTC"))
    finally:
        monkeypatch.undo()
        time.tzset()


@given(
    opens=st.integers(0, 1439),
    length=st.integers(1, 1439),
    days=st.sets(st.integers(0, 6), min_size=1),
    minutes=st.integers(0, 2 * 366 * 24 * 60),
)
def test_a_moment_is_open_as_its_wall_clock_says(opens, length, days, minutes):
    """Compared with a clock on the wall, minute by minute, over two years with four changes."""
    closes = (opens + length) % 1440
    names = ",".join(("mon", "tue", "wed", "thu", "fri", "sat", "sun")[day] for day in sorted(days))
    hours = parse_hours(f"{names} {opens // 60:02}:{opens % 60:02}-{closes // 60:02}:{closes % 60:02} Europe/Berlin")
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    wall = now.astimezone(BERLIN)
    at = 60 * wall.hour + wall.minute
    today, yesterday = wall.weekday() in days, (wall.weekday() - 1) % 7 in days
    if opens < closes or closes == 0:
        expected = today and opens <= at < (closes or 1440)
    else:
        expected = (today and at >= opens) or (yesterday and at < closes)
    # A window that opens or closes within the hour that is skipped or comes twice may do so at
    # either end of it.
    near = any(
        (now + timedelta(minutes=shift)).astimezone(BERLIN).utcoffset() != wall.utcoffset() for shift in (-61, 61)
    )

    assert near or (hours.why(now) == "") is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write it like"),
        ("at night", "write it like"),
        ("22:00", "not a window"),
        ("22-06", "not a window"),
        ("22:00-22:00", "no length"),
        ("24:00-02:00", "no length"),
        ("22:00-25:00", "25:00 is not a time of day"),
        ("22:60-23:00", "22:60 is not a time of day"),
        ("mon-foo 22:00-23:00", "'foo' is not a day"),
        ("mon-tue-wed 22:00-23:00", "not a range of days"),
        ("22:00-06:00 Europe/Atlantis", "not a time zone"),
        ("22:00-06:00 ../../etc/passwd", "write it like"),
        ("22:00-06:00, ", "write it like"),
    ],
)
def test_what_is_no_window_is_refused_with_its_form(text, said):
    """With the value, and what is wrong with it."""
    with pytest.raises(UsageError, match=r"--hours is") as caught:
        parse_hours(text)

    assert said in str(caught.value)
