"""A channel: values and byte strings over a socket, with a deadline and a size limit.

Called by the transport's server and client, and by the slave for the sockets to its workers. Frame: 4 bytes length of the header,
4 bytes number of buffers, 8 bytes length of each buffer, then the header and the buffers. The header is a pickle of plain
values; byte strings of 4 KiB and more travel beside it, as they are.

Guarantees: nothing but None, bool, int, float, str, bytes, tuple, list, dict and sets of these is ever unpickled; nothing is
allocated for a frame above the limit; a value above the limit is refused before a byte of it is sent.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

__all__ = ["MAX_FRAME", "Channel", "FrameReader", "FrameTooLarge", "frame", "plain_dumps", "plain_loads"]

MAX_FRAME = 64 * 1024 * 1024
APART = 4096  # bytes strings of this size travel beside the pickle
MAX_BUFFERS = 65_536
_HEAD = struct.Struct("!II")


class FrameTooLarge(OSError):
    """A frame is above the limit. Raised at the sender before anything is sent, at the receiver before anything is read."""


class _PlainUnpickler(pickle.Unpickler):
    """Refuses whatever could run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"refused to unpickle {module}.{name}: only plain values are accepted here")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("refused to unpickle a persistent id: only plain values are accepted here")


def plain_dumps(value: Any) -> bytes:
    """Pickle plain values."""
    return pickle.dumps(value, protocol=5)


def plain_loads(data: bytes | bytearray | memoryview, buffers: Sequence[Any] = ()) -> Any:
    """Unpickle plain values.

    Raises:
        pickle.UnpicklingError: it is no pickle, or holds anything else.
    """
    try:
        return _PlainUnpickler(io.BytesIO(data), buffers=buffers).load()
    except pickle.UnpicklingError:
        raise
    except RecursionError:
        raise pickle.UnpicklingError("refused to unpickle a value that is nested too deeply") from None
    except Exception as exc:
        raise pickle.UnpicklingError(f"not a pickle of plain values: {type(exc).__name__}") from exc


def _set_apart(value: Any, found: list[bytes]) -> Any:
    """The value with its large byte strings replaced by buffers; only the tuples and lists on the way are copied."""
    kind = type(value)
    if kind is bytes and len(value) >= APART:
        found.append(value)
        return pickle.PickleBuffer(value)
    if kind in (tuple, list):
        parts = [_set_apart(part, found) for part in value]
        return kind(parts) if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    return value


def frame(value: Any, limit: int = MAX_FRAME) -> list[bytes]:
    """The pieces of a value's frame, to be sent one after the other.

    Raises:
        FrameTooLarge: together they are above the limit.
    """
    buffers: list[bytes] = []
    header = pickle.dumps(_set_apart(value, buffers), protocol=5, buffer_callback=lambda buffer: None)
    lengths = b"".join(struct.pack("!Q", len(buffer)) for buffer in buffers)
    total = len(header) + sum(map(len, buffers))
    if total > limit:
        raise FrameTooLarge(f"{total:,} bytes are more than the {limit:,} that a frame may have")
    return [_HEAD.pack(len(header), len(buffers)) + lengths + header, *buffers]


class FrameReader:
    """Puts frames together from whatever arrives, without ever waiting.

    Args:
        limit: largest frame accepted, in bytes.
    """

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._lengths: list[int] | None = None
        self._parts: list[bytearray] = []
        self._buffer = bytearray(_HEAD.size)
        self._filled = 0

    def space(self) -> memoryview:
        """Where the next bytes belong; never empty."""
        return memoryview(self._buffer)[self._filled :]

    def filled(self, count: int) -> tuple[bool, Any]:
        """Say how many bytes were put into ``space``.

        Returns:
            (True, the value) when a frame is complete, else (False, None).

        Raises:
            FrameTooLarge: a frame above the limit was announced.
            pickle.UnpicklingError: a frame holds anything but plain values.
        """
        self._filled += count
        while self._filled == len(self._buffer):
            if self._lengths is None:
                size, number = _HEAD.unpack(self._buffer)
                if size > self._limit or number > MAX_BUFFERS:
                    raise FrameTooLarge(f"a frame of {size:,} bytes and {number:,} buffers was announced")
                self._lengths = [size]
                if number:
                    self._expect(8 * number)
                    self._lengths.append(-number)
                else:
                    self._expect(size)
            elif self._lengths[-1] < 0:
                self._lengths.pop()
                self._lengths += [length for (length,) in struct.iter_unpack("!Q", self._buffer)]
                if sum(self._lengths) > self._limit:
                    raise FrameTooLarge(f"a frame of {sum(self._lengths):,} bytes was announced")
                self._expect(self._lengths[0])
            else:
                self._parts.append(self._buffer)
                if len(self._parts) < len(self._lengths):
                    self._expect(self._lengths[len(self._parts)])
                    continue
                header, *buffers = self._parts
                self._lengths, self._parts = None, []
                self._expect(_HEAD.size)
                return True, plain_loads(header, [bytes(buffer) for buffer in buffers])
        return False, None

    def _expect(self, size: int) -> None:
        self._buffer = bytearray(size)
        self._filled = 0


class Channel:
    """A connection as ``multiprocessing`` wants one, over a connected socket.

    Args:
        sock: the socket; the channel owns it from here on.
        limit: largest frame, in bytes, either way.
    """

    def __init__(self, sock: socket.socket, limit: int = MAX_FRAME) -> None:
        self._socket = sock
        self._limit = limit
        self._deadline: float | None = None
        self._reader = FrameReader(limit)
        sock.setblocking(True)

    def deadline(self, seconds: float | None) -> None:
        """All that follows has to be done within so many seconds; None: no hurry."""
        self._deadline = None if seconds is None else time.monotonic() + seconds
        if seconds is None:
            self._socket.settimeout(None)

    def send(self, value: Any) -> None:
        """Send a plain value."""
        first, *rest = frame(value, self._limit)
        if rest and len(first) + len(rest[0]) < 262_144:
            # One call, one packet: a small header that waits for its acknowledgement would cost a delayed-ACK pause.
            first += rest.pop(0)
        self._send_all(first)
        for piece in rest:
            self._send_all(piece)

    def recv(self) -> Any:
        """Receive a plain value; raises EOFError when the peer has closed."""
        while True:
            complete, value = self._fill(self._reader)
            if complete:
                return value

    def receive_now(self) -> tuple[bool, Any]:
        """What has arrived, without waiting: (True, value) if that completes one."""
        self._socket.setblocking(False)
        try:
            while True:
                try:
                    count = self._socket.recv_into(self._reader.space())
                except (BlockingIOError, InterruptedError):
                    return False, None
                if count == 0:
                    raise EOFError
                complete, value = self._reader.filled(count)
                if complete:
                    return True, value
        finally:
            self._socket.setblocking(True)

    def send_bytes(self, data: bytes) -> None:
        """Send a short byte string; used by the handshake."""
        self._send_all(struct.pack("!I", len(data)) + data)

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive what ``send_bytes`` sent; OSError if it is longer than ``maxlength``."""
        (length,) = struct.unpack("!I", self._recv_exactly(4))
        if length > (self._limit if maxlength is None else maxlength):
            raise OSError("bad message length")
        return self._recv_exactly(length)

    def close(self) -> None:
        """Close the connection; a thread that reads from it wakes up."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._socket.fileno() < 0

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _fill(self, reader: FrameReader) -> tuple[bool, Any]:
        self._hurry()
        count = self._socket.recv_into(reader.space())
        if count == 0:
            raise EOFError
        return reader.filled(count)

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

    def _send_all(self, data: bytes) -> None:
        self._hurry()
        self._socket.sendall(data)

    def _hurry(self) -> None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the peer was too slow")
            self._socket.settimeout(left)
