"""A guard: a number that must not become too large while a run goes on, such as the seconds that a
standby is behind; or too small, such as the space that is left on a disk.

A guard is made wherever the module is imported, also in every worker, so that making one costs
nothing: it reads nothing and imports no driver before it is called.

Guarantee: a guard that does not know its value lets nothing pass.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.units import show_bytes

__all__ = ["BYTES", "Backlog", "Floor", "Guard", "Unknowable", "Unknown"]

CALM_FRACTION = 0.8  # of the limit, to which a value has to fall after it was above
TREND_SECONDS = 4.0  # over which it is taken how fast a backlog grows
EXPECTED_SECONDS = 6.0  # for which it is expected to go on so
MOST_THINGS = 20  # up to which whole numbers are taken for a number of things

BYTES = "B"
"""The unit of a number of bytes, which is shown like "1.5 GB"."""


class Unknown(Exception):
    """The value of a guard cannot be told; the message says why."""


class Unknowable(Unknown):
    """It cannot be told until somebody mends something: a name, a password or a right."""


class Guard:
    """Lets the run go on while a number is not above its limit.

    Once it was above, the number has to fall to four fifths of the limit: a run that goes on at the
    very limit would be stopped again at once.

    Args:
        read: Gives the number, or raises ``Unknown``. If it has a ``close()``, that is called at
            the end of the run.
        limit: The number that is just allowed, 0 or more.
        what: What it is a number of, for people: "replication lag".
        unit: What is written behind it: "s".
        strict: Whether the limit itself is too much already.

    Attributes:
        value: What was read last; None if that is not known.
        limit: As given.
        reason: Why the run has to wait; "" if it may go on.

    Raises:
        UsageError: The limit is no such number.

    Example::

        throttle = [Guard(lambda: os.getloadavg()[0], 8, "load")]
    """

    def __init__(
        self, read: Callable[[], float], limit: float, what: str, unit: str = "", *, strict: bool = False
    ) -> None:
        if type(limit) not in (int, float) or not 0 <= limit < math.inf or (strict and limit == 0):
            allowed = "above 0" if strict else "0 or more"
            raise UsageError(f"the limit of the guard of {what} is {limit!r}: give a number, {allowed}.")
        self.limit = limit
        self.what = what
        self.value: float | None = None
        self.reason = f"{what} is not known yet"
        self._read = read
        self._unit = unit
        self._strict = strict
        self._waits = False

    def __repr__(self) -> str:
        return f"<Guard of {self.what}, {self._bad}>"

    def __call__(self) -> str:
        """Read the number; gives the reason to wait, "" if there is none.

        Raises:
            Exception: Whatever ``read`` raises, but for ``Unknown``.
        """
        self.value = None
        self.reason = f"{self.what} is unknown"
        try:
            value = self._read()
        except Unknown as exc:
            self.reason += f": {exc}"
            return self.reason
        return self.judge(value)

    def judge(self, value: Any) -> str:
        """Take a number; return the reason why the run has to wait, "" if it may go on."""
        try:
            self.value = None if value is None else float(value)
        except (TypeError, ValueError):
            self.value = None
        if self.value is None or math.isnan(self.value):
            self.value = None
            self.reason = f"{self.what} is unknown: {value!r} is not a number"
            return self.reason
        if self._is_bad(self.value):
            self._waits = True
            self.reason = f"{self.what} {self._show(self.value)}, {self._bad}"
        elif self._waits and not self._is_calm(self.value):
            self.reason = f"{self.what} {self._show(self.value)}, was {self._bad} and has to {self._back}"
        else:
            self._waits = False
            self.reason = ""
        return self.reason

    def try_out(self) -> None:
        """Look once before there is a run, if ``read`` has a ``try_out()`` for it. A server that is
        not there, or not yet, is waited for later.

        Raises:
            UsageError: The number cannot be told until somebody mends something.
        """
        look = getattr(self._read, "try_out", None)
        if look is None:
            return
        try:
            look()
        except Unknowable as exc:
            raise UsageError(
                f"The guard of {self.what} cannot look, and the run would wait for ever: {str(exc).rstrip('.')}."
            ) from None

    def close(self) -> None:
        """Give back what reading needs; the next call opens it again."""
        close = getattr(self._read, "close", None)
        if close is not None:
            close()

    @property
    def utilisation(self) -> float | None:
        """The value divided by its limit: above 1, the run has to wait; None while the value is not
        known. A small whole number is divided by the limit plus one, which is what stops the run.
        """
        if self.value is None:
            return None
        return self._fraction(self.value)

    def _fraction(self, value: float) -> float:
        if not self._strict and _is_count(value) and _is_count(self.limit):
            return value / (self.limit + 1)
        if self.limit:
            return value / self.limit
        return math.inf if value > 0 else 0.0

    @property
    def _bad(self) -> str:
        return f"{'not below' if self._strict else 'above'} {self._show(self.limit)}"

    @property
    def _back(self) -> str:
        return f"fall to {self._show(CALM_FRACTION * self.limit)}"

    def _is_bad(self, value: float) -> bool:
        return value >= self.limit if self._strict else value > self.limit

    def _is_calm(self, value: float) -> bool:
        return value <= CALM_FRACTION * self.limit

    def _show(self, value: float) -> str:
        if self._unit.startswith(BYTES):
            return show_bytes(int(value)) + self._unit.removeprefix(BYTES)
        text = f"{value:.2f}".rstrip("0").rstrip(".") if value == 0 or abs(value) >= 1 else f"{value:.2g}"
        return f"{text} {self._unit}".rstrip()


class Floor(Guard):
    """Lets the run go on while a number is not below its limit; once it was, it has to rise to five
    quarters of the limit.

    Args:
        read: as for ``Guard``.
        limit: The number that is just allowed, above 0.
        what: as for ``Guard``.
        unit: as for ``Guard``.

    Example::

        throttle = [Floor(lambda: shutil.disk_usage("/var").free, 10**9, "free space", "B")]
    """

    def __init__(self, read: Callable[[], float], limit: float, what: str, unit: str = "") -> None:
        super().__init__(read, limit, what, unit)
        if limit == 0:
            raise UsageError(f"the limit of the guard of {what} is 0: give a number, above 0.")

    def _fraction(self, value: float) -> float:
        return self.limit / value if value > 0 else math.inf

    @property
    def _bad(self) -> str:
        return f"below {self._show(self.limit)}"

    @property
    def _back(self) -> str:
        return f"rise to {self._show(self.limit / CALM_FRACTION)}"

    def _is_bad(self, value: float) -> bool:
        return value < self.limit

    def _is_calm(self, value: float) -> bool:
        return value >= self.limit / CALM_FRACTION


class Backlog(Guard):
    """A guard of what piles up while more comes than is worked off, as the lag of a standby.

    A run that is slowed only once much has piled up is slowed too late: that is still to be worked
    off, and it grows further meanwhile. So the utilisation is that of the value as it will be some
    seconds later, if it goes on growing. Only the value itself makes the run wait.

    Args:
        read: as for ``Guard``.
        limit: as for ``Guard``.
        what: as for ``Guard``.
        unit: as for ``Guard``.
        clock: Gives monotonic seconds.
    """

    def __init__(
        self,
        read: Callable[[], float],
        limit: float,
        what: str,
        unit: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(read, limit, what, unit)
        self._clock = clock
        self._noted: deque[tuple[float, float]] = deque()
        self._growth = 0.0  # a second

    def judge(self, value: Any) -> str:
        """Do the same, and note how fast the number grows."""
        reason = super().judge(value)
        now = self._clock()
        while self._noted and now - self._noted[0][0] > TREND_SECONDS:
            self._noted.popleft()
        self._growth = 0.0
        if self.value is not None:
            if self._noted and now > self._noted[0][0]:
                begin, before = self._noted[0]
                self._growth = max(0.0, (self.value - before) / (now - begin))
            self._noted.append((now, self.value))
        return reason

    def _fraction(self, value: float) -> float:
        later = value + EXPECTED_SECONDS * self._growth
        if self.limit:
            return later / self.limit
        return math.inf if later > 0 else 0.0


def _is_count(number: float) -> bool:
    return float(number).is_integer() and 0 <= number <= MOST_THINGS
