"""The reactor: one thread that answers all peers that have proved that they have the key.

With a thread for each connection, a thousand slaves are a thousand threads that wait for the
interpreter's lock, and most of the time goes into passing that on. Nothing here waits for a peer:
what has arrived is read, what a peer does not take yet is kept for it, and it is not listened to
meanwhile.

Guarantees: a request that takes long, by its size or by what it asks for, comes after the others,
and one of them at a time, so that however many peers send such requests, an honest one waits for a
single one; frames that have not arrived whole take a bounded amount of memory, of all peers
together; the one that was begun longest ago is given up with its connection if they take more.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from taskmaster.runtime.log import clean_logger
from taskmaster.transport.channel import Channel
from taskmaster.transport.frames import FrameTooLarge

__all__ = ["LONG_FRAME_BYTES", "Peer", "Reactor"]

logger = clean_logger(__name__)

MAX_UNFINISHED_BYTES = 32 * 1024 * 1024
"""Bytes of memory that frames may take, of all peers together, before they have arrived whole."""


LONG_FRAME_BYTES = 4096
"""Bytes of a request from which it is put off: to read it may take longer than to answer a dozen
others, up to 0.4 us a byte. A hundred peers that stay below that keep the others waiting for less
than 0.2 s, of a processor that is the master's alone. A slave with 32 workers says 800 bytes at
once, as a rule.
"""


class Peer:
    """The other end of one connection.

    Attributes:
        channel: The connection.
        slaves: The ids of the slaves that have said hello on it.
        pending: What is left to be sent of answers.
        full: Whether the peer does not take more for now, and is not listened to meanwhile.
        spent: Seconds that its long requests have taken.
        put_off: Its request, read but not answered yet, takes long; None if there is none.
        unfinished: Bytes of memory that its unfinished frame takes.
        begun: A number that is higher for a frame that was begun later.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.slaves: set[str] = set()
        self.pending: deque[memoryview] = deque()
        self.full = False
        self.spent = 0.0
        self.put_off: Any = None
        self.unfinished = 0
        self.begun = 0

    def say(self, segments: list[bytes]) -> None:
        """Put a frame behind what is to be sent."""
        self.pending.extend(map(memoryview, self.channel.sealed(segments)))


class Reactor(threading.Thread):
    """The thread; see the module.

    Args:
        answer: Gives the frame that answers a request; raises nothing.
        takes_long: Says whether a request is one that takes long to be answered; raises nothing.
        ended: Called with a peer whose connection has ended, and why.
    """

    def __init__(
        self,
        answer: Callable[[Any, Peer], list[bytes]],
        ended: Callable[[Peer, BaseException], None],
        takes_long: Callable[[Any], bool] = lambda _: False,
    ) -> None:
        super().__init__(name="taskmaster-reactor", daemon=True)
        self._answer = answer
        self._ended = ended
        self._takes_long = takes_long
        self._selector = selectors.DefaultSelector()
        self._peers: set[Peer] = set()
        self._new: deque[Channel] = deque()
        self._news: deque[list[bytes]] = deque()
        self._eager: set[Peer] = set()  # peers whose next request may have been received already
        self._put_off: dict[Peer, None] = {}  # peers whose request takes long, the longest waiting first
        self._oldest_first = False
        self._unfinished = 0  # of all peers
        self._numbers = count(1)
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

    def tell_all(self, segments: list[bytes]) -> None:
        """Send a frame that nobody has asked for to every slave; from any thread."""
        self._news.append(segments)
        self._wake()

    def stop(self) -> None:
        """End all connections, and the thread; it may never have been started."""
        self._stopped = True
        if self.is_alive():
            self._wake()
            self.join(5.0)
        elif self._wake_in.fileno() >= 0:
            self._close()

    def run(self) -> None:
        """Answer until stopped."""
        while not self._stopped:
            try:
                eager, self._eager = self._eager, set()
                for peer in eager & self._peers:
                    self._turn(peer)
                for key, _ in self._selector.select(0 if self._eager or self._put_off else None):
                    if isinstance(key.data, Peer):
                        if key.data in self._peers:  # else it has just been ended, by what another was told
                            self._turn(key.data)
                    else:
                        self._heed()
                self._answer_one_put_off()
            except BaseException:
                # Whatever it is (the code of a user's job may raise SystemExit), it must not make
                # the master deaf.
                logger.exception("the reactor goes on after an error of its own")
        for peer in list(self._peers):
            self._end(peer, EOFError())
        self._close()

    def _turn_away(self) -> None:
        """End connections that came out of their handshake when it was too late."""
        while True:
            try:
                channel = self._new.popleft()
            except IndexError:
                return
            self._ended(Peer(channel), EOFError())

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
        """Do what other threads have asked for."""
        with contextlib.suppress(BlockingIOError):
            self._wake_in.recv(4096)
        while self._new:
            peer = Peer(self._new.popleft())
            self._peers.add(peer)
            try:
                self._selector.register(peer.channel, selectors.EVENT_READ, peer)
            except (OSError, ValueError, KeyError) as exc:
                self._end(peer, exc)
                continue
            self._turn(peer)  # its first request may have come together with the end of the handshake
        while self._news:
            segments = self._news.popleft()
            for peer in [peer for peer in self._peers if peer.slaves]:
                peer.say(segments)
                if peer in self._peers:
                    self._turn(peer)

    def _turn(self, peer: Peer) -> None:
        """Do for a peer what can be done now: send, and answer one request."""
        try:
            if (not peer.pending or peer.channel.send_now(peer.pending)) and peer not in self._put_off:
                complete, request = peer.channel.receive_now()
                if peer.channel.reader.waits:
                    self._put_off[peer] = None
                elif complete and self._takes_long(request):
                    peer.put_off = request
                    self._put_off[peer] = None
                elif complete:
                    self._say(peer, request)
            if peer.full != bool(peer.pending):
                peer.full = not peer.full
                event = selectors.EVENT_WRITE if peer.full else selectors.EVENT_READ
                self._selector.modify(peer.channel, event, peer)
        except BaseException as exc:
            # Whatever a peer did wrong, it is told nothing.
            self._end(peer, exc)
        else:
            unfinished = peer.channel.reader.unfinished
            if unfinished != peer.unfinished:
                self._weigh(peer, unfinished)

    def _say(self, peer: Peer, request: Any) -> None:
        """Answer a request."""
        peer.say(self._answer(request, peer))
        if peer.channel.send_now(peer.pending) and peer.channel.reader.staged:
            # It has said more, which the selector does not know of; the others come first.
            self._eager.add(peer)

    def _answer_one_put_off(self) -> None:
        """Answer a request that takes long.

        In turn that which has waited longest, so that none is forgotten, and that of the peer which
        has taken least time so far, so that a slave's long report does not wait for all others.
        """
        if not self._put_off:
            return
        self._oldest_first = not self._oldest_first
        peer = next(iter(self._put_off)) if self._oldest_first else min(self._put_off, key=lambda one: one.spent)
        del self._put_off[peer]
        begun = time.monotonic()
        try:
            request, peer.put_off = peer.put_off, None
            if request is None:
                request = peer.channel.reader.unpickled()
            self._say(peer, request)
        except BaseException as exc:
            self._end(peer, exc)
        else:
            self._turn(peer)
        peer.spent += time.monotonic() - begun

    def _weigh(self, peer: Peer, unfinished: int) -> None:
        """Note how much memory a peer's unfinished frame takes; give the oldest ones up if all
        together take too much.
        """
        if not peer.unfinished:
            peer.begun = next(self._numbers)
        self._unfinished += unfinished - peer.unfinished
        peer.unfinished = unfinished
        while self._unfinished > MAX_UNFINISHED_BYTES:
            oldest = min((one for one in self._peers if one.unfinished), key=lambda one: one.begun)
            self._end(oldest, FrameTooLarge("all frames that are on their way are too much together"))

    def _end(self, peer: Peer, why: BaseException) -> None:
        if peer not in self._peers:
            return
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(peer.channel)
        self._peers.discard(peer)
        self._put_off.pop(peer, None)
        self._unfinished -= peer.unfinished
        peer.unfinished = 0
        self._ended(peer, why)
