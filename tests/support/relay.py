"""A TCP relay that misbehaves: between a slave and its master, on loopback, with faults that are
told when to happen.

A fault happens once on a connection, in a *phase*: "handshake" (the first bytes), "idle" (nothing
has been said for a while), "lease" (in the middle of a large message to the slave), "report" (in
the middle of a message to the master).
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable

FAULTS = ("delay", "slices", "reset", "black hole", "half close")
PHASES = ("handshake", "idle", "lease", "report")
GREETED = 2500  # bytes in both directions after which the handshake and the hello are over
LARGE = 8000  # bytes at once to the slave: a batch
IDLE = 0.08  # seconds


class Relay:
    """Listens on a port of its own, and passes on to ``port``.

    Args:
        port: of the master.
        plan: gives fault and phase for each new connection, None for one that is left alone.
    """

    def __init__(self, port: int, plan: Callable[[int], tuple[str, str] | None]) -> None:
        self._port = port
        self._plan = plan
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.fired: Counter[tuple[str, str]] = Counter()
        self.connections = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections."""
        self._over.set()
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        self._listener.settimeout(0.1)
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._port), 5)
            except OSError:
                client.close()
                continue
            plan = self._plan(self.connections)
            self.connections += 1
            thread = threading.Thread(target=self._pass_on, args=(client, server, plan), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket, server: socket.socket, plan: tuple[str, str] | None) -> None:
        other = {client: server, server: client}
        passed = {client: 0, server: 0}
        with selectors.DefaultSelector() as selector, client, server:
            for sock in other:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(sock, selectors.EVENT_READ)
            quiet_since = time.monotonic()
            while not self._over.is_set() and selector.get_map():
                ready = selector.select(0.02)
                if not ready and plan and plan[1] == "idle" and min(passed.values()) > GREETED:
                    if time.monotonic() - quiet_since > IDLE and not self._happen(plan, client, server, b""):
                        return
                    if time.monotonic() - quiet_since > IDLE:
                        plan = None
                for key, _ in ready:
                    source = key.fileobj
                    quiet_since = time.monotonic()
                    try:
                        data = source.recv(65536)
                        if not data:
                            selector.unregister(source)
                            other[source].shutdown(socket.SHUT_WR)
                            continue
                        if plan and self._is_now(plan[1], source is client, passed, len(data)):
                            if not self._happen(plan, source, other[source], data):
                                return
                            plan = None
                        else:
                            other[source].sendall(data)
                        passed[source] += len(data)
                    except OSError:
                        return

    @staticmethod
    def _is_now(phase: str, up: bool, passed: dict[socket.socket, int], size: int) -> bool:
        greeted = min(passed.values()) > GREETED
        return {
            "handshake": not greeted,
            "idle": False,
            "lease": greeted and not up and size > LARGE,
            "report": greeted and up,
        }[phase]

    def _happen(self, plan: tuple[str, str], source: socket.socket, target: socket.socket, data: bytes) -> bool:
        """The fault; False if the connection is over for the relay."""
        self.fired[plan] += 1
        fault = plan[0]
        if fault == "delay":
            self._over.wait(1.0)
            target.sendall(data)
        elif fault == "slices":
            for index in range(min(len(data), 3000)):
                target.sendall(data[index : index + 1])
            target.sendall(data[3000:])
        elif fault == "half close":
            target.sendall(data[: len(data) // 2])
            target.shutdown(socket.SHUT_WR)
            self._swallow(source, target, 0.5)
            return False
        elif fault == "black hole":
            target.sendall(data[: len(data) // 2])
            self._swallow(source, target, 60.0)
            return False
        else:
            target.sendall(data[: len(data) // 2])
            for sock in (source, target):
                # Closed like this, it sends a reset.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return True

    def _swallow(self, source: socket.socket, target: socket.socket, seconds: float) -> None:
        """Read and pass nothing on, without a word to either side."""
        deadline = time.monotonic() + seconds
        for sock in (source, target):
            sock.settimeout(0.05)
        while time.monotonic() < deadline and not self._over.is_set():
            for sock in (source, target):
                try:
                    if not sock.recv(65536):
                        self._over.wait(0.05)
                except TimeoutError:
                    pass
                except OSError:
                    return
