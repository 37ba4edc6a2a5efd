"""The page of a run whose master was started without one: ``tm-web``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from taskmaster.errors import ConnectError
from taskmaster.runner.page import ServedPage
from taskmaster.runner.page_plan import PagePlan
from taskmaster.runner.steer_client import SteerClient
from taskmaster.runtime.signals import Signals

__all__ = ["Relay", "serve_beside"]


class Relay:
    """Passes on what a page asks for to a master that is reached over the network.

    When that one is gone, the next question looks for it anew: it may have been started again, on
    another port.

    Args:
        connect: Gives a client of the master.
    """

    def __init__(self, connect: Callable[[], SteerClient]) -> None:
        self._connect = connect
        self._client: SteerClient | None = None

    def answer(self, method: str, *arguments: Any) -> Any:
        """Ask the master.

        Raises:
            ConnectError: It cannot be reached.
        """
        if self._client is None:
            self._client = self._connect()
        try:
            return self._client.ask(method, *arguments)
        except ConnectError as exc:
            if not hasattr(exc, "why"):  # with ``why``, it has answered that it could not do it
                self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None


def serve_beside(plan: PagePlan, connect: Callable[[], SteerClient], state: str, say: Callable[[str], object]) -> int:
    """Serve the page of a running master until a signal ends it; return the exit code.

    Args:
        plan: Where.
        connect: Gives a client of the master.
        state: Path of the run's state; "" if it is not known.
        say: Prints a line for the person at the terminal.

    Raises:
        ConnectError: No master can be reached at the start.
    """
    relay = Relay(connect)
    relay.answer("look", "status", {})
    ended = threading.Event()
    facts = {"state_path": state} if state else {}
    with Signals(ended.set) as signals, ServedPage(plan, relay.answer, state=state, facts=facts) as page:
        say(page.sentence)
        while not signals.received:
            ended.wait(1.0)
    relay.close()
    return 0
