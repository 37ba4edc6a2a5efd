"""A stranger between slave and master passes their handshake on: it cannot say a word; and peers of
an older version, whose frames have no seals, are told so.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest

from taskmaster import __version__
from taskmaster.errors import ConnectError
from taskmaster.transport import client, handshake, server
from taskmaster.transport.address import Address
from taskmaster.transport.channel import Channel
from taskmaster.transport.frames import FrameReader, frame, sealed
from taskmaster.transport.seal import Seal

KEY = b"the key of this test"


class Served:
    """An object to serve; remembers what it was asked."""

    def __init__(self):
        self.heard = []

    def hello(self, info):
        self.heard.append("hello")
        return {"ok": True}

    def exchange(self, session, reports, want):
        self.heard.append("exchange")
        return ("run", 0.5, (), (), (), ())

    def bye(self, session):
        self.heard.append("bye")

    def status(self):
        return {"settled": 7}

    def closed(self, session):
        pass


@pytest.fixture
def master():
    served = Served()
    running = server.bind(Address("127.0.0.1", 0), KEY, served)
    running.start()
    yield running, served
    running.stop()


class Between:
    """Passes all of a handshake on; then each side's frames, or what it makes of them.

    Args:
        where: of the master.
        to_master: gets the number of a frame of the slave's and the frame; gives what is sent.
        to_slave: the same for the master's.
    """

    def __init__(self, where, to_master=lambda _, data: data, to_slave=lambda _, data: data):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.where = self._listener.getsockname()
        self._master = where
        self._change = (to_master, to_slave)
        self.hung_up = threading.Event()  # the master has
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        slave, _ = self._listener.accept()
        master = socket.create_connection(self._master, timeout=20.0)
        slave.settimeout(20.0)
        with slave, master, contextlib.suppress(OSError):
            for source, target in ((master, slave), (slave, master)) * 3:
                target.sendall(self._message(source))
            ways = [
                threading.Thread(target=self._pass_on, args=(slave, master, self._change[0])),
                threading.Thread(target=self._pass_on, args=(master, slave, self._change[1], self.hung_up)),
            ]
            for way in ways:
                way.start()
            for way in ways:
                way.join()

    @staticmethod
    def _message(source):
        head = source.recv(4, socket.MSG_WAITALL)
        return head + source.recv(*struct.unpack("!I", head), socket.MSG_WAITALL)

    @staticmethod
    def _pass_on(source, target, change, ended=None):
        with contextlib.suppress(OSError):
            number = 0
            while data := source.recv(65_536):  # a call and its answer are short, and one at a time
                target.sendall(change(number, data))
                number += 1
        if ended is not None:
            ended.set()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self):
        self._listener.close()
        self._thread.join(30.0)


def test_an_honest_connection_through_a_relay_works_and_stays_sealed(master):
    """As over a network; one with nobody between is not sealed for long."""
    running, _ = master
    relay = Between(running.where)
    far, near = client.connect(*relay.where, KEY), client.connect(*running.where, KEY)

    assert far.call("status") == near.call("status") == {"settled": 7}
    assert far._channel._seal is not None
    assert near._channel._seal is None
    far.close()
    near.close()
    relay.close()


STRANGERS = {
    "no seal": lambda value, _: b"".join(frame(value)),
    "a seal of its own": lambda value, _: b"".join(sealed(frame(value), Seal(b"stranger's"))),
    "more behind the frame": lambda value, data: data + b"".join(frame(value)),
    "before the frame": lambda value, data: b"".join(frame(value)) + data,
    "a changed byte": lambda _, data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
    "the frame twice": lambda _, data: data + data,
}


@pytest.mark.parametrize("make", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("number", [0, 1], ids=["at the door", "later"])
def test_a_stranger_cannot_say_a_word_to_the_master(master, make, number):
    """Whatever it says, the master hangs up, and has heard nothing of it."""
    running, served = master
    evil = ("queue", "bye", ("somebody",), {})
    relay = Between(running.where, to_master=lambda at, data: make(evil, data) if at == number else data)
    with contextlib.suppress(ConnectError):
        slave = client.connect(*relay.where, KEY, timeout=10.0)
        with contextlib.suppress(ConnectError):
            slave.call("status", timeout=10.0)
            slave.call("status", timeout=10.0)
        slave.close()
    assert relay.hung_up.wait(20.0)
    relay.close()

    assert served.heard == []


@pytest.mark.parametrize("make", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("number", [0, 1], ids=["at the door", "later"])
def test_a_stranger_cannot_say_a_word_to_the_slave(master, make, number):
    """A batch of its own would be code that runs there."""
    running, _ = master
    evil = ("#RETURN", ("run", 0.5, (("token", 1, False, False, 0, b"evil"),), (), (), ()))
    relay = Between(running.where, to_slave=lambda at, data: make(evil, data) if at == number else data)
    answers = []
    with pytest.raises(ConnectError):
        slave = client.connect(*relay.where, KEY, timeout=10.0)
        answers += [slave.call("status", timeout=10.0), slave.call("status", timeout=10.0)]
    relay.close()

    assert [answer for answer in answers if answer != {"settled": 7}] == []


def test_an_older_slave_is_told_what_to_install(master):
    """In the form that it understands; nothing of what it says is read."""
    running, served = master
    with socket.create_connection(running.where, timeout=10.0) as sock:
        channel = Channel(sock)
        channel.deadline(10.0)
        handshake.prove_both(channel, KEY, "slave")
        channel.send((None, "accept_connection", ("slave",), {}))
        assert channel.recv() == ("#RETURN", None)
        channel.send(("queue", "hello", ({"protocol": 3, "session": "s"},), {}))
        kind, answer = channel.recv()

    assert (kind, answer["ok"]) == ("#RETURN", False)
    assert f"Install Taskmaster {__version__} on the slave's machine" in answer["why"]
    assert served.heard == []


def test_an_older_master_is_named():
    """It takes a sealed frame for one that is far too long, and hangs up without a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with Channel(listener.accept()[0]) as channel:
                channel.deadline(10.0)
                handshake.prove_both(channel, KEY, "master")
                reader = FrameReader()
                with contextlib.suppress(OSError):
                    reader.filled(channel._socket.recv_into(reader.space()))

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ConnectError, match="runs an older Taskmaster"):
            client.connect(*listener.getsockname(), KEY, timeout=10.0)
        thread.join(10.0)


class Recorded:
    """Frames that passed a stranger, by connection and direction."""

    def __init__(self, where) -> None:
        self.up, self.down = [], []
        self._relay = Between(where, to_master=self._keep(self.up), to_slave=self._keep(self.down))
        slave = client.connect(*self._relay.where, KEY, timeout=10.0)
        slave.call("status", timeout=10.0)
        slave.call("status", timeout=10.0)
        slave.close()
        self._relay.close()

    @staticmethod
    def _keep(kept):
        return lambda _, data: kept.append(data) or data


GENUINE = {
    "the one before": lambda seen, _, at: seen[at - 1],
    "the same one of another connection": lambda _, other, at: other[at],
    "left out, and the one of another connection instead of the next": lambda _, other, at: other[at + 1],
}


@pytest.mark.parametrize("make", GENUINE.values(), ids=GENUINE)
@pytest.mark.parametrize("way", ["to_master", "to_slave"])
def test_genuine_frames_count_in_their_own_place_alone(master, make, way):
    """A stranger has frames with genuine codes: none is taken a second time, or over another
    connection.
    """
    running, _ = master
    other = Recorded(running.where)
    seen = []

    def changed(at, data):
        seen.append(data)
        return data if at == 0 else make(seen, other.up if way == "to_master" else other.down, at)

    relay = Between(running.where, **{way: changed})
    slave = client.connect(*relay.where, KEY, timeout=10.0)
    with pytest.raises(ConnectError):
        slave.call("status", timeout=10.0)
    slave.close()
    relay.close()

    assert len(seen) == 2


def test_a_frame_that_comes_back_is_none_of_the_peers(master):
    """Each direction has a key of its own."""
    running, _ = master
    sent = []
    relay = Between(
        running.where,
        to_master=lambda _, data: sent.append(data) or data,
        to_slave=lambda at, data: data if at == 0 else sent[-1],
    )
    slave = client.connect(*relay.where, KEY, timeout=10.0)
    with pytest.raises(ConnectError):
        slave.call("status", timeout=10.0)
    slave.close()
    relay.close()

    assert len(sent) == 2
