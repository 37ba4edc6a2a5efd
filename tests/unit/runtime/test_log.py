"""The package's loggers: their records are clean, whoever's handler prints them."""

from __future__ import annotations

import logging

import pytest

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
