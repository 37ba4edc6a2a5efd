"""The slave of a local run, forked before anything else: while the master is still being imported,
it is getting ready.

``tm-run`` forks it at its start, when the process has one thread, no key, no socket and none of the
user's code. Starting a Python for the slave and another one for the fork server that forks its
workers would take longer than all else that a run of a few jobs does. A slave that has to be
started again later is a process of its own.
"""

from __future__ import annotations

import gc
import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import IO

from taskmaster.runtime.child_process import Forked, can_fork

__all__ = ["Prefork", "prepare"]


class Prefork(Forked):
    """The forked slave; it waits on its standard input to be told what to do.

    Attributes:
        stdin: The pipe for its instructions; when it is closed, the slave ends.
        stdout: What its callbacks print.
        stderr: What its callbacks print as errors.
    """

    def __init__(self) -> None:
        ends = [os.pipe() for _ in range(3)]
        (told, tell), (output, out), (errors, err) = ends
        super().__init__(lambda: _live([told, out, err], [tell, output, errors]))
        for descriptor in (told, out, err):
            os.close(descriptor)
        self.stdin: IO[bytes] = open(tell, "wb", buffering=0)  # noqa: SIM115, PTH123
        self.stdout: IO[bytes] = open(output, "rb")  # noqa: SIM115, PTH123
        self.stderr: IO[bytes] = open(errors, "rb")  # noqa: SIM115, PTH123
        # A child that the user's source forks must not keep the slave alive when the master is
        # gone.
        os.register_at_fork(after_in_child=self.stdin.close)

    def discard(self) -> None:
        """End the slave, which no run needs."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
        try:
            self.wait(5.0)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()


def prepare() -> Prefork | None:
    """Return a slave that is getting ready; None where it has to be started in another way."""
    if not can_fork():
        return None
    # What master and slave both need; the rest is loaded in each, at the same time.
    import taskmaster.slave.config
    import taskmaster.transport.handshake
    import taskmaster.user_code.code_version  # noqa: F401

    gc.freeze()  # looking for garbage in the child would copy every page of what was loaded
    return Prefork()


def _live(standard: list[int], others: list[int]) -> int:
    """Run the slave, in the child."""
    for descriptor in others:
        os.close(descriptor)
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False))  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if not sys.flags.safe_path:
        # As with -P: a file beside the command, or in the working directory, that is called like a
        # module of the standard library must not take its place.
        del sys.path[0]
    # Here, so that the fork server and its workers do not import the same.
    from taskmaster.slave.__main__ import main
    from taskmaster.slave.worker.fork_server import serve

    gc.freeze()
    gc.enable()
    ours, theirs = socket.socketpair()
    # Before the slave is told anything: no worker has the key in its memory.
    fork_server = Forked(lambda: _fork_workers(serve, ours, theirs))
    theirs.close()
    return main(ours, fork_server)


def _fork_workers(serve: Callable[[socket.socket, None], None], ours: socket.socket, control: socket.socket) -> int:
    ours.close()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    serve(control, None)
    return 0
