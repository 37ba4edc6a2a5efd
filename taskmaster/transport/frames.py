"""Frames: values as byte strings, and byte strings as values.

Called by ``taskmaster.transport.channel``, and by the slave for the sockets to its workers. Frame:
4 bytes length of the header, 4 bytes number of buffers, 8 bytes length of each buffer, then the
header and the buffers. The header is a pickle of plain values; byte strings of 4 KiB and more
travel beside it, as they are.

Guarantees: nothing but None, bool, int, float, str, bytes, bytearray, tuple, list, dict and sets of
these is ever pickled or unpickled; nothing is allocated for a frame above the limit; a value that
is above the limit or not plain is refused before a byte of it is sent.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = [
    "MAX_FRAME",
    "FrameReader",
    "FrameTooLarge",
    "Hold",
    "Pieces",
    "frame",
    "plain_dumps",
    "plain_loads",
]

MAX_FRAME = 64 * 1024 * 1024
APART = 4096  # byte strings of this size travel beside the pickle
MAX_BUFFERS = 65_536
STAGE = 16_384  # bytes of a reader's buffer: a thousand connections have one each
_HEAD = struct.Struct("!II")


class FrameTooLarge(OSError):
    """A frame is above the limit. Raised by the sender before it sends any of it, by the receiver
    before it reads it.
    """


class _PlainPickler(pickle.Pickler):
    """Refuses what the receiver would refuse."""

    def reducer_override(self, obj: Any) -> Any:
        # Called for whatever is not exactly one of the plain types.
        raise pickle.PicklingError(f"refused to pickle a {type(obj).__name__}: only plain values can be sent")


class _PlainUnpickler(pickle.Unpickler):
    """Refuses whatever could run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"refused to unpickle {module}.{name}: only plain values are accepted here")

    def persistent_load(self, _: Any) -> Any:
        raise pickle.UnpicklingError("refused to unpickle a persistent id: only plain values are accepted here")


def _opcodes() -> tuple[list[int], list[int]]:
    """For each opcode of a plain pickle, the bytes it takes, and how many of them tell a length
    that follows.
    """
    fixed = {b"N\x88\x89)\x85\x86\x87t(]ae}su\x8f\x90\x91\x94\x97\x98": 0, b"\x80Kh": 1, b"M": 2, b"Jj": 4, b"G\x95": 8}
    counted = {b"\x8a\x8cC": 1, b"\x8bXB": 4, b"\x8d\x8e\x96": 8}
    sizes, lengths = [0] * 256, [0] * 256
    for codes, width in [*fixed.items(), *counted.items()]:
        for code in codes:
            sizes[code] = 1 + width
    for codes, width in counted.items():
        for code in codes:
            lengths[code] = width
    return sizes, lengths


_SIZES, _LENGTHS = _opcodes()
_STOP = ord(".")


def _check_plain(data: bytes | bytearray) -> None:
    """Refuse a pickle with an opcode that ``plain_dumps`` never writes, or a length beyond its end.

    ``find_class`` stops code from being run, but not harm: nine bytes that store a memo entry of a
    high number make the unpickler allocate gigabytes, until Python 3.14 at least, and it holds the
    interpreter's lock meanwhile.
    """
    sizes, lengths = _SIZES, _LENGTHS
    at, end = 0, len(data) - 1
    while at < end:
        code = data[at]
        size = sizes[code]
        if not size:
            raise pickle.UnpicklingError(f"refused to unpickle opcode {code:#04x}: only plain values are accepted here")
        width = lengths[code]
        at += size + int.from_bytes(data[at + 1 : at + 1 + width], "little") if width else size
    if at != end or data[at] != _STOP:
        raise pickle.UnpicklingError("not a pickle of plain values: it is cut off, or something follows it")


def plain_dumps(value: Any) -> bytes:
    """Pickle plain values.

    Raises:
        pickle.PicklingError: something in it is not plain.
    """
    return _dumped(value, None)


def _dumped(value: Any, buffer_callback: Any) -> bytes:
    file = io.BytesIO()
    _PlainPickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


def plain_loads(data: bytes | bytearray, buffers: Sequence[Any] = ()) -> Any:
    """Unpickle plain values, as ``plain_dumps`` writes them.

    Raises:
        pickle.UnpicklingError: it is no pickle, or holds anything else.
    """
    _check_plain(data)
    try:
        return _PlainUnpickler(io.BytesIO(data), buffers=buffers).load()
    except pickle.UnpicklingError:
        raise
    except RecursionError:
        raise pickle.UnpicklingError("refused to unpickle a value that is nested too deeply") from None
    except Exception as exc:
        raise pickle.UnpicklingError(f"not a pickle of plain values: {type(exc).__name__}") from exc


class Pieces:
    """A byte string in pieces: sent without being put together first, received as one.

    Args:
        parts: the pieces.
    """

    __slots__ = ("_size", "parts")

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size


class Hold(Protocol):
    """Where a long byte string is received; what ``view`` shows."""

    @property
    def view(self) -> memoryview:
        """The bytes, to be written."""


# Stands in the pickle for whatever travels beside it. It looks writable: then the receiver's
# unpickler takes what came as it is, and makes no view of it.
_BESIDE = pickle.PickleBuffer(bytearray())


def _set_apart(value: Any, found: list[Any]) -> Any:
    """The value with its large byte strings replaced by buffers; only the tuples and lists on the
    way are copied.
    """
    kind = type(value)
    if kind is Pieces or (kind is bytes and len(value) >= APART):
        found.append(value)
        return _BESIDE
    if kind is not tuple and kind is not list:
        return value
    copy: list[Any] | None = None
    for index, part in enumerate(value):
        inner = type(part)
        # Most parts are numbers and short texts: a call for each would cost more than the pickling.
        if inner is bytes or inner is Pieces or inner is tuple or inner is list:
            apart = _set_apart(part, found)
            if apart is not part:
                copy = list(value) if copy is None else copy
                copy[index] = apart
    return value if copy is None else kind(copy)


def frame(value: Any, limit: int = MAX_FRAME) -> list[bytes]:
    """The pieces of a value's frame, to be sent one after the other.

    Raises:
        FrameTooLarge: together they are above the limit.
        pickle.PicklingError: something in the value is not plain.
    """
    buffers: list[bytes | Pieces] = []
    header = _dumped(_set_apart(value, buffers), lambda _: None)
    lengths = b"".join(struct.pack("!Q", len(buffer)) for buffer in buffers)
    total = len(header) + sum(map(len, buffers))
    if total > limit:
        raise FrameTooLarge(f"{total:,} bytes are more than the {limit:,} that a frame may have")
    if len(buffers) > MAX_BUFFERS:
        raise FrameTooLarge(f"{len(buffers):,} long byte strings are more than the {MAX_BUFFERS:,} of a frame")
    pieces = [_HEAD.pack(len(header), len(buffers)) + lengths + header]
    for buffer in buffers:
        if isinstance(buffer, Pieces):
            pieces += buffer.parts
        else:
            pieces.append(buffer)
    return pieces


class FrameReader:
    """Puts frames together from whatever arrives, without ever waiting.

    What arrives goes through one small buffer, so that a short frame takes a single system call;
    the rest of anything longer is received where it stays. ::

        count = sock.recv_into(reader.space())
        complete, value = reader.filled(count)
        while complete:
            ...
            complete, value = reader.more()

    Byte strings that travelled beside the header arrive as ``bytes``, as ``bytearray``, or as what
    ``hold`` gave.

    Args:
        limit: largest frame accepted, in bytes.
        hold: asked, with a size in bytes, where a long byte string is to be received; None for
            memory of its own.
    """

    def __init__(self, limit: int = MAX_FRAME, hold: Callable[[int], Hold | None] | None = None) -> None:
        self.hold = hold
        self._limit = limit
        self._staged = memoryview(bytearray(STAGE))
        self._from = self._to = 0  # what has arrived and is not looked at yet
        self._part: bytearray | Hold | None = None  # a part of the frame that has not arrived whole,
        self._missing = self._staged[:0]  # and what is missing of it
        self._next = _HEAD.size  # bytes of the part that comes next
        self._stage: Callable[[Any], bool] = self._take_head
        self._lengths: list[int] = []
        self._parts: list[Any] = []

    def space(self) -> memoryview:
        """Where the next bytes belong; never empty."""
        return self._staged if self._part is None else self._missing

    def filled(self, count: int) -> tuple[bool, Any]:
        """Say how many bytes were put into ``space``.

        Returns:
            (True, the value) when a frame is complete, else (False, None).

        Raises:
            FrameTooLarge: a frame above the limit was announced.
            pickle.UnpicklingError: a frame holds anything but plain values.
        """
        if self._part is None:
            self._from, self._to = 0, count
        else:
            self._missing = self._missing[count:]
        return self.more()

    def more(self) -> tuple[bool, Any]:
        """A further frame of what has arrived already; as ``filled``."""
        while True:
            part = self._arrived()
            if part is None:
                return False, None
            if self._stage(part):
                header, *buffers = self._parts
                self._parts = []
                self._expect(_HEAD.size, self._take_head)
                return True, plain_loads(header, buffers)

    def _arrived(self) -> bytes | bytearray | Hold | None:
        """The next part if all of it is here."""
        if self._part is not None:
            if self._missing:
                return None
            part, self._part = self._part, None
            return part
        size, start = self._next, self._from
        if self._to - start >= size:
            self._from += size
            return bytes(self._staged[start : start + size])
        if self._to > start or size > STAGE:
            self._begin(size)
        return None

    def _begin(self, size: int) -> None:
        """Make room for a part that is not here yet, or not all of it."""
        held = self.hold(size) if self.hold is not None and self._parts else None
        self._part = bytearray(size) if held is None else held
        whole = memoryview(self._part) if isinstance(self._part, bytearray) else self._part.view
        count = self._to - self._from
        whole[:count] = self._staged[self._from : self._to]
        self._from = self._to
        self._missing = whole[count:]

    def _expect(self, size: int, stage: Callable[[Any], bool]) -> None:
        self._next, self._stage = size, stage

    def _take_head(self, part: bytes | bytearray) -> bool:
        size, number = _HEAD.unpack(part)
        if size > self._limit or number > MAX_BUFFERS:
            raise FrameTooLarge(f"a frame of {size:,} bytes and {number:,} buffers was announced")
        self._lengths = [size]
        if number:
            self._expect(8 * number, self._take_lengths)
        else:
            self._expect(size, self._take_part)
        return False

    def _take_lengths(self, part: bytes | bytearray) -> bool:
        self._lengths += [length for (length,) in struct.iter_unpack("!Q", part)]
        if sum(self._lengths) > self._limit:
            raise FrameTooLarge(f"a frame of {sum(self._lengths):,} bytes was announced")
        self._expect(self._lengths[0], self._take_part)
        return False

    def _take_part(self, part: bytes | bytearray | Hold) -> bool:
        self._parts.append(part)
        if len(self._parts) == len(self._lengths):
            return True
        self._next = self._lengths[len(self._parts)]
        return False
