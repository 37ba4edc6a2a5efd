"""A world with outages: for a while each job fails alike, then all works again."""

from __future__ import annotations

from support.world import Disk, World


class OutageWorld(World):
    """See the module."""

    def __init__(self, seed: int, disk: Disk | None = None) -> None:
        self.outages = 0
        self.healthy: set | None = None  # the jobs that fail by themselves, while all do
        self.away_until = 0.0
        super().__init__(seed, disk)

    def step(self):
        if self.healthy is None and self.random.random() < 0.05:
            self.outages += 1
            self.healthy, self.bad = self.bad, {payload for _, payload in self.all_rows()}
            self.away_until = self.now + self.random.uniform(5.0, 120.0)
        elif self.now >= self.away_until:
            self.mend()
        super().step()

    def mend(self) -> None:
        """End the outage, if there is one."""
        if self.healthy is not None:
            self.bad, self.healthy = self.healthy, None

    def drain(self):
        self.mend()
        super().drain()
