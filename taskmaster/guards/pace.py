"""How much slower a database may become for others while a run works on it. Pure.

A ``Pace`` is made wherever the module is imported, also in every worker: making one reads nothing
and imports no driver.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.records import record

__all__ = ["PROBE_SECONDS", "Pace", "PaceLimit", "pace_of"]

_LIMIT = r"(\d+(?:\.\d+)?)\s*(x|ms|s)"
PROBE_SECONDS = 0.125
"""Seconds from one probe to the next; so often, they take less than one percent of a core."""

LEAST_TIMES = 1.1  # below it, what two measurements differ in by chance would hold the run


@record()
class PaceLimit:
    """What the probe may take.

    Attributes:
        times: As many times of what it takes without the run; 0.0: ``seconds`` is the limit.
        seconds: As many seconds.
    """

    times: float = 0.0
    seconds: float = 0.0

    @classmethod
    def read(cls, given: object) -> PaceLimit:
        """Return what a text such as ``1.5x``, ``20ms`` or ``0.1s`` says.

        Raises:
            UsageError: It says nothing of the kind; it is not repeated.
        """
        match = re.fullmatch(_LIMIT, given.strip().lower()) if isinstance(given, str) else None
        number = 0.0 if match is None else float(match[1])
        if match is None or not 0 < number < math.inf or (match[2] == "x" and number < LEAST_TIMES):
            raise UsageError(
                f"a pace is {LEAST_TIMES:g}x or more (1.5x: the probe may take half as long again as without the "
                "run), or a time such as 20ms."
            )
        return cls(times=number) if match[2] == "x" else cls(seconds=number / (1000 if match[2] == "ms" else 1))

    def allowed(self, alone: float) -> float:
        """Return the seconds that the probe may take where it takes ``alone`` without the run."""
        return alone * self.times if self.times else self.seconds


class Pace:
    """A limit, and the probe that it is for.

    Args:
        limit: A text as ``PaceLimit.read`` takes it.
        probe: Does what others do, and gives the seconds that it took; raises if it cannot. If it
            has a ``close()``, that is called at the end of the run.

    Raises:
        UsageError: The limit cannot be read.
    """

    def __init__(self, limit: str, probe: Callable[[], float]) -> None:
        self.limit = PaceLimit.read(limit)
        self.probe = probe

    def __str__(self) -> str:
        """Its limit, without the database: a DSN may have a password."""
        return f"{self.limit.times:g}x" if self.limit.times else f"{1000 * self.limit.seconds:g}ms"


def pace_of(given: Any, where: str) -> Pace | None:
    """Return what a module names as ``pace``; None for a name of the module's own, as a function.

    Raises:
        UsageError: It is a text, which names no database.
    """
    if isinstance(given, str):
        raise UsageError(f"pace in {where} is a text: write pace = postgres.pace('1.5x', DSN).")
    return given if isinstance(given, Pace) else None
