"""Hooks: the functions and guards that the user gave as ``throttle``, each asked in a thread of its
own whether the run has to wait.

Guarantees: a hook that hangs or raises stops nothing but the handing out of jobs, neither reports
nor other hooks nor the end of the run; and while a hook's answer is not known, the run waits.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from taskmaster.django_orm import integration
from taskmaster.runtime.child_process import children_kept_out
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.tracebacks import one_line, users_traceback

__all__ = ["HOOK_CALL_PAUSE_SECONDS", "HOOK_TIMEOUT_SECONDS", "Hook"]

logger = clean_logger(__name__)

HOOK_CALL_PAUSE_SECONDS = 1.0  # from the end of a call to the next one
HOOK_TIMEOUT_SECONDS = 5.0  # a call that takes longer makes the previous answer count no more
FALL_PER_SECOND = 0.05  # of the share of a guard's limit: what was near it counts for some seconds
LONGEST_HOOK_REASON = 300  # characters
MOST_LOGGED = 100  # different errors that are logged: their texts may have the time of day in them


class Hook:
    """One hook, and its last answer.

    Args:
        call: The hook.
        clock: Gives monotonic seconds.

    Attributes:
        name: What messages call it.
        utilisation: How near a guard's value is to its limit, at which it is 1; None if that is
            not known, or if the hook has no number.
    """

    def __init__(self, call: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._call = call
        self._clock = clock
        what = getattr(call, "what", None)
        self.name = what if isinstance(what, str) else f"{getattr(call, '__name__', type(call).__name__)}()"
        self._answer = f"{self.name} is not known yet"
        self.utilisation: float | None = None
        self._noted_at = -math.inf  # when that was noted
        self._since: float | None = None  # start of the call that is under way; None between calls
        self._logged: set[tuple[str, ...]] = set()
        self._stop = threading.Event()
        run = integration.with_activated(self._run)
        self._thread = threading.Thread(target=run, name=f"taskmaster-{self.name}", daemon=True)

    def start(self) -> None:
        """Begin to ask the hook, again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the hook no more, without waiting for it."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait until the hook has been closed, at most for ``seconds``."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def why(self, now: float) -> str:
        """Return why this hook wants the run to wait; "" if it may go on."""
        since = self._since
        if since is not None and now - since > HOOK_TIMEOUT_SECONDS:
            return f"{self.name} is not known: it has not answered for {now - since:.0f} s"
        return self._answer

    def figure(self) -> dict[str, Any] | None:
        """Return the number of a guard, as it was read last; None of a hook that has none."""
        limit = getattr(self._call, "limit", None)
        if not isinstance(limit, int | float) or isinstance(limit, bool) or not math.isfinite(limit):
            return None
        value = getattr(self._call, "value", None)
        known = isinstance(value, int | float) and math.isfinite(value)
        return {"name": self.name[:100], "value": value if known else None, "limit": limit}

    def ask(self) -> None:
        """Call the hook, and keep its answer."""
        self._since = self._clock()
        try:
            # As around a job: a connection of Django's that is lost would stay lost, and the run
            # would wait for ever.
            integration.refresh_connections()
            with children_kept_out():
                said = self._call()
            self._answer = _one_line(said if isinstance(said, str) else f"{self.name} says so") if said else ""
        except BaseException as exc:
            self._answer = _one_line(f"{self.name} is not known: it raised {one_line(exc)}")
            self._log(exc)
        finally:
            self._note_utilisation()
            integration.refresh_connections()
            self._since = None

    def _note_utilisation(self) -> None:
        """Note how near the guard's value is to its limit: a rise at once, a fall slowly.

        What goes up and down, as the lag of a standby with long queries does, would let the run go
        on whenever it is down.
        """
        used: Any = getattr(self._call, "utilisation", None)
        before, now = self.utilisation, self._clock()
        if not isinstance(used, int | float) or math.isnan(used):
            self.utilisation = None
        elif before is None:
            self.utilisation = float(used)
        else:
            self.utilisation = max(float(used), min(before, 1.0) - FALL_PER_SECOND * (now - self._noted_at))
        self._noted_at = now

    def _run(self) -> None:
        self.ask()
        while not self._stop.wait(HOOK_CALL_PAUSE_SECONDS):
            self.ask()
        try:
            close = getattr(self._call, "close", None)
            if close is not None:
                close()
        except BaseException as exc:
            self._log(exc)
        finally:
            integration.close_connections()

    def _log(self, exc: BaseException) -> None:
        """Log the traceback of an error that is unlike all before."""
        frames = traceback.extract_tb(exc.__traceback__)[-1:]
        kind = (one_line(exc), *(f"{frame.filename}:{frame.lineno}" for frame in frames))
        if kind not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(kind)
            logger.error("%s raised, and while it does, nothing is handed out:\n%s", self.name, users_traceback(exc))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_HOOK_REASON] or "no reason is given"
