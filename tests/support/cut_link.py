"""A link to a server that is lost on demand: a relay on loopback.

Where the kernel can be told to, packets are dropped before anybody acknowledges them, as by a cable
that is cut; else the relay only passes nothing on, as a proxy that hangs.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import threading
from contextlib import suppress

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
# One instruction of the kernel's packet filter: take no byte of any packet.
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)


class CutLink:
    """Listens on a port of its own, and passes on to another one of this machine.

    Args:
        port: where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._clients: list[socket.socket] = []
        self._passes = threading.Event()
        self._passes.set()
        self._over = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Drop every packet of the clients: nothing of theirs is acknowledged."""
        for one in [self._listener, *self._clients]:
            _drop(one)

    def hang(self) -> None:
        """Acknowledge all, and pass nothing on."""
        self._passes.clear()

    def mend(self) -> None:
        """Let new connections through. The old ones stay as they are."""
        self._clients.clear()
        with suppress(OSError):  # there may be no filter
            self._listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, b"\0" * 4)
        self._passes.set()

    def close(self) -> None:
        """End all connections."""
        self._over = True
        self._passes.set()
        self._thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while not self._over:
            if not select.select([self._listener], [], [], 0.1)[0]:
                continue
            client, _ = self._listener.accept()
            self._clients.append(client)
            self.connections += 1
            threading.Thread(target=self._pass_on, args=(client, self._passes), daemon=True).start()

    def _pass_on(self, client: socket.socket, passes: threading.Event) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server, suppress(OSError):
            other = {client: server, server: client}
            while not self._over:
                ready = select.select(list(other), [], [], 0.1)[0]
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    if not passes.is_set():
                        # This connection hangs for good, also when new ones get through.
                        self._hold(client)
                        return
                    other[source].sendall(data)

    def _hold(self, client: socket.socket) -> None:
        while not self._over and client.recv(65536):
            pass


def _drop(one: socket.socket) -> None:
    instruction = ctypes.create_string_buffer(DROP_ALL)
    one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(instruction)))
