"""The listening socket, and what every connection gets.

Guarantees: a forked child keeps no copy of what its parent listens on or talks over.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Any

from taskmaster.runtime.at_fork import forget_in_children
from taskmaster.transport.address import Address
from taskmaster.transport.channel import Channel

__all__ = ["Listener", "keep_alive"]

BACKLOG = 1024


class Listener:
    """Accepts connections; does nothing with them, so that no peer can hold up the next one."""

    def __init__(self, address: Any, backlog: int) -> None:  # noqa: ARG002  # BaseManager says 16: too few
        host, port = address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = Address(*self._socket.getsockname()[:2])
        # A forked child's copies would keep the port when the master is gone, let slaves connect to
        # nobody, and keep their connections open to nobody.
        forget_in_children(self)

    def accept(self) -> Channel:
        """Wait for the next connection, and return it."""
        sock, peer = self._socket.accept()
        try:
            keep_alive(sock)
        except OSError:
            sock.close()  # it is gone already
            raise
        channel = Channel(sock, peer=str(Address(*peer[:2])))
        forget_in_children(channel)
        return channel

    def close(self) -> None:
        """Give the port back; wakes the accepter up."""
        with contextlib.suppress(OSError):
            # Without this, a thread that is blocked in accept() keeps the port.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def forget(self) -> None:
        """Close this process's copy only."""
        self._socket.close()


def keep_alive(sock: socket.socket) -> None:
    """Have small packets sent without delay, and a peer whose machine vanished noticed within about
    a minute.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
    for name, value in ((idle, 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
