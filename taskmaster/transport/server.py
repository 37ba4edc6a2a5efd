"""The master's server: ``multiprocessing.managers`` with what it lacks as a server on a network.

One thread accepts connections, one for each new connection does its handshake, and one, the
reactor, answers all peers that have proved the key: calls of one object under a fixed name.

Guarantees: nothing is unpickled before both sides have proved that they have the key, and then
plain values only; only the named methods can be called; a silent, slow or faulty peer takes
one of the slots for pending connections, for ten seconds at most, and neither stops the accepting
nor keeps honest peers out; a peer that fails is told nothing.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import managers
from typing import Any, Protocol

from taskmaster import __version__
from taskmaster.errors import ListenError
from taskmaster.runtime.exhaustion import cure_of
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import reason
from taskmaster.transport.address import Address
from taskmaster.transport.channel import SERVED, Channel
from taskmaster.transport.frames import FrameUnsealed, frame
from taskmaster.transport.handshake import HANDSHAKE_SECONDS, prove_both
from taskmaster.transport.listener import Listener
from taskmaster.transport.reactor import LONG_FRAME_BYTES, Peer, Reactor
from taskmaster.units import show_count

__all__ = ["METHODS", "QueueManager", "Served", "Server", "bind"]

logger = clean_logger(__name__)

METHODS = ("hello", "exchange", "bye", "status", "failures", "steer", "look")
SLOW_METHODS = ("failures", "steer", "look")  # are people's, and ask for what has to be read from the state
SERIALIZER = "taskmaster"
MAX_CONNECTIONS = 32_768
LARGE_FLEET = 10_000  # slaves; where fewer can connect, that is said
MAX_PENDING = 128  # connections that have not proved anything yet
SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
RESERVED_DESCRIPTORS = 64  # descriptors that are left for everything else
MAX_FIRST_BYTES = 4096
"""Bytes of the first frame after the handshake."""
MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Bytes of what a slave says at once: reports with tracebacks, which it keeps below that."""
OLDER = (
    f"It runs an older Taskmaster, whose messages carry no seal, and the master runs Taskmaster {__version__}. "
    f"Install Taskmaster {__version__} on the slave's machine."
)


class Served(Protocol):
    """What is served."""

    def hello(self, info: Any) -> dict[str, Any]:
        """Take a slave's introduction; a true ``ok`` in the answer lets ``info["session"]`` in."""

    def exchange(self, slave: Any, reports: Any, want: Any) -> tuple[Any, ...]:
        """Take a slave's reports, and answer what it asks for."""

    def bye(self, slave: Any, bad_end: Any = "") -> None:
        """Note that a slave ends, and what its workers could not do."""

    def status(self) -> dict[str, Any]:
        """Return how the run stands."""

    def closed(self, slave: str) -> None:
        """Note that a connection has ended on which this slave had said hello."""


def _most_connections() -> int:
    """Return how many connections there are descriptors for; the usual limit of 1,024 is raised as
    far as it may be.
    """
    descriptors, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = MAX_CONNECTIONS + RESERVED_DESCRIPTORS
    if descriptors != resource.RLIM_INFINITY and descriptors < enough:
        descriptors = enough if highest == resource.RLIM_INFINITY else min(enough, highest)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, highest))
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(16, descriptors - RESERVED_DESCRIPTORS))


class Server(managers.Server):
    """The server that ``QueueManager.get_server`` returns.

    Attributes:
        public: functions of the server itself that a peer may call; everything else goes to the one
            object.
        fallback_mapping: none: the standard library's would hand out the object whole.
    """

    public = ["accept_connection"]  # noqa: RUF012  # the base class declares it like this
    fallback_mapping: dict[str, Callable[..., Any]] = {}  # noqa: RUF012

    def __init__(self, registry: dict[str, Any], address: Any, authkey: bytes, serializer: str) -> None:
        super().__init__(registry, address, authkey, serializer)
        # The base class keeps the key as an AuthenticationString, which refuses to be pickled; it
        # stays in this object.
        self._key = bytes(authkey)
        self._lock = threading.Lock()
        self._pending: dict[Channel, None] = {}  # the oldest first
        self._connected: set[Channel] = set()
        self._logged = 0.0
        self._served: Served | None = None
        self._cap = _most_connections()
        self._said_full = self._said_short = False
        self._accepter: threading.Thread | None = None
        self._reactor = Reactor(self._answer, self._end, _takes_long)
        self.stop_event = threading.Event()

    @property
    def where(self) -> Address:
        """The address that is listened on, with the real port."""
        found: Address = self.listener.address  # type: ignore[attr-defined]
        return found

    @property
    def shortage(self) -> str:
        """What to say if fewer slaves can connect than a large fleet has; "" if nothing."""
        if self._cap >= LARGE_FLEET:
            return ""
        files = show_count(resource.getrlimit(resource.RLIMIT_NOFILE)[0], "file")
        wanted = LARGE_FLEET + RESERVED_DESCRIPTORS
        return (
            f"At most {show_count(self._cap, 'slave')} can be connected at once: this process may have {files} open. "
            f"For more, raise that limit before the master is started (`ulimit -n {wanted}`; "
            "LimitNOFILE= in a unit of systemd, --ulimit nofile= of a container)."
        )

    def serve(self, served: Served) -> None:
        """Name the object that is served."""
        self._served = served
        self.id_to_obj[SERVED] = (served, set(METHODS), None)  # type: ignore[assignment]

    def start(self) -> None:
        """Begin to accept, in a thread."""
        self._reactor.start()
        self._accepter = threading.Thread(target=self.accepter, name="taskmaster-accepter", daemon=True)
        self._accepter.start()

    def tell_all(self, result: Any) -> None:
        """Give every slave an answer to its next question before it has asked."""
        self._reactor.tell_all(frame(("#RETURN", result)))

    def stop(self) -> None:
        """Stop accepting, close every connection, give the port back."""
        self.stop_event.set()
        self.listener.close()  # type: ignore[attr-defined]
        with self._lock:
            channels = [*self._pending, *self._connected]
        for channel in channels:
            channel.abort()  # its thread closes it
        self._reactor.stop()
        if self._accepter is not None and self._accepter.ident is not None:  # the system may have refused it
            self._accepter.join(5.0)

    def accepter(self) -> None:
        """Accept until stopped; whatever one connection does, the next one is accepted."""
        while not self.stop_event.is_set():
            try:
                channel = self.listener.accept()  # type: ignore[attr-defined]
            except OSError as exc:
                if exc.errno in SHORTAGES:
                    self._close_oldest()
                    if not self._said_short:
                        self._said_short = True
                        logger.warning("no slave can connect for now: %s. %s", reason(exc), cure_of(exc, ""))
                # accept() fails at once while descriptors are short: without a pause it burns a
                # core.
                self.stop_event.wait(0.1 if exc.errno in SHORTAGES else 0.01)
                continue
            if not self._admit(channel):
                channel.close()
                continue
            handshake = threading.Thread(
                target=self.handle_request, args=(channel,), name="taskmaster-peer", daemon=True
            )
            try:
                handshake.start()
            except RuntimeError:
                # No thread to be had (a container's limit): this peer has to come again.
                self._dismiss(channel)
                self.stop_event.wait(0.1)

    def _admit(self, channel: Channel) -> bool:
        """Give the connection a slot for pending connections, if need be that of the oldest one."""
        with self._lock:
            if self.stop_event.is_set():
                return False
            full = len(self._connected) >= self._cap
            crowded = len(self._pending) >= MAX_PENDING or len(self._pending) + len(self._connected) >= self._cap
        if full:
            self._log_refusal(channel, f"there are {self._cap} connections already")
            if not self._said_full:
                self._said_full = True
                logger.warning("%s", self.shortage or f"{self._cap} slaves are connected: no more are let in.")
            return False
        if crowded:
            self._close_oldest()
        with self._lock:
            self._pending[channel] = None
        return True

    def _close_oldest(self) -> None:
        """End the connection that has kept us waiting longest without proving anything."""
        with self._lock:
            oldest = next(iter(self._pending), None)
            if oldest is not None:
                del self._pending[oldest]
        if oldest is not None:
            oldest.abort()  # its thread closes it

    def _dismiss(self, channel: Channel) -> None:
        with self._lock:
            self._pending.pop(channel, None)
            self._connected.discard(channel)
        channel.close()

    def _log_refusal(self, channel: Channel, why: str) -> None:
        """Log why a connection was refused, at most once a second: a peer must not be able to fill
        the log.
        """
        now = time.monotonic()
        if now - self._logged >= 1.0 and not self.stop_event.is_set():
            self._logged = now
            logger.info("the connection from %s was refused or lost: %s", channel.peer, why)

    def handle_request(self, channel: Any) -> None:
        """See a new connection through the handshake, in a thread of its own; then the reactor
        has it.
        """
        try:
            if self._welcome(channel):
                self._reactor.connect(channel)
                return
        except Exception as exc:
            # Whatever a peer did wrong, it is told nothing.
            self._log_refusal(channel, f"{type(exc).__name__} {exc}"[:200])
        self._dismiss(channel)

    def _end(self, peer: Peer, why: BaseException) -> None:
        """Note that a connection that had proved itself has ended."""
        if not isinstance(why, EOFError):
            self._log_refusal(peer.channel, f"{type(why).__name__} {why}"[:200])
        self._dismiss(peer.channel)
        for slave in peer.slaves:
            self._tell_closed(slave)

    def _welcome(self, channel: Channel) -> bool:
        """Do the handshake, and answer the request that a client of ``multiprocessing.managers``
        begins with; return whether the peer is let in.
        """
        channel.deadline(HANDSHAKE_SECONDS)
        channel.take_frames_up_to(MAX_FIRST_BYTES)
        channel.seal(*prove_both(channel, self._key, "master"))
        try:
            _, name, words, _ = channel.recv()
        except FrameUnsealed:
            self._say_older(channel)
            raise
        if name not in self.public:
            return False
        with self._lock:
            if channel not in self._pending:
                return False  # its slot was given to a newer connection
            del self._pending[channel]
            self._connected.add(channel)
        channel.deadline(None)
        channel.take_frames_up_to(MAX_REQUEST_BYTES, LONG_FRAME_BYTES)
        nobody_between = len(words) > 1 and words[1] != "" and words[1] == channel.ends("master")
        channel.send(("#RETURN", nobody_between))
        if nobody_between:
            channel.seal(None, None)
        return True

    @staticmethod
    def _say_older(channel: Channel) -> None:
        """Answer, in their own way, an older slave that has just asked to be accepted, and the
        hello that it will say; nothing of what it says is read.
        """
        channel.seal(None, None)
        for value in (None, {"ok": False, "why": OLDER}):
            channel.send(("#RETURN", value))
        channel.drain()

    def _answer(self, request: Any, peer: Peer) -> list[bytes]:
        """Call the method, and put what it gives into a frame."""
        ident, method, args, kwargs = request
        if ident != SERVED or not isinstance(method, str) or method not in METHODS or kwargs:
            return frame(("#ERROR", f"there is no method {str(method)[:100]!r} here"))
        found, _, _ = self.id_to_obj[SERVED]
        if method == "steer":
            # A client can claim any name, but cannot choose the address that it comes from.
            args = (*args[:1], str(peer.channel.peer))
        try:
            result = getattr(found, method)(*args)
            if method == "hello" and result.get("ok"):
                self._now_speaks_for(peer, args[0]["session"])
            return frame(("#RETURN", result))
        except BaseException as exc:
            # Also a result that is not plain, or above the limit: nothing of it was sent, so that
            # the peer can be told.
            why = f"{type(exc).__name__}: {exc}"[:1000]
            logger.warning("a slave's %s failed: %s", method, why)
            logger.debug("its traceback", exc_info=True)
            return frame(("#ERROR", why))

    def _now_speaks_for(self, peer: Peer, slave: str) -> None:
        """Note that a peer speaks for one slave, which has said hello on it last: it must not
        fill the memory with others.
        """
        for former in peer.slaves - {slave}:
            self._tell_closed(former)
        peer.slaves = {slave}

    def _tell_closed(self, slave: str) -> None:
        if self._served is None:
            return
        try:
            self._served.closed(slave)
        except Exception:
            logger.warning("the end of a connection could not be noted", exc_info=True)


def _takes_long(request: Any) -> bool:
    return type(request) is tuple and len(request) > 1 and request[1] in SLOW_METHODS


class QueueManager(managers.BaseManager):
    """The manager of the capped job queue; only its server is used."""

    def get_server(self) -> Server:
        """Return the server, which listens already and accepts nobody before its ``start``."""
        return Server(self._registry, self._address, self._key, SERIALIZER)  # type: ignore[attr-defined]

    def __init__(self, address: Address, key: bytes) -> None:
        # Given here, it stays here; as authkey of the process it would be that of every child
        # process too.
        super().__init__(address=address, authkey=key, serializer=SERIALIZER)
        self._key = key


def _no_client(*_: Any, **__: Any) -> Any:
    raise RuntimeError("slaves connect with taskmaster.transport.client")


managers.listener_client[SERIALIZER] = (Listener, _no_client)  # type: ignore[attr-defined]


def bind(address: Address, key: bytes, served: Served | None = None) -> Server:
    """Listen on an address; nobody is accepted before the server's ``start``.

    Args:
        address: where; port 0 is any free one.
        key: the shared key.
        served: what is served; it can be named later, before the start.

    Raises:
        ListenError: the address is taken, or not one of this machine, or not allowed.
    """
    try:
        server = QueueManager(address, key).get_server()
    except (OSError, UnicodeError, OverflowError) as exc:
        raise ListenError(_why_not(address, exc)) from exc
    if served is not None:
        server.serve(served)
    return server


def _why_not(address: Address, exc: Exception) -> str:
    code = exc.errno if isinstance(exc, OSError) else None
    if code == errno.EADDRINUSE:
        show = "ss -ltnp 'sport = :{}'" if sys.platform == "linux" else "lsof -nP -iTCP:{} -sTCP:LISTEN"
        other = Address(address.host, address.port + 1 if address.port < 65535 else address.port - 1)
        return (
            f"{address} is in use, perhaps by another master (`{show.format(address.port)}` shows by whom). End that "
            f"one, or choose another port with --host={other}."
        )
    if code in (errno.EACCES, errno.EPERM) and 0 < address.port < 1024:
        return (
            f"Listening on {address} is not allowed: ports below 1024 are the administrator's. Choose another one "
            f"with --host={Address(address.host, 5050)}."
        )
    cure = cure_of(exc, "Choose an address of this machine with --host=HOST:PORT.")
    return f"Cannot listen on {address}: {reason(exc)}. {cure}"
