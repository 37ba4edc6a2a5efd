"""How a run stands, drawn again and again in the same place of a terminal. Pure: makes texts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from taskmaster.redaction import clean
from taskmaster.view.status import Rate, sparkline

__all__ = ["Watch"]

SAMPLES = 60  # most bars in the row
HOME, TO_LINE_END, TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"


class Watch:
    """Remembers how fast the run was.

    Attributes:
        rate: The rate that all statuses have given.
    """

    def __init__(self) -> None:
        self.rate = Rate()
        self._bars: deque[float] = deque(maxlen=SAMPLES)
        self._last: tuple[float, int] | None = None

    def add(self, status: Mapping[str, Any]) -> None:
        """Take in what a master has said."""
        elapsed, settled = float(status.get("elapsed", 0.0)), int(status.get("settled_here", 0))
        if self._last is None:
            # The rate begins with what was settled before anybody looked.
            self.rate.add(elapsed, settled, status.get("working"), float(status.get("share_here") or 0.0))
        elif elapsed > self._last[0]:
            self._bars.append((settled - self._last[1]) / (elapsed - self._last[0]))
            self.rate.add(elapsed, settled, status.get("working"), float(status.get("share_here") or 0.0))
        self._last = (elapsed, settled)

    def screen(self, lines: Sequence[str]) -> str:
        """Return what draws these lines, and the row of bars, over what was drawn before."""
        bars = f"Per second {sparkline(list(self._bars))} up to {max(self._bars, default=0.0):.4g}"
        body = "".join(f"{clean(line)}{TO_LINE_END}\n" for line in (*lines, bars))
        return f"{HOME}{body}{TO_SCREEN_END}"
