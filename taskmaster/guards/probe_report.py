"""What a probe says without a run, for somebody who chooses a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from taskmaster.guards.guard import Unknown
from taskmaster.guards.pace import PROBE_SECONDS
from taskmaster.units import show_count

__all__ = ["LIMITS", "ProbeReport"]

LIMITS = (1.5, 2.0, 3.0)  # times that are shown as examples


class ProbeReport:
    """Probes for some seconds, and says what came of it.

    Args:
        probe: Gives the seconds that it took, or raises ``Unknown``.
        clock: Gives monotonic seconds.
        wait: Waits for some.

    Attributes:
        taken: The seconds of each probe, in their order.
        sessions: How many sessions of others were at work at most; None if that may not be seen.
        core: The fraction of a processor core of this machine that the probes took.
        trouble: Why the last probe could not be made; "" if it could.
    """

    def __init__(
        self,
        probe: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.taken: list[float] = []
        self.sessions: int | None = 0
        self.core = 0.0
        self.trouble = ""
        self._probe = probe
        self._clock = clock
        self._wait = wait

    def beginning(self, seconds: float, *, own: bool) -> str:
        """Return what is about to be measured.

        Args:
            seconds: For how long.
            own: Whether the probe is a statement of the user's own.
        """
        what = "Your statement" if own else "A transaction that reads one row"
        return f"{what}, {1 / PROBE_SECONDS:.0f} times a second for {seconds:g} s, to see what others feel of it now:"

    def lines(self, seconds: float) -> Iterator[str]:
        """Probe for ``seconds``, and yield a line for each of them."""
        self._try(self._probe)  # the first one connects
        self.taken.clear()
        began, used = self._clock(), time.thread_time()
        while (now := self._clock()) - began < seconds:
            known = len(self.taken)
            while self._clock() - now < min(1.0, seconds):
                self._wait(PROBE_SECONDS)
                if (taken := self._try(self._probe)) is not None:
                    self.taken.append(taken)
            at_work = self._look()
            newest = self.taken[known:]
            yield f"{_shown(newest)}{at_work}" if newest else f"no answer: {self.trouble}"
        self.core = (time.thread_time() - used) / max(1e-9, self._clock() - began)

    def summary(self) -> list[str]:
        """Return what the limits would allow, in lines."""
        if not self.taken:
            return [f"The server has answered nothing: {self.trouble}."]
        middle, slow = self.figures()
        again = (
            "If a run is at work there now, end it and measure again: a limit is in times of what is felt without it."
        )
        found = [f"All {len(self.taken)} together: {_shown(self.taken)}. {again}"]
        found += [
            f"--pace={times:g}x would keep the median below {_ms(times * middle)}, and p95 below {_ms(times * slow)}."
            for times in LIMITS
        ]
        found.append(f"Measuring so costs {100 * self.core:.2g} % of a processor core of this machine.")
        if getattr(self._probe, "reads_only", False):
            found.append(
                "Nothing can be committed there (a standby, or a session that is read only): how long others wait for "
                "their commits is not measured."
            )
        if self.sessions is None:
            found.append(
                "This user may not see whether others are at work, so that a run always expects them: GRANT pg_monitor "
                "TO the user."
            )
        return found

    def figures(self) -> tuple[float, float]:
        """Return the median, and what 95 % of the probes are within, in seconds."""
        found = sorted(self.taken)
        return found[len(found) // 2], found[int(0.95 * len(found))]

    def as_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        middle, slow = self.figures() if self.taken else (None, None)
        return {
            "probes": len(self.taken),
            "median": middle,
            "p95": slow,
            "sessions": self.sessions,
            "core": self.core,
            "reads_only": bool(getattr(self._probe, "reads_only", False)),
            "trouble": self.trouble,
        }

    def _look(self) -> str:
        look: Callable[[], frozenset[int] | None] | None = getattr(self._probe, "sessions", None)
        if look is None:
            return ""
        try:
            found = look()
        except Unknown:
            return ""
        if found is None or self.sessions is None:
            self.sessions = None
            return ""
        self.sessions = max(self.sessions, len(found))
        return f"; {show_count(len(found), 'session')} of others at work"

    def _try(self, what: Callable[[], float]) -> float | None:
        try:
            taken = what()
        except Unknown as exc:
            self.trouble = str(exc)
            return None
        self.trouble = ""
        return taken


def _shown(taken: list[float]) -> str:
    found = sorted(taken)
    return f"median {_ms(found[len(found) // 2])}, p95 {_ms(found[int(0.95 * len(found))])}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
