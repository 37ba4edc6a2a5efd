"""A world whose source plans key ranges: other borders each time it is asked, and rows that fail
inside of them.
"""

from __future__ import annotations

import pickle
from collections import Counter

from support.world import Disk, Violation, World
from taskmaster import keys
from taskmaster.model import Failure, Job


class Ranges:
    """Ranges ``(lo, hi]`` over the rows of a world, of random lengths."""

    parked = True

    def __init__(self, world: PlannedWorld) -> None:
        self.world = world
        self.bound = 0

    def bounds(self, bound):
        self.bound = max(self.world.rows, default=0) if bound is None else bound
        return self.bound

    def iterate(self, last):
        world = self.world
        low = 0 if last is None else last[1]
        while low < self.bound:
            if world.raises and world.faults and world.random.random() < 0.05:
                raise OSError("the database went away")
            high = min(self.bound, low + world.random.randint(1, 12))
            yield Job((low, high), (low, high))
            low = high

    def split(self, key):
        low, high = key
        inside = [row for row in self.world.rows if low < row <= high]
        if len(inside) < 2:
            return []
        middle = inside[len(inside) // 2 - 1]
        return [Job((low, middle), (low, middle)), Job((middle, high), (middle, high))]

    def took(self, jobs, seconds):
        self.world.timed += len(jobs)
        if seconds < 0:
            raise Violation("a range took less than no time")


class PlannedWorld(World):
    """See the module. ``rows`` are plain numbers here, and the ledger counts each of them."""

    timed = 0

    def __init__(self, seed: int, disk: Disk | None = None) -> None:
        self.handed: set = set()
        super().__init__(seed, disk)

    def start_master(self) -> None:
        if not self.generation:
            r = self.random
            self.rows = sorted(r.sample(range(1, 200), r.randint(0, 80)))
            self.bad, self.deadly, self.hanging = (
                {row for row in self.rows if r.random() < r.choice([0.0, 0.05])} for _ in range(3)
            )
            self.slow, self.skipped, self.together = set(), set(), False
        self.takes_last = True
        super().start_master()
        self.reader.prepare()

    def make_source(self):
        return Ranges(self)

    def inside(self, job) -> list:
        return [row for row in self.rows if job[0] < row <= job[1]]

    def change_rows(self) -> None:
        """Rows come after the end: they are none of this run's."""
        if self.random.random() < 0.3:
            self.rows.append(max(self.rows, default=0) + self.random.randint(1, 9))

    def post(self, slave) -> None:
        before = set(slave.work)
        super().post(slave)
        for held, work in slave.work.items():
            if held not in before:
                for job in work.jobs:
                    self._check_borders(job)

    def _check_borders(self, job) -> None:
        """Once handed out, a range keeps its borders; else it is a part of one."""
        for other in self.handed:
            apart = other[1] <= job[0] or job[1] <= other[0]
            part = other[0] <= job[0] and job[1] <= other[1]
            if not apart and not part and not (job[0] <= other[0] and other[1] <= job[1]):
                raise Violation(f"the range {job} was handed out, and before it {other}")
        self.handed.add(job)

    def _run(self, slave, held, work) -> None:
        job = work.jobs[work.at]
        rows = set(self.inside(job))
        if rows & self.deadly or (self.faults and self.random.random() < 0.02):
            slave.in_flight.crash(held, [work.at], "killed")
            return
        if rows & self.hanging:
            slave.in_flight.crash(held, [work.at], "too long", timed_out=True)
            return
        if rows & self.bad or (self.faults and self.random.random() < 0.05):
            held.fail(Failure(work.at, "ValueError", "bad", "Traceback"))
        else:
            self.ledger.update(rows)
        work.at += 1
        slave.in_flight.progress(held, work.at)

    def _covered(self) -> set:
        found: set = set()
        for job in [*self.disk.parked.values(), *self.disk.failed.values()]:
            found.update(self.inside(pickle.loads(job.payload)))
        return found

    def _check_mark(self, before) -> None:
        if self.disk.mark is None:
            return
        mark = keys.decode(self.disk.mark)
        if before is not None and keys.decode(before)[1] > mark[1]:
            raise Violation(f"the mark moved back from {before} to {mark}")
        if self.disk.bound is None:
            raise Violation("jobs are in the state, and not where the source ends")
        covered = self._covered()
        for row in self.rows:
            if row <= mark[1] and not self.ledger[row] and row not in covered:
                raise Violation(f"the mark {mark} passed {row}, which never ran")

    def check_end(self) -> None:
        failed: Counter = Counter()
        for job in self.disk.failed.values():
            low, high = pickle.loads(job.payload)
            rows = self.inside((low, high))
            failed.update(rows)
            if job.type != "SlaveLost" and len(rows) > 1:
                raise Violation(f"the range {low} to {high} failed with {len(rows)} rows, and was not split")
        for row in self.rows:
            if self.disk.bound is not None and row > keys.decode(self.disk.bound):
                if self.ledger[row]:
                    raise Violation(f"{row} came after the start, and was run")
            elif self.disk.bound is not None and not self.ledger[row] and not failed[row]:
                raise Violation(f"lost: {row}")
        wrong = (self.bad | self.deadly | self.hanging) & set(self.ledger)
        if wrong:
            raise Violation(f"{wrong} cannot have gone well")
        if self.disk.parked:
            raise Violation("the run is over, and ranges are still parked")
