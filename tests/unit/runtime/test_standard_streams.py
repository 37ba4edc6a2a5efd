"""Standard streams that a process was started without."""

from __future__ import annotations

import io
import os
import sys

import pytest

from taskmaster.runtime import standard_streams


def test_streams_that_python_has_not_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed then goes where the descriptor leads."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    standard_streams.fill()

    assert (sys.stdin.fileno(), sys.stdout.fileno(), sys.stderr.fileno()) == (0, 1, 2)


def test_what_is_open_stays_as_it_is() -> None:
    """The streams of a process that has them all are not touched."""
    before = [os.fstat(number) for number in (0, 1, 2)], sys.stdin, sys.stdout, sys.stderr
    standard_streams.fill()

    assert ([os.fstat(number) for number in (0, 1, 2)], sys.stdin, sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_standard_output_shows_what_its_encoding_lacks(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """As an escape, instead of an end in the middle."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    standard_streams.harden()
    sys.stdout.write("é 日本 \udcff")
    sys.stdout.flush()

    assert raw.getvalue() == "é 日本 \udcff".encode(encoding, "backslashreplace")


def test_a_way_of_showing_that_was_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by PYTHONIOENCODING=ascii:replace, or by a stream that is no file."""
    chosen = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    for stream in (chosen, io.StringIO(), None):
        monkeypatch.setattr(sys, "stdout", stream)
        standard_streams.harden()

    assert chosen.errors == "replace"


def test_standard_error_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer goes on, and so does the exit code."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as broken:
        for name in ("stderr", "__stderr__"):
            monkeypatch.setattr(sys, name, broken)
        standard_streams.harden()
        sys.stderr.write("nobody reads this\n" * 10_000)
        sys.stderr.flush()

        assert sys.stderr is not broken
