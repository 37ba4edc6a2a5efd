"""A slave's connection to its master: one connection, one handshake, requests and answers.

Speaks to ``taskmaster.transport.server``, for a slave or for ``tm-ctl``.
"""

from __future__ import annotations

import multiprocessing
import pickle
import socket
import time
from collections.abc import Callable
from typing import Any

from taskmaster import __version__
from taskmaster.errors import AuthError, ConnectError
from taskmaster.runtime.exhaustion import cure_of
from taskmaster.runtime.tracebacks import reason
from taskmaster.transport.address import Address
from taskmaster.transport.channel import SERVED, Channel
from taskmaster.transport.frames import Hold, frame
from taskmaster.transport.handshake import prove_both
from taskmaster.transport.listener import keep_alive

__all__ = ["Declined", "MasterConnection", "connect"]

# How masters of every release say that they do not know a method, or what is to be looked at.
WORDS_OF_UNKNOWN = ("there is no method ", "ValueError: there is nothing called ")


class Declined(ConnectError):
    """The master has heard a request, and could not do it; the connection goes on.

    Attributes:
        why: in the master's words.
        unknown: Whether it has never heard of what it was asked for, as a master of another release
            may not have; anything else is a refusal.
    """

    def __init__(self, address: Address, why: str, *, unknown: bool | None = None) -> None:
        super().__init__(f"The master at {address} could not do it: {why}")
        self.why = why
        self.unknown = any(words in why for words in WORDS_OF_UNKNOWN) if unknown is None else unknown


def connect(host: str, port: int, key: bytes, timeout: float = 10.0) -> MasterConnection:
    """Connect to a master and prove the key, both ways.

    Args:
        host: name or address; each address of a name is tried.
        port: the port of the master.
        key: the shared key.
        timeout: seconds for all of it.

    Raises:
        AuthError: the master has another key.
        ConnectError: nothing listens there, or no master does.
    """
    address = Address(host, port)
    deadline = time.monotonic() + timeout
    try:
        sock = _reach(address, deadline)
    except (OSError, UnicodeError, OverflowError) as exc:
        cure = cure_of(exc, "Check --host, and that the master is running.")
        raise ConnectError(f"No master can be reached at {address}: {_why(exc)}. {cure}") from exc
    channel = Channel(sock)
    try:
        _prove(channel, sock, key, address, deadline)
    except BaseException:
        channel.close()
        raise
    return MasterConnection(channel, address)


def _prove(channel: Channel, sock: socket.socket, key: bytes, address: Address, deadline: float) -> None:
    """Prove the key, both ways, and be let in, before the deadline.

    Raises:
        AuthError: the master has another key.
        ConnectError: it is no master, or one of another release.
    """
    proved = False
    try:
        keep_alive(sock)
        channel.deadline(max(0.0, deadline - time.monotonic()))
        channel.seal(*prove_both(channel, key, "slave"))
        proved = True
        channel.send((None, "accept_connection", ("slave", channel.ends("slave")), {}))
        kind, nobody_between = channel.recv()
        if kind != "#RETURN":
            raise ConnectError(f"What listens at {address} refused the connection. Check --host.")
        if nobody_between is True:
            channel.seal(None, None)
        channel.deadline(None)
    except multiprocessing.AuthenticationError as exc:
        raise AuthError(
            f"The master at {address} has another key. Give the master's key with --key-file or --key."
        ) from exc
    except (EOFError, OSError, AssertionError, ValueError, TypeError, pickle.UnpicklingError) as exc:
        if proved and not isinstance(exc, TimeoutError):
            raise ConnectError(
                f"The master at {address} has the same key, but does not go on from there: {_why(exc)}. It runs an "
                f"older Taskmaster than {__version__}, or has no room for another slave; or what is sent is changed on "
                "the way. Install the same Taskmaster on both machines."
            ) from exc
        raise ConnectError(
            f"What listens at {address} does not answer as a Taskmaster master: {_why(exc)}. Check --host."
        ) from exc


def _reach(address: Address, deadline: float) -> socket.socket:
    """Return a socket to the first address of the name that answers; one that does not leaves time
    for the others.
    """
    # A text would be encoded as an international name first, and the tables for that be loaded.
    host = address.host.encode() if address.host.isascii() else address.host
    found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
    problem: OSError = TimeoutError("timed out")
    for number, (family, kind, protocol, _, where) in enumerate(found):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as exc:
            problem = exc
            continue
        try:
            sock.settimeout(left / (len(found) - number))
            sock.connect(where)
        except OSError as exc:
            sock.close()
            problem = exc
        else:
            return sock
    raise problem


def _why(exc: Exception) -> str:
    return "it closed the connection" if isinstance(exc, EOFError) else reason(exc)


class MasterConnection:
    """An open, authenticated connection; at most one request is under way.

    A connection on which a request has failed is closed: a late answer is never taken for the
    answer to the next request.
    """

    def __init__(self, channel: Channel, address: Address) -> None:
        self._channel = channel
        self.address = address

    def call(self, method: str, *args: Any, timeout: float = 30.0) -> Any:
        """Ask and wait for the answer.

        Raises:
            FrameTooLarge, pickle.PicklingError: the request cannot be sent; the connection goes on.
            Declined: the master could not do it; the connection stays open.
            ConnectError: the connection broke, or the answer took longer than ``timeout`` seconds.
        """
        self._post((SERVED, method, args, {}), timeout)
        try:
            answer = self._channel.recv()
        except (EOFError, OSError, pickle.UnpicklingError) as exc:
            raise self._lost(exc) from exc
        self._channel.deadline(None)
        return self._result(answer)

    def post(self, method: str, *args: Any) -> None:
        """Ask, and leave the answer to ``receive``.

        Raises:
            FrameTooLarge, pickle.PicklingError: the request cannot be sent; the connection goes on.
            ConnectError: the connection broke.
        """
        self._post((SERVED, method, args, {}), 10.0)

    def _post(self, request: Any, seconds: float) -> None:
        segments = frame(request)
        try:
            self._channel.deadline(seconds)
            self._channel.send_frame(segments)
        except OSError as exc:
            raise self._lost(exc) from exc

    def receive(self) -> tuple[bool, Any]:
        """Return (True, the answer) if it has arrived whole, else (False, None); never wait.

        Raises:
            Declined: the master could not do what it was asked for.
            ConnectError: the connection broke.
        """
        try:
            complete, answer = self._channel.receive_now()
        except (EOFError, OSError, pickle.UnpicklingError) as exc:
            raise self._lost(exc) from exc
        return (True, self._result(answer)) if complete else (False, None)

    def receive_into(self, hold: Callable[[int], Hold | None]) -> None:
        """Ask ``hold`` where long byte strings are to be received."""
        self._channel.receive_into(hold)

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._channel.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _lost(self, exc: Exception) -> ConnectError:
        self.close()
        return ConnectError(f"The connection to the master at {self.address} broke: {_why(exc)}.")

    def _result(self, answer: Any) -> Any:
        try:
            kind, result = answer
        except (TypeError, ValueError):
            self.close()
            raise ConnectError(f"The master at {self.address} gave an answer without meaning.") from None
        if kind != "#RETURN":
            raise Declined(self.address, str(result))
        return result
