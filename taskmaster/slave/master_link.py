"""The link to the master: connects, says hello, exchanges, and connects again, without ever holding
up the supervisor.

Called by ``taskmaster.slave.supervisor``. Connecting happens in a thread of its own; everything
else is a message posted and an answer picked up.
"""

from __future__ import annotations

import os
import platform
import queue
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from taskmaster import __version__
from taskmaster.errors import AuthError, ConnectError, TaskmasterError
from taskmaster.model import PROTOCOL, Answer, AnswerState, Report, Want
from taskmaster.transport import client, keyfile
from taskmaster.transport.address import Address
from taskmaster.transport.frames import Hold

__all__ = ["MasterLink", "Refused"]

RETRY = (0.2, 2.0)  # seconds between two attempts to connect: at first, and at most
ANSWER = 30.0  # seconds after which a master that does not answer counts as gone


class Refused(TaskmasterError):
    """The master will not have this slave."""

    exit_code = 6


class MasterLink:
    """One slave's way to its master.

    Args:
        address: where the master is.
        key: gives the key, asked before each attempt; None if there is none (yet).
        workers: how many worker processes there are.
        slots: how many jobs run at once in all of them.
        selector: the supervisor's.
        answered: called with each answer to an exchange.
        declined: called with what the master said when it could not do an exchange; gives whether
            the connection is worth going on with.
        entered: called when a master has said welcome, with whether it is another one than before,
            and with what it takes over.
        held: gives, for the hello, the tokens of what is held, and the tickets of what another
            master might take over.
    """

    def __init__(  # noqa: PLR0913  # the supervisor's ears, one for each thing that is heard
        self,
        address: Address,
        key: Callable[[], str | None],
        workers: int,
        slots: int,
        selector: selectors.BaseSelector,
        *,
        answered: Callable[[Answer], None],
        declined: Callable[[str], bool],
        entered: Callable[[bool, list[tuple[str, int, str]]], None],
        held: Callable[[], tuple[list[str], list[tuple[str, int, int]]]],
    ) -> None:
        self.session = secrets.token_hex(16)
        self.address = address
        self.lease = 60.0
        self.job_timeout: float | None = None
        self.greeted = False
        self.waiting = False  # an exchange is under way
        self.lost_at: float | None = time.monotonic()
        self.ever = False
        self.refusal: TaskmasterError | None = None
        self.problem = ""
        self._key = key
        self._about = {
            "protocol": PROTOCOL,
            "version": __version__,
            "python": platform.python_version(),
            "session": self.session,
            "name": f"{socket.gethostname()}:{os.getpid()}",
            "workers": workers,
            "slots": slots,
        }
        self.warning = ""  # what the master says that is wrong with this slave, though not wrong enough to refuse it
        self._selector = selector
        self._answered = answered
        self._declined = declined
        self._entered = entered
        self._held = held
        self._place: Callable[[int], Hold | None] = lambda _: None
        self._connection: client.MasterConnection | None = None
        self._incarnation = ""
        self.run = ""
        self.name = str(self._about["name"])
        self._posted_at = 0.0
        self._retry_at = 0.0
        self._retry = RETRY[0]
        self._connecting = False
        self._arrived: queue.SimpleQueue[client.MasterConnection | TaskmasterError] = queue.SimpleQueue()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        selector.register(self._wake_in, selectors.EVENT_READ, self._connected)

    def receive_into(self, place: Callable[[int], Hold | None]) -> None:
        """Ask ``place`` where a batch of so many bytes is to be received."""
        self._place = place

    def introduce(self, **about: str) -> None:
        """What else to say in a hello."""
        self._about.update(about)

    def keep_up(self, now: float) -> float:
        """Connect if it is time to; gives the seconds until there is something to do here."""
        if self._connection is not None:
            if self.waiting and now - self._posted_at > ANSWER:
                self._lose("it does not answer")
            return ANSWER
        if self._connecting:
            return ANSWER
        if now >= self._retry_at:
            self._connecting = True
            threading.Thread(target=self._connect, name="taskmaster-connect", daemon=True).start()
            return ANSWER
        return self._retry_at - now

    @property
    def up(self) -> bool:
        """Whether an exchange can be posted now."""
        return self._connection is not None and self.greeted and not self.waiting

    def post(self, reports: list[Report], want: Want) -> bool:
        """Send an exchange; the answer comes through ``answered``. False if the connection
        broke.
        """
        return self._post("exchange", self.session, [report.to_wire() for report in reports], tuple(want))

    def bye(self) -> None:
        """Tell the master that this slave ends; at best."""
        if self._connection is not None and self.greeted:
            try:
                self._connection.call("bye", self.session, timeout=1.0)
            except TaskmasterError:
                pass

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._unwatch()
            self._connection.close()
            self._connection = None
        self._wake_in.close()
        self._wake_out.close()

    # -- inside ------------------------------------------------------------------------------------

    def _connect(self) -> None:
        try:
            key = self._key()
            if key is None:
                raise ConnectError(f"No master of yours has left a key for {self.address} on this machine.")
            self._arrived.put(client.connect(self.address.host, self.address.port, keyfile.as_bytes(key)))
        except TaskmasterError as exc:
            self._arrived.put(exc)
        except Exception as exc:
            self._arrived.put(ConnectError(f"Cannot connect to {self.address}: {type(exc).__name__}: {exc}"))
        try:
            self._wake_out.send(b"c")
        except OSError:
            pass  # the slave has ended meanwhile

    def _connected(self) -> None:
        self._wake_in.recv(64)
        self._connecting = False
        arrived = self._arrived.get()
        if isinstance(arrived, TaskmasterError):
            self.problem = str(arrived)
            self._retry_at = time.monotonic() + self._retry
            self._retry = min(RETRY[1], 1.5 * self._retry)
            # A master that was started again may have a new key, which is not yet where we look for
            # it.
            if not self.ever and (isinstance(arrived, AuthError) or not isinstance(arrived, ConnectError)):
                self.refusal = arrived
            return
        self._connection = arrived
        arrived.receive_into(self._place)
        self._selector.register(arrived, selectors.EVENT_READ, self._receive)
        self._greet()

    def _greet(self) -> None:
        held, offers = self._held()
        self._post("hello", {**self._about, "held": held, "offers": offers, "run": self.run})

    def _post(self, method: str, *args: Any) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.post(method, *args)
        except (ConnectError, OSError) as exc:
            self._lose(str(exc))
            return False
        self.waiting = True
        self._posted_at = time.monotonic()
        return True

    def _receive(self) -> None:
        if self._connection is None:
            return
        try:
            complete, value = self._connection.receive()
            if not complete:
                self._posted_at = time.monotonic()  # a large answer over a slow link is an answer
                return
            self.waiting = False
            if not self.greeted:
                self._welcome(value)
                return
            answer = Answer.from_wire(value)
        except client.Declined as exc:
            self.waiting = False
            if not (self.greeted and self._declined(exc.why)):
                self._lose(str(exc))
            return
        except (ConnectError, ValueError) as exc:
            self._lose(str(exc))
            return
        if answer.state is AnswerState.UNKNOWN:
            self.greeted = False
            self._greet()
            return
        self._answered(answer)

    def _welcome(self, value: Any) -> None:
        if not isinstance(value, dict) or not value.get("ok"):
            why = value.get("why") if isinstance(value, dict) else "it did not say why"
            self.refusal = Refused(f"The master at {self.address} refused this slave: {why}")
            return
        another = value["incarnation"] != self._incarnation
        self._incarnation = value["incarnation"]
        self.run = str(value["run"])
        self.warning = str(value.get("warn") or "")[:1000]
        self.lease = float(value["lease"])
        timeout = value.get("job_timeout")
        self.job_timeout = None if timeout is None else float(timeout)
        self.greeted = self.ever = True
        self.lost_at = None
        self._retry = RETRY[0]
        self._entered(another, [(str(token), int(index), str(new)) for token, index, new in value.get("taken", ())])

    def _lose(self, why: str) -> None:
        self.problem = why
        if self._connection is not None:
            self._unwatch()
            self._connection.close()
            self._connection = None
        self.greeted = self.waiting = False
        if self.lost_at is None:
            self.lost_at = time.monotonic()
        self._retry_at = time.monotonic() + self._retry

    def _unwatch(self) -> None:
        if self._connection is not None:
            try:
                self._selector.unregister(self._connection)
            except (KeyError, ValueError):
                pass
