"""A guard of the lag beside a standby that is played: one that replays less than a run writes, for
as long as the run lasts.
"""

from __future__ import annotations

import pytest

from taskmaster.guards.guard import Backlog
from taskmaster.master.throttle.hooks import Hook
from taskmaster.master.throttle.moves import share_left

LIMIT_SECONDS = 5.0
TICKS = 20  # a second


class PlayedStandby:
    """What was written by when, and how far it is replayed, in seconds of a run at full speed.

    Args:
        capacity: What it replays in a second.
    """

    def __init__(self, capacity: float) -> None:
        self.now = 0.0
        self.replayed = 0.0
        self._capacity = capacity
        self._written = [0.0]
        self._at = 0

    def tick(self, share: float) -> None:
        """Write and replay for a tick."""
        self.now += 1 / TICKS
        self._written.append(self._written[-1] + share / TICKS)
        self.replayed = min(self._written[-1], self.replayed + self._capacity / TICKS)
        while self._at < len(self._written) - 1 and self._written[self._at + 1] <= self.replayed + 1e-9:
            self._at += 1

    def lag(self) -> float:
        """Return how old the newest is that was replayed."""
        return 0.0 if self._at == len(self._written) - 1 else self.now - self._at / TICKS


@pytest.mark.parametrize("capacity", [0.9, 0.75, 0.5, 0.25])
def test_a_standby_that_lacks_capacity_stays_below_its_limit(capacity: float) -> None:
    """The run is slowed to what the standby replays, before it would have to be stopped."""
    standby = PlayedStandby(capacity)
    guard = Backlog(standby.lag, LIMIT_SECONDS, "replication lag", "s", clock=lambda: standby.now)
    hook = Hook(guard, lambda: standby.now)
    lags, shares = [], []
    for tick in range(180 * TICKS):
        if tick % TICKS == TICKS // 2:
            hook.ask()
        share = share_left(hook.utilisation or 0.0)
        standby.tick(0.0 if guard.value is not None and guard.reason else share)
        lags.append(standby.lag())
        shares.append(share)

    assert max(lags) <= LIMIT_SECONDS
    assert min(shares) < 0.8
    assert standby.replayed >= 0.85 * capacity * 180
