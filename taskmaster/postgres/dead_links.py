"""Cut a connection whose other end went away without closing it.

While a program only waits for an answer, TCP keepalives notice that. They are not sent while sent
data is unacknowledged: Linux then sends the data again, for a quarter of an hour or more.
``tcp_user_timeout`` would end that sooner, but it also counts while a healthy server has no room
for more data, as in a COPY whose first row waits for a lock. And a proxy that hangs may acknowledge
all data and pass on nothing. So a thread reads what the kernel knows of each connection. It runs on
Linux only.

Guarantee: a connection is cut only if sent data stayed unacknowledged for half a minute, or if an
answer is half a minute overdue and no data has come for as long.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from taskmaster.runtime.at_fork import forget_in_children
from taskmaster.runtime.log import clean_logger

__all__ = ["LINK_SILENCE_SECONDS", "answer_within", "forget", "watch"]

logger = clean_logger(__name__)

LINK_CHECK_SECONDS = 5.0  # between two checks
LINK_SILENCE_SECONDS = 30.0  # longest time that sent data may stay unacknowledged, or an answer be overdue
KEEPALIVES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # instead of the system's own
# struct tcp_info of linux/tcp.h: eight bytes, then numbers of 32 and of 64 bits; and the indexes of
# its fields.
TCP_INFO_FORMAT, TCP_INFO_BYTES = "=8B24I3Q", 128
STATE_AT, REPEATED_AT, PROBES_AT = 0, 2, 3
UNACKNOWLEDGED_AT, QUIET_AT, SILENCE_AT, ACKNOWLEDGED_AT = 8 + 4, 8 + 11, 8 + 12, 32 + 2
ESTABLISHED = 1
TCP = (socket.AF_INET, socket.AF_INET6)


class LinkState(NamedTuple):
    """What the kernel knows of a connection.

    Attributes:
        open: Whether both sides still have the connection open.
        pending: Whether something was sent that is not acknowledged yet: data, or a window probe.
        silence: Seconds since the last acknowledgement.
        quiet: Seconds since data came; infinite where the kernel does not say.
        repeating: Whether data is being sent again and again. Acknowledgements that come meanwhile
            are not of that data. A server without room for more data is only sent window probes,
            which it answers.
        acknowledged: Bytes that were acknowledged since the connection was opened.
    """

    open: bool
    pending: bool
    silence: float
    quiet: float = math.inf
    repeating: bool = False
    acknowledged: int = 0


class Link:
    """A connection that is watched. Pure.

    Attributes:
        since: Moment since which something has been pending and nothing was acknowledged, in
            monotonic seconds; None while nothing is pending.
        due: Moment at which the server has to have answered, in monotonic seconds; infinite while
            no answer is waited for.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.due = math.inf
        self._acknowledged = 0

    def is_dead(self, state: LinkState, now: float) -> bool:
        """Return whether the other end has acknowledged nothing for too long.

        Args:
            state: the connection's state now.
            now: monotonic seconds.
        """
        if not state.pending:
            self.since = None
        elif (
            self.since is None
            or state.acknowledged != self._acknowledged
            or (state.silence < now - self.since and not state.repeating)
        ):
            self.since = now
        self._acknowledged = state.acknowledged
        return self.since is not None and now - self.since >= LINK_SILENCE_SECONDS

    def is_overdue(self, state: LinkState, now: float) -> bool:
        """Return whether an answer is long overdue and no data comes.

        Args:
            state: the connection's state now.
            now: monotonic seconds.
        """
        # Data that comes may be a part of a long answer.
        return now - self.due >= LINK_SILENCE_SECONDS <= state.quiet


class LinkWatch:
    """The watched connections of a process, by ``id()``, and the thread that checks them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[int, tuple[socket.socket, Link]] = {}
        self._thread: threading.Thread | None = None
        forget_in_children(self)

    def add(self, connection: Any) -> None:
        """Watch a connection from now on, if it has a socket."""
        try:
            # A duplicate: the number of the connection's own descriptor may be given to another
            # file once the connection is closed.
            found = socket.socket(fileno=os.dup(connection.fileno()))
        except Exception:  # drivers without sockets raise different errors
            return
        if found.family in TCP:
            _keep_alive(found)
        elif found.family != socket.AF_UNIX:
            found.close()
            return
        self.remove(connection)  # a connection that was dropped without forget() may have had the same id()
        with self._lock:
            self._links[id(connection)] = found, Link()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskmaster-links", daemon=True)
                self._thread.start()

    def remove(self, connection: Any) -> None:
        """Stop watching a connection."""
        with self._lock:
            found, _ = self._links.pop(id(connection), (None, None))
        if found is not None:
            found.close()

    def expect(self, connection: Any, due: float) -> None:
        """Note until when an answer has to come; infinite: no answer is waited for."""
        with self._lock:
            _, link = self._links.get(id(connection), (None, None))
            if link is not None:
                link.due = due

    def cut_dead(self, now: float) -> None:
        """Cut the connections whose other end does not answer; forget those that were closed."""
        with self._lock:
            for name, (found, link) in list(self._links.items()):
                state = link_state(found)
                if state.open and link.is_dead(state, now):
                    logger.warning(
                        "the database's machine has acknowledged nothing for %.0f s: the connection to it is cut",
                        state.silence,
                    )
                elif state.open and link.is_overdue(state, now):
                    logger.warning(
                        "the database should have answered %.0f s ago, and a proxy in between may hang: the connection "
                        "to it is cut",
                        now - link.due,
                    )
                elif state.open:
                    continue
                with suppress(OSError):
                    found.shutdown(socket.SHUT_RDWR)
                del self._links[name]
                found.close()

    def forget(self) -> None:
        """Forget the parent's connections in a forked child: the thread does not run there, and the
        lock may be held for ever.
        """
        for found, _ in self._links.values():
            found.close()
        self._lock, self._links, self._thread = threading.Lock(), {}, None

    def _run(self) -> None:
        while True:
            time.sleep(LINK_CHECK_SECONDS)
            self.cut_dead(time.monotonic())


def link_state(connection: socket.socket) -> LinkState:
    """Return what the kernel knows of a connection."""
    if connection.family not in TCP:
        return LinkState(open=not _is_ended(connection), pending=False, silence=0.0)
    found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    numbers = struct.unpack(TCP_INFO_FORMAT, found.ljust(TCP_INFO_BYTES, b"\0"))
    return LinkState(
        open=numbers[STATE_AT] == ESTABLISHED,
        pending=numbers[UNACKNOWLEDGED_AT] > 0 or numbers[PROBES_AT] > 0,
        silence=numbers[SILENCE_AT] / 1000,
        quiet=numbers[QUIET_AT] / 1000,
        repeating=numbers[REPEATED_AT] > 0,
        acknowledged=numbers[ACKNOWLEDGED_AT],
    )


def _is_ended(connection: socket.socket) -> bool:
    """Return whether the other side has closed a connection; no data is read from it."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except OSError as exc:
        return not isinstance(exc, BlockingIOError)


def _keep_alive(connection: socket.socket) -> None:
    """Send keepalives as often as ``dsn.DEFAULTS`` has them, where the connection was left with the
    system's own interval, which is hours.
    """
    if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return
    with socket.socket(connection.family) as untouched:
        for name, value in KEEPALIVES.items():
            option = getattr(socket, name)
            asked = (socket.IPPROTO_TCP, option)
            if connection.getsockopt(*asked) == untouched.getsockopt(*asked):
                connection.setsockopt(*asked, value)


_watch = LinkWatch()


def watch(connection: Any) -> None:
    """Watch a connection from now on: it is cut when its other end is gone."""
    if sys.platform == "linux":
        _watch.add(connection)


def forget(connection: Any) -> None:
    """Stop watching a connection, before it is closed."""
    _watch.remove(connection)


@contextmanager
def answer_within(connection: Any, seconds: float) -> Iterator[None]:
    """Cut a watched connection if no answer comes to what the block asks.

    Args:
        connection: the one that ``watch`` was given.
        seconds: longest time that the server may take; infinite: no limit.
    """
    _watch.expect(connection, time.monotonic() + seconds)
    try:
        yield
    finally:
        _watch.expect(connection, math.inf)
