"""The switchboard: one thread that answers all who have proved that they have the key.

Started by ``taskmaster.transport.server``. With a thread for each connection, a thousand slaves are
a thousand threads that wait for the interpreter's lock, and most of the time goes into passing that
on. Nothing here waits for a peer: what has arrived is read, what a peer does not take yet is kept
for it, and it is not listened to meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from taskmaster.transport.channel import Channel

__all__ = ["Line", "Switchboard"]

logger = logging.getLogger(__name__)


class Line:
    """One connection.

    Attributes:
        channel: to the peer.
        sessions: that have said hello on it.
        pending: what is left of an answer.
        full: the peer does not take more for now, and is not listened to meanwhile.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.sessions: set[str] = set()
        self.pending: deque[memoryview] = deque()
        self.full = False


class Switchboard(threading.Thread):
    """See the module.

    Args:
        answer: gives the frame that answers a request; raises nothing.
        ended: called with a line that has ended, and why.
    """

    def __init__(
        self, answer: Callable[[Any, Line], list[bytes]], ended: Callable[[Line, BaseException], None]
    ) -> None:
        super().__init__(name="taskmaster-switchboard", daemon=True)
        self._answer = answer
        self._ended = ended
        self._selector = selectors.DefaultSelector()
        self._lines: set[Line] = set()
        self._new: deque[Channel] = deque()
        self._news: deque[list[bytes]] = deque()
        self._eager: set[Line] = set()  # lines whose next request may have been received already
        self._stopped = self._finished = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)

    def connect(self, channel: Channel) -> None:
        """Take over a connection; from any thread."""
        self._new.append(channel)
        self._wake()
        if self._finished:
            self._turn_away()

    def tell_all(self, pieces: list[bytes]) -> None:
        """Send a frame that nobody has asked for to every session; from any thread."""
        self._news.append(pieces)
        self._wake()

    def stop(self) -> None:
        """End all lines, and the thread; it may never have been started."""
        self._stopped = True
        if self.is_alive():
            self._wake()
            self.join(5.0)
        elif self._wake_in.fileno() >= 0:
            self._close()

    def run(self) -> None:
        """The thread."""
        while not self._stopped:
            try:
                eager, self._eager = self._eager, set()
                for line in eager & self._lines:
                    self._turn(line)
                for key, _ in self._selector.select(0 if self._eager else None):
                    if isinstance(key.data, Line):
                        if key.data in self._lines:  # else it has just been ended, by what somebody else was told
                            self._turn(key.data)
                    else:
                        self._heed()
            except BaseException:
                # Whatever it is (the code of a user's job may raise SystemExit), it must not make
                # the master deaf.
                logger.exception("the switchboard goes on after an error of its own")
        for line in list(self._lines):
            self._end(line, EOFError())
        self._close()

    def _turn_away(self) -> None:
        """End connections that came out of their handshake when it was too late."""
        while True:
            try:
                channel = self._new.popleft()
            except IndexError:
                return
            self._ended(Line(channel), EOFError())

    def _close(self) -> None:
        self._finished = True
        self._turn_away()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is awake, or has ended
            self._wake_out.send(b"w")

    def _heed(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_in.recv(4096)
        while self._new:
            line = Line(self._new.popleft())
            self._lines.add(line)
            try:
                self._selector.register(line.channel, selectors.EVENT_READ, line)
            except (OSError, ValueError, KeyError) as exc:
                self._end(line, exc)
                continue
            self._turn(line)  # its first request may have come together with the end of the handshake
        while self._news:
            pieces = self._news.popleft()
            for line in [line for line in self._lines if line.sessions]:
                line.pending.extend(memoryview(piece) for piece in pieces)
                if line in self._lines:
                    self._turn(line)

    def _turn(self, line: Line) -> None:
        """Do for a line what can be done now."""
        try:
            while line.channel.send_now(line.pending):
                complete, request = line.channel.receive_now()
                if not complete:
                    break
                line.pending.extend(map(memoryview, self._answer(request, line)))
                if line.channel.send_now(line.pending):
                    # It may have said more, which the selector does not know of; the others come
                    # first.
                    self._eager.add(line)
                break
            if line.full != bool(line.pending):
                line.full = not line.full
                event = selectors.EVENT_WRITE if line.full else selectors.EVENT_READ
                self._selector.modify(line.channel, event, line)
        except BaseException as exc:
            # Whatever a peer did wrong, it is told nothing.
            self._end(line, exc)

    def _end(self, line: Line, why: BaseException) -> None:
        if line not in self._lines:
            return
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(line.channel)
        self._lines.discard(line)
        self._ended(line, why)
