"""What stands where slaves reach the server, if jobs run in the master's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskmaster.transport.address import Address

__all__ = ["InProcessServer"]

NOBODY = Address("this process", 0)


class InProcessServer:
    """Stands where the server stands that slaves reach: there is one slave, and it is here.

    Attributes:
        where: What messages call the master's address.
        service: What the slave asks, once the run serves.
    """

    where: Address = NOBODY

    def __init__(self) -> None:
        self.service: Any = None
        self._told: Callable[[], None] = lambda: None

    def connect(self, told: Callable[[], None]) -> None:
        """Take note of the slave: ``told`` is called when it is to hear that the run is over."""
        self._told = told

    def serve(self, service: Any) -> None:
        """Take note of what is served."""
        self.service = service

    def start(self) -> None:
        """Do nothing: nobody connects."""

    def tell_all(self, _message: Any) -> None:
        """Let the slave hear that the run is over."""
        self._told()

    def stop(self) -> None:
        """Do nothing: nobody is connected."""
