"""Noise on the master's port, without the key and with it, while an honest slave works."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support import proof
from support.commands import Command, free_port, wait_for
from support.ledger import ENDLESS
from support.playground import Playground

from taskmaster.errors import TaskmasterError
from taskmaster.model import PROTOCOL
from taskmaster.transport import client, keyfile, plain
from taskmaster.transport.handshake import HANDSHAKE_SECONDS

CONNECTIONS = proof.size(5_000, 100_000)
CALLS = proof.size(5_000, 100_000)
KEY = "a key that only honest slaves have"
# One thread for each connection in its handshake, of which there are 128 at most, and a few of the
# master's own.
THREADS = 128 + 24
MEGABYTES = 150


class Watch(threading.Thread):
    """Looks at a process until it is told to stop: threads and memory, at most."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.threads = self.megabytes = 0
        self._pid = pid
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.05):
            try:
                status = dict(line.split(":", 1) for line in Path(f"/proc/{self._pid}/status").read_text().splitlines())
            except OSError:
                return
            self.threads = max(self.threads, int(status.get("Threads", "0")))
            self.megabytes = max(self.megabytes, int(status.get("VmRSS", "0 kB").split()[0]) // 1024)

    def stop(self) -> None:
        self._over.set()
        self.join(5)


def start(playground: Playground) -> tuple[Command, Command, int]:
    """A master and an honest slave, with work until `enough` is said."""
    port = free_port()
    playground.write("jobs.py", ENDLESS)
    environment = {"TASKMASTER_KEY": KEY, "SLEEP": "0.002", "TOTAL": "0"}
    words = ("--progress=none", "--size=500")  # few jobs are left when it is enough
    master = playground.start("tm-master", "jobs.py", f"--host=127.0.0.1:{port}", *words, **environment)
    slave = playground.start("tm-slave", "jobs.py", f"--host=127.0.0.1:{port}", "--processes=2", **environment)
    wait_for("some work", lambda: playground.ledger.ended().total() > 20)
    return master, slave, port


def enough(playground: Playground) -> None:
    """Let the source come to its end."""
    playground.write("enough", "")


def honest_rate(playground: Playground, since: int, began: float) -> float:
    """Jobs a second since there were so many at that time."""
    return (playground.ledger.ended().total() - since) / (time.monotonic() - began)


def recording(port: int) -> bytes:
    """What an honest client says first, as far as it can be said without an answer."""
    caught = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            sock, _ = listener.accept()
            with sock, socket.create_connection(("127.0.0.1", port), 5) as master:
                sock.settimeout(0.5)
                master.settimeout(0.5)
                try:
                    while True:
                        sock.sendall(master.recv(4096))
                        said = sock.recv(4096)
                        caught.extend(said)
                        master.sendall(said)
                except OSError:
                    return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        # What is between does not know whose turn it is; it has heard enough when it gives up.
        with suppress(TaskmasterError):
            client.connect("127.0.0.1", listener.getsockname()[1], keyfile.as_bytes(KEY)).close()
        thread.join(5)
    assert caught, "nothing was recorded"
    return bytes(caught)


def noise(dice: random.Random, honest: bytes) -> bytes:
    """What a stranger says."""
    kind = dice.randrange(4)
    if kind == 0:
        return dice.randbytes(dice.choice([1, 4, 20, 300, 5000]))
    if kind == 1:
        mutated = bytearray(honest)
        for _ in range(dice.randint(1, 5)):
            mutated[dice.randrange(len(mutated))] = dice.randrange(256)
        return bytes(mutated)
    if kind == 2:
        return honest[: dice.randrange(len(honest))]
    return honest


@pytest.mark.proof
@pytest.mark.timeout(proof.size(240, 2 * 3600))
def test_strangers_do_not_keep_honest_slaves_from_working(playground: Playground) -> None:
    """Thousands of connections without the key: every job is done, threads and memory stay within
    their caps.
    """
    dice = random.Random(proof.seed())
    master, slave, port = start(playground)
    since, began = playground.ledger.ended().total(), time.monotonic()
    time.sleep(proof.size(2, 10))
    undisturbed = honest_rate(playground, since, began)
    honest = recording(port)
    watch = Watch(master.pid)
    watch.start()
    drips: list[tuple[socket.socket, float]] = []
    since, began = playground.ledger.ended().total(), time.monotonic()
    for number in range(CONNECTIONS):
        sock = socket.create_connection(("127.0.0.1", port), 5)
        with sock:
            sock.settimeout(0.2)
            try:
                if number % 50 == 0:
                    drips.append((sock.dup(), time.monotonic()))  # says a byte now and then, and never leaves
                elif number % 3:
                    sock.sendall(noise(dice, honest))
                    if dice.random() < 0.1:
                        sock.recv(4096)
            except OSError:
                pass
        for drip, at in drips[:]:
            try:
                if dice.random() < 0.02:
                    drip.send(dice.randbytes(1))
            except OSError:
                drip.close()
                drips.remove((drip, at))
        if number % 20 == 0:
            time.sleep(0.002)
    attacked = honest_rate(playground, since, began)
    enough(playground)
    oldest = max((time.monotonic() - at for drip, at in drips if _open(drip)), default=0.0)
    for drip, _ in drips:
        drip.close()

    assert master.end(proof.size(120, 3600)) == 0, master.output
    assert slave.end() == 0, slave.output
    watch.stop()
    ended = playground.ledger.ended()
    jobs = int((playground.directory / "jobs.txt").read_text())
    assert set(ended) == {str(key) for key in range(jobs)}
    assert attacked >= proof.size(0.0, 0.5) * undisturbed, (attacked, undisturbed)  # a few seconds say too little of it
    assert watch.threads <= THREADS, watch.threads
    assert watch.megabytes <= MEGABYTES, watch.megabytes
    assert oldest <= HANDSHAKE_SECONDS + 5, "a connection that drips was kept beyond the time that a handshake has"
    proof.record(
        f"strangers' connections while {jobs:,} jobs were done at {attacked:,.0f} a second ({undisturbed:,.0f} before; "
        f"master: at most {watch.threads} threads, {watch.megabytes} MB)",
        tried=CONNECTIONS,
        survived=CONNECTIONS,
        repeated=ended.total() - jobs,
        bound=0,
    )


def _open(sock: socket.socket) -> bool:
    """Whether the other side has not hung up."""
    try:
        sock.setblocking(False)
        return sock.recv(4096) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


class Deed:
    """Does something when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def value(dice: random.Random, depth: int = 0) -> object:
    """Anything plain, and mostly wrong."""
    simple = [
        None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, float("nan"), float("inf"), -1.0, "",
        "x" * 5000, "\ud800", "\0", b"", b"x" * 5000, "run", "session", "i.1", [], {}, (),
    ]  # fmt: skip
    if depth > 3 or dice.random() < 0.5:
        return dice.choice(simple)
    if dice.random() < 0.1:
        nested: object = []
        for _ in range(dice.choice([50, 400])):
            nested = [nested]
        return nested
    items = [value(dice, depth + 1) for _ in range(dice.randint(0, 9))]
    shape = dice.randrange(3)
    return items if shape == 0 else tuple(items) if shape == 1 else {str(i): item for i, item in enumerate(items)}


def call(dice: random.Random, session: str, tokens: list[str]) -> tuple[str, tuple]:
    """A method with hostile arguments: from nonsense to what is nearly right."""
    method = dice.choice(
        ["hello", "exchange", "exchange", "exchange", "bye", "status", "failures", "shutdown", "__init__"]
    )
    if dice.random() < 0.3:
        return method, tuple(value(dice) for _ in range(dice.randint(0, 5)))
    token = dice.choice([*tokens, "i.1", "", "x"])
    number = dice.choice([0, 1, 5, 32768, 32769, -1, 2**40])
    failure = (number, "E", "m" * dice.choice([1, 5000]), "t", dice.choice(["error", "final", "abort2", 5]), 0.0, 1)
    end = dice.choice(["", "finished", "crashed", "raised", "odd"])
    long, times = (dice.choice([(), (number,)]), dice.choice([(), (0.1, 0.1, (3, 1)), value(dice)]))
    report: tuple = (
        token, number, (number,), (failure,), number, end, (number,), "d", dice.choice([True, None]), long,
        dice.choice([0.5, -1.0, "x"]), dice.choice([0, 7, None]), dice.choice([0, number]), times,
    )  # fmt: skip
    if dice.random() < 0.5:
        at = dice.randrange(len(report))
        report = (*report[:at], value(dice), *report[at + 1 :])
    want = (dice.choice([0, 1, -5, 10**9]), dice.choice([0, 1, 10**9]), dice.choice([0, 10**9]), "r" * 500)
    about = {
        "protocol": dice.choice([PROTOCOL] * 9 + [1, "2"]), "name": "n" * 500,
        "session": dice.choice([session] * 5 + ["", "x" * 65, 5]), "held": dice.choice([[], tokens, value(dice)]),
        "workers": dice.choice([1, 0, -1, 10**9]), "slots": dice.choice([1, -1, 10**12]),
        "offers": dice.choice([[], [("a", 1, 2)], value(dice)]), "run": dice.choice(["", "x", value(dice)]),
    }  # fmt: skip
    arguments = {
        "hello": (about,),
        "exchange": (session, [report] * dice.choice([0, 1, 3]), want),
        "bye": (dice.choice([session, "x", value(dice)]),),
        "failures": (dice.choice([0, -1, 2**70, value(dice)]), dice.choice([None, "E", value(dice)])),
    }
    return method, arguments.get(method, ())


@pytest.mark.proof
@pytest.mark.timeout(proof.size(240, 2 * 3600))
def test_whoever_has_the_key_cannot_break_the_master(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile arguments to every method: honest jobs are done, none counts that was not run, no
    code runs.
    """
    # This side sends whatever it likes.
    monkeypatch.setattr(plain._PlainPickler, "reducer_override", lambda *_: NotImplemented)
    dice = random.Random(proof.seed())
    marker = playground.directory / "executed"
    master, slave, port = start(playground)
    watch = Watch(master.pid)
    watch.start()
    answered = refused = 0
    connection = None
    tokens: list[str] = []
    for number in range(CALLS):
        session = f"hostile-{number // 200}"
        try:
            if connection is None:
                connection = client.connect("127.0.0.1", port, keyfile.as_bytes(KEY))
            if number % 97 == 0:
                connection.call("hello", Deed(str(marker)), timeout=10.0)
            method, arguments = call(dice, session, tokens)
            answer = connection.call(method, *arguments, timeout=10.0)
            answered += 1
            if method == "exchange":
                tokens = [lent[0] for lent in answer[2]][:5] + tokens[:20]
        except (TaskmasterError, OSError, ValueError, TypeError, OverflowError, RecursionError):
            refused += 1
            if connection is not None:
                connection.close()
            connection = None
            assert master.process.poll() is None, master.output
    if connection is not None:
        connection.close()
    enough(playground)

    assert master.end(proof.size(150, 3600)) in (0, 3), master.output
    assert slave.end() == 0, slave.output
    watch.stop()
    assert not marker.exists(), "the master has run a stranger's code"
    assert "Traceback" not in master.output.replace('Traceback (most recent call last):\n  File "jobs.py"', "")
    assert min(answered, refused) > CALLS / 20, (answered, refused)
    jobs = int((playground.directory / "jobs.txt").read_text())
    ended = playground.ledger.ended()
    proof.record(
        f"hostile calls with the key ({answered} answered, {refused} refused), while {jobs:,} jobs were done "
        f"(master: at most {watch.threads} threads, {watch.megabytes} MB)",
        tried=CALLS,
        survived=CALLS,
        repeated=ended.total() - len(ended),
    )
    assert watch.threads <= THREADS, watch.threads
    assert watch.megabytes <= MEGABYTES, watch.megabytes
