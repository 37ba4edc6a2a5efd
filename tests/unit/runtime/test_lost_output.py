"""Which failure to write is one: a full disk is, a reader that has gone away is not."""

from __future__ import annotations

import errno
import os
import tempfile

import pytest

from taskmaster.runtime.lost_output import failure_of, sentence_about


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EDQUOT, "Disk quota exceeded"),
        (errno.EFBIG, "File too large"),
        (errno.EIO, "Input/output error"),
        (errno.EPIPE, ""),
        (errno.EBADF, ""),
    ],
)
def test_a_file_that_takes_nothing_is_a_failure(number: int, why: str) -> None:
    """With the system's words."""
    with tempfile.TemporaryFile() as file:
        assert failure_of(OSError(number, os.strerror(number)), file.fileno()) == why


def test_a_terminal_that_has_gone_away_is_none() -> None:
    """It answers like a disk that is broken."""
    out, into = os.pipe()
    os.close(out)
    try:
        assert failure_of(OSError(errno.EIO, os.strerror(errno.EIO)), into) == ""
    finally:
        os.close(into)
    assert failure_of(OSError(errno.EIO, os.strerror(errno.EIO)), into) == ""


def test_the_sentence_says_where_and_why() -> None:
    """For people."""
    assert "to standard output: No space left" in sentence_about("standard output", "No space left on device")
