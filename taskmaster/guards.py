"""Guards: numbers that must not become too large while a run goes on, such as the seconds that a
standby is behind.

A guard is made wherever the module is imported, also in every worker, so that making one costs
nothing: it reads nothing and imports no driver before it is called.

Guarantee: a guard that does not know its value lets nothing pass.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

from taskmaster.errors import UsageError

__all__ = ["Guard", "Unknown", "hooks_of"]

CALM_SHARE = 0.8  # of the limit, to which a value that was above it has to fall


class Unknown(Exception):
    """The value of a guard cannot be told; the message says why."""


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
        strict: The limit itself is too much already.

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
        return f"<Guard of {self.what}, {self._not_above}>"

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
        """Return whether a number allows the run to go on; gives the reason why not, or ""."""
        try:
            self.value = None if value is None else float(value)
        except (TypeError, ValueError):
            self.value = None
        if self.value is None or math.isnan(self.value):
            self.value = None
            self.reason = f"{self.what} is unknown: {value!r} is no number"
            return self.reason
        calm = CALM_SHARE * self.limit
        if self._is_above(self.value):
            self._waits = True
            self.reason = f"{self.what} {self._show(self.value)}, {self._not_above}"
        elif self._waits and self.value > calm:
            self.reason = (
                f"{self.what} {self._show(self.value)}, was {self._not_above} and has to fall to {self._show(calm)}"
            )
        else:
            self._waits = False
            self.reason = ""
        return self.reason

    def close(self) -> None:
        """Give back what reading needs; the next call opens it again."""
        close = getattr(self._read, "close", None)
        if close is not None:
            close()

    @property
    def _not_above(self) -> str:
        return f"{'not below' if self._strict else 'above'} {self._show(self.limit)}"

    def _is_above(self, value: float) -> bool:
        return value >= self.limit if self._strict else value > self.limit

    def _show(self, value: float) -> str:
        text = f"{value:.2f}".rstrip("0").rstrip(".") if value == 0 or abs(value) >= 1 else f"{value:.2g}"
        return f"{text} {self._unit}".rstrip()


def hooks_of(given: Any, where: str) -> tuple[Callable[[], Any], ...]:
    """Return what ``throttle`` names, each to be asked whether the run has to wait.

    Args:
        given: A function, a guard, or a list of them; None if there is none.
        where: For the message, such as "throttle in backfill.py".

    Raises:
        UsageError: It is something else, or cannot be called without arguments.
    """
    if given is None or isinstance(given, ModuleType):
        return ()
    hooks = tuple(given) if isinstance(given, list | tuple) else (given,)
    for hook in hooks:
        if not callable(hook) or isinstance(hook, type):
            why = f"names {hook!r:.80}, which is no function"
        elif inspect.iscoroutinefunction(hook) or inspect.isgeneratorfunction(hook):
            why = f"names {hook.__name__}, which gives a coroutine or a generator when it is called, and no answer"
        elif not _needs_nothing(hook):
            why = f"names {getattr(hook, '__name__', type(hook).__name__)}, which cannot be called without arguments"
        else:
            continue
        raise UsageError(
            f"{where} {why}: give a function without arguments that returns why to wait, or an empty text to go on; a "
            "guard; or a list of these."
        )
    return hooks


def _needs_nothing(hook: Callable[..., Any]) -> bool:
    try:
        inspect.signature(hook).bind()
    except TypeError:
        return False
    except ValueError:
        pass  # written in C, and says nothing of its arguments
    return True
