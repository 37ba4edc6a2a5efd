"""The link to the master: says hello, exchanges, and has itself connected again when it breaks.

Nothing here holds up the supervisor, but for the goodbye: else, messages are posted and answers
picked up.
Connecting is ``connector``'s.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from taskmaster import __version__
from taskmaster.errors import AuthError, ConnectError, TaskmasterError
from taskmaster.model import PROTOCOL, Answer, AnswerState, Report, Want
from taskmaster.records import record
from taskmaster.slave.connector import Connector
from taskmaster.transport import client
from taskmaster.transport.address import Address
from taskmaster.transport.frames import Hold

__all__ = ["MasterLink", "RefusedByMaster", "SlaveFacts", "Talk", "Welcome"]

MASTER_ANSWER_SECONDS = 30.0  # after which a master that does not answer counts as gone
BYE_SECONDS = 1.0  # longest time for the goodbye


class RefusedByMaster(TaskmasterError):
    """The master will not have this slave."""

    exit_code = 6


@record()
class SlaveFacts:
    """What a slave says of itself in each hello.

    Attributes:
        workers: How many worker processes it has.
        slots: How many jobs run at once in all of them.
        code: Digest of the callback's file, "" if unknown.
        callback: The callback's name, "" if unknown.
        target: What was named on the command line, "" where the callback came with a fork server.
        callback_file: Real path of the callback's file, "" if unknown.
    """

    workers: int
    slots: int
    code: str = ""
    callback: str = ""
    target: str = ""
    callback_file: str = ""


@record()
class Welcome:
    """What a master answers to a hello.

    Attributes:
        incarnation: Names the master's process.
        run: Id of the run.
        warning: What is wrong with this slave, though not wrong enough to refuse it; "" if nothing.
        lease: Seconds after which a slave that says nothing is given up.
        job_timeout: Seconds that a job may take, None for any time.
        taken: Token, index and new token of each job that the master takes over.
        project: Django's settings and databases where the master is; None if it has none.
        nice: How long a worker rests after a batch, in multiples of the time that the batch took.
    """

    incarnation: str
    run: str
    warning: str
    lease: float
    job_timeout: float | None
    taken: tuple[tuple[str, int, str], ...]
    project: Any = None
    nice: float = 0.0

    @classmethod
    def from_wire(cls, value: Any) -> Welcome:
        """Return what a master has answered.

        Raises:
            ValueError: It is no welcome.
        """
        try:
            timeout = value.get("job_timeout")
            return cls(
                str(value["incarnation"]),
                str(value["run"]),
                str(value.get("warn") or "")[:1000],
                float(value["lease"]),
                None if timeout is None else float(timeout),
                tuple((str(token), int(index), str(new)) for token, index, new in value.get("taken", ())),
                value.get("project"),
                float(value.get("nice", 0.0)),
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as exc:
            raise ValueError(f"the master's welcome makes no sense: {exc!r}") from None


class Talk(Protocol):
    """The slave's side of what is said on a link."""

    def held(self) -> tuple[list[str], list[tuple[str, int, int]]]:
        """Return the tokens of what is held, and token, index and ticket of what another master
        might take over; asked for each hello.
        """

    def buffer(self, size: int) -> Hold | None:
        """Return where a batch of ``size`` bytes is to be received, None for anywhere."""

    def entered(self, welcome: Welcome, another: bool) -> None:
        """Note that a master has said welcome; ``another`` if it is not the one from before."""

    def answered(self, answer: Answer) -> None:
        """Take the answer to an exchange."""

    def declined(self, why: str) -> bool:
        """Note that the master could not do an exchange; return whether to keep the connection."""


class MasterLink:
    """One slave's link to its master.

    Args:
        address: The address of the master.
        key: Gives the key, asked before each attempt to connect; None if there is none (yet).
        facts: What the slave says of itself.
        selector: The supervisor's.
        talk: The slave's side.

    Attributes:
        name: The name of this slave, "host:pid".
        welcome: What the master has answered last, None while none ever has.
        refusal: Why no master will have this slave, None while that is open.
        problem: Why the last attempt has failed, or the connection was lost; "" if nothing failed.
        lost_at: Since when there is no master, None while there is one.
    """

    def __init__(
        self,
        address: Address,
        key: Callable[[], str | None],
        facts: SlaveFacts,
        selector: selectors.BaseSelector,
        talk: Talk,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.welcome: Welcome | None = None
        self.refusal: TaskmasterError | None = None
        self.problem = ""
        self.lost_at: float | None = time.monotonic()
        self._address = address
        self._facts = facts
        self._selector = selector
        self._talk = talk
        self._ident = secrets.token_hex(16)
        self._connector = Connector(address, key, selector, connected=self._connected, failed=self._failed)
        self._connection: client.MasterConnection | None = None
        self._greeted = False
        self._waiting = False  # for the answer to what was posted last
        self._posted_at = 0.0

    def keep_up(self, now: float) -> float:
        """Connect if it is time to; return the seconds until there is something to do here."""
        if self._connection is None:
            return self._connector.keep_up(now)
        if self._waiting and now - self._posted_at > MASTER_ANSWER_SECONDS:
            self._lose("it does not answer")
        return MASTER_ANSWER_SECONDS

    @property
    def up(self) -> bool:
        """Whether an exchange can be posted now."""
        return self._connection is not None and self._greeted and not self._waiting

    @property
    def lease(self) -> float:
        """Seconds after which the master gives a silent slave up."""
        return 60.0 if self.welcome is None else self.welcome.lease

    def post(self, reports: list[Report], want: Want) -> bool:
        """Send an exchange, whose answer ``Talk.answered`` takes; return False if the connection
        broke.
        """
        return self._post("exchange", self._ident, [report.to_wire() for report in reports], tuple(want))

    def bye(self, bad_end: str = "") -> bool:
        """Tell the master, if it is there, that this slave ends.

        Args:
            bad_end: What its workers could not do at their end; "" if they ended well.

        Returns:
            Whether the master has heard it.
        """
        if self._connection is not None and self._greeted:
            with contextlib.suppress(TaskmasterError):
                self._connection.call("bye", self._ident, *([bad_end] if bad_end else []), timeout=BYE_SECONDS)
                return True
        return False

    def close(self) -> None:
        """Close the connection."""
        self._hang_up()
        self._connector.close()

    # -- inside ------------------------------------------------------------------------------------

    def _failed(self, why: TaskmasterError) -> None:
        self.problem = str(why)
        # A master that was started again may have a new key, which has not yet arrived where this
        # slave looks for it.
        if self.welcome is None and (isinstance(why, AuthError) or not isinstance(why, ConnectError)):
            self.refusal = why

    def _connected(self, connection: client.MasterConnection) -> None:
        self._connection = connection
        connection.receive_into(self._talk.buffer)
        self._selector.register(connection, selectors.EVENT_READ, self._receive)
        self._greet()

    def _greet(self) -> None:
        held, offers = self._talk.held()
        hello = {
            "protocol": PROTOCOL,
            "version": __version__,
            "python": platform.python_version(),
            "session": self._ident,
            "name": self.name,
            "workers": self._facts.workers,
            "slots": self._facts.slots,
            "code": self._facts.code,
            "callback": self._facts.callback,
            "target": self._facts.target,
            "place": self._facts.callback_file,
            "held": held,
            "offers": offers,
            "run": "" if self.welcome is None else self.welcome.run,
        }
        self._post("hello", hello)

    def _post(self, method: str, *args: Any) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.post(method, *args)
        except (ConnectError, OSError) as exc:
            self._lose(str(exc))
            return False
        self._waiting = True
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
            self._waiting = False
            if not self._greeted:
                self._enter(value)
                return
            answer = Answer.from_wire(value)
        except client.Declined as exc:
            self._waiting = False
            if not (self._greeted and self._talk.declined(exc.why)):
                self._lose(str(exc))
            return
        except (ConnectError, ValueError) as exc:
            self._lose(str(exc))
            return
        if answer.state is AnswerState.UNKNOWN:
            self._greeted = False
            self._greet()
            return
        self._connector.succeeded()  # not at the welcome: a master that welcomes may still do no exchange
        self._talk.answered(answer)

    def _enter(self, value: Any) -> None:
        """Take the answer to a hello."""
        if not isinstance(value, dict) or not value.get("ok"):
            why = value.get("why") if isinstance(value, dict) else "it did not say why"
            self.refusal = RefusedByMaster(f"The master at {self._address} refused this slave: {why}")
            return
        welcome = Welcome.from_wire(value)
        another = self.welcome is None or welcome.incarnation != self.welcome.incarnation
        self.welcome = welcome
        self._greeted = True
        self.lost_at = None
        self._talk.entered(welcome, another)

    def _lose(self, why: str) -> None:
        self.problem = why
        self._hang_up()
        self._greeted = self._waiting = False
        if self.lost_at is None:
            self.lost_at = time.monotonic()
        self._connector.wait()

    def _hang_up(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(self._connection)
            self._connection.close()
            self._connection = None
