"""A channel: values and byte strings over a socket, with a deadline and a size limit.

See ``taskmaster.transport.frames`` for what it sends.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Literal, Self

from taskmaster.transport.frames import MAX_FRAME_BYTES, STAGE_BYTES, FrameReader, Hold, frame, sealed
from taskmaster.transport.seal import Seal, ends

__all__ = ["SERVED", "Channel"]

SERVED = "queue"
"""The name of the one object that a server has, in each request over a channel."""

# Pieces that go out with one system call: a small header that waits for its acknowledgement would
# cost a delayed-ACK pause, and putting them together a copy.
SEGMENTS_AT_ONCE = 512


def _drop(segments: deque[memoryview], count: int) -> None:
    """Remove the first bytes."""
    while segments and count >= len(segments[0]):
        count -= len(segments.popleft())
    if count:
        segments[0] = segments[0][count:]


class Channel:
    """A connection as ``multiprocessing`` wants one, over a connected socket.

    Args:
        sock: the socket; the channel owns it from here on.
        limit: largest frame, in bytes, either way.
        peer: who is at the other end, for people.

    Attributes:
        reader: Puts together what arrives; a frame that is put off waits there.
    """

    def __init__(self, sock: socket.socket, limit: int = MAX_FRAME_BYTES, peer: str = "") -> None:
        self.peer = peer
        self._socket = sock
        self._limit = limit
        self._deadline: float | None = None
        self.reader = FrameReader(limit)
        self._seal: Seal | None = None
        sock.setblocking(True)

    def deadline(self, seconds: float | None) -> None:
        """Give all that follows a number of seconds; None: as long as it takes."""
        self._deadline = None if seconds is None else time.monotonic() + seconds
        if seconds is None:
            self._socket.settimeout(None)

    def seal(self, sent: Seal | None, received: Seal | None) -> None:
        """Seal each frame from here on, and take none without its seal; None: neither."""
        self._seal, self.reader.seal = sent, received

    def take_frames_up_to(self, limit: int, put_off_from: int | None = None) -> None:
        """Set, in bytes, the largest frame that is accepted, and the size of a header from which a
        frame is put off.
        """
        self.reader.limit = limit
        self.reader.long_from = put_off_from

    def send(self, value: Any) -> None:
        """Send a plain value.

        Raises:
            FrameTooLarge, pickle.PicklingError: it cannot be sent, and nothing was: the connection
                goes on.
        """
        self.send_frame(frame(value, self._limit))

    def send_frame(self, segments: list[bytes]) -> None:
        """Send what ``frame`` gave."""
        rest = deque(memoryview(segment) for segment in self.sealed(segments))
        while rest:
            self._hurry()
            _drop(rest, self._socket.sendmsg(list(islice(rest, SEGMENTS_AT_ONCE))))

    def sealed(self, segments: list[bytes]) -> list[bytes]:
        """Return the segments of a frame as they are sent: each with its seal, in this order."""
        return segments if self._seal is None else sealed(segments, self._seal)

    def send_now(self, rest: deque[memoryview]) -> bool:
        """Send as much as the peer takes without waiting, and remove it; True if that is all."""
        self._do_not_wait()
        while rest:
            try:
                if len(rest) == 1:  # nearly always
                    if (sent := self._socket.send(rest[0], socket.MSG_DONTWAIT)) == len(rest[0]):
                        rest.clear()
                    else:
                        _drop(rest, sent)
                    continue
                _drop(rest, self._socket.sendmsg(list(islice(rest, SEGMENTS_AT_ONCE)), (), socket.MSG_DONTWAIT))
            except (BlockingIOError, InterruptedError):
                return False
        return True

    def receive_into(self, hold: Callable[[int], Hold | None]) -> None:
        """Ask ``hold`` where long byte strings are to be received; see ``FrameReader``."""
        self.reader.hold = hold

    def recv(self) -> Any:
        """Receive a plain value; raises EOFError when the peer has closed."""
        complete, value = self.reader.more()
        while not complete:
            self._hurry()
            count = self._socket.recv_into(self.reader.space())
            if count == 0:
                raise EOFError
            complete, value = self.reader.filled(count)
        return value

    def receive_now(self) -> tuple[bool, Any]:
        """Return (True, a value) if one has arrived whole that is not put off, else (False, None);
        never wait.
        """
        self._do_not_wait()
        complete, value = self.reader.more()
        while not complete and not self.reader.waits:
            try:
                count = self._socket.recv_into(self.reader.space(), 0, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return False, None
            if count == 0:
                raise EOFError
            complete, value = self.reader.filled(count)
        return complete, value

    def send_bytes(self, data: bytes) -> None:
        """Send a short byte string; used by the handshake."""
        self._hurry()
        self._socket.sendall(struct.pack("!I", len(data)) + data)

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive what ``send_bytes`` sent; OSError if it is longer than ``maxlength``."""
        (length,) = struct.unpack("!I", self._recv_exactly(4))
        if length > (self._limit if maxlength is None else maxlength):
            raise OSError("bad message length")
        return self._recv_exactly(length)

    def drain(self) -> None:
        """Read and forget what the peer still sends, until it has closed: to close before that
        would take back what it has not read.
        """
        while True:
            self._hurry()
            if not self._socket.recv(STAGE_BYTES):
                return

    def close(self) -> None:
        """Close the connection, also as the peer sees it."""
        self.abort()
        self._socket.close()
        self.reader.forget()

    def abort(self) -> None:
        """End the connection under a thread that uses it; that thread wakes up, and closes.

        Closing it here could give its descriptor to another connection while that thread is still
        about to read from it.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Close this process's copy only; for a forked child, whose parent goes on with the
        connection.
        """
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._socket.fileno()

    def ends(self, role: Literal["master", "slave"]) -> str:
        """Return what both ends say alike if they are on one machine, and nobody is between."""
        return ends(self._socket, role)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _do_not_wait(self) -> None:
        """Have MSG_DONTWAIT mean that: on a socket with a time-out, Python waits that long before
        it even asks.
        """
        if self._deadline is not None:
            self._socket.settimeout(None)

    def _recv_exactly(self, size: int) -> bytes:
        data = bytearray(size)
        filled = 0
        while filled < size:
            self._hurry()
            count = self._socket.recv_into(memoryview(data)[filled:])
            if count == 0:
                raise EOFError
            filled += count
        return bytes(data)

    def _hurry(self) -> None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the peer was too slow")
            self._socket.settimeout(left)
