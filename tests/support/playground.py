"""A directory with a module, a ledger, and the commands that run in it; its processes are accounted
for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import tempfile
import uuid
from contextlib import closing, suppress
from pathlib import Path

from support.commands import Command, processes_with
from support.ledger import HOLD, MODULE, Ledger

# The beginning of a user's module whose jobs write down that they have ended.
PREAMBLE = (
    HOLD
    + """
import uuid, datetime
from taskmaster import Job

def note(what):
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"end {what} {os.getpid()}\\n".encode())
    os.close(fd)

def handle_job(job):
    time.sleep(0.005)
    hold()
    note(str(job).replace(" ", "_"))

N = 400
"""
)

# Jobs of which every tenth fails.
SOME_FAIL = (
    PREAMBLE
    + """
def get_jobs(last=-1):
    yield from range(last + 1, int(os.environ.get("TOTAL", "60")))

def handle_job(n):
    hold()
    note(str(n))
    if n % 10 == 3:
        raise ValueError(f"bad title {n}")
"""
)


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
            "TASKMASTER_BACKOFF": "0.2",  # no test waits for a back-off but one that names another
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

    def hold(self, after: int) -> None:
        """Let no job end when so many have: those that run then wait for ``let_go``.

        Of the jobs that call ``hold()``, as those of ``jobs.py`` do. A few more may end: one for
        each other worker.
        """
        place = Path(f"{self.ledger.path}.hold")
        new = place.with_suffix(".new")
        new.write_text(str(after))
        new.replace(place)

    def let_go(self) -> None:
        """Let the jobs go on that ``hold`` has stopped."""
        Path(f"{self.ledger.path}.hold").unlink(missing_ok=True)

    def held(self) -> set[int]:
        """The live workers in which a job waits."""
        found = {int(path.name.rpartition("-")[2]) for path in self.directory.glob(f"{self.ledger.path.name}.held-*")}
        return found & set(self.left())

    def interrupt(self, run: Command, number: int = signal.SIGINT) -> None:
        """Send a signal to a run and to all that belongs to it; its jobs, which are held, go on
        when it was heard.
        """
        run.signal_group(number)
        run.wait_for_output("the same signal again ends at once")
        self.let_go()

    def in_state(self) -> int:
        """How many settled jobs the only state here tells of, as soon as it has a key to resume
        from; else 0.
        """
        row = self.look("SELECT settled FROM run WHERE mark IS NOT NULL")
        return row[0] if row else 0

    def look(self, query: str) -> tuple | None:
        """The first row of a query to the only state here, as far as it has been written; None if
        there is none yet.

        How soon that is depends on the disk. It is read from a copy: the run has the file for
        itself.
        """
        with tempfile.TemporaryDirectory() as copies, suppress(FileNotFoundError, sqlite3.DatabaseError):
            for path in self.directory.glob("*.tmstate*"):
                shutil.copy(path, copies)
            for path in Path(copies).glob("*.tmstate"):
                with closing(sqlite3.connect(path)) as copy:
                    return copy.execute(query).fetchone()
        return None  # not there yet, or copied in the middle of a write

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


def failed_jobs(playground: Playground) -> list[tuple[str, str, str, str, int]]:
    """Key, type, message, traceback and number of attempts of the failed jobs in the state file."""
    state = next(playground.directory.glob("*.tmstate"))
    # Read only: else SQLite would bring the log of a run that was killed into the file, and remove
    # it.
    with closing(sqlite3.connect(f"{state.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT key, attempts FROM failed").fetchall()
    found = []
    for key, text in rows:
        attempts = json.loads(text)
        _, _, kind, message, traceback, _ = attempts[-1]
        found.append((key, kind, message, traceback, len(attempts)))
    return sorted(found)
