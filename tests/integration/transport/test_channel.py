"""Frames, the codec that takes plain values only, and channels over a socket that is none."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import struct
import time
from collections import OrderedDict, namedtuple
from decimal import Decimal
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.slave.pool.buffers import Buffer, Buffers
from taskmaster.transport import frames as channels
from taskmaster.transport import plain
from taskmaster.transport.channel import Channel
from taskmaster.transport.frames import APART_BYTES, FrameReader, FrameTooLarge, SegmentedBytes, frame
from taskmaster.transport.plain import plain_dumps, plain_loads

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**2000), 2**2000)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.sampled_from(
        [b"x" * (APART_BYTES - 1), b"y" * APART_BYTES, b"z" * (3 * APART_BYTES), "t" * 300, 2**70, -(2**2000)]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


class Wire:
    """A socket as far as a channel needs one: what is put in comes out, in pieces of a given
    size.
    """

    def __init__(self, incoming=b"", piece=7):
        self.incoming = bytearray(incoming)
        self.piece = piece
        self.sent = []
        self.at_once = 1 << 30
        self.timeout = None
        self.blocking = True
        self.open = True
        self.shut = False

    def setblocking(self, flag):
        self.blocking = flag

    def settimeout(self, seconds):
        self.timeout = seconds

    def gettimeout(self):
        return self.timeout

    def recv_into(self, buffer, nbytes=0, flags=0):
        count = min(len(buffer), self.piece, len(self.incoming))
        if count == 0 and flags & socket.MSG_DONTWAIT and not self.shut:
            raise BlockingIOError
        buffer[:count] = self.incoming[:count]
        del self.incoming[:count]
        return count

    def sendall(self, data):
        self.sent.append(bytes(data))

    def sendmsg(self, pieces):
        whole = b"".join(pieces)
        self.sent.append(whole[: self.at_once])
        return len(self.sent[-1])

    def shutdown(self, how):
        self.shut = True

    def close(self):
        self.open = False

    def fileno(self):
        return 5 if self.open else -1


def read_all(data, sizes=(1 << 30,), limit=channels.MAX_FRAME_BYTES):
    """Feed a reader with pieces of these sizes, over and over; gives what it made of them."""
    reader, found, at, turn = FrameReader(limit), [], 0, 0
    while at < len(data):
        space = reader.space()
        assert len(space) > 0
        count = min(len(space), sizes[turn % len(sizes)], len(data) - at)
        space[:count] = data[at : at + count]
        at, turn = at + count, turn + 1
        complete, value = reader.filled(count)
        while complete:
            found.append(value)
            complete, value = reader.more()
    return found


def as_bytes(value):
    """The value with each long byte string, which may arrive as a bytearray, as bytes."""
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, (tuple, list)):
        return type(value)(as_bytes(part) for part in value)
    return value


def head(size, *lengths):
    return struct.pack("!II", size, len(lengths)) + b"".join(struct.pack("!Q", length) for length in lengths)


@given(PLAIN)
def test_plain_values_cross_unchanged(value):
    """With their types: a tuple is no list, True is not 1."""
    there = plain_loads(plain_dumps(value))

    assert there == value
    assert repr(there) == repr(value)


@given(st.lists(PLAIN, min_size=1, max_size=4), st.lists(st.integers(1, 9000), min_size=1, max_size=5))
def test_frames_arrive_whole_however_they_are_cut(values, sizes):
    """The reader never needs to know where the network cut."""
    data = b"".join(piece for value in values for piece in frame(value))

    assert repr(as_bytes(read_all(data, sizes))) == repr(values)


def test_a_long_byte_string_is_not_copied_into_the_pickle():
    """It travels beside the header as the very object that was given, and arrives as bytes or as a
    bytearray.
    """
    blob = os.urandom(APART_BYTES)

    first, *rest = frame(("run", [(blob,)], blob))

    assert [piece is blob for piece in rest] == [True, True]
    assert blob[:64] not in first
    (_, [(there,)], again) = read_all(b"".join([first, *rest]))[0]
    assert bytes(there) == bytes(again) == blob


def test_a_short_byte_string_stays_in_the_header():
    """A buffer of its own would cost more than it saves."""
    assert len(frame(b"x" * (APART_BYTES - 1))) == 1


def test_framing_leaves_the_value_alone():
    """What is set apart is replaced in a copy."""
    blob = b"x" * APART_BYTES
    value = [1, [blob, (blob,)], {"k": [2]}]

    frame(value)

    assert value == [1, [blob, (blob,)], {"k": [2]}]
    assert value[1][0] is blob


class Colour(IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        object(),
        len,
        Colour.RED,
        Text("x"),
        Decimal(1),
        OrderedDict(a=1),
        namedtuple("Point", "x")(1),  # noqa: PYI024
        1 + 2j,
        range(3),
        ValueError("x"),
        ("deep", [{"in": Decimal(1)}]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_is_refused_at_the_sender(value):
    """Before a byte of it is sent, so that the connection goes on."""
    wire = Wire()
    with pytest.raises(pickle.PicklingError, match="only plain values can be sent"):
        plain_dumps(value)
    with pytest.raises(pickle.PicklingError):
        Channel(wire).send(value)
    assert wire.sent == []


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def hostile(canary):
    yield pickle.dumps(Evil(canary), protocol=5)
    yield pickle.dumps(Evil(canary), protocol=2)
    yield pickle.dumps(Evil(canary), protocol=0)
    yield b"cos\nmkdir\n(S'" + canary.encode() + b"'\ntR."
    yield b"(S'" + canary.encode() + b"'\nios\nmkdir\n."
    yield b"\x80\x02(cos\nmkdir\nX" + struct.pack("<I", len(canary)) + canary.encode() + b"o."
    yield b"\x80\x05\x8c\x02os\x8c\x05mkdir\x93."
    yield pickle.dumps(OrderedDict(a=1), protocol=5)
    yield b"\x80\x05K\x01Q."  # a persistent id
    yield b"Pid\n."
    yield b"\x80\x02\x82\x01."  # from the registry of extensions
    yield b"\x80\x05N}b."  # sets the state of an object


def test_hostile_pickles_are_refused_and_run_nothing(tmp_path):
    """Whatever names a function, a class, an extension or a persistent id is no plain value."""
    canary = str(tmp_path / "canary")
    for data in hostile(canary):
        with pytest.raises(pickle.UnpicklingError):
            plain_loads(data)
        with pytest.raises(pickle.UnpicklingError):
            read_all(head(len(data)) + data)
    assert not os.path.exists(canary)


def test_the_unpickler_refuses_by_itself(tmp_path, monkeypatch):
    """Also if the check of the opcodes let something through: there are two locks on this door."""
    canary = str(tmp_path / "canary")
    monkeypatch.setattr(plain, "check_plain", lambda data: None)
    for data in [pickle.dumps(Evil(canary), protocol=5), pickle.dumps(OrderedDict(a=1)), b"\x80\x05K\x01Q.", b"Pid\n."]:
        with pytest.raises(pickle.UnpicklingError, match="refused to unpickle"):
            plain_loads(data)
    assert not os.path.exists(canary)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x05Nr" + struct.pack("<I", 2**31) + b".",  # a memo entry of a high number: 32 GiB
        b"\x80\x05Np2000000000\n.",
        b"\x80\x05\x8e" + struct.pack("<Q", 2**40) + b".",  # bytes of a terabyte
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"\x80\x05\x8d" + struct.pack("<Q", 2**63) + b".",
        b"\x80\x05\x8b" + struct.pack("<i", -1) + b".",
        b"\x80\x05I" + b"9" * 100_000 + b"\n.",  # a number in decimal digits: quadratic
    ],
    ids=["memo", "memo as text", "bytes", "bytearray", "str", "int", "digits"],
)
def test_a_short_pickle_cannot_ask_for_much_memory(data):
    """It is refused before the unpickler sees it."""
    with pytest.raises(pickle.UnpicklingError):
        plain_loads(data)


@pytest.mark.parametrize(
    "data", [b"", b".", b"\x80\x05N", b"\x80\x05N.N.", b"\x80\x05N.\x80", b"\x80\x05", b"GET / HTTP/1.1"]
)
def test_what_is_no_pickle_is_refused(data):
    """With the same error, whatever is wrong with it."""
    with pytest.raises(pickle.UnpicklingError):
        plain_loads(data)


@given(st.binary(max_size=200))
def test_random_bytes_give_a_plain_value_or_the_one_error(data):
    """No other exception comes out of the codec."""
    for text in (data, b"\x80\x05" + data + b"."):
        with contextlib.suppress(pickle.UnpicklingError):
            assert is_plain(plain_loads(text))


@given(PLAIN, st.data())
def test_a_damaged_pickle_gives_a_plain_value_or_the_one_error(value, data):
    """One byte of it was changed."""
    text = bytearray(plain_dumps(value))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(pickle.UnpicklingError):
        assert is_plain(plain_loads(text))


def is_plain(value):
    """Whether a value has nothing in it but what may be sent."""
    waiting, seen = [value], set()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and type(one) in (tuple, list, dict):
            seen.add(id(one))
            waiting += [*one, *one.values()] if type(one) is dict else one
        elif type(one) not in (type(None), bool, int, float, str, bytes, tuple, list, dict):
            return False
    return True


def test_a_value_above_the_limit_is_refused_before_it_is_sent():
    """The connection survives: the next value arrives."""
    wire = Wire()
    channel = Channel(wire, limit=10_000)

    for value in [b"x" * 10_001, "x" * 10_001, [b"x" * 5000] * 3]:
        with pytest.raises(FrameTooLarge, match="more than the 10,000"):
            channel.send(value)
    assert wire.sent == []

    channel.send("fits")
    assert read_all(b"".join(wire.sent)) == ["fits"]


@pytest.mark.parametrize(
    "announced",
    [
        head(10_001),
        head(2**32 - 1),
        head(10, 10_000),
        head(10, 2**63),
        head(10, *[2**63] * 4),
        struct.pack("!II", 10, 2**32 - 1),
    ],
    ids=["header", "4 GiB", "buffer", "long buffer", "sum", "buffers"],
)
def test_a_frame_above_the_limit_is_refused_when_it_is_announced(announced):
    """Nothing of that size is allocated, and nothing of it needs to arrive."""
    reader = FrameReader(limit=10_000)

    def feed():
        for byte in announced:
            space = reader.space()
            assert len(space) < 1_000_000
            space[0] = byte
            reader.filled(1)

    with pytest.raises(FrameTooLarge):
        feed()


def test_a_frame_with_missing_or_spare_buffers_is_handled():
    """A header that wants a buffer that did not come is refused; one that nobody wants is dropped;
    short ones, which no sender sets apart, are refused before they come.
    """
    header = frame((b"x" * APART_BYTES,))[0][8 + 8 :]
    with pytest.raises(pickle.UnpicklingError):
        read_all(head(len(header)) + header)

    plain = plain_dumps("text")
    assert read_all(head(len(plain), APART_BYTES) + plain + bytes(APART_BYTES)) == ["text"]
    for lengths in ([APART_BYTES - 1], [APART_BYTES, 0], [1] * 60_000):
        with pytest.raises(FrameTooLarge, match=r"short parts|60,000 buffers"):
            read_all(head(1, *lengths))


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), min_size=1, max_size=3))
def test_random_bytes_on_the_wire_give_values_or_one_of_two_errors(data, sizes):
    """A reader takes whatever comes."""
    with contextlib.suppress(pickle.UnpicklingError, FrameTooLarge):
        assert is_plain(read_all(data, sizes, limit=1000))


def test_a_small_frame_is_one_packet():
    """Header and buffers in two would wait for a delayed acknowledgement."""
    wire = Wire()
    channel = Channel(wire)

    channel.send(("run", [b"x" * 20_000, b"y" * 20_000]))
    assert len(wire.sent) == 1

    blob = b"z" * 1_000_000
    channel.send((blob,))
    assert len(wire.sent) == 2


def test_what_the_network_does_not_take_at_once_is_sent_after_it():
    """Nothing is left out and nothing is sent twice, wherever it stopped."""
    wire = Wire()
    wire.at_once = 1000
    value = ["run", b"x" * APART_BYTES, SegmentedBytes([b"a" * 1500, b"", b"b" * 2500])]

    Channel(wire).send(value)

    assert max(map(len, wire.sent)) == 1000
    assert as_bytes(read_all(b"".join(wire.sent))) == [["run", b"x" * APART_BYTES, b"a" * 1500 + b"b" * 2500]]


def test_a_long_byte_string_is_received_where_the_owner_wants_it():
    """Whatever else is in the frame; where there is no place, it gets memory of its own."""
    buffers = Buffers(1)
    blob = os.urandom(50_000)
    channel = Channel(Wire(b"".join(frame([1, blob, "x" * 30_000, blob[::-1]])), piece=9000))
    channel.receive_into(buffers.take)

    one, place, text, rest = channel.recv()

    assert (one, text, bytes(rest)) == (1, "x" * 30_000, blob[::-1])
    assert isinstance(place, Buffer)
    assert bytes(place.view) == blob
    assert buffers.take(1) is None
    del place
    assert buffers.take(1) is not None
    buffers.close()


def test_values_are_received_one_after_the_other():
    """Waiting, and without: then what is not complete yet is no answer."""
    data = b"".join(piece for value in ["one", b"x" * APART_BYTES, 3] for piece in frame(value))
    channel = Channel(Wire(data))

    assert [channel.recv() for _ in range(3)] == ["one", b"x" * APART_BYTES, 3]
    with pytest.raises(EOFError):
        channel.recv()

    wire = Wire(data[:20])
    channel = Channel(wire)
    assert channel.receive_now() == (False, None)
    wire.incoming += data[20:]
    assert channel.receive_now() == (True, "one")
    assert channel.receive_now() == (True, b"x" * APART_BYTES)
    assert channel.receive_now() == (True, 3)
    assert channel.receive_now() == (False, None)
    wire.shut = True
    with pytest.raises(EOFError):
        channel.receive_now()
    assert wire.blocking


def test_half_a_frame_and_an_end_is_an_end():
    """The half is not taken for anything."""
    data = b"".join(frame(["value"]))
    for cut in range(1, len(data)):
        with pytest.raises(EOFError):
            Channel(Wire(data[:cut])).recv()


def test_byte_strings_of_the_handshake_are_limited():
    """The length is checked before anything is read or allocated."""
    wire = Wire()
    Channel(wire).send_bytes(b"hello")
    assert Channel(Wire(b"".join(wire.sent))).recv_bytes(256) == b"hello"

    with pytest.raises(OSError, match="bad message length"):
        Channel(Wire(struct.pack("!I", 257) + b"x" * 257)).recv_bytes(256)
    with pytest.raises(OSError, match="bad message length"):
        Channel(Wire(b"HTTP/1.1 400 Bad Request")).recv_bytes(256)
    with pytest.raises(OSError, match="bad message length"):
        Channel(Wire(struct.pack("!I", 2**32 - 1))).recv_bytes()
    with pytest.raises(EOFError):
        Channel(Wire(struct.pack("!I", 5) + b"hel")).recv_bytes(256)


def test_a_deadline_holds_for_a_whole_phase(monkeypatch):
    """A peer that sends a byte now and then does not buy more time with it."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    wire = Wire(b"".join(frame("x" * 100)), piece=1)
    channel = Channel(wire)
    channel.deadline(10.0)
    take = wire.recv_into

    def slowly(buffer):
        nonlocal now
        now += 1.0
        return take(buffer)

    wire.recv_into = slowly
    with pytest.raises(TimeoutError):
        channel.recv()
    assert now <= 110.0
    with pytest.raises(TimeoutError):
        channel.send("late")

    channel.deadline(None)
    assert wire.timeout is None
    assert channel.recv() == "x" * 100


def test_a_channel_is_closed_once_and_can_be_told_so():
    """The peer sees the end of an abort and a close; a forked child's copy goes without a word."""
    wire = Wire()
    with Channel(wire, peer="10.0.0.1:4444") as channel:
        assert (channel.peer, channel.fileno()) == ("10.0.0.1:4444", 5)
        channel.abort()
        assert (wire.shut, channel.fileno()) == (True, 5)
    assert channel.fileno() < 0
    channel.close()

    wire = Wire()
    Channel(wire).forget()
    assert (wire.shut, wire.open) == (False, False)
