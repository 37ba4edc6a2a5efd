"""The port against those who should not be there, on real sockets of this machine."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pickle
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import connection as stock
from typing import Any

import pytest
from commands import wait_for

from taskmaster.errors import AuthError, ConnectError, ListenError
from taskmaster.transport import server as server_module
from taskmaster.transport.address import Address
from taskmaster.transport.channel import Channel
from taskmaster.transport.client import MasterConnection, connect
from taskmaster.transport.handshake import prove_both
from taskmaster.transport.server import Server, bind

KEY = b"a key that nobody guesses in a test"


class Echo:
    """Serves what it is given, and remembers who has gone."""

    def __init__(self) -> None:
        self.gone: list[str] = []

    def hello(self, info: Any) -> dict[str, Any]:
        return {"ok": True, "info": info}

    def exchange(self, session: Any, reports: Any, want: Any) -> tuple[Any, ...]:
        if want == "raise":
            raise RuntimeError("inside")
        return session, reports, want

    def bye(self, session: Any) -> None:
        return None

    def status(self) -> dict[str, Any]:
        return {}

    def closed(self, session: str) -> None:
        self.gone.append(session)

    def secret(self) -> str:
        return "not for slaves"


@pytest.fixture
def served() -> Echo:
    return Echo()


@pytest.fixture
def server(served: Echo) -> Iterator[Server]:
    """A server on a free port of this machine."""
    listening = bind(Address("127.0.0.1", 0), KEY, served)
    listening.start()
    yield listening
    listening.stop()


def reach(server: Server, key: bytes = KEY) -> MasterConnection:
    return connect("127.0.0.1", server.where.port, key)


def raw(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.where.port), timeout=5)


def works(server: Server) -> bool:
    """An honest slave is served."""
    honest = reach(server)
    answer = honest.call("exchange", "me", [1], (2, 3))
    honest.close()
    return bool(answer == ("me", [1], (2, 3)))


@pytest.mark.quick
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_values_and_blobs_arrive_as_they_were(host: str) -> None:
    """Small ones in the pickle, large ones beside it; over IPv4 and IPv6."""
    listening = bind(Address(host, 0), KEY, Echo())
    listening.start()
    with contextlib.closing(connect(host, listening.where.port, KEY)) as slave:
        for blob in (b"", b"x" * 17_000, b"y" * 40_000, os.urandom(3_000_000)):
            assert slave.call("exchange", "s", [blob, (1, None, "é")], {"a": 1.5}) == (
                "s",
                [blob, (1, None, "é")],
                {"a": 1.5},
            )
    listening.stop()


def test_a_wrong_key_is_refused_on_both_sides(server: Server) -> None:
    """The slave says which options cure it; the master goes on."""
    with pytest.raises(AuthError, match="--key"):
        reach(server, b"another key")

    assert works(server)


@pytest.mark.quick
def test_the_reflection_attack_is_refused() -> None:
    """A fake master without the key passes one slave's challenge on to another slave, and gets nothing of use back."""
    trap = socket.create_server(("127.0.0.1", 0))
    port = trap.getsockname()[1]
    outcomes: list[Exception] = []

    def slave() -> None:
        try:
            connect("127.0.0.1", port, KEY, timeout=5)
        except ConnectError as exc:
            outcomes.append(exc)

    slaves = [threading.Thread(target=slave) for _ in range(2)]
    for thread in slaves:
        thread.start()
    first, second = (Channel(trap.accept()[0]) for _ in range(2))
    first.deadline(5)
    second.deadline(5)
    # Slave 1 waits for a challenge first; once it has answered one, it sends its own. So let it answer one of ours,
    # claim that it was right, take its challenge, have slave 2 answer that as if it were ours, and hand it to slave 1.
    first.send_bytes(b"#CHALLENGE#" + b"{sha256}" + os.urandom(32))
    first.recv_bytes(256)
    first.send_bytes(b"#WELCOME#")
    challenge = first.recv_bytes(256)
    second.send_bytes(challenge)
    relayed = second.recv_bytes(256)
    first.send_bytes(relayed)
    verdict = first.recv_bytes(256)
    for thread in slaves:
        first.close()
        second.close()
        thread.join(5)
    trap.close()

    assert verdict == b"#FAILURE#"
    assert len(outcomes) == 2


def test_with_one_key_for_both_directions_the_attack_would_succeed() -> None:
    """The test above can fail: the standard library's own handshake falls for it."""
    trap = socket.create_server(("127.0.0.1", 0))
    accepted: list[str] = []

    def slave() -> None:
        peer = Channel(socket.create_connection(trap.getsockname()))
        peer.deadline(5)
        with contextlib.suppress(Exception):
            stock.answer_challenge(peer, KEY)  # type: ignore[arg-type]
            stock.deliver_challenge(peer, KEY)  # type: ignore[arg-type]
            accepted.append("fooled")
        peer.close()

    slaves = [threading.Thread(target=slave) for _ in range(2)]
    for thread in slaves:
        thread.start()
    first, second = (Channel(trap.accept()[0]) for _ in range(2))
    first.deadline(5)
    second.deadline(5)
    first.send_bytes(b"#CHALLENGE#" + b"{sha256}" + os.urandom(32))
    first.recv_bytes(256)
    first.send_bytes(b"#WELCOME#")
    second.send_bytes(first.recv_bytes(256))
    first.send_bytes(second.recv_bytes(256))
    verdict = first.recv_bytes(256)
    first.close()
    second.close()
    for thread in slaves:
        thread.join(5)
    trap.close()

    assert verdict == b"#WELCOME#"
    assert accepted == ["fooled"]


def test_silent_peers_do_not_keep_honest_ones_out(server: Server) -> None:
    """Far more than may be pending at once: the oldest make room, threads stay bounded."""
    before = threading.active_count()
    silent = []
    for _ in range(3 * server_module.MAX_PENDING):
        silent.append(raw(server))
        if len(silent) % 64 == 0:
            assert works(server)

    assert works(server)
    assert threading.active_count() - before <= server_module.MAX_PENDING + 10

    for peer in silent:
        peer.close()
    wait_for("their threads to end", lambda: threading.active_count() - before <= 2)


def test_a_silent_peer_is_dropped_when_its_time_is_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds in earnest; here one."""
    monkeypatch.setattr(server_module, "SECONDS", 0.5)
    peer = raw(server)
    peer.settimeout(5)
    received = b""
    while chunk := peer.recv(4096):
        received += chunk
    peer.close()

    assert b"Traceback" not in received
    assert works(server)


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x00" * 300,
    b"\xff" * 300,
    struct.pack("!I", 2**32 - 1),
    struct.pack("!I", 20) + b"half a message",
    struct.pack("!I", 40) + b"#CHALLENGE#" + b"x" * 29,
    pickle.dumps((None, "accept_connection", (), {})),
    os.urandom(1000),
    b"",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_answered_with_nothing_of_use(server: Server, garbage: bytes) -> None:
    """No traceback, no version, no path; and the next peer is served."""
    peer = raw(server)
    peer.sendall(garbage)
    peer.shutdown(socket.SHUT_WR)
    received = b""
    with contextlib.suppress(OSError):
        while chunk := peer.recv(4096):
            received += chunk
    peer.close()

    assert b"Traceback" not in received
    assert b"taskmaster" not in received
    assert works(server)


@pytest.mark.parametrize(
    "method",
    ["shutdown", "debug_info", "create", "number_of_objects", "secret", "#GETVALUE", "__str__", "__repr__", "closed"],
)
def test_only_the_named_methods_can_be_called(server: Server, method: str) -> None:
    """With the key, too: a slave's script that goes wrong must not end the run."""
    slave = reach(server)
    with pytest.raises(ConnectError, match="no method"):
        slave.call(method)

    assert slave.call("status") == {}

    slave.close()


def test_without_asserts_the_checks_still_hold() -> None:
    """Python -O takes asserts away, not these."""
    program = (
        "import sys; from taskmaster.transport.server import bind; from taskmaster.transport.client import connect\n"
        "from taskmaster.transport.address import Address; from taskmaster.errors import AuthError, ConnectError\n"
        "class E:\n"
        "    def hello(self, i): return {'ok': True}\n"
        "    def status(self): return {}\n"
        "    def closed(self, s): pass\n"
        "s = bind(Address('127.0.0.1', 0), b'k' * 20, E()); s.start()\n"
        "try: connect('127.0.0.1', s.where.port, b'z' * 20); sys.exit('wrong key accepted')\n"
        "except AuthError: pass\n"
        "c = connect('127.0.0.1', s.where.port, b'k' * 20)\n"
        "for m in ('shutdown', 'fallback_str', '__str__'):\n"
        "    try: c.call(m); sys.exit(m + ' was called')\n"
        "    except ConnectError: pass\n"
        "print(c.call('status')); c.close(); s.stop()\n"
    )
    ended = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, timeout=30)

    assert (ended.returncode, ended.stdout) == (0, "{}\n"), ended.stderr


class Evil:
    """Runs a function where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("canary",)


def test_the_master_unpickles_nothing_but_plain_values(server: Server, tmp_path: Any, monkeypatch: Any) -> None:
    """Also from those who have the key."""
    monkeypatch.chdir(tmp_path)
    peer = Channel(raw(server))
    prove_both(peer, KEY, "slave")
    peer.send((None, "accept_connection", ("x",), {}))
    peer.recv()
    payload = pickle.dumps(("queue", "hello", (Evil(),), {}))
    peer._socket.sendall(struct.pack("!II", len(payload), 0) + payload)
    with pytest.raises((EOFError, OSError)):
        while True:
            peer.recv()

    peer.close()

    assert not (tmp_path / "canary").exists()
    assert works(server)


def test_a_huge_announced_frame_is_not_allocated(server: Server) -> None:
    """4 GiB, after the handshake: the connection ends, memory stays."""
    peer = Channel(raw(server))
    prove_both(peer, KEY, "slave")
    peer.send((None, "accept_connection", ("x",), {}))
    peer.recv()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peer._socket.sendall(struct.pack("!IIQ", 10, 1, 2**40))
    with pytest.raises((EOFError, OSError)):
        peer.recv()

    peer.close()

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert works(server)


def test_an_exception_inside_is_told_as_text(server: Server) -> None:
    """And the connection goes on."""
    slave = reach(server)
    with pytest.raises(ConnectError, match="RuntimeError: inside"):
        slave.call("exchange", "s", [], "raise")

    assert slave.call("status") == {}

    slave.close()


def test_a_closed_connection_is_told_with_its_session(server: Server, served: Echo) -> None:
    """Whether it says goodbye or not."""
    slave = reach(server)
    slave.call("hello", {"session": "abc"})
    slave.close()
    wait_for("the end of the session", lambda: served.gone == ["abc"])


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_shortage_of_descriptors_does_not_end_the_accepting(
    server: Server, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """It waits a little, and does not burn a core meanwhile."""
    calls: list[float] = []
    accept = server.listener.accept

    def failing() -> Any:
        calls.append(time.monotonic())
        if len(calls) <= 3:
            raise OSError(error, "short")
        return accept()

    raw(server).close()
    monkeypatch.setattr(server.listener, "accept", failing)
    raw(server).close()

    assert works(server)
    assert len(calls) < 20


def test_a_shortage_of_threads_does_not_end_the_accepting(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's limit: that peer has to come again, the next one is served."""
    start = threading.Thread.start
    failed: list[str] = []

    def failing(thread: threading.Thread) -> None:
        if thread.name == "taskmaster-peer" and len(failed) < 2:
            failed.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", failing)
    for _ in range(2):
        with pytest.raises(ConnectError):
            reach(server)

    assert len(failed) == 2
    assert works(server)


def test_sockets_are_set_up_for_a_network(server: Server) -> None:
    """No delay of small packets, and a peer whose machine vanished is noticed."""
    slave = reach(server)
    with server._lock:
        (theirs,) = server._connected
    for sock in (slave._channel._socket, theirs._socket):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    slave.close()


def test_a_forked_child_does_not_keep_the_port(served: Echo) -> None:
    """The master may be gone while something that it forked lives on: the next master gets the port."""
    listening = bind(Address("127.0.0.1", 0), KEY, served)
    port = listening.where.port
    pid = os.fork()
    if pid == 0:
        time.sleep(20)
        os._exit(0)
    try:
        listening.stop()
        again = bind(Address("127.0.0.1", port), KEY, served)
        again.stop()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_the_port_is_free_again_at_once(served: Echo) -> None:
    """Also when connections were open."""
    listening = bind(Address("127.0.0.1", 0), KEY, served)
    listening.start()
    slave = reach(listening)
    listening.stop()
    again = bind(Address("127.0.0.1", listening.where.port), KEY, served)
    again.start()

    assert works(again)

    slave.close()
    again.stop()


def test_a_port_in_use_is_explained(server: Server, served: Echo) -> None:
    """With the address and the option."""
    with pytest.raises(ListenError, match=rf"{server.where.port} is in use.*--host"):
        bind(server.where, KEY, served)


def test_the_key_does_not_become_the_processs_own(server: Server) -> None:
    """Every child process would inherit it."""
    assert multiprocessing.current_process().authkey != KEY


def test_what_is_no_master_is_named(server: Server) -> None:
    """A web server, or nobody at all."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            peer, _ = other.accept()
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectError, match="does not answer as a Taskmaster master"):
            connect("127.0.0.1", other.getsockname()[1], KEY)
        thread.join()
        port = other.getsockname()[1]
    with pytest.raises(ConnectError, match="No master can be reached"):
        connect("127.0.0.1", port, KEY)
