"""Fixtures of the process tests: a playground whose commands and processes are accounted for."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from commands import Command, processes_with, wait_for
from ledger import MODULE, Ledger


class Playground:
    """A directory with a module, a ledger, and the commands that run in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = uuid.uuid4().hex
        self.ledger = Ledger(directory / "ledger.txt")
        self.environment = {
            "TASKMASTER_TEST": self.mark,
            "TASKMASTER_HOME": str(directory / "home"),
            "LEDGER": str(self.ledger.path),
        }
        self._commands: list[Command] = []
        self.write("jobs.py", MODULE)

    def write(self, name: str, text: str) -> Path:
        """A file in the directory."""
        path = self.directory / name
        path.write_text(text)
        return path

    def start(self, *words: str, **environment: str) -> Command:
        """Start a command in the directory."""
        command = Command(self.directory, *words, environment={**self.environment, **environment})
        self._commands.append(command)
        return command

    def run(self, *words: str, **environment: str) -> Command:
        """Start a command and wait for its end."""
        command = self.start(*words, **environment)
        command.end()
        return command

    def in_state(self) -> int:
        """How many settled jobs the only state here tells of, as soon as there is a key in it to resume from; else 0.

        How soon that is depends on the disk. It is read from a copy: the run has the file for itself.
        """
        with tempfile.TemporaryDirectory() as copies, suppress(FileNotFoundError, sqlite3.DatabaseError):
            for path in self.directory.glob("*.tmstate*"):
                shutil.copy(path, copies)
            for path in Path(copies).glob("*.tmstate"):
                with closing(sqlite3.connect(path)) as copy:
                    row = copy.execute("SELECT settled FROM run WHERE mark IS NOT NULL").fetchone()
                    return row[0] if row else 0
        return 0  # not there yet, or copied in the middle of a write

    def left(self) -> dict[int, str]:
        """Processes that the commands have started and that still run."""
        return processes_with(self.mark)

    def close(self) -> None:
        """End everything that was started here."""
        for command in self._commands:
            command.close()
        for pid in self.left():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    """A playground; the test fails if its commands, all ended by themselves, leave a process behind."""
    ground = Playground(tmp_path)
    try:
        yield ground
        if all(command.process.poll() is not None for command in ground._commands):
            try:
                wait_for("every process to end", lambda: not ground.left(), 10.0)
            except AssertionError:
                raise AssertionError(f"left running: {ground.left()}") from None
    finally:
        ground.close()
