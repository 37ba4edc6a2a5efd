"""How many changes of a kind an operator can make: each is a row of the trail, in memory and in the
state, and a program that goes astray with the key must not fill those. Pure: the time is passed in.
"""

from __future__ import annotations

from taskmaster.errors import UsageError
from taskmaster.master.steering.request import Command

__all__ = ["AT_ONCE", "Allowance"]

AT_ONCE = 1000  # changes of a kind; no person makes as many, and no script by mistake
A_SECOND = 1.0  # further ones


class Allowance:
    """Counts the changes, each command's on its own: who notes too much can still pause the run.
    To stop it is allowed always.
    """

    def __init__(self) -> None:
        self._left: dict[Command, tuple[float, float]] = {}  # how many are left, and when that was so

    def check(self, command: Command, now: float) -> None:
        """Refuse a change beyond what is allowed.

        Args:
            command: What is asked for.
            now: Seconds since the epoch; a clock that is put back allows nothing more for it.

        Raises:
            UsageError: There were too many.
        """
        if command is not Command.STOP and self._now_left(command, now) < 1:
            raise UsageError(
                f"This run was given more than {AT_ONCE:,} times {command} within a short time: from there on, one a "
                "second is taken. Nothing was changed: give the command again in a second. `tm-ctl trail` shows who "
                "has given the others."
            )

    def spend(self, command: Command, now: float) -> None:
        """Note that something was changed."""
        self._left[command] = (self._now_left(command, now) - 1, now)

    def _now_left(self, command: Command, now: float) -> float:
        left, then = self._left.get(command, (float(AT_ONCE), now))
        left = min(float(AT_ONCE), left + A_SECOND * max(0.0, now - then))
        self._left[command] = (left, now)
        return left
