"""Seals: what a frame's code covers, and what is taken for a connection with nobody between."""

from __future__ import annotations

import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.transport import seal
from taskmaster.transport.frames import (
    FrameForged,
    FrameReader,
    FrameTooLarge,
    FrameUnsealed,
    SegmentedBytes,
    frame,
    sealed,
)
from taskmaster.transport.seal import Seal, ends, seals

SECRET = b"k" * 32
VALUES = [("queue", "status", (), {}), [b"x" * 9000, SegmentedBytes([b"y" * 20_000, b"z"]), 1.5], None, "a" * 50_000]


def sent(values, key=SECRET):
    """Give each value's frame, sealed, as a byte string."""
    one = Seal(key)
    return [b"".join(sealed(frame(value), one)) for value in values]


def read(data, key=SECRET, piece=1000):
    """Give what a reader that wants seals makes of it."""
    reader, found = FrameReader(), []
    reader.seal = Seal(key)
    for at in range(0, len(data), piece):
        part = data[at : at + piece]
        while part:
            space = reader.space()
            count = min(len(space), len(part))
            space[:count], part = part[:count], part[count:]
            complete, value = reader.filled(count)
            while complete:
                found.append(value)
                complete, value = reader.more()
    return found


def plain(value):
    if isinstance(value, (SegmentedBytes, bytearray)):
        return bytes(value) if isinstance(value, bytearray) else b"".join(value.parts)
    return [plain(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("piece", [1, 7, 1000, 1 << 20])
def test_sealed_frames_arrive_as_they_were_sent(piece):
    """However the network cuts them, and whatever travels beside the header."""
    assert plain(read(b"".join(sent(VALUES)), piece=piece)) == plain(VALUES)


def test_a_seal_is_the_hmac_of_the_frame_and_its_number():
    """Made with a key that is hashed once; the standard library's says the same."""
    one = Seal(SECRET)
    for number, data in enumerate([b"", b"abc", b"x" * 100_000]):
        one.update(data)
        assert one.finish() == hmac.digest(SECRET, data + number.to_bytes(8), "sha256")[:16]


@given(st.data())
def test_a_changed_byte_is_noticed(data):
    """Wherever it is; nothing of the frame is given out."""
    whole = bytearray(b"".join(sent([("queue", "bye", ("me",), {})])))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))

    try:
        assert read(bytes(whole)) == []  # a longer frame was announced, which never comes
    except (FrameForged, FrameUnsealed, FrameTooLarge):
        pass


@pytest.mark.parametrize(
    "order", [(1,), (0, 0), (0, 2, 1), (0, 1, 1)], ids=["left out", "repeated", "reordered", "repeated later"]
)
def test_frames_have_to_come_once_and_in_their_order(order):
    """Each frame's code covers its number."""
    frames = sent([1, 2, 3])

    with pytest.raises(FrameForged):
        read(b"".join(frames[number] for number in order))


def test_a_frame_of_the_other_direction_or_another_connection_is_refused():
    """A stranger cannot send back to a peer what that peer has said."""
    masters, _ = seals(SECRET, b"one handshake", "master")
    for other in (seals(SECRET, b"one handshake", "slave")[0], seals(SECRET, b"another one", "master")[0]):
        reader = FrameReader()
        reader.seal = other
        data = b"".join(sealed(frame("over"), masters))
        reader.space()[: len(data)] = data
        with pytest.raises(FrameForged):
            reader.filled(len(data))


def test_both_sides_have_the_same_seals():
    """What one sends with, the other receives with."""
    (one, other), (third, fourth) = seals(SECRET, b"said", "master"), seals(SECRET, b"said", "slave")

    assert one.finish() == fourth.finish() != other.finish() == third.finish()


def test_a_frame_without_a_seal_is_refused_unread():
    """It is that of an older version, or of a stranger."""
    with pytest.raises(FrameUnsealed):
        read(b"".join(frame(("queue", "status", (), {}))))


class Socket:
    """What is asked of a socket for its two ends."""

    def __init__(self, own, other):
        self.getsockname, self.getpeername = lambda: own, lambda: other


ONE, TWO, THREE = ("127.0.0.1", 5050), ("127.0.0.1", 40001), ("127.0.0.1", 40002)


def test_the_two_ends_of_a_connection_within_a_machine_say_the_same(monkeypatch):
    """And nobody who passes on what is said has the same two sockets."""
    monkeypatch.setattr(seal.Path, "read_text", lambda *_: "boot\n")
    monkeypatch.setattr(seal.Path, "readlink", lambda *_: "net:[1]")

    assert ends(Socket(ONE, TWO), "master") == ends(Socket(TWO, ONE), "slave") != ""
    assert ends(Socket(ONE, TWO), "master") != ends(Socket(THREE, ONE), "slave")
    assert ends(Socket(ONE, TWO), "master") != ends(Socket(ONE, TWO), "slave")
    monkeypatch.setattr(seal.Path, "readlink", lambda *_: "net:[2]")
    assert ends(Socket(ONE, TWO), "master") != ends(Socket(ONE, TWO), "slave")


@pytest.mark.parametrize(("own", "other"), [(("10.0.0.1", 5050), TWO), (ONE, ("10.0.0.2", 1)), (ONE, ("", 0))])
def test_a_connection_that_leaves_the_machine_stays_sealed(own, other):
    """Also one of which only one end is known to be here."""
    assert ends(Socket(own, other), "master") == ""


def test_where_the_machine_does_not_say_who_it_is_connections_stay_sealed(monkeypatch):
    """As in a container without /proc."""
    monkeypatch.setattr(seal.Path, "read_text", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))

    assert ends(Socket(ONE, TWO), "master") == ""


def outcome(data, piece, *, seals_wanted):
    """Give what a reader makes of it, or the class of its error."""
    try:
        return plain(read(data, piece=piece) if seals_wanted else read_open(data, piece))
    except (OSError, pickle.UnpicklingError) as exc:
        return type(exc)


def read_open(data, piece):
    reader, found = FrameReader(limit=5000), []
    reader.long_from = 400
    for at in range(0, len(data), piece):
        part = data[at : at + piece]
        reader.space()[: len(part)] = part
        complete, value = reader.filled(len(part))
        while complete or reader.waits:
            found.append((reader.unpickled(), "waited") if reader.waits else value)
            complete, value = reader.more()
    return found


SHORT = [("queue", "exchange", ("s", ("t", 1)), {}), None, ["x" * 300, 2], ["y" * 500, 3], {"a": 1.5}]


@given(at=st.integers(0, 1 << 16), byte=st.integers(0, 255), cut=st.integers(0, 40), seals_wanted=st.booleans())
def test_short_frames_mean_the_same_whole_and_in_pieces(at, byte, cut, seals_wanted):
    """What arrives whole takes a shorter way, which must refuse all that the other one refuses."""
    frames = sent(SHORT) if seals_wanted else [b"".join(frame(value)) for value in SHORT]
    good = b"".join(frames)
    assert outcome(good, len(good), seals_wanted=seals_wanted) == outcome(good, 1, seals_wanted=seals_wanted)
    bad = bytearray(good)
    bad[at % len(bad)] = byte
    damaged = bytes(bad[: len(bad) - cut])
    assert outcome(damaged, len(damaged), seals_wanted=seals_wanted) == outcome(damaged, 1, seals_wanted=seals_wanted)
