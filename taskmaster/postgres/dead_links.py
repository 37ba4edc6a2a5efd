"""Cut a worker's connection whose other end is gone without a word.

Where a worker waits for an answer, keepalives notice that. Where it has sent something, there are
none: Linux repeats what was sent, for a quarter of an hour or more. ``tcp_user_timeout`` would end
that sooner, but it also runs while a server that is well has no room for more data, as behind a
COPY whose first row waits for a lock. So a thread of the worker looks at what the kernel knows of
each connection. On other systems than Linux it does not run.

Guarantee: a connection is cut only if nothing was acknowledged for half a minute although something
was to be.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NamedTuple

from taskmaster.runtime.at_fork import forget_in_children
from taskmaster.runtime.log import clean_logger

__all__ = ["forget", "watch"]

logger = clean_logger(__name__)

LINK_CHECK_SECONDS = 5.0  # between two checks
LINK_SILENCE_SECONDS = 30.0  # longest time that sent data may stay unacknowledged
# struct tcp_info of linux/tcp.h: eight bytes, then numbers of 32 bits.
TCP_INFO_FORMAT, TCP_INFO_BYTES = "=8B13I", 60
STATE_AT, PROBES_AT, UNACKNOWLEDGED_AT, SILENCE_AT = 0, 3, 8 + 4, 8 + 12
ESTABLISHED = 1


class LinkState(NamedTuple):
    """What the kernel knows of a connection.

    Attributes:
        open: Whether both sides still have the connection open.
        pending: Whether something was sent that is not acknowledged yet: data, or a window probe.
        silence: Seconds since the last acknowledgement.
    """

    open: bool
    pending: bool
    silence: float


class Link:
    """A connection that is watched. Pure.

    Attributes:
        since: When something was first seen pending after which nothing was acknowledged; None if
            nothing is.
    """

    def __init__(self) -> None:
        self.since: float | None = None

    def is_dead(self, state: LinkState, now: float) -> bool:
        """Return whether nobody answers any more.

        Args:
            state: of the connection, now.
            now: monotonic seconds.
        """
        if not state.pending:
            self.since = None
        elif self.since is None or state.silence < now - self.since:
            self.since = now
        return self.since is not None and now - self.since >= LINK_SILENCE_SECONDS


class Watch:
    """The connections of a process, each by its identity, and the thread that looks at them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[int, tuple[socket.socket, Link]] = {}
        self._thread: threading.Thread | None = None
        forget_in_children(self)

    def add(self, connection: Any) -> None:
        """Watch a connection from now on, if it is one over TCP."""
        try:
            # A descriptor of its own: nobody else is given its number once the connection is
            # closed.
            found = socket.socket(fileno=os.dup(connection.fileno()))
        except Exception:  # each driver without sockets says so in its own way
            return
        if found.family not in (socket.AF_INET, socket.AF_INET6):
            found.close()
            return
        self.remove(connection)  # one that was thrown away without a word may have had its identity
        with self._lock:
            self._links[id(connection)] = found, Link()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskmaster-links", daemon=True)
                self._thread.start()

    def remove(self, connection: Any) -> None:
        """Watch a connection no more."""
        with self._lock:
            found, _ = self._links.pop(id(connection), (None, None))
        if found is not None:
            found.close()

    def cut_dead(self, now: float) -> None:
        """Cut the connections on which nobody answers; forget those that were ended."""
        with self._lock:
            for name, (found, link) in list(self._links.items()):
                state = state_of(found)
                if state.open and link.is_dead(state, now):
                    logger.warning(
                        "the database's machine has acknowledged nothing for %.0f s: the connection to it is cut",
                        state.silence,
                    )
                    with suppress(OSError):
                        found.shutdown(socket.SHUT_RDWR)
                elif state.open:
                    continue
                del self._links[name]
                found.close()

    def forget(self) -> None:
        """Leave a parent's connections alone, in its child: the thread is not there, and the lock
        may be held.
        """
        for found, _ in self._links.values():
            found.close()
        self._lock, self._links, self._thread = threading.Lock(), {}, None

    def _run(self) -> None:
        while True:
            time.sleep(LINK_CHECK_SECONDS)
            self.cut_dead(time.monotonic())


def state_of(connection: socket.socket) -> LinkState:
    """Ask the kernel."""
    numbers = struct.unpack(TCP_INFO_FORMAT, connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES))
    return LinkState(
        open=numbers[STATE_AT] == ESTABLISHED,
        pending=numbers[UNACKNOWLEDGED_AT] > 0 or numbers[PROBES_AT] > 0,
        silence=numbers[SILENCE_AT] / 1000,
    )


_watch = Watch()


def watch(connection: Any) -> None:
    """Cut a connection, from now on, when its other end is gone."""
    if sys.platform == "linux":
        _watch.add(connection)


def forget(connection: Any) -> None:
    """Leave a connection alone: it is about to be closed."""
    _watch.remove(connection)
