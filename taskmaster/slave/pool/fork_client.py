"""The supervisor's side of the fork server: it asks for workers and is told when they end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path

from taskmaster.errors import TaskmasterError
from taskmaster.runtime.child_process import Forked, environment_of_child, kill_group
from taskmaster.slave.ipc.worker_spec import WorkerSpec

__all__ = ["CannotFork", "ForkClient", "ForkServerGone", "how_it_ended"]


# What a kernel that is short of memory does to a worker looks the same as a kill from outside.
PERHAPS_OUT_OF_MEMORY = " (out of memory, or killed from outside)"

# The fork server's answer is waited for in slices, because a machine that is suspended loses one
# slice only.
SLICE_SECONDS, MOST_SLICES = 0.5, 20


class ForkServerGone(TaskmasterError):
    """The process that forks the workers has ended."""


class CannotFork(TaskmasterError):
    """The system has no process left for a worker."""


def how_it_ended(status: int) -> str:
    """Return a wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        try:
            name = signal.Signals(-code).name
            return f"crashed by {name}" + (PERHAPS_OUT_OF_MEMORY if -code == signal.SIGKILL else "")
        except ValueError:
            return f"crashed by signal {-code}"
    return f"exited with status {code}"


class ForkClient:
    """A fork server and the workers that it has forked.

    Args:
        inherited: Control socket of a fork server that is there already; None to start one.
        process: The inherited fork server, if another one can take its place; None if it alone
            holds the callback.
        directory: The working directory of a fork server that is started; None for the present one.
        environment: Variables that it has beside those of this process.

    Attributes:
        replaceable: Another fork server can take its place.
        pids: Process ids of the workers that live.
        control: The socket to the fork server.
    """

    def __init__(
        self,
        inherited: socket.socket | None = None,
        process: Forked | None = None,
        *,
        directory: Path | None = None,
        environment: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.replaceable = inherited is None or process is not None
        self.pids: set[int] = set()
        self._process: subprocess.Popen[bytes] | Forked | None = process
        self._events: deque[dict[str, int]] = deque()
        self._partial = b""
        self._directory = directory
        self._environment = dict(environment)
        self.control = inherited if inherited is not None else self._start()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
        with theirs:
            # -P: a file in the working directory that is called like a module of the standard
            # library must not take its place.
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-P", "-m", "taskmaster.slave.worker.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=self._directory,
                env={**environment_of_child(), **self._environment},
                process_group=0,
            )
        return ours

    def spawn(self, spec: WorkerSpec, descriptors: list[int]) -> int:
        """Have a worker forked; return its process id.

        Args:
            spec: What the worker needs to know.
            descriptors: Its socket, its scoreboard's memory, the buffers' memory, its standard
                output and error.

        Raises:
            ForkServerGone: The fork server has ended, or does not answer.
            CannotFork: It could not fork.
        """
        silent = 0
        try:
            self.control.settimeout(SLICE_SECONDS)
            socket.send_fds(self.control, [spec.to_line()], descriptors)
            while True:
                for event in list(self._events):
                    if "spawned" in event:
                        self._events.remove(event)
                        if event["spawned"] <= 0:
                            raise CannotFork("No worker can be forked: the system allows no more processes.")
                        self.pids.add(event["spawned"])
                        return event["spawned"]
                try:
                    self._receive()
                except TimeoutError:
                    silent += 1
                    if silent >= MOST_SLICES:
                        raise
        except OSError as exc:
            raise ForkServerGone("The process that forks the workers has ended.") from exc

    def exits(self) -> list[tuple[int, int]]:
        """Return process id and wait status of each worker that has ended since the last call.

        Raises:
            ForkServerGone: The fork server has ended.
        """
        try:
            self.control.setblocking(False)
            while True:
                self._receive()
        except BlockingIOError:
            pass
        except OSError as exc:
            raise ForkServerGone("The process that forks the workers has ended.") from exc
        found = [(event["exited"], event["status"]) for event in self._events if "exited" in event]
        self._events = deque(event for event in self._events if "exited" not in event)
        self.pids.difference_update(pid for pid, _ in found)
        return found

    def close(self) -> None:
        """End the fork server and all its workers, now."""
        with contextlib.suppress(ForkServerGone):
            self.exits()  # the id of a worker that has ended may be another process's by now
        self.control.close()
        for pid in list(self.pids):
            kill_group(pid)  # the fork server does this too, unless it was killed itself
        self.pids.clear()
        if self._process is not None:
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _receive(self) -> None:
        data = self.control.recv(65536)
        if not data:
            raise ConnectionResetError
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._events.extend(json.loads(line) for line in lines)
