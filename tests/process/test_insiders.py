"""A hostile peer that has the key: what it announces, sends and asks for costs the master little,
and the honest slave is served.
"""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import struct
import threading
from pathlib import Path

import pytest
from support.commands import free_port, wait_for
from support.ledger import ENDLESS
from support.playground import Playground

from taskmaster.transport import client, handshake, keyfile, plain, reactor
from taskmaster.transport.channel import Channel
from taskmaster.transport.frames import SegmentedBytes, frame
from taskmaster.transport.server import MAX_REQUEST_BYTES

KEY = "a key that one slave should not have"
MEGABYTES = 300


def insider(port: int) -> Channel:
    """Open a connection on which the key was proved, and nothing has to be sealed any more."""
    channel = Channel(socket.create_connection(("127.0.0.1", port), timeout=20.0))
    channel.deadline(60.0)
    channel.seal(*handshake.prove_both(channel, keyfile.as_bytes(KEY), "slave"))
    channel.send((None, "accept_connection", ("insider", channel.ends("slave")), {}))
    assert channel.recv() == ("#RETURN", True)
    channel.seal(None, None)
    return channel


def peak(pid: int) -> int:
    """Give the most memory that a process has had, in megabytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def head(size: int, *buffers: int) -> bytes:
    return struct.pack("!II", size, len(buffers)) + b"".join(struct.pack("!Q", length) for length in buffers)


def pickled(values: bytes) -> bytes:
    data = b"\x80\x05(" + values + b"t."
    return head(len(data)) + data


MILLION = 1_000_000
TEXT = b"\x8c%c"
MOST = plain.MAX_OPCODES - 10
BODIES = {
    "a million sets": pickled(b"\x8f" * MILLION),
    "a key nested as deeply as it can be said": pickled(b"}" + b")" + b"\x85" * (MOST - 10) + b"Ns"),
    "a session nested as deeply as it can be said": pickled(
        TEXT % 5 + b"queue" + TEXT % 8 + b"exchange(" + b")" + b"\x85" * 400_000 + b"](K\0K\0K\0" + TEXT % 0 + b"tt}"
    ),
    "integers with one hash as keys": pickled(
        b"}(" + b"".join(b"\x8a\x0c" + (n * (2**61 - 1)).to_bytes(12, "little") + b"N" for n in range(30_000)) + b"u"
    ),
    "an integer of megabytes": pickled(b"\x8b" + struct.pack("<I", 15 * MILLION) + b"\x7f" * 15 * MILLION),
    "a name of control characters": b"".join(
        frame(("queue", "hello", ({"protocol": 0, "name": "\x1b" * 15 * MILLION},), {}))
    ),
    "sixteen million lists": pickled(b"]" * (16 * MILLION)),
    "as many lists as are taken": pickled(b"]" * MOST),
    "as many texts as are taken": pickled(b"\x8c\x04\xc3\xa9\xc3\xa9" * MOST),
    "a text that is four times as long in memory": b"".join(frame("a" * (MAX_REQUEST_BYTES - 100) + "\U0001f600")),
    "a frame that is only announced": head(MAX_REQUEST_BYTES),
    "a frame of which a byte is missing": head(MAX_REQUEST_BYTES) + bytes(MAX_REQUEST_BYTES - 1),
    "bytes beside the header": b"".join(frame(SegmentedBytes([bytes(MAX_REQUEST_BYTES - 1000)]))),
    "tens of thousands of parts": head(1, *[300] * 60_000) + b"N" + bytes(300 * 59_999),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_hostile_peer_with_the_key_costs_the_master_little(playground: Playground) -> None:
    """Many connections of each kind: memory stays below 300 MB, and all honest jobs are
    done.
    """
    port = free_port()
    playground.write("jobs.py", ENDLESS)
    environment = {"TASKMASTER_KEY": KEY, "SLEEP": "0.002", "TOTAL": "0"}
    master = playground.start("tm-master", "jobs.py", f"--host=127.0.0.1:{port}", "--progress=none", **environment)
    slave = playground.start("tm-slave", "jobs.py", f"--host=127.0.0.1:{port}", "--processes=1", **environment)
    wait_for("some work", lambda: playground.ledger.ended().total() > 20)
    for kind, body in BODIES.items():
        before = playground.ledger.ended().total()
        opened = []
        for _ in range(60 if len(body) < 1000 else 3):
            channel = insider(port)
            opened.append(channel)
            with contextlib.suppress(OSError):  # it was cut off
                channel._socket.sendall(body)
        status = client.connect("127.0.0.1", port, keyfile.as_bytes(KEY))
        assert status.call("status", timeout=30.0)["slaves"] == 1, kind
        status.close()
        wait_for("the honest slave to go on", lambda: playground.ledger.ended().total() > before + 20)  # noqa: B023
        assert peak(master.pid) < MEGABYTES, (kind, peak(master.pid))
        for channel in opened:
            channel.close()
    playground.write("enough", "")

    assert master.end() == 0, master.output
    assert slave.end() == 0, slave.output
    jobs = int((playground.directory / "jobs.txt").read_text())
    assert len(playground.ledger.ended()) == jobs


def test_the_frame_that_was_begun_first_is_given_up_when_all_are_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """An honest slave's long report arrives in a moment; one that never comes keeps nobody out."""
    from taskmaster.transport import server
    from taskmaster.transport.address import Address

    class Served:
        def status(self):
            return {"settled": 7}

    monkeypatch.setattr(reactor, "MAX_UNFINISHED_BYTES", 1_200_000)
    running = server.bind(Address("127.0.0.1", 0), keyfile.as_bytes(KEY), Served())  # type: ignore[arg-type]
    running.start()
    try:
        channels = [insider(running.where.port) for _ in range(3)]
        for number, channel in enumerate(channels[:2]):
            channel._socket.sendall(head(5_000_000) + bytes(400_000))
            wait_for("its arrival", lambda: running._reactor._unfinished > 400_000 * (number + 1))  # noqa: B023
        channels[2]._socket.sendall(head(5_000_000) + bytes(400_000))
        channels[0]._socket.settimeout(20.0)
        assert channels[0]._socket.recv(1) == b""
        peer = client.connect(*running.where, keyfile.as_bytes(KEY))
        assert peer.call("status") == {"settled": 7}
        channels[1]._socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            channels[1]._socket.recv(1)
        peer.close()
        for channel in channels:
            channel.close()
        wait_for("the end of all connections", lambda: not running._connected)
        assert running._reactor._unfinished == 0
    finally:
        running.stop()


@pytest.mark.parametrize("missing", [0, 1])
def test_what_connections_have_sent_that_are_gone_takes_no_memory(missing: int) -> None:
    """It does not wait for the garbage collector, which may not come by for minutes."""
    from taskmaster.transport import server
    from taskmaster.transport.address import Address
    from taskmaster.transport.frames import FrameReader

    running = server.bind(Address("127.0.0.1", 0), keyfile.as_bytes(KEY), Ordered())
    running.start()
    gc.disable()
    try:
        for _ in range(3):
            channel = insider(running.where.port)
            data = b"\x80\x05(" + b"]" * MILLION + b"t."
            channel._socket.sendall(head(len(data)) + data[missing:])
            if missing:
                wait_for("its arrival", lambda: running._reactor._unfinished >= MILLION)
            else:
                channel._socket.settimeout(20.0)
                assert channel._socket.recv(1) == b""
            channel.close()
            wait_for("its end", lambda: not running._connected)
        readers = [one for one in gc.get_objects() if type(one) is FrameReader]
        assert sum(reader.unfinished for reader in readers) == 0
        assert not any(reader._parts for reader in readers)
    finally:
        gc.enable()
        running.stop()


class Ordered:
    """An object to serve that notes what it is asked, and answers the first question when it is
    allowed to.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.begun, self.allowed = threading.Event(), threading.Event()

    def bye(self, _: str) -> None:
        self.begun.set()
        assert self.allowed.wait(60.0)

    def hello(self, info: dict) -> dict:
        self.asked.append("hello")
        return {"ok": True, "session": info["session"]}

    def status(self) -> dict:
        self.asked.append("status")
        return {}

    def exchange(self, *_: object) -> tuple:
        self.asked.append("exchange")
        return ()

    def failures(self, *_: object) -> list:
        self.asked.append("failures")
        return []

    def closed(self, _: str) -> None:
        pass


def call(method: str, *args: object) -> bytes:
    return b"".join(frame(("queue", method, args, {})))


LONG = {
    "two thousand integers with one hash": call("exchange", "s", [n * (2**61 - 1) for n in range(2000)], 1),
    "a report of a thousand names": call("exchange", "s", {f"{n:05}": n for n in range(1000)}, 1),
    "reports that take long to read": call("exchange", "s", list(range(40_000)), 1),
    "questions for what failed": call("failures", 0, None),
    "many questions at once": call("failures", 0, None) * 300,
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.slow
def test_an_honest_peer_waits_for_one_long_request_however_many_there_are(kind: str) -> None:
    """A hundred that have asked before it come after it, all but one: also for a slave that is
    new.
    """
    from taskmaster.transport import server
    from taskmaster.transport.address import Address

    served = Ordered()
    running = server.bind(Address("127.0.0.1", 0), keyfile.as_bytes(KEY), served)  # type: ignore[arg-type]
    running.start()
    try:
        port = running.where.port
        first, *hostile, honest, new = [insider(port) for _ in range(103)]
        its_reactor = running._reactor
        wait_for("all to be the reactor's", lambda: len(its_reactor._peers) == 103)
        first._socket.sendall(call("bye", "s"))
        assert served.begun.wait(20.0)
        for channel in hostile:
            channel._socket.sendall(LONG[kind])
        honest._socket.sendall(call("status"))
        new._socket.sendall(call("hello", {"session": "new"}))
        # The reactor is at the first request: nobody else reads them. A busy kernel takes its time.
        there = [peer.channel for peer in its_reactor._peers]
        wait_for("all of them to have arrived", lambda: len(select.select(there, [], [], 0.0)[0]) >= 102)
        served.allowed.set()

        for channel in (honest, new):
            assert channel.recv()[0] == "#RETURN"
        assert sorted(served.asked[:3])[-2:] == ["hello", "status"], served.asked
        for channel in hostile:
            assert channel.recv()[0] == "#RETURN"
        for channel in (first, *hostile, honest, new):
            channel.close()
    finally:
        served.allowed.set()
        running.stop()


def slow_reader(port: int) -> Channel:
    """Ask often, and read nothing of the answers."""
    channel = insider(port)
    channel._socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        channel._socket.sendall(call("status") * 20_000)
    return channel


def half_a_frame(port: int) -> Channel:
    channel = insider(port)
    channel._socket.sendall(head(1_000_000) + bytes(100_000))
    return channel


def a_byte_at_a_time(port: int) -> Channel:
    channel = insider(port)
    channel._socket.sendall(call("status")[:7])
    return channel


def silent(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20.0)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_hundred_hostile_peers_at_once_keep_nobody_from_the_end_of_the_run(playground: Playground) -> None:
    """Slow readers, halves of frames, bytes now and then, silence and long requests, all together:
    the honest slave settles the run, a new one is let in, and status is answered.
    """
    port = free_port()
    playground.write("jobs.py", ENDLESS)
    environment = {"TASKMASTER_KEY": KEY, "SLEEP": "0.002", "TOTAL": "0"}
    where = f"--host=127.0.0.1:{port}"
    master = playground.start("tm-master", "jobs.py", where, "--progress=none", **environment)
    slaves = [playground.start("tm-slave", "jobs.py", where, "--processes=1", **environment)]
    wait_for("some work", lambda: playground.ledger.ended().total() > 20)
    kinds = [slow_reader, half_a_frame, a_byte_at_a_time, silent]
    opened = [kind(port) for kind in kinds for _ in range(20)]
    trickling = [one for one in opened if isinstance(one, Channel)][-20:]
    heavy = [insider(port) for _ in range(20)]
    for channel in heavy:
        channel._socket.sendall(pickled(b"]" * 300_000))
    for byte in call("status")[7:15]:
        for channel in trickling:
            channel._socket.sendall(bytes([byte]))
    before = playground.ledger.ended().total()

    slaves.append(playground.start("tm-slave", "jobs.py", where, "--processes=1", **environment))
    status = client.connect("127.0.0.1", port, keyfile.as_bytes(KEY))
    wait_for("the new slave", lambda: status.call("status", timeout=30.0)["slaves"] == 2)
    status.close()
    wait_for("the honest slaves to go on", lambda: playground.ledger.ended().total() > before + 100)
    most = peak(master.pid)
    playground.write("enough", "")

    assert master.end() == 0, master.output
    for slave in slaves:
        assert slave.end() == 0, slave.output
    assert len(playground.ledger.ended()) == int((playground.directory / "jobs.txt").read_text())
    assert most < MEGABYTES
    for one in (*opened, *heavy):
        one.close()
