"""What is measured: the works on each peer, with how many jobs, and what Taskmaster is to reach.

Slow peers get fewer jobs, so that each measurement takes some seconds; rates are comparable all the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.works import COMMON, SHORT, TENTH, WORKERS

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
    "cost": ("us of CPU a job", "{:.1f}"),
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
        jobs: how many (of W8: slaves); None if it is only for quick runs.
        quick: how many in a quick run; None if it is left out there.
        shows: which of ``FIGURES`` the table has.
        words: what the script is given besides.
        quick_words: the same in a quick run, if it is not.
        ideal: the seconds that it would take if handing out jobs cost nothing; gives
            ``efficiency``.
        called: what the script knows the work as, if not by its name.
        redis: it needs a Redis server.
        once: it is measured in the first round only.
    """

    work: str
    peer: str
    script: str
    jobs: int | None
    quick: int | None = None
    shows: tuple[str, ...] = ("rate",)
    words: tuple[str, ...] = ()
    quick_words: tuple[str, ...] = ()
    ideal: Callable[[Case], float] | None = None
    called: str = ""
    redis: bool = False
    once: bool = False

    def given(self, name: str) -> float:
        """The number in the word ``name=number``."""
        return float(dict(word.split("=") for word in self.words)[name])


# -- ideals: the workers share out what there is to do, and do nothing else ------------------------


def _shared(case: Case) -> float:
    return (case.jobs or 0) * COMMON["W3"].seconds / WORKERS


def _slow(case: Case) -> float:
    # A second each. The clock runs over the fast jobs before them too, which would take no time.
    return case.given("slow") / WORKERS


def _straggler(case: Case) -> float:
    seconds = case.given("seconds")
    return max(seconds, (seconds + (case.jobs or 0) * SHORT) / WORKERS)


def _awaited(case: Case) -> float:
    return (case.jobs or 0) * TENTH / WORKERS / case.given("--concurrency")


# -- cases: in the order in which they are measured; what is compared with each other is near to eac

_MILLION = 1_000_000
_SHARE = ("efficiency",)
_TIME = ("seconds", "efficiency")
_CROWD = ("efficiency", "peak", "cost", "idle")
_CASES = (
    Case("W1", TASKMASTER, "tm_run", 5 * _MILLION, 500_000),
    Case("W1", "Pool", "pool", 5 * _MILLION, 500_000),
    Case("W9", "null store", "tm_run_null_store", 5 * _MILLION, 500_000, called="W1"),
    Case("W1", "two plain loops", "loops", 5 * _MILLION, 500_000),
    Case("W1", "Executor", "executor", 2 * _MILLION, 200_000),
    Case("W1", "joblib", "joblib_loky", _MILLION, 50_000),
    Case("W1", "Dask", "dask_cluster", 3_000),
    Case("W1", "Dask, 100 a future", "dask_cluster", 200_000, words=("100",)),
    Case("W1", "Celery", "celery_redis", 4_000, redis=True),
    Case("W1", "Celery, chunks of 100", "celery_redis", 50_000, words=("100",), redis=True),
    Case("W1", "Huey", "huey_redis", 10_000, redis=True),
    Case("W2", TASKMASTER, "tm_run", _MILLION, 100_000),
    Case("W2", "Pool", "pool", _MILLION, 100_000),
    Case("W2", "two plain loops", "loops", _MILLION, 100_000),
    Case("W2", "Executor", "executor", 500_000, 50_000),
    Case("W2", "joblib", "joblib_loky", 400_000, 50_000),
    Case("W2", "Dask", "dask_cluster", 3_000),
    Case("W2", "Dask, 100 a future", "dask_cluster", 100_000, words=("100",)),
    Case("W2", "Celery", "celery_redis", 4_000, redis=True),
    Case("W2", "Celery, chunks of 100", "celery_redis", 20_000, words=("100",), redis=True),
    Case("W2", "Huey", "huey_redis", 10_000, redis=True),
    Case("W3", TASKMASTER, "tm_run", 10_000, 1_000, _SHARE, ideal=_shared),
    Case("W3", "Pool", "pool", 10_000, 1_000, _SHARE, ideal=_shared),
    Case("W3", "two plain loops", "loops", 10_000, 1_000, _SHARE, ideal=_shared),
    Case("W3", "Executor", "executor", 10_000, 1_000, _SHARE, ideal=_shared),
    Case("W3", "joblib", "joblib_loky", 10_000, 1_000, _SHARE, ideal=_shared),
    Case("W3", "Dask", "dask_cluster", 1_000, None, _SHARE, ideal=_shared),
    Case("W3", "Dask, 100 a future", "dask_cluster", 10_000, None, _SHARE, words=("100",), ideal=_shared),
    Case("W3", "Celery", "celery_redis", 2_000, None, _SHARE, ideal=_shared, redis=True),
    Case("W3", "Celery, chunks of 100", "celery_redis", 10_000, None, _SHARE, ("100",), ideal=_shared, redis=True),
    Case("W3", "Huey", "huey_redis", 5_000, None, _SHARE, ideal=_shared, redis=True),
    Case("W4", TASKMASTER, "tm_run", _MILLION + 16, 100_004, _TIME, ("slow=16",), ("slow=4",), _slow),
    Case("W5", TASKMASTER, "tm_run", 200_000, 20_000, _TIME, ("seconds=20",), ("seconds=2",), _straggler),
    Case("W6", TASKMASTER, "tm_run", 1, 1, ("seconds",)),
    Case("W6", "Pool", "pool", 1, 1, ("seconds",)),
    Case("W7", TASKMASTER, "tm_run", _MILLION, 100_000, ("peak",)),
    Case("W7", "ten times as many", "tm_run", 10 * _MILLION, _MILLION, ("peak",)),
    Case("W7", "5 KB each", "tm_run", _MILLION, 50_000, ("peak",), ("size=5120",), called="W7 texts"),
    Case("W8", "64 slaves", "crowd", None, 64, _CROWD, quick_words=("--seconds=2",)),
    Case("W8", "256 slaves", "crowd", 256, None, _CROWD, ("--seconds=10",)),
    Case("W8", "1,000 slaves", "crowd", 1_000, None, _CROWD, ("--seconds=10",)),
    Case("W10", TASKMASTER, "tm_run", 10_000, 2_000, _TIME, ("--concurrency=500",), ideal=_awaited),
    Case("W11", TASKMASTER, "tm_run", 100, 30, ("late",)),
    # Longer than a lease; whether one is lost is no matter of chance that would need rounds.
    Case("W11", "long block", "tm_run", 20, 20, ("again",), ("seconds=90",), ("seconds=6", "--lease=3"),
         called="W11 block", once=True),
)  # fmt: skip
_PEERED = ("W1", "W2", "W3", "W6", "W9")  # measured in every round of a quick run too: there is something to compare


def cases(quick: bool) -> list[Case]:
    """What is measured in a round, in this order."""
    if not quick:
        return [case for case in _CASES if case.jobs is not None]
    return [
        replace(case, jobs=case.quick, words=case.quick_words or case.words, once=case.work not in _PEERED)
        for case in _CASES
        if case.quick is not None
    ]


# -- goals -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Goal:
    """What Taskmaster is to reach, with the full numbers of jobs.

    Attributes:
        work: in which work.
        says: what of.
        limit: what it is to be.
        value: computes it.
        at_least: ``limit`` is the least; else it is the most.
        form: how it is written.
        share: the same limit as a share of the ideal, if there is one.
        peer: whose share that is, in the chart.
    """

    work: str
    says: str
    limit: float
    value: Callable[[Lookup], float]
    at_least: bool = False
    form: str = "{:.2f}"
    share: float | None = None
    peer: str = TASKMASTER

    def met(self, value: float) -> bool:
        """Whether it is reached."""
        return value >= self.limit if self.at_least else value <= self.limit


def _compared(work: str, figure: str, other: tuple[str, str]) -> Callable[[Lookup], float]:
    """How many times a figure of Taskmaster is that of another case."""
    return lambda of: of(work, TASKMASTER, figure) / of(*other, figure)


def _of(work: str, figure: str, peer: str = TASKMASTER) -> Callable[[Lookup], float]:
    """A figure as it was measured."""
    return lambda of: of(work, peer, figure)


def _crowd(peer: str) -> tuple[Goal, ...]:
    """The goals of so many slaves."""
    return (
        Goal("W8", f"of the ideal, {peer}", 0.9, _of("W8", "efficiency", peer), True, "{:.1%}", 0.9, peer),
        Goal("W8", f"MB, {peer}", 300, _of("W8", "peak", peer), form="{:.0f}"),
        Goal("W8", f"of a core if idle, {peer}", 0.05, _of("W8", "idle", peer), form="{:.1%}"),
    )


GOALS = (
    Goal("W1", "times Pool's rate", 1.0, _compared("W1", "rate", ("W1", "Pool")), True),
    Goal("W2", "times Pool's rate", 1.5, _compared("W2", "rate", ("W2", "Pool")), True),
    Goal("W3", "of the ideal", 0.985, _of("W3", "efficiency"), True, "{:.1%}", 0.985),
    Goal(
        "W4", "s more than the ideal", 1.0, lambda of: of("W4", TASKMASTER, "seconds") - of("W4", TASKMASTER, "ideal"),
        share=8 / 9,
    ),
    Goal("W5", "times the ideal", 1.05, lambda of: 1 / of("W5", TASKMASTER, "efficiency"), share=1 / 1.05),
    Goal("W6", "times Pool's time", 3.0, _compared("W6", "seconds", ("W6", "Pool"))),
    Goal("W6", "s", 1.0, _of("W6", "seconds")),
    Goal(
        "W7", "MB of growth", 5.0,
        lambda of: of("W7", "ten times as many", "peak") - of("W7", TASKMASTER, "peak"), form="{:.1f}",
    ),
    Goal("W7", "MB with 5 KB each", 200.0, _of("W7", "peak", "5 KB each"), form="{:.1f}"),
    *_crowd("256 slaves"),
    *_crowd("1,000 slaves"),
    Goal(
        "W9", "times the rate with a null store", 0.95, _compared("W1", "rate", ("W9", "null store")), True,
        share=0.95, peer="against a null store",
    ),
    Goal("W10", "s", 2.0, _of("W10", "seconds"), share=0.5),
    Goal("W11", "s from yield to start, at most", 0.1, _of("W11", "late"), form="{:.3f}"),
    Goal("W11", "jobs run twice after a long block", 0, _of("W11", "again", "long block"), form="{:.0f}"),
)  # fmt: skip
