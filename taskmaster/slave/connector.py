"""Connecting to the master: in a thread of its own, again and again, until one attempt succeeds.

The supervisor never waits for it. What is said on the connection is ``master_link``'s business.
"""

from __future__ import annotations

import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable

from taskmaster.errors import ConnectError, TaskmasterError
from taskmaster.runtime.backoff import Backoff
from taskmaster.transport import client, keyfile
from taskmaster.transport.address import Address

__all__ = ["Connector"]

FIRST_CONNECT_PAUSE_SECONDS, LONGEST_CONNECT_PAUSE_SECONDS = 0.2, 2.0  # between two attempts to connect
PAUSE_FACTOR = 1.5
NOTHING_TO_DO_SECONDS = 30.0  # until the connector is asked again, while an attempt is under way


class Connector:
    """Makes connections to one master.

    Args:
        address: The address of the master.
        key: Gives the key, asked before each attempt; None if there is none (yet).
        selector: The supervisor's.
        connected: Called in the supervisor's thread with a new connection.
        failed: Called in the supervisor's thread with the reason why an attempt has failed.
    """

    def __init__(
        self,
        address: Address,
        key: Callable[[], str | None],
        selector: selectors.BaseSelector,
        *,
        connected: Callable[[client.MasterConnection], None],
        failed: Callable[[TaskmasterError], None],
    ) -> None:
        self._address = address
        self._key = key
        self._connected = connected
        self._failed = failed
        self._backoff = Backoff(FIRST_CONNECT_PAUSE_SECONDS, LONGEST_CONNECT_PAUSE_SECONDS, PAUSE_FACTOR)
        self._next_at = 0.0
        self._busy = False
        self._arrived: queue.SimpleQueue[client.MasterConnection | TaskmasterError] = queue.SimpleQueue()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        selector.register(self._wake_in, selectors.EVENT_READ, self._take)

    def keep_up(self, now: float) -> float:
        """Begin an attempt if it is time for one; return the seconds until something is due."""
        if self._busy:
            return NOTHING_TO_DO_SECONDS
        if now < self._next_at:
            return self._next_at - now
        self._busy = True
        threading.Thread(target=self._connect, name="taskmaster-connect", daemon=True).start()
        return NOTHING_TO_DO_SECONDS

    def wait(self) -> None:
        """Wait a while before the next attempt: a connection was lost, or could not be made."""
        self._next_at = time.monotonic() + self._backoff.next()

    def succeeded(self) -> None:
        """Note that the master has done an exchange: the next pause is short."""
        self._backoff.reset()

    def close(self) -> None:
        """Hear of no more attempts."""
        self._wake_in.close()
        self._wake_out.close()

    def _connect(self) -> None:
        try:
            key = self._key()
            if key is None:
                raise ConnectError(
                    f"No master of yours is running on {self._address}: none has left a key for it on this machine. "
                    "For one that has another user's key or was started with a key, give that with --key-file."
                )
            self._arrived.put(client.connect(self._address.host, self._address.port, keyfile.as_bytes(key)))
        except TaskmasterError as exc:
            self._arrived.put(exc)
        except Exception as exc:
            self._arrived.put(ConnectError(f"Cannot connect to {self._address}: {type(exc).__name__}: {exc}"))
        try:
            self._wake_out.send(b"c")
        except OSError:
            pass  # the slave has ended meanwhile

    def _take(self) -> None:
        self._wake_in.recv(64)
        self._busy = False
        arrived = self._arrived.get()
        if isinstance(arrived, TaskmasterError):
            self.wait()
            self._failed(arrived)
        else:
            self._connected(arrived)
