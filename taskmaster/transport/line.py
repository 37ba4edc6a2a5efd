"""A line between a master and a process of its own that never has the run's key.

One end is the master's (``LineEnd``), the other is inherited by a child process (``Line``). What a
request may do depends on its role, not on the process: its token says which role, and the master's
side checks it. Guarantees: nothing but plain values goes over it; a role's methods are all that can
be called, so that a child that was taken over can neither take batches nor report, and cannot steer
before somebody has shown it the token for that.
"""

from __future__ import annotations

import hmac
import pickle
import socket
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from taskmaster.errors import ConnectError
from taskmaster.runtime.at_fork import forget_in_children
from taskmaster.transport.channel import Channel

__all__ = ["METHODS_OF", "Line", "LineEnd", "LineRefused", "Role"]

MAX_LINE_REQUEST_BYTES = 64 * 1024
"""Bytes of what the child says at once."""


class Role(StrEnum):
    """What a request that comes over a line may do."""

    LOOK = "look"
    """See how the run stands."""
    STEER = "steer"
    """Change it, too."""


METHODS_OF = {Role.LOOK: frozenset({"look"}), Role.STEER: frozenset({"look", "steer"})}
"""The methods of each role. ``hello`` and ``exchange``, which slaves call, are nobody's here."""


class LineRefused(ConnectError):
    """The master does not do what was asked for; the line goes on.

    Attributes:
        why: In the master's words.
        forbidden: Whether the role does not allow it.
    """

    def __init__(self, why: str, *, forbidden: bool) -> None:
        super().__init__(why)
        self.why = why
        self.forbidden = forbidden


class LineEnd:
    """The master's end.

    Args:
        answer: Does what is asked for: called with a method and its arguments.
        steer_token: The token with which a visitor may steer; None: none may.
    """

    def __init__(self, answer: Callable[..., Any], steer_token: str | None) -> None:
        self._answer = answer
        self._steer_token = steer_token
        self._channel: Channel | None = None
        self._serving = False

    def open(self) -> socket.socket:
        """Open the line, and return the child's end of it."""
        self.close()
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours, peer="the page")
        self._channel.take_frames_up_to(MAX_LINE_REQUEST_BYTES)
        forget_in_children(self._channel)
        return theirs

    def serve(self) -> None:
        """Answer until the other end is closed, or says what is no request."""
        channel = self._channel
        if channel is None:
            return
        self._serving = True
        try:
            while True:
                token, method, arguments = channel.recv()
                channel.send(self._answered(token, method, arguments))
        except (EOFError, OSError, ValueError, TypeError, pickle.PickleError):
            return
        finally:
            self._serving = False
            channel.close()

    def close(self) -> None:
        """End the line; ``serve`` in another thread wakes up, and closes it."""
        channel, self._channel = self._channel, None
        if channel is not None and self._serving:
            channel.abort()
        elif channel is not None:
            channel.close()

    def role_of(self, token: object) -> Role:
        """Return the role that a token gives."""
        if self._steer_token is None or not isinstance(token, str):
            return Role.LOOK
        same = hmac.compare_digest(token.encode("utf-8", "replace"), self._steer_token.encode())
        return Role.STEER if same else Role.LOOK

    def _answered(self, token: object, method: object, arguments: object) -> tuple[str, Any]:
        if not isinstance(method, str) or method not in METHODS_OF[self.role_of(token)]:
            return "forbidden", f"{str(method)[:100]!r} is not allowed to who has only the address for looking"
        try:
            return "ok", self._answer(method, *arguments)  # type: ignore[misc]
        except Exception as exc:
            return "failed", f"{type(exc).__name__}: {exc}"[:1000]


class Line:
    """The child's end.

    Args:
        sock: What it has inherited.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._channel = Channel(sock, peer="the master")

    def ask(self, method: str, *arguments: Any, token: str | None = None) -> Any:
        """Ask the master, and wait for its answer; one thread at a time.

        Raises:
            LineRefused: It does not do that.
            ConnectError: It is gone.
        """
        try:
            self._channel.send((token, method, arguments))
            kind, answer = self._channel.recv()
        except (EOFError, OSError, ValueError, TypeError, pickle.PickleError) as exc:
            raise ConnectError("The master does not answer any more.") from exc
        if kind != "ok":
            raise LineRefused(str(answer), forbidden=kind == "forbidden")
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
