"""What a command says and logs that shows no progress."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskmaster.errors import UsageError
from taskmaster.runtime.command_log import CommandLog
from taskmaster.runtime.log import clean_logger

logger = clean_logger("taskmaster.tests.command_log")


@contextmanager
def alone(path: Path | None = None, *, as_json: bool = False) -> Iterator[CommandLog]:
    """Without pytest's own handlers, as in a command."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        with CommandLog(None if path is None else str(path), as_json=as_json) as log:
            yield log
    finally:
        root.handlers = handlers


def test_a_file_has_what_is_said_and_logged_beside_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have it once, cleaned; a traceback keeps its lines."""
    path = tmp_path / "slave.log"

    with alone(path) as log:
        log.say("tm-slave: connected to \x1b[2J\nforged")
        log.show("Traceback:\n  File x\n")
        logger.warning("worker %d has died", 7)
    logger.warning("too late")

    shown = capsys.readouterr().err
    for text in (path.read_text(), shown):
        assert text.count("tm-slave: connected to ?[2J\n    forged\n") == 1
        assert "Traceback:\n  File x\n" in text
        assert text.count("WARNING taskmaster.tests.command_log: worker 7 has died") == 1
    assert "too late" not in path.read_text()


def test_without_a_file_standard_error_has_the_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """One a line, what is said as what is logged; and with a file, the file has them."""
    with alone(as_json=True) as log:
        log.show("Traceback:\n  File x")
        logger.warning("gone")

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["message"] == "Traceback:\n  File x"
    assert (second["level"], second["message"]) == ("warning", "gone")


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Before anything is done."""
    with pytest.raises(UsageError, match="--log-file"):
        CommandLog(str(tmp_path / "nowhere" / "slave.log"))
