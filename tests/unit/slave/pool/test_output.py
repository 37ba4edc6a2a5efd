"""What workers print, on its way through the slave; pipes within this process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from taskmaster.slave.pool.output import FULL_BYTES, LONGEST_LINE_BYTES, Forwarder, Output


class Pipe:
    """A pipe with both its ends."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        os.set_blocking(self.out, False)

    def read(self) -> bytes:
        """All that is in it now."""
        found = b""
        try:
            while data := os.read(self.out, LONGEST_LINE_BYTES):
                found += data
        except BlockingIOError:
            pass
        return found

    def close(self) -> None:
        """Both ends, if they are open."""
        for descriptor in (self.out, self.into):
            try:
                os.close(descriptor)
            except OSError:
                continue


@pytest.fixture
def terminal() -> Iterator[Pipe]:
    """Stands for the slave's standard output."""
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def printed() -> Iterator[Pipe]:
    """Stands for a worker's standard output."""
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_are_forwarded_whole(terminal: Pipe, printed: Pipe) -> None:
    """What has no end yet waits for it."""
    forwarder = Forwarder(printed.out, Output(terminal.into))
    os.write(printed.into, b"one\ntwo\nthr")

    assert forwarder.forward()
    assert terminal.read() == b"one\ntwo\n"

    os.write(printed.into, b"ee\n")

    assert forwarder.forward()
    assert terminal.read() == b"three\n"


def test_a_line_without_an_end_is_ended_with_its_worker(terminal: Pipe, printed: Pipe) -> None:
    """The next worker's line does not continue it."""
    forwarder = Forwarder(printed.out, Output(terminal.into))
    os.write(printed.into, b"last words")
    os.close(printed.into)
    forwarder.close()

    assert terminal.read() == b"last words\n"
    assert not forwarder.forward()


def test_an_endless_line_is_broken(terminal: Pipe, printed: Pipe) -> None:
    """It does not grow without bound."""
    output = Output(terminal.into)
    forwarder = Forwarder(printed.out, output)
    sent, seen = 0, b""
    while sent <= 2 * LONGEST_LINE_BYTES:
        sent += os.write(printed.into, b"x" * 32_768)
        forwarder.forward()
        output.flush()
        seen += terminal.read()

    assert b"\n" in seen
    assert len(seen.replace(b"\n", b"")) > LONGEST_LINE_BYTES


def test_a_slow_reader_loses_nothing_and_holds_nobody_up(terminal: Pipe) -> None:
    """A pipe that is full is not waited for; the rest comes when there is room, in its order."""
    output = Output(terminal.into)
    lines = [b"%07d %s\n" % (number, b"x" * 50) for number in range(8000)]
    for line in lines:
        output.add(line)  # nobody reads: this would hang if it waited

    assert output.full
    assert not output.empty

    seen = b""
    while not output.empty:
        seen += terminal.read()
        output.flush()
    seen += terminal.read()

    assert seen == b"".join(lines)
    assert not output.full
    assert len(seen) > FULL_BYTES


def test_a_reader_that_is_gone_is_not_written_to(terminal: Pipe) -> None:
    """`tm-slave | head` goes on working."""
    output = Output(terminal.into)
    os.close(terminal.out)
    output.add(b"nobody reads this\n")

    assert output.empty


def test_a_slave_without_standard_output_works() -> None:
    """It was started with it closed."""
    pipe = Pipe()
    pipe.close()
    output = Output(pipe.into)
    output.add(b"line\n")

    assert output.empty


def test_a_program_that_goes_on_writing_does_not_hold_up_the_end(terminal: Pipe, printed: Pipe) -> None:
    """What a callback has started may outlive the worker, with its end of the pipe open."""
    forwarder = Forwarder(printed.out, Output(terminal.into))
    os.write(printed.into, b"before\n")
    forwarder.close()

    assert terminal.read() == b"before\n"


class Disk:
    """What ``os.write`` does on a disk with so much room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.holds = b""

    def write(self, target: int, data: bytes) -> int:  # as os.write has it
        taken = bytes(data[: self.room])
        if data and not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(taken)
        self.holds += taken
        return len(taken)


def test_what_a_full_disk_does_not_take_for_a_moment_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, terminal: Pipe
) -> None:
    """It is written when there is room again."""
    disk = Disk(6)
    monkeypatch.setattr(os, "write", disk.write)
    output = Output(terminal.into)
    output.add(b"one\ntwo\n")
    output.flush()
    disk.room = 1000
    output.add(b"three\n")

    assert disk.holds == b"one\ntwo\nthree\n"
    assert not output.problem


def test_lines_that_a_full_disk_does_not_take_are_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, terminal: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, when they are lost; and the next line that is written is one of its own."""
    disk = Disk(6)
    monkeypatch.setattr(os, "write", disk.write)
    output = Output(terminal.into)
    for _ in range(3):
        output.add(b"one\ntwo\n" * FULL_BYTES)
    disk.room = 1000
    output.add(b"three\n")

    assert disk.holds == b"one\ntw\nthree\n"
    assert output.problem.endswith("to standard output: No space left on device. Lines are missing there.")
    assert len(caplog.records) == 1


def test_a_reader_that_has_gone_away_is_no_failure(terminal: Pipe) -> None:
    """As in ``tm-slave work.py | head``."""
    output = Output(terminal.into)
    terminal.close()
    output.add(b"one\n" * FULL_BYTES)

    assert output.empty
    assert not output.problem
