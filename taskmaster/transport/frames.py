"""Frames: values as byte strings, and byte strings as values.

They go over the network, and over the sockets between a slave and its workers. A frame is: 4 bytes
length of the header; 4 bytes number of buffers, of which the highest bit says that the frame is
sealed; 8 bytes length of each buffer; then the header and the buffers; and the seal. The header is
a pickle of plain values; byte strings of 4 KiB and more travel beside it, as they are.

Guarantees: only plain values are pickled and unpickled, and nothing of a sealed frame before its
seal was found right; memory grows with what has arrived, not with what was announced, and nothing
is allocated for a frame above the limit; a value that is above the limit or not plain is refused
before a byte of it is sent.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pickle import PickleBuffer, PicklingError
from typing import Any, Protocol

from taskmaster.transport.plain import TooManyValues, plain_dumps, plain_loads
from taskmaster.transport.seal import TAG_BYTES, Seal

__all__ = [
    "MAX_FRAME_BYTES",
    "FrameForged",
    "FrameReader",
    "FrameTooLarge",
    "FrameUnsealed",
    "Hold",
    "SegmentedBytes",
    "frame",
    "sealed",
]

MAX_FRAME_BYTES = 64 * 1024 * 1024
APART_BYTES = 4096  # byte strings of this size travel beside the pickle
MAX_BUFFERS = 65_536
SEALED = 0x8000_0000  # beside the number of buffers; a reader of an older version takes it for far too many
FIRST_PART_BYTES = 256 * 1024  # bytes of memory for the beginning of a part that has not arrived whole: most end there
PART_OVERHEAD_BYTES = 100  # bytes that a part takes beside itself
STAGE_BYTES = 16_384  # bytes of a reader's buffer: a thousand connections have one each
FORGED = "the seal of a frame is wrong: somebody else has sent it, or has changed it"
_HEAD = struct.Struct("!II")


class FrameTooLarge(OSError):
    """A frame is above the limit. Raised by the sender before it sends any of it, by the receiver
    before it reads it.
    """


class FrameForged(OSError):
    """The seal of a frame is wrong: not the peer of the handshake has sent it, or not like that."""


class FrameUnsealed(OSError):
    """A frame has no seal where each must have one: the peer is an older version, or a stranger."""


class SegmentedBytes:
    """A byte string in segments: sent without being put together first, received as one.

    Args:
        parts: the segments.
    """

    __slots__ = ("_size", "parts")

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)


class Hold(Protocol):
    """Where a long byte string is received; what ``view`` shows."""

    @property
    def view(self) -> memoryview:
        """The bytes, to be written."""


# Stands in the pickle for whatever travels beside it. It is writable: for a read-only one, the
# unpickler would wrap the received bytes in a read-only view.
_BESIDE = PickleBuffer(bytearray())
_WALKED = frozenset({tuple, list, bytes, SegmentedBytes})


def _set_apart(values: Any, found: list[Any]) -> Any:
    """Return a tuple or list with its large byte strings replaced by buffers; only the tuples and
    lists on the way are copied.
    """
    copy: list[Any] | None = None
    for index, part in enumerate(values):
        kind = type(part)
        # Most parts are numbers, short texts and empty: a call for each would cost more than the
        # pickling.
        if kind not in _WALKED:
            continue
        if kind is tuple or kind is list:
            apart = _set_apart(part, found) if part else part
        elif kind is SegmentedBytes and len(part) < APART_BYTES:
            apart = bytes(part)
        elif kind is SegmentedBytes or (kind is bytes and len(part) >= APART_BYTES):
            found.append(part)
            apart = _BESIDE
        else:
            continue
        if apart is not part:
            copy = list(values) if copy is None else copy
            copy[index] = apart
    return values if copy is None else type(values)(copy)


def _keep_none(_: PickleBuffer) -> None:
    """Have the pickle of a buffer say no more than that it travels beside."""


def frame(value: Any, limit: int = MAX_FRAME_BYTES) -> list[bytes]:
    """Return the segments of a value's frame, to be sent one after the other.

    Raises:
        FrameTooLarge: together they are above the limit, or there are too many values.
        pickle.PicklingError: something in the value is not plain.
    """
    buffers: list[bytes | SegmentedBytes] = []
    try:
        try:  # most are short, and to look for what travels beside takes as long as the rest
            header = plain_dumps(value)
        except PicklingError:  # of what is in segments; or it is not plain, which is told below
            header = b""
        if not 0 < len(header) < APART_BYTES:
            (apart,) = _set_apart((value,), buffers)
            header = plain_dumps(apart, _keep_none)
    except TooManyValues as exc:
        raise FrameTooLarge(f"{exc} are more than a frame may have") from None
    total = len(header) + (sum(map(len, buffers)) if buffers else 0)
    if total > limit:
        raise FrameTooLarge(f"{total:,} bytes are more than the {limit:,} that a frame may have")
    if not buffers:  # nearly always, where an answer has one batch
        return [_HEAD.pack(len(header), 0) + header]
    if len(buffers) > MAX_BUFFERS:
        raise FrameTooLarge(f"{len(buffers):,} long byte strings are more than the {MAX_BUFFERS:,} of a frame")
    lengths = struct.pack(f"!{len(buffers)}Q", *map(len, buffers))
    segments = [_HEAD.pack(len(header), len(buffers)) + lengths + header]
    for buffer in buffers:
        if isinstance(buffer, SegmentedBytes):
            segments += buffer.parts
        else:
            segments.append(buffer)
    return segments


def sealed(segments: list[bytes], seal: Seal) -> list[bytes]:
    """Return the segments of a frame with its seal behind them."""
    first = bytearray(segments[0])
    first[4] |= SEALED >> 24
    segments = [bytes(first), *segments[1:]]
    for segment in segments:
        seal.update(segment)
    return [*segments, seal.finish()]


class FrameReader:
    """Puts frames together from whatever arrives, without ever waiting.

    What arrives goes through one small buffer, so that a short frame takes a single system call;
    the rest of anything longer is received where it stays, in memory that doubles as it fills. ::

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

    Attributes:
        seal: each frame has to have this seal; None: no frame is sealed.
        long_from: a frame with a header of this many bytes or more waits until ``unpickled`` asks
            for its value, which takes long; None: none does.
        waits: whether such a frame has arrived; nothing may be received until it was asked for.
    """

    def __init__(self, limit: int = MAX_FRAME_BYTES, hold: Callable[[int], Hold | None] | None = None) -> None:
        self.hold = hold
        self.limit = limit
        self.seal: Seal | None = None
        self.long_from: int | None = None
        self.waits = False
        self._staged = memoryview(bytearray(STAGE_BYTES))
        self._from = self._to = 0  # what has arrived and is not looked at yet
        self._part: bytearray | None = None  # a part of the frame that has not arrived whole, in memory of its own
        self._held: Hold | None = None  # or where ``hold`` wants it
        self._arrived = 0  # bytes of it
        self._next = _HEAD.size  # bytes of the part that comes next
        self._stage: Callable[[Any], bool] = self._take_head
        self._begins = True  # the next part is the first one of a frame
        self._lengths: list[int] = []
        self._parts: list[Any] = []
        self._kept = 0  # bytes of ``_parts``

    @property
    def unfinished(self) -> int:
        """Bytes of memory that a frame takes which has not arrived whole."""
        return self._kept + (0 if self._part is None else len(self._part))

    @property
    def staged(self) -> int:
        """Bytes that have arrived and were not looked at yet."""
        return self._to - self._from

    def space(self) -> memoryview:
        """Return where the next bytes belong; never empty."""
        if self._part is not None:
            return memoryview(self._part)[self._arrived :]
        if self._held is not None:
            return self._held.view[self._arrived :]
        return self._staged

    def filled(self, count: int) -> tuple[bool, Any]:
        """Take the bytes that were put into ``space``.

        Returns:
            (True, the value) when a frame is complete, else (False, None).

        Raises:
            FrameTooLarge: a frame above the limit was announced.
            FrameForged, FrameUnsealed: a frame has the wrong seal, or none.
            pickle.UnpicklingError: a frame holds anything but plain values.
        """
        if self._part is None and self._held is None:
            self._from, self._to = 0, count
        else:
            self._arrived += count
        return self.more()

    def more(self) -> tuple[bool, Any]:
        """Return a further frame of what has arrived already; as ``filled``."""
        if self._begins and self._to - self._from > _HEAD.size:
            header = self._whole()
            if header is not None:
                return True, plain_loads(header)
        while not self.waits:
            part = self._next_part()
            if part is None:
                break
            if self._stage(part):
                self.waits = self.long_from is not None and len(self._parts[0]) >= self.long_from
                if self.waits:
                    break
                return True, self.unpickled()
        return False, None

    def _whole(self) -> bytes | None:
        """Return the header of a short frame that has arrived whole and has nothing beside it, as
        nearly all are; None for any other, which is taken part by part.
        """
        staged, start, seal = self._staged, self._from, self.seal
        size, number = _HEAD.unpack_from(staged, start)
        if seal is not None:
            number ^= SEALED
        after = start + _HEAD.size + size
        end = after if seal is None else after + TAG_BYTES
        if number or end > self._to or size > self.limit or (self.long_from is not None and size >= self.long_from):
            return None
        self._from = end
        if seal is not None:
            seal.update(staged[start:after])
            if not seal.matches(bytes(staged[after:end])):
                raise FrameForged(FORGED)
        return bytes(staged[start + _HEAD.size : after])

    def unpickled(self) -> Any:
        """Return the value of the frame that waits; raises what ``filled`` does."""
        self.waits = False
        header, *buffers = self._parts
        self._parts = []
        self._kept = 0
        self._expect(_HEAD.size, self._take_head)
        self._begins = True
        return plain_loads(header, buffers)

    def forget(self) -> None:
        """Let go of what has arrived: nothing is received any more. The reader refers to itself, so
        that it stays in memory until the garbage collector comes by.
        """
        self._parts, self._part, self._held, self._kept, self._lengths = [], None, None, 0, []
        self._expect(_HEAD.size, self._take_head)
        self._begins = True

    def _next_part(self) -> bytes | bytearray | Hold | None:
        """Return the next part of the frame if all of it is here."""
        size = self._next
        if self._part is not None:
            if self._arrived < size:
                if self._arrived == len(self._part):
                    self._grow(min(self._arrived, size - self._arrived))
                return None
            part, self._part = self._part, None
            return part
        if self._held is not None:
            if self._arrived < size:
                return None
            held, self._held = self._held, None
            return held
        start = self._from
        if self._to - start >= size:
            self._from += size
            return bytes(self._staged[start : start + size])
        if self._to > start or size > STAGE_BYTES:
            self._begin(size)
        return None

    def _begin(self, size: int) -> None:
        """Make room for a part that is not here yet, or not all of it."""
        if self.hold is not None and self._stage == self._take_part and self._parts:
            self._held = self.hold(size)
        if self._held is None:
            self._part = bytearray(min(size, FIRST_PART_BYTES))
        self._arrived = 0
        count = self._to - self._from
        self.space()[:count] = self._staged[self._from : self._to]
        self._arrived = count
        self._from = self._to

    def _grow(self, count: int) -> None:
        if self._part is not None:
            try:
                self._part += bytes(count)
            except BufferError:  # the view that it was filled through is still held
                self._part = self._part + bytes(count)  # a copy

    def _expect(self, size: int, stage: Callable[[Any], bool]) -> None:
        self._next, self._stage = size, stage

    def _take_head(self, part: bytes | bytearray) -> bool:
        self._begins = False
        size, number = _HEAD.unpack(part)
        if self.seal is not None:
            if not number & SEALED:
                raise FrameUnsealed("a frame came that has no seal")
            number &= ~SEALED
            self.seal.update(part)
        if size > self.limit or number * APART_BYTES > self.limit:  # shorter ones travel in the header
            raise FrameTooLarge(f"a frame of {size:,} bytes and {number:,} buffers was announced")
        self._lengths = [size]
        if number:
            self._expect(8 * number, self._take_lengths)
        else:
            self._expect(size, self._take_part)
        return False

    def _take_lengths(self, part: bytes | bytearray) -> bool:
        if self.seal is not None:
            self.seal.update(part)
        self._lengths += [length for (length,) in struct.iter_unpack("!Q", part)]
        if min(self._lengths[1:]) < APART_BYTES:
            raise FrameTooLarge("a frame of short parts was announced: those travel in its header")
        if sum(self._lengths) > self.limit:
            raise FrameTooLarge(f"a frame of {sum(self._lengths):,} bytes was announced")
        self._expect(self._lengths[0], self._take_part)
        return False

    def _take_part(self, part: bytes | bytearray | Hold) -> bool:
        if self.seal is not None:
            self.seal.update(part if isinstance(part, (bytes, bytearray)) else part.view)
        self._parts.append(part)
        if isinstance(part, (bytes, bytearray)):
            self._kept += len(part) + PART_OVERHEAD_BYTES
        if len(self._parts) < len(self._lengths):
            self._next = self._lengths[len(self._parts)]
            return False
        if self.seal is None:
            return True
        self._expect(TAG_BYTES, self._take_tag)
        return False

    def _take_tag(self, part: bytes | bytearray) -> bool:
        if self.seal is not None and not self.seal.matches(part):
            raise FrameForged(FORGED)
        return True
