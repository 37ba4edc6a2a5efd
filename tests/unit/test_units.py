"""Durations, shares and rates, as people write them."""

from __future__ import annotations

import math
import time

import pytest

from taskmaster.errors import UsageError
from taskmaster.units import (
    bytes_of,
    fraction_of,
    rate_of,
    seconds_of,
    show_bytes,
    show_count,
    show_moment,
    show_percent,
    show_rounded,
    show_seconds,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("1d2h3m4s", 93784),
        ("0.5h", 1800), (" 2H ", 7200), ("1m30", 90), (90, 90), (0.25, 0.25),
    ],
)  # fmt: skip
def test_durations_are_read(text, seconds):
    """With units, of which the last one may be left out if it is seconds, or as a number."""
    assert seconds_of("--run-time", text) == seconds


@pytest.mark.parametrize(
    "value", ["", "soon", "0", "0s", "-1", "-1h", "30m1h", "1h1h", "h", "1.h", "inf", "nan", "1 h", 0, -1.0, True, None]
)
def test_what_is_no_duration_is_named(value):
    """With the option, the value and the forms."""
    with pytest.raises(UsageError, match=r"^--run-time is .*1h30m"):
        seconds_of("--run-time", value)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_endless_duration_is_none(value):
    """To run without an end, the option is left out."""
    with pytest.raises(UsageError, match="above zero"):
        seconds_of("--run-time", value)


@pytest.mark.parametrize(
    ("value", "share"),
    [("0.1%", 0.001), ("0.001", 0.001), ("100%", 1), ("1", 1), (" 5 % ", 0.05), (0.25, 0.25), (1, 1)],
)
def test_shares_are_read(value, share):
    """In percent or as a fraction."""
    assert fraction_of("--sample", value) == pytest.approx(share)


@pytest.mark.parametrize(
    "value", ["", "%", "0", "0%", "101%", "2", "-1%", "many", "nan", "nan%", True, None, [], 0.0, 1.1]
)
def test_what_is_no_share_is_named(value):
    """Nothing and more than all are none."""
    with pytest.raises(UsageError, match=r"^--sample is .*0.1%"):
        fraction_of("--sample", value)


@pytest.mark.parametrize("text", ["90s", "15m", "2h", "1d", "1h30m", "0.25s", "1d2h3m4s"])
def test_a_shown_duration_can_be_read_again(text):
    """In its shortest form."""
    seconds = seconds_of("--run-time", text)

    assert seconds_of("--run-time", show_seconds(seconds)) == seconds


def test_a_shown_moment_has_its_zone(monkeypatch):
    """A log of another machine, or of three days, may be of another zone; no moment is a dash."""
    monkeypatch.setenv("TZ", "UTC-5:30")
    time.tzset()
    try:
        assert show_moment(1796052532.5) == "2026-11-30 20:58:52+0530"
    finally:
        monkeypatch.undo()
        time.tzset()
    assert show_moment(None) == "-"
    assert show_moment(1e300) == "at no time"


def test_shown_amounts_are_short():
    """As a person would write them."""
    assert [show_seconds(90), show_seconds(5400), show_seconds(0.25)] == ["1m30s", "1h30m", "0.25s"]
    assert [show_percent(0.001), show_percent(1)] == ["0.1%", "100%"]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100", 100), ("0.5", 0.5), ("100/s", 100), ("30/m", 0.5), (" 3600 / H ", 1), ("86400/d", 1),
        (7, 7), (0.25, 0.25),
    ],
)  # fmt: skip
def test_rates_are_read(text, rate):
    """A second, unless another unit is named."""
    assert rate_of("--rate", text) == rate


@pytest.mark.parametrize(
    "value", ["", "fast", "0", "-1", "inf", "nan", "100/", "100/x", "1/2", "/m", 0, -1.0, True, None]
)
def test_what_is_no_rate_is_named(value):
    """With the option, the value and the forms."""
    with pytest.raises(UsageError, match=r"^--rate is .*30/m"):
        rate_of("--rate", value)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (1, 1),
        ("800000000", 800_000_000),
        ("500M", 500 * 2**20),
        (" 500 mb ", 500 * 2**20),
        ("1.5G", 3 * 2**29),
        ("2GiB", 2**31),
        ("64k", 65_536),
        ("1T", 2**40),
        ("10b", 10),
    ],
)
def test_amounts_of_memory_are_read(value: object, count: int) -> None:
    """As people write them; a unit is 1,024 of the one below."""
    assert bytes_of("--memory-per-worker", value) == count


@pytest.mark.parametrize("value", [0, -1, 0.5, True, None, "", "0", "0M", "-5M", "M", "5 X", "5MM", "1e9", "nan"])
def test_what_is_no_amount_of_memory_is_refused(value: object) -> None:
    """With the value, and with what could be meant."""
    with pytest.raises(UsageError, match=r"--memory-per-worker is .*500M"):
        bytes_of("--memory-per-worker", value)


def test_amounts_of_memory_are_shown_as_they_are_read() -> None:
    """In the largest unit that fits."""
    assert [show_bytes(count) for count in (1, 1023, 1024, 500 * 2**20, 3 * 2**29)] == [
        "1",
        "1023",
        "1K",
        "500M",
        "1.5G",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (89.6, "1m30s"), (-0.3, "0s"), (math.inf, "an endless time")]
)
def test_a_duration_is_shown_in_whole_seconds_and_an_endless_one_too(seconds: float, text: str) -> None:
    """Options such as --state-timeout may be endless."""
    assert show_rounded(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs")])
def test_a_number_stands_before_the_right_noun(number, text):
    """There is one job, and there are none or two jobs."""
    assert show_count(number, "job") == text
