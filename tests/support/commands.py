"""The real commands as child processes, with an eye on what they leave behind.

Every wait has a deadline, and one that passes shows what the command has printed. Only processes
that were started here are ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from support.ports import free_port

__all__ = ["BIN", "DEADLINE", "Command", "children_of", "free_port", "processes_with", "wait_for"]

BIN = Path(sys.executable).parent
DEADLINE = 40.0


def wait_for(what: str, condition: Callable[[], object], seconds: float = DEADLINE) -> object:
    """Until the condition is true; fails with ``what`` after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for {what}")


def processes_with(mark: str) -> dict[int, str]:
    """Live processes whose environment holds ``TASKMASTER_TEST=mark``, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if f"TASKMASTER_TEST={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX":
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def children_of(pid: int) -> list[int]:
    """Live children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


class Command:
    """A command that runs in the background, its output in a file.

    Args:
        directory: where it runs.
        words: the command line; the first word is looked up beside the Python that runs the tests.
        environment: added to the environment.
    """

    def __init__(self, directory: Path, *words: str, environment: dict[str, str] | None = None) -> None:
        Command.number += 1
        self.words = words
        self._path = directory / f"output-{Command.number}.txt"
        self._file: IO[bytes] = self._path.open("wb")
        self.process = subprocess.Popen(
            [str(BIN / words[0]), *words[1:]],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )

    number = 0

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Of the command's own process."""
        return self.process.pid

    def end(self, seconds: float = DEADLINE) -> int:
        """Wait for its end and give its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{' '.join(self.words)} does not end; it printed:\n{self.output}") from None

    def wait_for_output(self, text: str, seconds: float = DEADLINE) -> None:
        """Until it has printed the text."""
        try:
            wait_for(f"{text!r}", lambda: text in self.output or self.process.poll() is not None, seconds)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; it printed:\n{self.output}") from None
        if text not in self.output:
            raise AssertionError(f"it ended with {self.process.returncode} without {text!r}:\n{self.output}")

    def kill(self) -> None:
        """Kill -9 of the command's own process."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.process.wait(DEADLINE)

    def signal_group(self, number: int) -> None:
        """A signal to the whole process group, as a terminal sends it."""
        os.killpg(self.pid, number)

    def close(self) -> None:
        """End what is left of it."""
        self.kill()
        self._file.close()
