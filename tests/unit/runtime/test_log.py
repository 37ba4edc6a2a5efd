"""The package's loggers: their records are clean, whoever's handler prints them."""

from __future__ import annotations

import logging

import pytest

from taskmaster.runtime import log
from taskmaster.runtime.log import clean_logger

HOSTILE = "n\x1b[31m\nERROR taskmaster: forged\r\x9b2J"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def printed(caplog: pytest.LogCaptureFixture) -> str:
    """Give what a handler that knows nothing of us prints."""
    return "\n".join(map(logging.Formatter("%(message)s").format, caplog.records))


@pytest.fixture
def logger() -> logging.Logger:
    return clean_logger("taskmaster.test_of_the_log")


@pytest.mark.parametrize("args", [(HOSTILE,), (ValueError(HOSTILE),), ({"name": HOSTILE},), ([HOSTILE],)])
def test_the_values_of_a_record_are_cleaned(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, args: tuple[object]
) -> None:
    """Texts, exceptions and whatever else has one."""
    logger.warning("lost the slave %(name)s" if isinstance(args[0], dict) else "lost the slave %s", *args)

    assert not set(printed(caplog)) & set("\x1b\r\x9b")
    assert "\nERROR" not in printed(caplog)
    assert "lost the slave" in printed(caplog)


def test_a_message_without_values_is_cleaned(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """It may have been put together before."""
    logger.warning(f"lost {HOSTILE}")  # noqa: G004

    assert not set(printed(caplog)) & set("\x1b\r\x9b")


def test_a_traceback_is_cleaned(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """Its lines stay lines."""
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logger.exception("an error")

    assert not set(printed(caplog)) & set("\x1b\r\x9b")
    assert "\nTraceback (most recent call last):\n" in printed(caplog)


def test_numbers_stay_numbers(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """Formats for them go on working."""
    logger.warning("%d jobs, %.1f s, %s, %r", 3, 1.25, None, True)

    assert printed(caplog) == "3 jobs, 1.2 s, None, True"


def test_a_value_without_a_text_stops_nobody(logger: logging.Logger) -> None:
    """Whoever logs goes on."""
    logger.info("%s", Broken())
    assert logger.filter(logging.LogRecord("x", 20, "f", 1, "%s", (Broken(),), None))


def test_a_warning_that_comes_again_and_again_is_left_out(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slave that is lost and comes back a thousand times a second must not fill a disk; how many
    lines were left out is said with the next one, and another warning is not one of them.
    """
    now = [0.0]
    monkeypatch.setattr(log._CLEANING, "repeats", log._Repeats(lambda: now[0]))
    caplog.set_level(logging.INFO, logger=logger.name)
    for number in range(1000):
        logger.warning("lost the slave %s", number)
    assert len(caplog.records) == 100
    logger.warning("the run is paused: %s", "full")
    logger.info("lost the slave %s", "x")
    assert len(caplog.records) == 102
    now[0] += 2.0
    for number in range(1000):
        logger.warning("lost the slave %s", number)
    assert [record.getMessage() for record in caplog.records[102:]] == [
        "lost the slave 0 (others like this one that were left out: 900)",
        "lost the slave 1",
    ]


def test_lines_for_those_who_look_closely_are_left_out_later(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand slaves may come at once."""
    monkeypatch.setattr(log._CLEANING, "repeats", log._Repeats(lambda: 0.0))
    caplog.set_level(logging.DEBUG, logger=logger.name)
    for number in range(20_500):
        logger.info("the slave %s is connected", number)
        logger.debug("the slave %s has asked", number)
    assert len(caplog.records) == 20_000 + 20_500


def test_the_kinds_of_lines_that_are_counted_are_bounded() -> None:
    """A message may have been put together before."""
    repeats = log._Repeats(lambda: 0.0)
    for number in range(5000):
        record = logging.LogRecord("taskmaster", logging.WARNING, "", 0, f"lost {number}", None, None)
        assert repeats.left_out(record) == 0
    assert len(repeats._kinds) <= log.MOST_KINDS


def test_a_long_value_is_cut(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """To clean a text of sixteen megabytes takes seconds."""
    logger.warning("a slave's exchange failed: %s", "\x1b" * 1_000_000)

    assert len(printed(caplog)) < 60_000
