"""Ports of this machine that a test asks for now, and that a server of its own listens on later."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

# Above those of services, below those that Linux and macOS give to whoever connects, or listens on
# any.
PORTS = range(15_000, 32_000)
_mine: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, and that no other test on this machine is given as long as
    this process lives.

    One that the system finds free may be anybody's a moment later, and a test's server comes
    seconds later.
    """
    for port in random.SystemRandom().sample(PORTS, 1000):
        if claim(port) and _nobody_listens(port):
            return port
    raise AssertionError(f"none of 1,000 ports of {PORTS} is free")


def claim(port: int) -> bool:
    """Whether no other test has the port; then it belongs to this process until ``release``, or its
    end.
    """
    if port in _mine:
        return False
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # which of the two depends on the system
        return False
    _mine.add(port)
    return True


def release(port: int) -> None:
    """Let other tests have it."""
    _mine.remove(port)
    fcntl.lockf(_locks(), fcntl.LOCK_UN, 1, port)


@functools.cache
def _locks() -> int:
    """A file of which each port has a byte: a lock on that ends with its process, whatever ends
    it.
    """
    path = Path(tempfile.gettempdir(), f"taskmaster-test-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
