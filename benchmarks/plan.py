"""What is measured: the works on each peer, with how many jobs, and what Taskmaster is to reach.

Slow peers get fewer jobs; rates are comparable all the same, because none of them becomes faster with more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.works import COMMON, SLOW, WORKERS

__all__ = ["FIGURES", "GOALS", "TASKMASTER", "Case", "Goal", "Lookup", "cases"]

TASKMASTER = "Taskmaster"

Lookup = Callable[[str, str, str], float]
"""Gives what was measured, by work, peer and figure; raises KeyError if it was not."""

FIGURES = {
    "rate": ("jobs/s", "{:,.0f}"),
    "efficiency": ("of ideal", "{:.1%}"),
    "seconds": ("s", "{:.2f}"),
    "peak": ("MB at most", "{:.1f}"),
    "late": ("s late at most", "{:.3f}"),
    "again": ("jobs run twice", "{:.0f}"),
    "cost": ("us CPU a job", "{:.1f}"),
    "idle": ("of a core, idle", "{:.1%}"),
}
"""What a measurement can show: its unit, and how it is written."""


@dataclass(frozen=True, slots=True)
class Case:
    """One work on one peer.

    Attributes:
        work: its name.
        peer: who does it; of Taskmaster, also with what.
        script: the module in ``benchmarks.peers`` that measures it.
        jobs: how many; 0 if the script does as many as it can in a time, and checks them itself.
        quick: how many in a quick run; None if it is left out there.
        shows: which of ``FIGURES`` the table has.
        words: what the script is given besides.
        quick_words: the same in a quick run.
        ideal: seconds that so many jobs would take if handing them out cost nothing; gives ``efficiency``.
        target: what the script is told to do, if not ``work``.
        redis: it needs a Redis server.
        once: it is measured in the first round only, because what it shows is no time.
        limit: seconds after which it is ended as a failure.
    """

    work: str
    peer: str
    script: str
    jobs: int
    quick: int | None = None
    shows: tuple[str, ...] = ("rate",)
    words: tuple[str, ...] = ()
    quick_words: tuple[str, ...] | None = None
    ideal: Callable[[int], float] | None = None
    target: str | None = None
    redis: bool = False
    once: bool = False
    limit: float = 300.0

    def shortened(self) -> Case | None:
        """The case as it is in a quick run."""
        if self.quick is None:
            return None
        words = self.words if self.quick_words is None else self.quick_words
        return replace(self, jobs=self.quick, words=words)


def shared(jobs: int) -> float:
    """W3's ideal: the workers share it out, and do nothing else."""
    return jobs * COMMON["W3"].seconds / WORKERS


_ROUND = 1_000_000
CASES = [
    # Whatever is compared with each other is measured one after the other.
    Case("W1", TASKMASTER, "tm_run", 5 * _ROUND, 500_000),
    Case("W1", "Pool", "pool", 5 * _ROUND, 500_000),
    Case("W9", "null store", "tm_run_null_store", 5 * _ROUND, 500_000, target="W1"),
    Case("W1", "two plain loops", "loops", 5 * _ROUND, 500_000),
    Case("W2", TASKMASTER, "tm_run", _ROUND, 100_000),
    Case("W2", "Pool", "pool", _ROUND, 100_000),
    Case("W2", "two plain loops", "loops", _ROUND, 100_000),
    Case("W3", TASKMASTER, "tm_run", 10_000, 1_000, ("efficiency",), ideal=shared),
    Case("W3", "Pool", "pool", 10_000, 1_000, ("efficiency",), ideal=shared),
    Case("W3", "two plain loops", "loops", 10_000, 1_000, ("efficiency",), ideal=shared),
    # The clock of W4 and W5 runs over the fast jobs too, which ideally take no time.
    Case("W4", TASKMASTER, "tm_run", _ROUND + SLOW, 100_000 + SLOW, ("seconds", "efficiency"),
         ideal=lambda jobs: SLOW / WORKERS),  # noqa: ARG005
    Case("W6", TASKMASTER, "tm_run", 1, 1, ("seconds",)),
    Case("W6", "Pool", "pool", 1, 1, ("seconds",)),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Goal:
    """What Taskmaster is to reach.

    Attributes:
        work: in which work.
        says: what of.
        value: computes it; is given a function that gives a figure of a case.
        limit: what it is to be.
        at_least: ``limit`` is the least; else it is the most.
        form: how it is written.
    """

    work: str
    says: str
    value: Callable[[Lookup], float]
    limit: float
    at_least: bool = False
    form: str = "{:.2f}"

    def met(self, value: float) -> bool:
        """Whether it is reached."""
        return value >= self.limit if self.at_least else value <= self.limit


GOALS = [
    Goal("W1", "times the rate of Pool", lambda of: of("W1", TASKMASTER, "rate") / of("W1", "Pool", "rate"), 1.0, True),
    Goal("W2", "times the rate of Pool", lambda of: of("W2", TASKMASTER, "rate") / of("W2", "Pool", "rate"), 1.5, True),
    Goal("W3", "of the ideal", lambda of: of("W3", TASKMASTER, "efficiency"), 0.985, True, "{:.1%}"),
    Goal("W4", "s more than the ideal", lambda of: of("W4", TASKMASTER, "seconds") - SLOW / WORKERS, 1.0),
    Goal("W6", "times Pool's", lambda of: of("W6", TASKMASTER, "seconds") / of("W6", "Pool", "seconds"), 3.0),
    Goal("W6", "s", lambda of: of("W6", TASKMASTER, "seconds"), 1.0),
]


def cases(quick: bool) -> list[Case]:
    """What is measured in a round, in this order."""
    if quick:
        return [short for case in CASES if (short := case.shortened()) is not None]
    return list(CASES)
