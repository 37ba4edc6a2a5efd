"""The slave that belongs to a local run: a process of its own beside the master.

Its standard input is its lifeline: when this process ends, however it ends, the slave and its
workers end too. What the callbacks print comes through its standard output and error.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from typing import IO, ClassVar, Literal, TextIO

from taskmaster.errors import TaskmasterError
from taskmaster.options.commands import RunOptions
from taskmaster.options.option import from_options
from taskmaster.records import changing
from taskmaster.runner.loading import LoadedRun
from taskmaster.runner.prefork import Prefork
from taskmaster.runtime.child_process import environment_of_child, reap
from taskmaster.runtime.exit_word import ExitWord
from taskmaster.slave.config import Instructions, SlaveConfig
from taskmaster.transport.address import Address

__all__ = ["LocalSlave", "LocalSlaveEnded", "LocalSlaveSpec", "SlaveKind"]

# How often a slave may be killed by a signal within RESTART_SPAN_SECONDS before the run gives up.
# Fewer are needed to find a job that takes its slave down, by handing a batch out in halves.
MOST_RESTARTS = 40
RESTART_SPAN_SECONDS = 60.0
# Seconds between two looks whether the slave is alive.
CHECK_PAUSE_SECONDS = 0.2
# Seconds that the slave waits for the master of its own run.
LOCAL_SLAVE_WAIT_SECONDS = 60.0
LEAST_END_SECONDS = 5.0  # least time that a slave has to end
LOCAL_SLAVE_LATE_SECONDS = 3.0  # further time for the slave, after that of its workers


class SlaveKind(StrEnum):
    """What runs the jobs of a run that brings its own slave along."""

    LOCAL = "worker processes of this machine"
    IN_PROCESS = "this very process"
    ENGINE = "slaves on an engine"


class LocalSlaveEnded(TaskmasterError):
    """The local slave has ended although the run has not. It has said why, unless it was killed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@changing(slots=False, compared=True)
class LocalSlaveSpec:
    """What a local run's slave is to be.

    Attributes:
        options: How many workers, and how they run jobs.
        prefork: The slave, where it was forked already.
        fork: Forks a process that holds the callback, where workers cannot import it; gives that
            process's control socket and its number.
        kind: Tells it from the other kinds, without their modules.
    """

    kind: ClassVar[Literal[SlaveKind.LOCAL]] = SlaveKind.LOCAL
    options: RunOptions
    prefork: Prefork | None = None
    fork: Callable[[], tuple[socket.socket, int]] | None = None
    _fork_server: socket.socket | None = None

    def provide(self, stack: ExitStack) -> None:
        """Fork what has to be forked before there is a thread, a socket or a key."""
        if self.fork is not None:
            self._fork_server, pid = self.fork()
            stack.callback(reap, pid)
            stack.callback(self._fork_server.close)

    def start(self, loaded: LoadedRun, address: Address, key: str, write: Callable[[str, TextIO], None]) -> LocalSlave:
        """Start the slave.

        Args:
            loaded: What is run.
            address: The address of the master.
            key: The shared key.
            write: Prints a line of the callbacks above the progress, to the stream given.
        """
        options = self.options
        config = from_options(
            SlaveConfig,
            options,
            target=loaded.slave_target or loaded.name,
            address=address,
            processes=options.workers,
            wait=LOCAL_SLAVE_WAIT_SECONDS,
            path=tuple(sys.path),
            quiet=True,
            code=loaded.code,
            definition=loaded.definition,
        )
        return LocalSlave(Instructions(config, key, options.log_level), write, self._fork_server, self.prefork)


class LocalSlave:
    """A slave process on this machine.

    Args:
        instructions: The instructions that the slave reads from its standard input.
        write: Prints a line of the callbacks above the progress, to the stream given.
        fork_server: Control socket of a fork server that holds the callback, if there is one.
        prefork: The slave, where it was forked already.
    """

    def __init__(
        self,
        instructions: Instructions,
        write: Callable[[str, TextIO], None],
        fork_server: socket.socket | None = None,
        prefork: Prefork | None = None,
    ) -> None:
        self._fork_server = fork_server
        self._instructions = instructions._replace(fork_server=None if fork_server is None else fork_server.fileno())
        self._write = write
        self._starts: list[float] = []
        self._relays: list[threading.Thread] = []
        self._word: ExitWord | None = None
        self._process: subprocess.Popen[bytes] | Prefork = prefork or self._popen()
        self._instruct()

    engine = ""

    @property
    def name(self) -> str:
        """What it calls itself, "host:pid"."""
        return f"{socket.gethostname()}:{self._process.pid}"

    @property
    def pause(self) -> float:
        """Seconds after which the run looks after the slave again."""
        return CHECK_PAUSE_SECONDS

    def check(self) -> None:
        """Start the slave again if it was killed; raise if it ended by itself or is killed again
        and again.

        Raises:
            LocalSlaveEnded: With the exit code that the run is to end with.
        """
        code = self._sure(self._process.poll())
        if code is None:
            return
        self._join_relays()
        recent = [at for at in self._starts if time.monotonic() - at < RESTART_SPAN_SECONDS]
        if code < 0 and self._fork_server is None and len(recent) < MOST_RESTARTS:
            name = signal.Signals(-code).name
            self._write(f"taskmaster: the local slave was killed by {name}; it is started again.\n", sys.stderr)
            self._process = self._popen()
            self._instruct()
            return
        if code < 0:
            why = f"The local slave was killed by {signal.Signals(-code).name}"
            why += " and holds the only copy of the callback" if self._fork_server else f" {len(recent)} times in a row"
            raise LocalSlaveEnded(f"{why}; the run stops here and can be resumed.", 1)
        if code > 128 and code - 128 in set(signal.Signals):
            name = signal.Signals(code - 128).name
            why = f"The local slave was ended by {name}, which was sent to it alone, and the run with it"
            raise LocalSlaveEnded(f"{why}; the run can be resumed.", code)
        raise LocalSlaveEnded("The local slave has ended, for the reason given above; the run stops here.", code or 1)

    def dismiss(self, _hurry: Callable[[], bool]) -> None:
        """Do nothing: it does not wait for a master that is gone."""

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> int | None:
        """See to the slave's end: its workers have ``--grace`` for what they have left to do.

        Args:
            hurry: Whether nothing may be waited for any more.

        Returns:
            The slave's exit code, None if it had to be ended.
        """
        self._tell_to_end()
        deadline = time.monotonic() + max(LEAST_END_SECONDS, self._instructions.config.grace) + LOCAL_SLAVE_LATE_SECONDS
        while (code := self._poll(0.05)) is None and time.monotonic() < deadline and not hurry():
            pass
        self._close_stdin()
        if code is None and (code := self._poll(LEAST_END_SECONDS)) is None:
            self._process.kill()
            self._process.wait()
        self._join_relays()
        if self._fork_server is not None:
            self._fork_server.close()
        return code

    def _poll(self, seconds: float) -> int | None:
        try:
            return self._sure(self._process.wait(seconds))
        except subprocess.TimeoutExpired:
            return None

    def _sure(self, code: int | None) -> int | None:
        """Return an exit code, or what the slave has said where the code may be that of nobody."""
        word = self._word
        if code is None or word is None:
            return code
        self._word = None
        if code == 0:
            return word.code()
        word.close()  # a slave that is started again has another one
        return code

    def _tell_to_end(self) -> None:
        try:
            self._pipe(self._process.stdin).write(b"end\n")
            self._pipe(self._process.stdin).flush()
        except (OSError, ValueError):
            pass  # it has ended already, or this is the second time

    def _popen(self) -> subprocess.Popen[bytes]:
        self._word = word = ExitWord()
        self._instructions = self._instructions._replace(exit_word=word.child_end)
        passed = [word.child_end, *([] if self._fork_server is None else [self._fork_server.fileno()])]
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
        # -P: a file in the working directory that is called like a module of the standard library
        # must not take its place.
        process = subprocess.Popen(
            [sys.executable, *flags, "-P", "-m", "taskmaster.slave"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=passed,
            process_group=0,
            env=environment_of_child(),
        )
        word.begun()
        if process.stdin is not None:
            # A child that the user's source forks must not keep the slave alive when the master is
            # gone.
            os.register_at_fork(after_in_child=process.stdin.close)
        return process

    def _instruct(self) -> None:
        """Tell the slave what to do, and pass on what it prints."""
        self._starts.append(time.monotonic())
        process = self._process
        try:
            self._pipe(process.stdin).write(self._instructions.to_line())
            self._pipe(process.stdin).flush()
        except BrokenPipeError:
            pass  # it has ended already; check() says so
        self._relays = [
            threading.Thread(target=self._relay, args=(self._pipe(pipe), stream), daemon=True, name="taskmaster-output")
            for pipe, stream in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
        ]
        for relay in self._relays:
            relay.start()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise RuntimeError("the slave was started without pipes")
        return pipe

    def _relay(self, pipe: IO[bytes], stream: TextIO) -> None:
        for line in pipe:
            self._write(line.decode("utf-8", "backslashreplace"), stream)
        pipe.close()

    def _join_relays(self) -> None:
        for relay in self._relays:
            # A process that the callback has started may hold the pipe open for as long as it
            # likes.
            relay.join(1.0)

    def _close_stdin(self) -> None:
        try:
            self._pipe(self._process.stdin).close()
        except OSError:
            pass
