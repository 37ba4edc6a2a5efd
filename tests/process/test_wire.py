"""The wire on real sockets: what peers without the key, and hostile ones with it, can and cannot do
to a master.

Every Python has its own ``multiprocessing``, of which some names and shapes are relied on: what is
marked quick runs on each of them.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hmac
import logging
import multiprocessing
import os
import pickle
import resource
import select
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from multiprocessing import connection, managers, process
from pathlib import Path

import pytest
from support.commands import free_port, wait_for

from taskmaster.errors import AuthError, ConnectError, ListenError
from taskmaster.transport import client, handshake, listener, server
from taskmaster.transport.address import Address, is_this_machine
from taskmaster.transport.channel import Channel
from taskmaster.transport.frames import MAX_FRAME_BYTES, FrameTooLarge, frame

ROOT = Path(__file__).resolve().parents[2]
KEY = b"k" * 32
SILENT = 3.0  # seconds that handshakes may take here, where silent peers are waited for


class Served:
    """An object to serve; remembers what it was asked."""

    def __init__(self):
        self.hellos, self.exchanges, self.ended = [], [], []
        self.secret = "must stay"
        self.answer = ("run", 0.5, (), (), ())

    def hello(self, info):
        self.hellos.append(info)
        return {"ok": info.get("ok", True)}

    def exchange(self, session, reports, want):
        self.exchanges.append((session, reports, want))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def bye(self, session):
        self.ended.append(("bye", session))

    def status(self):
        return {"settled": 7}

    def closed(self, session):
        self.ended.append(("closed", session))

    def not_for_slaves(self):
        raise AssertionError("called over the wire")


class Master:
    """A server on a free port of this machine, and ways to reach it."""

    def __init__(self, host="127.0.0.1"):
        self.served = Served()
        self.server = server.bind(Address(host, 0), KEY, self.served)
        self.server.start()
        self.where = self.server.where
        self._opened = []

    def slave(self, key=KEY, **options):
        """An honest slave's connection."""
        opened = client.connect(self.where.host, self.where.port, key, **options)
        self._opened.append(opened)
        return opened

    def peer(self, data=b""):
        """A bare connection, on which this was sent."""
        opened = socket.create_connection(self.where, timeout=10.0)
        self._opened.append(opened)
        opened.sendall(data)
        return opened

    def insider(self):
        """A channel on which the key was proved, but that is free to send anything."""
        channel = Channel(self.peer())
        channel.deadline(10.0)
        channel.seal(*handshake.prove_both(channel, KEY, "slave"))
        # Like this, nothing of what it then sends has to be sealed.
        channel.send((None, "accept_connection", ("insider", channel.ends("slave")), {}))
        assert channel.recv() == ("#RETURN", True)
        channel.seal(None, None)
        return channel

    def serves(self):
        """Whether an honest slave is served."""
        slave = self.slave()
        try:
            return slave.call("status") == {"settled": 7}
        finally:
            slave.close()

    def counts(self):
        """Pending and connected peers, and the threads that serve them."""
        peers = [thread for thread in threading.enumerate() if thread.name == "taskmaster-peer"]
        return len(self.server._pending), len(self.server._connected), len(peers)

    def stop(self):
        for opened in self._opened:
            opened.close()
        self.server.stop()
        wait_for("every thread to end", lambda: self.counts()[2] == 0)


@pytest.fixture
def make():
    masters = []

    def begin(**options):
        masters.append(Master(**options))
        return masters[-1]

    yield begin
    for master in masters:
        master.stop()


@pytest.fixture
def master(make):
    return make()


def reads(peer):
    """All that a peer gets until the master hangs up."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := peer.recv(65_536):
            found += data
    return found


def after_challenge(data):
    """What is left of it without the challenge with which every master begins, and the word that
    says no.
    """
    if not data:
        return data  # a reset overtook the challenge
    (length,) = struct.unpack("!I", data[:4])
    assert data[4 : 4 + length].startswith(b"#CHALLENGE#")
    rest = data[4 + length :]
    return rest.removeprefix(struct.pack("!I", 9) + b"#FAILURE#")


# -- honest slaves ---------------------------------------------------------------------------------


@pytest.mark.quick
def test_an_honest_slave_is_served(master):
    """Plain values cross both ways with their types, large ones too."""
    slave = master.slave()
    assert slave.call("hello", {"session": "s"}) == {"ok": True}
    # Empty, in the pickle, beside it, and where the standard library's two writes would stall.
    for size in (0, 100, 17_000, 40_000, 3_000_000):
        blob = os.urandom(size)
        master.served.answer = ("run", 0.5, (("token", 2, False, None, blob),), ("é",), ())

        assert slave.call("exchange", "s", [(1, blob)], (2, 500)) == master.served.answer
        assert master.served.exchanges.pop() == ("s", [(1, blob)], (2, 500))


def test_an_event_loop_never_waits_for_an_answer(master):
    """What has not arrived yet is no answer; then it comes whole."""
    slave = master.slave()
    blob = os.urandom(5_000_000)
    master.served.answer = (blob,)
    slave.post("exchange", "s", [], (1, 1))
    found = []

    def received():
        complete, value = slave.receive()
        if complete:
            found.append(value)
        return complete

    wait_for("the answer", received)
    assert found == [(blob,)]
    assert slave.receive() == (False, None)


def test_a_line_speaks_for_one_session(master):
    """Whoever says hello under ever new names on one connection fills no books: the former session
    is over.
    """
    slave = master.slave()
    for name in "abc":
        slave.call("hello", {"session": name})

    assert sorted(master.served.ended) == [("closed", "a"), ("closed", "b")]


def test_the_master_notes_the_end_of_a_session(master):
    """Of every session that said hello on the connection and was let in, however the connection
    ended.
    """
    one, two, refused, other = (master.slave() for _ in range(4))
    one.call("hello", {"session": "a"})
    one.call("hello", {"session": "b"})
    two.call("hello", {"session": "c"})
    refused.call("hello", {"session": "d", "ok": False})
    other.call("status")

    for slave in (one, refused, other):
        slave.close()
    # A reset instead of a farewell, as from a machine that was started again.
    two._channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    two._channel.forget()

    wait_for("the sessions", lambda: len(master.served.ended) >= 3)
    assert sorted(master.served.ended) == [("closed", "a"), ("closed", "b"), ("closed", "c")]


def test_sockets_are_set_for_short_messages_and_lost_peers(master):
    """TCP_NODELAY and keepalive on both sides of a connection."""
    slave = master.slave()
    (accepted,) = master.server._connected

    for channel in (slave._channel, accepted):
        sock = channel._socket
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if sys.platform == "linux":
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


@pytest.mark.slow
def test_a_connection_may_be_idle(master, monkeypatch):
    """The deadline of the handshake is not that of the connection."""
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", SILENT)
    slave = master.slave(timeout=SILENT)
    time.sleep(SILENT * 1.2)  # longer than the deadline of the handshake

    assert slave.call("status") == {"settled": 7}


@pytest.mark.quick
def test_ipv6_is_served(make):
    """An address with colons is one like any other."""
    try:
        master = make(host="::1")
    except ListenError as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no IPv6 here: {exc}")

    assert str(master.where) == f"[::1]:{master.where.port}"
    assert master.serves()


def test_names_of_this_machine_are_known():
    """Only an address of its own can be bound."""
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "::1"]:
        assert is_this_machine(host), host
    for host in ["192.0.2.1", "no-such-host.invalid", "a" * 70]:
        assert not is_this_machine(host), host


# -- peers without the key -------------------------------------------------------------------------


@pytest.mark.quick
def test_a_wrong_key_is_named_as_such(master):
    """The sentence has the address and the options; the master serves on."""
    with pytest.raises(AuthError) as caught:
        master.slave(key=b"another key")

    for word in (str(master.where), "--key-file", "--key"):
        assert word in str(caught.value)
    assert master.serves()


class Relay:
    """A fake master without the key: passes the challenge of one slave on to another, and its
    answer back.
    """

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.where = self.listener.getsockname()
        self.verdict = b""
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        victim, oracle = (Channel(self.listener.accept()[0]) for _ in range(2))
        with contextlib.suppress(OSError, EOFError), victim, oracle:
            for channel in (victim, oracle):
                channel.deadline(10.0)
            # As masters do, it challenges first; it cannot check the answer, and welcomes whatever
            # comes.
            victim.send_bytes(
                b"#CHALLENGE#{sha256}" + b"c" * 40 if sys.version_info >= (3, 12) else b"#CHALLENGE#" + b"c" * 20
            )
            victim.recv_bytes(256)
            victim.send_bytes(b"#WELCOME#")
            # Now the victim challenges. The other slave is asked to answer that.
            oracle.send_bytes(victim.recv_bytes(256))
            victim.send_bytes(oracle.recv_bytes(256))
            self.verdict = victim.recv_bytes(256)

    def attack(self, dial):
        """Have two slaves dial; gives what the victim says of the answer that is not ours."""
        slaves = [threading.Thread(target=dial) for _ in range(2)]
        for slave in slaves:
            slave.start()
        for thread in [*slaves, self.thread]:
            thread.join(30.0)
        self.listener.close()
        return self.verdict


@pytest.mark.quick
def test_a_reflected_challenge_is_refused():
    """Two slaves that dial a master without the key cannot be played against each other."""
    relay, errors = Relay(), []

    def dial():
        try:
            client.connect(*relay.where, KEY, timeout=10.0)
        except ConnectError as exc:
            errors.append(exc)

    assert relay.attack(dial) == b"#FAILURE#"
    assert len(errors) == 2
    assert any(isinstance(error, AuthError) for error in errors)


def test_with_one_key_for_both_directions_the_attack_succeeds():
    """The test above can fail: the standard library's own handshake falls for it."""
    relay, fooled = Relay(), []

    def dial():
        with socket.create_connection(relay.where, timeout=10.0) as sock:
            channel = Channel(sock)
            channel.deadline(10.0)
            with contextlib.suppress(OSError, EOFError, multiprocessing.AuthenticationError):
                connection.answer_challenge(channel, KEY)
                connection.deliver_challenge(channel, KEY)
                fooled.append(channel)

    assert relay.attack(dial) == b"#WELCOME#"
    assert len(fooled) == 1


def test_a_master_is_not_its_own_oracle(master):
    """A peer that passes the master's challenge from one connection to another gets no answer that
    helps it.
    """
    one, two = (Channel(master.peer()) for _ in range(2))
    for channel in (one, two):
        channel.deadline(10.0)
    challenge = one.recv_bytes(256)
    two.recv_bytes(256)
    # The master answers challenges only after its own was answered.
    two.send_bytes(challenge)

    assert two.recv_bytes(256) == b"#FAILURE#"
    with pytest.raises((EOFError, OSError)):
        two.recv_bytes(256)


@pytest.mark.parametrize("role", [b"slave proves", b"master proves", None], ids=["slave", "master", "whole key"])
def test_the_subkeys_are_not_interchangeable(master, role):
    """What the standard library's own client does with one key for both directions is refused."""
    key = KEY if role is None else hmac.digest(KEY, role, "sha256")
    channel = Channel(master.peer())
    channel.deadline(10.0)

    def prove():
        connection.answer_challenge(channel, key)
        connection.deliver_challenge(channel, key)

    with pytest.raises((multiprocessing.AuthenticationError, EOFError, OSError, AssertionError)):
        prove()


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + b"\0" * 200,
    "random": bytes(range(256)) * 8,
    "4 GiB header": struct.pack("!I", 2**32 - 1) + b"x" * 1000,
    "negative header of the standard library": struct.pack("!i", -1) + struct.pack("!Q", 2**62),
    "pickle": struct.pack("!II", 20, 0) + pickle.dumps(os.getcwd, protocol=5),
    "wrong digest": struct.pack("!I", 20) + b"d" * 20,
    "empty digest": struct.pack("!I", 0),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_answered_with_nothing_but_a_no(master, data):
    """No traceback, no version, no path: the connection ends, and the next one is served."""
    peer = master.peer(data)
    with contextlib.suppress(OSError):  # refused already
        peer.shutdown(socket.SHUT_WR)

    assert after_challenge(reads(peer)) == b""
    assert master.serves()


def test_peers_that_come_and_go_leave_nothing_behind(master):
    """Connect and leave, connect and reset, half a digest and leave: no thread and no place stays
    taken.
    """
    for turn in range(60):
        peer = master.peer((b"", b"\0\0", struct.pack("!I", 32) + b"half")[turn % 3])
        if turn % 2:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    wait_for("them to be forgotten", lambda: master.counts() == (0, 0, 0))
    assert master.serves()


def test_silent_peers_are_hung_up_on(make, monkeypatch):
    """After the deadline of the handshake, also those that drip a byte now and then; slaves are
    served meanwhile.
    """
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", SILENT)
    master = make()
    silent = [master.peer() for _ in range(40)]
    dripping = [master.peer(b"\0") for _ in range(5)]

    # Each gets its challenge, or has been hung up on already where the machine is slow.
    wait_for("all to be accepted", lambda: len(select.select(silent + dripping, [], [], 0.0)[0]) == 45)
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 60.0)  # slaves have as long as they need
    assert master.serves()
    for _ in range(4):
        for peer in dripping:
            with contextlib.suppress(OSError):
                peer.sendall(b"\0")
        time.sleep(SILENT / 4)
        assert master.serves()
    wait_for("them to be forgotten", lambda: master.counts() == (0, 0, 0))
    for peer in silent + dripping:
        assert after_challenge(reads(peer)) == b""


def test_silent_peers_do_not_keep_slaves_out(master, monkeypatch):
    """The oldest of those that have not proved anything goes when a new one comes, and slaves
    stay.
    """
    monkeypatch.setattr(server, "MAX_PENDING", 5)
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 60.0)  # else they would go by themselves
    slave = master.slave()
    silent = [master.peer() for _ in range(20)]
    for peer in silent[:15]:
        assert after_challenge(reads(peer)) == b""
    wait_for("the newest to be pending", lambda: master.counts()[0] == 5)
    assert master.serves()
    assert slave.call("status") == {"settled": 7}
    wait_for("threads to end", lambda: master.counts()[2] <= 6)


def test_far_more_silent_peers_than_places_keep_nobody_out(master):
    """With the limits as they are: threads stay bounded, and slaves are served throughout."""
    silent = []
    for _ in range(3 * server.MAX_PENDING):
        silent.append(master.peer())
        if len(silent) % 64 == 0:
            assert master.serves()

    assert master.serves()
    wait_for("threads to end", lambda: master.counts()[2] <= server.MAX_PENDING + 1)
    for peer in silent:
        peer.close()
    wait_for("them to be forgotten", lambda: master.counts() == (0, 0, 0))


def test_an_error_of_the_reactor_itself_makes_nobody_deaf(master, monkeypatch, caplog):
    """It is logged, and the others are answered."""
    failed = []

    def fail(line, why):
        failed.append(why)
        line.channel.close()
        raise LookupError("a bug")

    one, other = master.slave(), master.slave()
    one.call("status")
    monkeypatch.setattr(master.server._reactor, "_ended", fail)
    one.close()
    wait_for("the bug", lambda: failed)
    monkeypatch.undo()

    assert other.call("status")
    assert master.serves()
    assert "goes on after an error" in caplog.text


def test_a_peer_that_takes_no_answer_holds_up_nobody(master):
    """It is not listened to meanwhile; when it reads, it gets all of it."""
    blob = os.urandom(20_000_000)
    slow, other = master.slave(), master.slave()
    master.served.answer = (blob,)
    slow.post("exchange", "s", [], (1, 1, 0, ""))
    wait_for("an answer too long for the network", lambda: any(peer.full for peer in master.server._reactor._peers))

    for _ in range(3):
        assert other.call("status")
    assert slow._channel.recv() == ("#RETURN", (blob,))
    assert slow.call("status")


def test_the_number_of_connections_is_capped(master):
    """With slaves on every place the next one is turned away; when one leaves, there is room."""
    master.server._cap = 4
    slaves = [master.slave() for _ in range(4)]

    with pytest.raises(ConnectError, match="closed the connection"):
        master.slave()
    assert [slave.call("status") for slave in slaves] == [{"settled": 7}] * 4

    slaves.pop().close()
    wait_for("its place", lambda: master.counts()[1] == 3)
    assert master.serves()


def test_the_cap_leaves_descriptors_for_the_rest(monkeypatch):
    """It follows the limit of the process, which is raised as far as it may be."""
    none = resource.RLIM_INFINITY
    for limits, raised, cap in [
        ((1024, none), 32832, 32768),
        ((1024, 4000), 4000, 3936),
        ((20_000, 20_000), 20_000, 19936),
        ((256, 256), 256, 192),
        ((10, 10), 10, 16),
        ((none, none), none, 32768),
    ]:
        now = list(limits)
        monkeypatch.setattr(resource, "getrlimit", lambda _, now=now: tuple(now))
        monkeypatch.setattr(resource, "setrlimit", lambda _, wanted, now=now: now.__setitem__(slice(None), wanted))
        assert server._most_connections() == cap
        assert now == [raised, limits[1]]


def test_a_thread_that_does_not_start_costs_one_peer(master, monkeypatch):
    """Where the container's limit is reached, that peer has to come again; the accepter lives
    on.
    """
    start, refused = threading.Thread.start, []

    def fail_twice(thread):
        if thread.name == "taskmaster-peer" and len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_twice)
    for _ in range(2):
        with pytest.raises(ConnectError):
            master.slave()

    assert master.serves()
    assert len(refused) == 2
    wait_for("them to be forgotten", lambda: master.counts() == (0, 0, 0))


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get)
def test_no_descriptors_left_is_waited_for_and_not_spun_on(master, monkeypatch, code, caplog):
    """accept() fails at once while there are none: the accepter pauses, makes room and goes on. It
    says so once: the user's code may have left the master none, and a run stands still then.
    """
    accept, failures = master.server.listener.accept, []
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 60.0)  # else they would go by themselves

    def fail():
        if len(failures) < 3:
            failures.append(time.monotonic())
            raise OSError(code, os.strerror(code))
        return accept()

    silent = [master.peer() for _ in range(5)]
    wait_for("them to be pending", lambda: master.counts()[0] == 5)
    monkeypatch.setattr(master.server.listener, "accept", fail)
    last = master.peer()  # wakes the accepter, which then meets the failures

    wait_for("the failures", lambda: len(failures) == 3)
    assert failures[1] - failures[0] >= 0.1  # a pause is asked for, and a wait is never shorter
    for peer in silent[:3]:
        assert after_challenge(reads(peer)) == b""
    assert master.serves()
    (said,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said.startswith(f"no slave can connect for now: {os.strerror(code)}")
    last.close()


def test_a_failed_handshake_is_logged_once_a_second(master, caplog):
    """With the peer's address and without its bytes; a flood does not fill the disk."""
    caplog.set_level(logging.INFO, "taskmaster.transport.server")
    for _ in range(30):
        peer = master.peer(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(OSError):  # refused already
            peer.shutdown(socket.SHUT_WR)
        reads(peer)
        assert master.counts()[1] == 0
    wait_for("them to be forgotten", lambda: master.counts() == (0, 0, 0))

    lines = [record.getMessage() for record in caplog.records]
    assert 1 <= len(lines) < 30
    assert all("127.0.0.1:" in line and "HTTP" not in line for line in lines)


# -- peers with the key ----------------------------------------------------------------------------


ATTEMPTS = [
    ("queue", "not_for_slaves", (), {}),
    ("queue", "closed", ("s",), {}),
    ("queue", "secret", (), {}),
    ("queue", "__str__", (), {}),
    ("queue", "__repr__", (), {}),
    ("queue", "#GETVALUE", (), {}),
    ("queue", "__class__", (), {}),
    ("queue", "__init__", (), {}),
    ("queue", "status", (), {"x": 1}),
    (None, "shutdown", (), {}),
    (None, "debug_info", (), {}),
    (None, "create", ("queue",), {}),
    (None, "number_of_objects", (), {}),
    (None, "fallback_str", (), {}),
    (None, "serve_forever", (), {}),
    (None, "dummy", (), {}),
    (None, "status", (), {}),
    ("0", "status", (), {}),
    ("nobody", "status", (), {}),
    (["queue"], "status", (), {}),
    ("queue", ["status"], (), {}),
    ("queue", "x" * 1_000_000, (), {}),
]


@pytest.mark.parametrize("request_", ATTEMPTS, ids=lambda request: f"{request[0]}.{str(request[1])[:20]}")
def test_only_four_methods_can_be_called(master, request_):
    """Whatever else is asked for is answered with a short no, and the connection goes on."""
    insider = master.insider()

    insider.send(request_)
    kind, text = insider.recv()

    assert kind == "#ERROR"
    assert len(text) < 200
    assert master.served.secret not in text
    insider.send(("queue", "status", (), {}))
    assert insider.recv() == ("#RETURN", {"settled": 7})


@pytest.mark.parametrize("name", ["shutdown", "debug_info", "create", "serve_client", "number_of_objects", ["x"], None])
def test_nothing_but_a_connection_can_be_had_at_the_door(master, name):
    """The standard library would end the master for whoever has the key."""
    channel = Channel(master.peer())
    channel.deadline(10.0)
    channel.seal(*handshake.prove_both(channel, KEY, "slave"))
    channel.send((None, name, (), {}))

    with pytest.raises(EOFError):
        channel.recv()
    assert master.serves()


@pytest.mark.parametrize("value", [None, 7, "text", (), ("queue",), ("queue", "status", ()), [1] * 4, {"a": 1}, b"x"])
def test_what_is_no_request_ends_that_connection_only(master, value):
    """Another slave is not affected."""
    other, insider = master.slave(), master.insider()

    insider.send(value)
    with contextlib.suppress(EOFError):
        assert insider.recv()[0] == "#ERROR"
    assert other.call("status") == {"settled": 7}
    assert master.serves()


class Evil:
    """Makes a directory where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def evil_frames(canary):
    for value in [Evil(canary), ("queue", "hello", (Evil(canary),), {}), (Evil(canary), "status", (), {})]:
        for protocol in (0, 2, 5):
            data = pickle.dumps(value, protocol=protocol)
            yield struct.pack("!II", len(data), 0) + data


@pytest.mark.quick
def test_a_slave_with_the_key_runs_no_code_in_the_master(master, tmp_path):
    """The master unpickles plain values only; the connection ends without a word."""
    canary = tmp_path / "canary"
    for data in evil_frames(str(canary)):
        insider = master.insider()
        insider._socket.sendall(data)
        assert reads(insider._socket) == b""
    assert not canary.exists()
    assert master.serves()


def test_a_master_with_the_key_runs_no_code_in_the_slave(tmp_path):
    """What comes back is plain as well, or the connection is lost."""
    canary = tmp_path / "canary"
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with Channel(listener.accept()[0]) as channel:
            channel.seal(*handshake.prove_both(channel, KEY, "master"))
            channel.recv()
            channel.send(("#RETURN", True))
            channel.seal(None, None)
            channel.recv()
            channel._socket.sendall(next(evil_frames(str(canary))))

    thread = threading.Thread(target=serve)
    thread.start()
    slave = client.connect(*listener.getsockname(), KEY)
    with pytest.raises(ConnectError, match="plain values"):
        slave.call("status")
    thread.join(10.0)
    listener.close()
    assert not canary.exists()


def test_a_huge_header_is_refused_before_it_is_allocated(master):
    """4 GiB, or a frame just above the limit: the connection ends, nothing was read of it, and
    memory stays.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for announced in [
        struct.pack("!II", 2**32 - 1, 0),
        struct.pack("!IIQ", 10, 1, 2**62),
        struct.pack("!II", MAX_FRAME_BYTES + 1, 0),
        struct.pack("!II", 10, 2**32 - 1),
    ]:
        insider = master.insider()
        insider._socket.sendall(announced)
        with pytest.raises((EOFError, ConnectionError)):
            insider.recv()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < (50_000_000 if sys.platform == "darwin" else 50_000)  # bytes there, KiB here
    assert master.serves()


def test_nine_bytes_do_not_cost_the_master_its_memory(master):
    """A slave that stores a memo entry of a high number is hung up on before anything is allocated
    for it.
    """
    data = b"\x80\x05Nr" + struct.pack("<I", 50_000_000) + b"."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    insider = master.insider()
    insider._socket.sendall(struct.pack("!II", len(data), 0) + data)

    assert reads(insider._socket) == b""
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < (50_000_000 if sys.platform == "darwin" else 50_000)
    assert master.serves()


def test_half_a_request_is_no_request(master):
    """Its sender has left in the middle of it: nothing is called, the session's end is noted."""
    insider = master.insider()
    insider.send(("queue", "hello", ({"session": "s"},), {}))
    assert insider.recv() == ("#RETURN", {"ok": True})
    whole = b"".join(frame(("queue", "exchange", ("s", [], (1, 1)), {})))

    insider._socket.sendall(whole[: len(whole) // 2])
    insider._socket.shutdown(socket.SHUT_WR)

    assert reads(insider._socket) == b""
    wait_for("the end of the session", lambda: master.served.ended == [("closed", "s")])
    assert master.served.exchanges == []


def test_an_error_inside_a_method_is_told_as_text(master, caplog):
    """It is logged, no exception object crosses, and the connection goes on."""
    slave = master.slave()
    master.served.answer = ValueError("not that " + "x" * 5000)

    with pytest.raises(ConnectError, match=r"could not do it: ValueError: not that") as caught:
        slave.call("exchange", "s", [], (1, 1))
    assert len(str(caught.value)) < 1200
    assert "ValueError" in caplog.text
    with pytest.raises(ConnectError, match="TypeError"):
        slave.call("hello")
    assert slave.call("status") == {"settled": 7}


@pytest.mark.parametrize(
    "answer", [object(), (threading.Lock(),), b"x" * (MAX_FRAME_BYTES + 1)], ids=["object", "lock", "large"]
)
def test_an_answer_that_cannot_be_sent_is_said(master, answer):
    """Nothing of it was sent, so that the connection goes on."""
    slave = master.slave()
    master.served.answer = answer

    with pytest.raises(ConnectError, match="could not do it"):
        slave.call("exchange", "s", [], (1, 1))
    assert slave.call("status") == {"settled": 7}


def test_a_request_that_cannot_be_sent_leaves_the_connection_whole(master):
    """Too large or not plain: the error is raised at the caller, and the next request is
    answered.
    """
    slave = master.slave()

    with pytest.raises(FrameTooLarge):
        slave.call("bye", b"x" * (MAX_FRAME_BYTES + 1))
    with pytest.raises(pickle.PicklingError):
        slave.call("bye", object())
    with pytest.raises(FrameTooLarge):
        slave.post("bye", b"x" * (MAX_FRAME_BYTES + 1))
    assert slave.call("status") == {"settled": 7}
    assert master.served.ended == []


def test_an_error_when_a_session_ends_is_no_end_of_the_server(master, caplog):
    """It is logged, and the next slave is served."""
    slave = master.slave()
    slave.call("hello", {"session": "s"})
    master.served.closed = None
    slave.close()

    wait_for("the log", lambda: "the end of a connection could not be noted" in caplog.text)
    assert master.serves()


# -- clients ---------------------------------------------------------------------------------------


def test_nobody_there_is_a_sentence():
    """Refused, unknown, impossible: each says what was dialled and what to check."""
    port = free_port()
    for host in ["127.0.0.1", "no-such-host.invalid", "a" * 70, "localhost"]:
        with pytest.raises(ConnectError) as caught:
            client.connect(host, port, KEY)
        assert not isinstance(caught.value, AuthError)
        assert f"{host}:{port}" in str(caught.value)
        assert "Check --host" in str(caught.value)
        assert ": ." not in str(caught.value)


def test_every_address_of_a_name_is_tried(master, monkeypatch):
    """The first one that answers is taken; one that does not exist here is passed over."""
    real = socket.getaddrinfo

    def several(host, port, **options):
        found = real("127.0.0.1", port, **options)
        (family, kind, protocol, name, _) = found[0]
        dead = [(family, kind, protocol, name, ("127.0.0.1", 1)), (9999, kind, protocol, name, ("x", port))]
        return [*dead, *found]

    monkeypatch.setattr(client.socket, "getaddrinfo", several)
    slave = client.connect("several.example", master.where.port, KEY)
    assert slave.call("status") == {"settled": 7}
    slave.close()


ANSWERS = {
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "closes": b"",
    "no challenge": struct.pack("!I", 20) + b"x" * 20,
    "pickle": struct.pack("!II", 30, 0) + pickle.dumps(os.getcwd, protocol=5),
}


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
def test_a_peer_that_is_no_master_is_named_as_such(data):
    """Nothing of what it sends is unpickled, and the sentence says what to check."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(data)
            with contextlib.suppress(OSError):  # the client has hung up already
                accepted.shutdown(socket.SHUT_WR)
            reads(accepted)

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(ConnectError) as caught:
        client.connect(*listener.getsockname(), KEY)
    thread.join(10.0)
    listener.close()
    assert "--host" in str(caught.value) or "--key" in str(caught.value)
    assert ": ." not in str(caught.value)


def test_a_silent_master_is_given_up():
    """After the time that was given for connecting and handshake together."""
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(ConnectError, match=r"too slow|timed out"):
        client.connect(*listener.getsockname(), KEY, timeout=0.3)


def test_an_answer_that_comes_too_late_is_never_taken_for_another(master):
    """The connection on which it was waited for is closed."""
    release = threading.Event()
    master.served.status = lambda: release.wait(20.0) and {"late": True}
    slave = master.slave()

    with pytest.raises(ConnectError, match="broke"):
        slave.call("status", timeout=0.2)
    release.set()
    for _ in range(2):
        with pytest.raises(ConnectError, match="broke"):
            slave.call("bye", "s")
        with pytest.raises(ConnectError):
            slave.receive()
    assert master.served.ended == []


def test_a_lost_master_is_noticed(master):
    """By a call, and by the event loop; with a reason in words."""
    waiting, looping = master.slave(), master.slave()
    looping.call("status")
    master.server.stop()

    with pytest.raises(ConnectError, match=r"broke: \w"):
        waiting.call("status")

    def lost():
        try:
            return looping.receive()[0]
        except ConnectError as exc:
            return str(exc)

    assert "closed the connection" in str(wait_for("the loss", lost))


def test_the_same_client_reconnects_after_a_restart(make):
    """A new connection to the same address works at once; nothing of the old one is remembered."""
    first = make()
    slave = first.slave()
    slave.call("status")
    first.stop()

    again = server.bind(first.where, KEY, Served())
    again.start()
    try:
        renewed = client.connect(*first.where, KEY)
        assert renewed.call("status") == {"settled": 7}
        renewed.close()
    finally:
        again.stop()


# -- the server itself -----------------------------------------------------------------------------


def test_a_port_in_use_is_said_with_the_cure(master):
    """Who holds it can be looked up, and which option takes another one."""
    with pytest.raises(ListenError) as caught:
        server.bind(master.where, KEY, Served())

    assert f"{master.where} is in use" in str(caught.value)
    assert ("ss -ltnp" if sys.platform == "linux" else "lsof") in str(caught.value)
    assert f"--host=127.0.0.1:{master.where.port + 1}" in str(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 70, "fe80::1%nosuch0"])
def test_an_address_of_another_machine_cannot_be_listened_on(host):
    """The sentence has the address and the option."""
    with pytest.raises(ListenError, match=r"Cannot listen on .*--host") as caught:
        server.bind(Address(host, 0), KEY, Served())
    assert host in str(caught.value)


def test_a_port_of_the_administrator_is_said_as_such(monkeypatch):
    """Below 1024 the cure is another port, not another address."""

    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(listener.socket, "create_server", refuse)
    with pytest.raises(ListenError, match=r"ports below 1024 .*--host=127\.0\.0\.1:5050"):
        server.bind(Address("127.0.0.1", 80), KEY, Served())


def test_a_port_is_free_at_once_after_its_master(make):
    """Even with connections that were open a moment ago, and many times over."""
    master = make()
    where = master.where
    for _ in range(5):
        slave = client.connect(*where, KEY)
        slave.call("status")
        master.stop()
        again = Master.__new__(Master)
        again.served, again._opened = Served(), [slave]
        again.server, again.where = server.bind(where, KEY, again.served), where
        again.server.start()
        master = again
    master.stop()


def test_nobody_is_accepted_before_the_start():
    """The port is taken and peers queue up; they are served when the master is ready."""
    bound = server.bind(Address("127.0.0.1", 0), KEY, Served())
    found = []
    thread = threading.Thread(target=lambda: found.append(client.connect(*bound.where, KEY)))
    thread.start()
    try:
        assert not bound._connected
        bound.start()
        thread.join(10.0)
        assert found[0].call("status") == {"settled": 7}
    finally:
        bound.stop()
        for slave in found:
            slave.close()


def test_a_hundred_slaves_may_come_at_once(master):
    """The backlog takes them all; none waits for a retry of its kernel's."""
    found, errors = [], []

    def dial():
        try:
            found.append(client.connect(*master.where, KEY, timeout=30.0))
        except ConnectError as exc:
            errors.append(exc)

    threads = [threading.Thread(target=dial) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40.0)
    try:
        assert errors == []
        assert len(found) == 100
    finally:
        for slave in found:
            slave.close()


def test_the_key_never_becomes_that_of_the_process(master):
    """Child processes would inherit it, and every other listener of multiprocessing would use
    it.
    """
    assert bytes(process.current_process().authkey) != KEY
    assert master.serves()
    assert bytes(process.current_process().authkey) != KEY


def test_a_server_that_was_stopped_leaves_nothing_behind():
    """No thread, and no descriptor but those of its peers."""
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    master = Master()
    for _ in range(3):
        master.slave().call("status")
        master.peer()
    wait_for("them to be accepted", lambda: master.counts() == (3, 3, 3))
    master.stop()

    assert not master.server._accepter.is_alive()
    assert master.counts() == (0, 0, 0)
    assert len(os.listdir("/dev/fd")) == before


def test_a_server_whose_thread_was_refused_can_be_stopped(monkeypatch):
    """What the system has said is not hidden by an error of the stop."""
    start = threading.Thread.start

    def no_accepter(thread):
        if thread.name == "taskmaster-accepter":
            raise RuntimeError("can't start new thread")
        start(thread)

    found = server.bind(Address("127.0.0.1", 0), KEY)
    monkeypatch.setattr(threading.Thread, "start", no_accepter)
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            found.start()
    finally:
        found.stop()

    assert not found._reactor.is_alive()


CHILD = """
import os, sys, threading, time
from taskmaster.transport import client, server
from taskmaster.transport.address import Address

class Served:
    def hello(self, info): return {"ok": True}
    def status(self): return {"pid": os.getpid()}
    def closed(self, session): pass

bound = server.bind(Address("127.0.0.1", int(sys.argv[1])), b"k" * 32, Served())
bound.start()
if sys.argv[2] == "fork":
    slave = client.connect(*bound.where, b"k" * 32)
    slave.call("status")
    sys.stdin.readline()
    if os.fork() == 0:
        # As a get_jobs that forks: the child outlives the master.
        os.write(1, f"child {os.getpid()}\\n".encode())  # in one piece: two processes write
        time.sleep(60)
        os._exit(0)
os.write(1, f"port {bound.where.port}\\n".encode())
sys.stdin.readline()
"""


class Child:
    """A master in a process of its own."""

    def __init__(self, tmp_path, port, what, *flags):
        script = tmp_path / "child.py"
        script.write_text(textwrap.dedent(CHILD))
        self.process = subprocess.Popen(
            [sys.executable, *flags, "-W", "ignore::DeprecationWarning", str(script), str(port), what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )

    def says(self):
        return self.process.stdout.readline().split()

    def close(self):
        self.process.kill()
        self.process.wait(10.0)
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()


def test_a_forked_child_does_not_keep_the_port_or_the_connections(tmp_path):
    """After a kill -9 of the master its slaves see the end at once, and it can be restarted on the
    port.
    """
    child, forked = Child(tmp_path, 0, "fork"), None
    try:
        child.process.stdin.write("\n")
        child.process.stdin.flush()
        told = dict(child.says() for _ in range(2))
        forked, port = int(told["child"]), int(told["port"])
        slave = client.connect("127.0.0.1", port, KEY)
        assert slave.call("status") == {"pid": child.process.pid}

        child.process.kill()
        child.process.wait(10.0)

        os.kill(forked, 0)  # it lives on
        with pytest.raises(ConnectError, match="broke"):
            slave.call("status")
        with pytest.raises(ConnectError, match="refused"):
            client.connect("127.0.0.1", port, KEY)
        server.bind(Address("127.0.0.1", port), KEY, Served()).stop()
    finally:
        if forked is not None:
            os.kill(forked, 9)
        child.close()


def test_a_fork_leaves_the_masters_connections_alone(master):
    """The child closes its copies; what the parent and its slaves have goes on."""
    slave = master.slave()
    code = textwrap.dedent(
        """
        import os, sys
        sys.path.insert(0, sys.argv[1])
        from taskmaster.transport import client, server
        from taskmaster.transport.address import Address
        class Served:
            def status(self): return 7
        bound = server.bind(Address("127.0.0.1", 0), b"k", Served())
        bound.start()
        slave = client.connect(*bound.where, b"k")
        slave.call("status")
        pid = os.fork()
        if pid == 0:
            left = [each.fileno() for each in bound._connected], bound.listener._socket.fileno()
            os._exit(0 if left == ([-1], -1) else 1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.exit(code or slave.call("status") != 7 or client.connect(*bound.where, b"k").call("status") != 7)
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(ROOT)], capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert slave.call("status") == {"settled": 7}


def test_without_asserts_the_wire_is_as_closed(tmp_path):
    """``python -O`` removes the standard library's checks; those that count are not asserts."""
    child = Child(tmp_path, 0, "serve", "-O")
    try:
        told = dict([child.says()])
        where = ("127.0.0.1", int(told["port"]))
        for data in GARBAGE.values():
            with socket.create_connection(where, timeout=10.0) as peer:
                peer.sendall(data)
                with contextlib.suppress(OSError):  # refused already
                    peer.shutdown(socket.SHUT_WR)
                assert after_challenge(reads(peer)) == b""
        with pytest.raises(AuthError):
            client.connect(*where, b"another")
        for request in ATTEMPTS:
            with socket.create_connection(where, timeout=10.0) as sock:
                channel = Channel(sock)
                channel.seal(*handshake.prove_both(channel, KEY, "slave"))
                channel.send((None, "accept_connection", (), {}))
                channel.recv()
                channel.send(request)
                assert channel.recv()[0] == "#ERROR"
        slave = client.connect(*where, KEY)
        assert slave.call("status") == {"pid": child.process.pid}
        slave.close()
    finally:
        child.close()


@pytest.mark.quick
def test_the_standard_library_has_what_is_relied_on():
    """Names outside its documentation, of the same shape in every Python that is supported."""
    assert issubclass(server.Server, managers.Server)
    assert issubclass(server.QueueManager, managers.BaseManager)
    assert managers.listener_client[server.SERIALIZER][0] is server.Listener
    for name in ("public", "fallback_mapping", "accepter", "handle_request"):
        assert hasattr(managers.Server, name)
    for name in ("deliver_challenge", "answer_challenge"):
        assert callable(getattr(connection, name))
    assert server.Server.fallback_mapping == {}
    assert server.Server.public == ["accept_connection"]
