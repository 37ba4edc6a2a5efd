"""The file of --log-file: what is logged and said, in lines or in objects."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from taskmaster.errors import SourceError, UsageError
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.log_file import JsonFormatter, LogFile

logger = clean_logger("taskmaster.tests.log_file")


def test_lines_have_their_time_their_level_and_their_origin(tmp_path: Path) -> None:
    """What is logged, and what is said, in their order; an older file goes on."""
    path = tmp_path / "run.log"
    path.write_text("before\n")

    with LogFile(path) as log:
        logger.warning("lost the slave %s", "web3:8\n")
        log.say("All done: 60 jobs settled.")
    logger.warning("too late")

    first, logged, said = path.read_text().splitlines()
    assert first == "before"
    assert logged.endswith(" WARNING taskmaster.tests.log_file: lost the slave web3:8")
    assert said.endswith(" INFO taskmaster: All done: 60 jobs settled.")
    assert logged[:4].isdigit()


def test_objects_are_one_a_line_whatever_is_in_them(tmp_path: Path) -> None:
    """Also with a traceback, and with what moves a cursor."""
    path = tmp_path / "run.log"

    with LogFile(path, as_json=True) as log:
        try:
            raise ValueError("bad \x1b[2J title\nforged")
        except ValueError:
            logger.exception("the hook failed")
        log.say("Grüße")

    first, second = map(json.loads, path.read_text("utf-8").splitlines())
    assert (first["level"], first["logger"], first["message"]) == (
        "error", "taskmaster.tests.log_file", "the hook failed",
    )  # fmt: skip
    assert "ValueError" in first["traceback"]
    assert "\x1b" not in first["traceback"]
    assert second["message"] == "Grüße"
    assert second["at"] > 1e9


def test_no_line_of_the_log_can_be_forged(tmp_path: Path) -> None:
    """An exception's message may have lines that look like it: no line but a record's first
    begins at the margin.
    """
    path = tmp_path / "run.log"
    forged = "2026-11-29 06:26:41+0000 INFO taskmaster: All done: 60 jobs settled."

    with LogFile(path) as log:
        log.say(f"Traceback (most recent call last):\n  File\nValueError: bad\n{forged}")
        try:
            raise ValueError(f"bad\n{forged}")
        except ValueError:
            logger.exception("the hook failed")

    lines = path.read_text().splitlines()
    assert sum(line.endswith("All done: 60 jobs settled.") for line in lines) == 2
    assert len([line for line in lines if not line.startswith(" ")]) == 2


@pytest.mark.parametrize("as_json", [False, True])
def test_the_token_of_a_page_is_not_in_it(tmp_path: Path, as_json: bool) -> None:
    """Neither in what is said nor in what is logged; the rest of the address is."""
    path = tmp_path / "run.log"

    with LogFile(path, as_json=as_json) as log:
        log.say("The page that shows and steers the run: http://127.0.0.1:8080/?token=s3cret-t0ken_x")
        logger.warning("the page is at http://127.0.0.1:8080/?a=1&token=s3cret-t0ken_x#top")

    text = path.read_text()
    assert "s3cret" not in text
    assert "t0ken" not in text
    assert "http://127.0.0.1:8080/?token=***" in text
    assert "&token=***#top" in text


def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    """Also one that takes the place of a file that was moved away; an older one keeps its mode."""
    path, older = tmp_path / "run.log", tmp_path / "older.log"
    older.touch()
    older.chmod(0o604)

    with LogFile(path) as log, LogFile(older):
        assert path.stat().st_mode & 0o007 == 0
        path.rename(tmp_path / "run.log.1")
        log.say("two")

    assert path.stat().st_mode & 0o007 == 0
    assert path.stat().st_mode & 0o600 == 0o600
    assert older.stat().st_mode & 0o777 == 0o604


def test_the_error_that_ends_a_run_is_in_it(tmp_path: Path) -> None:
    """What the command says last is not said to the terminal alone."""
    path = tmp_path / "run.log"

    with pytest.raises(SourceError), LogFile(path):
        raise SourceError("get_jobs raised")

    assert " ERROR taskmaster: get_jobs raised" in path.read_text()


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    """As logrotate does it, without a signal."""
    path = tmp_path / "run.log"

    with LogFile(path) as log:
        log.say("one")
        path.rename(tmp_path / "run.log.1")
        log.say("two")

    assert "two" in path.read_text()
    assert "two" not in (tmp_path / "run.log.1").read_text()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Before the run begins, with the option."""
    with pytest.raises(UsageError, match="--log-file"):
        LogFile(tmp_path / "missing" / "run.log")


def test_a_disk_that_is_full_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is warned of once."""
    with caplog.at_level(logging.WARNING, "taskmaster"), LogFile("/dev/full") as log:
        for _ in range(5):
            log.say("one")

    assert [record.getMessage() for record in caplog.records] == [
        "the log file /dev/full cannot be written; the run goes on"
    ]


# -- what somebody else has put in its place -------------------------------------------------------

STRANGER = 54321


@pytest.mark.parametrize("kind", ["a file", "a link", "a second name"])
def test_what_somebody_else_has_put_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In a directory like /tmp: what is logged goes to nobody else, and into no other file."""
    tmp_path.chmod(0o1777)
    path, precious = tmp_path / "run.log", tmp_path / "precious"
    precious.write_text("precious\n")
    if kind == "a file":
        path.touch(0o666)
    elif kind == "a link":
        path.symlink_to(precious)
    else:
        path.hardlink_to(precious)
    if kind != "a second name":
        if os.geteuid() == 0:
            os.lchown(path, STRANGER, STRANGER)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: STRANGER)

    with pytest.raises(UsageError, match=r"--log-file is .*run\.log', which cannot be written: it .*Give another"):
        LogFile(path)
    assert precious.read_text() == "precious\n"


def test_one_s_own_link_and_a_pipe_with_a_reader_are_written_to(tmp_path: Path) -> None:
    """As /dev/stdout is; a pipe that nobody reads is refused instead of waited for."""
    link, pipe = tmp_path / "run.log", tmp_path / "pipe"
    link.symlink_to(tmp_path / "real.log")
    with LogFile(link) as log:
        log.say("to the link")
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="it is a pipe that nobody reads"):
        LogFile(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with LogFile(pipe) as log:
            log.say("to the pipe")
            assert b"to the pipe" in os.read(reader, 1000)
    finally:
        os.close(reader)

    assert "to the link" in (tmp_path / "real.log").read_text()


def test_json_lines_hide_tokens_wherever_they_go() -> None:
    """Standard error of a container is read by a collector of logs, as a file is."""
    record = logging.makeLogRecord({"msg": "The page: http://127.0.0.1:8050/?token=abc-D_9 (steers)"})

    assert (
        json.loads(JsonFormatter().format(record))["message"] == "The page: http://127.0.0.1:8050/?token=*** (steers)"
    )
