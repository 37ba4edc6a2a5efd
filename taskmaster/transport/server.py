"""The master's server: ``multiprocessing.managers`` with what it lacks as a server on a network.

Called by ``taskmaster.master.run``. One thread accepts, one thread a connection serves one object under a fixed name.

Guarantees: nothing is unpickled before both sides have proved that they have the key, and then plain values only; only the named
methods can be called; a silent, slow or foolish peer costs a place among the pending ones, for ten seconds at most, and neither
stops the accepting nor keeps honest peers out; a peer that fails is told nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing import managers
from typing import Any, Protocol

from taskmaster.errors import ListenError
from taskmaster.transport.address import Address
from taskmaster.transport.channel import Channel, FrameTooLarge
from taskmaster.transport.handshake import SECONDS, prove_both

__all__ = ["METHODS", "QueueManager", "Served", "Server", "bind"]

logger = logging.getLogger(__name__)

METHODS = ("hello", "exchange", "bye", "status")
QUEUE = "queue"  # the name under which the one object is served
SERIALIZER = "taskmaster"
MAX_CONNECTIONS = 1024
MAX_PENDING = 128  # connections that have not proved anything yet
BACKLOG = 1024
SHORT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Served(Protocol):
    """What is served."""

    def hello(self, info: Any) -> dict[str, Any]: ...
    def exchange(self, session: Any, reports: Any, want: Any) -> tuple[Any, ...]: ...
    def bye(self, session: Any) -> None: ...
    def status(self) -> dict[str, Any]: ...
    def closed(self, session: str) -> None:
        """A connection has ended on which this session had said hello."""


class Listener:
    """Accepts connections; does nothing with them, so that no peer can hold up the next one."""

    def __init__(self, address: Any = None, backlog: int = BACKLOG, **_: Any) -> None:
        host, port = address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = Address(*self._socket.getsockname()[:2])
        _listeners.add(self)

    def accept(self) -> Channel:
        """The next connection."""
        sock, _ = self._socket.accept()
        keep_alive(sock)
        return Channel(sock)

    def close(self) -> None:
        """Give the port back; wakes the accepter up."""
        try:
            # Without this, a thread that is blocked in accept() keeps the port.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def forget(self) -> None:
        """Close a forked child's copy: it would keep the port when the master is gone, and let slaves connect to nobody."""
        self._socket.close()


_listeners: weakref.WeakSet[Listener] = weakref.WeakSet()


def _forget_listeners() -> None:
    for listener in list(_listeners):
        listener.forget()


os.register_at_fork(after_in_child=_forget_listeners)


def keep_alive(sock: socket.socket) -> None:
    """No delay for small packets; a peer whose machine vanished is noticed within a minute or so."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Server(managers.Server):
    """The server that ``QueueManager.get_server`` returns.

    Attributes:
        public: functions of the server itself that a peer may call; everything else goes to the one object.
        fallback_mapping: none: the standard library's would hand out the object whole.
    """

    public = ["accept_connection"]  # noqa: RUF012  # the base class declares it like this
    fallback_mapping: dict[str, Callable[..., Any]] = {}  # noqa: RUF012

    def __init__(self, registry: dict[str, Any], address: Any, authkey: bytes, serializer: str) -> None:
        super().__init__(registry, address, authkey, serializer)  # type: ignore[arg-type]
        # The base class keeps the key as an AuthenticationString, which refuses to be pickled; it stays in this object.
        self._key = bytes(authkey)
        self._lock = threading.Lock()
        self._pending: dict[Channel, float] = {}
        self._connected: set[Channel] = set()
        self._logged = 0.0
        self._served: Served | None = None
        self._cap = min(MAX_CONNECTIONS, max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64))
        self._accepter: threading.Thread | None = None
        self.stop_event = threading.Event()  # type: ignore[assignment]

    @property
    def where(self) -> Address:
        """The address that is listened on, with the real port."""
        found: Address = self.listener.address  # type: ignore[attr-defined]
        return found

    def serve(self, served: Served) -> None:
        """Name the object that is served."""
        self._served = served
        self.id_to_obj[QUEUE] = (served, set(METHODS), None)  # type: ignore[index, assignment]

    def start(self) -> None:
        """Begin to accept, in a thread."""
        self._accepter = threading.Thread(target=self.accepter, name="taskmaster-accepter", daemon=True)
        self._accepter.start()

    def stop(self) -> None:
        """Stop accepting, close every connection, give the port back."""
        self.stop_event.set()
        self.listener.close()  # type: ignore[attr-defined]
        with self._lock:
            channels = [*self._pending, *self._connected]
        for channel in channels:
            channel.close()
        if self._accepter is not None:
            self._accepter.join(5.0)

    def accepter(self) -> None:
        """Accept until stopped; whatever one connection does, the next one is accepted."""
        while not self.stop_event.is_set():
            try:
                channel = self.listener.accept()  # type: ignore[attr-defined]
            except OSError as exc:
                if self.stop_event.is_set():
                    return
                if exc.errno in SHORT_OF:
                    self._make_room(1)
                    time.sleep(
                        0.1
                    )  # accept() fails at once while descriptors are short: without a pause it burns a core
                continue
            try:
                self._admit(channel)
                threading.Thread(
                    target=self.handle_request, args=(channel,), name="taskmaster-peer", daemon=True
                ).start()
            except RuntimeError:
                # No thread to be had (a container's limit): this peer has to come again.
                self._dismiss(channel)
                time.sleep(0.1)

    def _admit(self, channel: Channel) -> None:
        with self._lock:
            full = len(self._pending) >= MAX_PENDING or len(self._pending) + len(self._connected) >= self._cap
        if full:
            self._make_room(1)
        with self._lock:
            self._pending[channel] = time.monotonic()

    def _make_room(self, count: int) -> None:
        """Close those that have kept us waiting longest without proving anything."""
        with self._lock:
            oldest = list(self._pending)[:count]
        for channel in oldest:
            self._dismiss(channel)

    def _dismiss(self, channel: Channel) -> None:
        with self._lock:
            self._pending.pop(channel, None)
            self._connected.discard(channel)
        channel.close()

    def handle_request(self, channel: Any) -> None:
        """Serve one connection, from the handshake to its end."""
        session = ""
        try:
            channel.deadline(SECONDS)
            prove_both(channel, self._key, "master")
            ignored, name, _, _ = channel.recv()
            if ignored is not None or name not in self.public:
                return
            with self._lock:
                self._connected.add(channel)
                self._pending.pop(channel, None)
            channel.deadline(None)
            channel.send(("#RETURN", None))
            for session in self._conversation(channel):
                pass
        except Exception as exc:
            # Whatever a peer did wrong, it is told nothing; and it must not be able to fill the log.
            if not session and not self.stop_event.is_set() and time.monotonic() - self._logged > 1.0:
                self._logged = time.monotonic()
                logger.info("a connection was refused: %s %s", type(exc).__name__, exc)
        finally:
            self._dismiss(channel)
            if session and self._served is not None:
                self._served.closed(session)

    def _conversation(self, channel: Channel) -> Any:
        """Answer requests until the peer closes; yields the session that it names in its hello."""
        while not self.stop_event.is_set():
            try:
                ident, method, args, kwargs = channel.recv()
            except EOFError:
                return
            found, exposed, _ = self.id_to_obj.get(ident, (None, set(), None))  # type: ignore[call-overload]
            if method not in exposed:
                channel.send(("#ERROR", f"there is no method {method!r} here"))
                continue
            try:
                result = getattr(found, method)(*args, **kwargs)
            except Exception as exc:
                logger.warning("a slave's %s failed: %s: %s", method, type(exc).__name__, exc)
                logger.debug("its traceback", exc_info=True)
                channel.send(("#ERROR", f"{type(exc).__name__}: {exc}"[:1000]))
                continue
            if method == "hello" and result.get("ok"):
                yield args[0]["session"]
            try:
                channel.send(("#RETURN", result))
            except FrameTooLarge as exc:
                channel.send(("#ERROR", f"the answer is too large: {exc}"))


class QueueManager(managers.BaseManager):
    """The manager of the capped job queue; only its server is used."""

    def get_server(self) -> Server:
        """The server, listening already and accepting nobody before its ``start``."""
        return Server(self._registry, self._address, self._key, SERIALIZER)  # type: ignore[attr-defined]

    def __init__(self, address: Address, key: bytes) -> None:
        # The key given here would become that of every child process if we named it authkey of the process; it does not.
        super().__init__(address=address, authkey=key, serializer=SERIALIZER)
        self._key = key


def _no_client(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("slaves connect with taskmaster.transport.client")


managers.listener_client[SERIALIZER] = (Listener, _no_client)  # type: ignore[attr-defined]


def bind(address: Address, key: bytes, served: Served) -> Server:
    """Listen on an address; nobody is accepted before the server's ``start``.

    Raises:
        ListenError: the address is taken, or not one of this machine, or not allowed.
    """
    try:
        server = QueueManager(address, key).get_server()
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise ListenError(
                f"{address} is in use, perhaps by another master (`ss -ltnp 'sport = :{address.port}'` shows by whom). End "
                f"that one, or choose another port with --host={Address(address.host, address.port + 1)}."
            ) from exc
        raise ListenError(
            f"Cannot listen on {address}: {exc.strerror or exc}. Choose an address of this machine with --host=HOST:PORT."
        ) from exc
    server.serve(served)
    return server
