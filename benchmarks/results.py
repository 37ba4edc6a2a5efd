"""What was measured, as rows for people and as JSON for programs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

import taskmaster
from benchmarks.peers import Sample
from benchmarks.plan import FIGURES, GOALS, TASKMASTER, Case, Goal, Lookup

__all__ = ["Results", "machine", "versions"]

PEERS = ("celery", "dask", "distributed", "hiredis", "huey", "joblib", "kombu", "redis")
"""Packages whose release matters."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: one figure of one case over all rounds.

    Attributes:
        work: which one.
        peer: who.
        jobs: how many; of W8: slaves.
        figure: which of ``FIGURES``.
        least: over the rounds.
        median: over the rounds.
        most: over the rounds.
        times: by how much Taskmaster is faster, as the ratio of the medians; None where there is
            nothing to compare.
        each: the same as the median of the rounds' ratios.
        whole: seconds from the start of the peer's script to its end, warming up and all; the
            median.
        cpu: seconds of processor time of all its processes meanwhile, a server's too; the median.
    """

    work: str
    peer: str
    jobs: int
    figure: str
    least: float
    median: float
    most: float
    times: float | None
    each: float | None
    whole: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a goal: ``value`` is of the medians, ``each`` the median over the rounds."""

    goal: Goal
    value: float
    each: float

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        goal = self.goal
        wanted = {"at_least" if goal.at_least else "at_most": goal.limit}
        return {"work": goal.work, "says": goal.says, "value": self.value, "each": self.each, **wanted}


class Results:
    """The samples of a run.

    Args:
        verdicts: say which goals are met; the goals are for the full numbers of jobs.
    """

    def __init__(self, *, verdicts: bool) -> None:
        self._verdicts = verdicts
        self._cases: dict[tuple[str, str], Case] = {}
        self._samples: dict[tuple[str, str], dict[int, Sample]] = {}

    def add(self, case: Case, turn: int, sample: Sample) -> None:
        """Take in what was measured in one round, with the figures that follow from it."""
        if case.ideal is not None:
            ideal = case.ideal(case)
            sample = {**sample, "ideal": ideal, "efficiency": ideal / sample["seconds"]}
        at = case.work, case.peer
        self._cases[at] = case
        self._samples.setdefault(at, {})[turn] = {**sample, "rate": sample["jobs"] / sample["seconds"]}

    def described(self, case: Case, turn: int) -> str:
        """One measurement, in a few words."""
        sample = self._samples[case.work, case.peer][turn]
        figures = [FIGURES[name][1].format(sample[name]) + " " + FIGURES[name][0] for name in case.shows]
        return f"{case.work} {case.peer}: {', '.join(figures)}"

    def rows(self) -> list[Row]:
        """The table, work by work."""
        ordered = sorted(self._cases.values(), key=lambda case: int(case.work[1:]))
        return [self._row(case, figure) for case in ordered for figure in case.shows]

    def outcomes(self) -> list[Outcome]:
        """The goals of all that was measured."""
        found = []
        for goal in GOALS:
            try:
                value = goal.value(self._median)
            except KeyError:
                continue  # one of its cases was left out
            found.append(Outcome(goal, value, self._over_rounds(goal.value) or value))
        return found

    def as_json(self) -> dict[str, Any]:
        """All there is, down to the single measurement."""
        samples = [
            {"work": work, "peer": peer, "round": turn, **sample}
            for (work, peer), turns in self._samples.items()
            for turn, sample in turns.items()
        ]
        return {
            "rows": [asdict(row) for row in self.rows()],
            "goals": [outcome.as_json() for outcome in self.outcomes()],
            "samples": samples,
        }

    def as_text(self) -> str:
        """The table and the goals, for people."""
        lines: list[Sequence[str]]
        lines = [("", "", "jobs", "", "min", "median", "max", "Taskmaster", "by round", "whole s", "CPU s")]
        for row in self.rows():
            unit, form = FIGURES[row.figure]
            numbers = [form.format(number) for number in (row.least, row.median, row.most)]
            times = ["" if number is None else f"{number:,.2f}x" for number in (row.times, row.each)]
            lines.append(
                (row.work, row.peer, f"{row.jobs:,}", unit, *numbers, *times, f"{row.whole:.1f}", f"{row.cpu:.1f}")
            )
        table = _aligned(lines, left=(0, 1, 3))
        lines = [("", "goal", "wanted", "medians", "by round", "")]
        for outcome in self.outcomes():
            goal = outcome.goal
            wanted = (">= " if goal.at_least else "<= ") + goal.form.format(goal.limit)
            verdict = ("" if goal.met(outcome.value) else "missed") if self._verdicts else ""
            numbers = [goal.form.format(number) for number in (outcome.value, outcome.each)]
            lines.append((goal.work, goal.says, wanted, *numbers, verdict))
        return f"{table}\n\n{_aligned(lines, left=(0, 1, 5))}"

    def _row(self, case: Case, figure: str) -> Row:
        work, peer = case.work, case.peer
        numbers = [sample[figure] for sample in self._samples[work, peer].values()]
        times = each = None
        if peer != TASKMASTER and figure in ("rate", "efficiency") and (work, TASKMASTER) in self._samples:

            def ratio(of: Lookup) -> float:
                return of(work, TASKMASTER, figure) / of(work, peer, figure)

            times, each = ratio(self._median), self._over_rounds(ratio)
        return Row(
            work=work,
            peer=peer,
            jobs=case.jobs or 0,
            figure=figure,
            least=min(numbers),
            median=statistics.median(numbers),
            most=max(numbers),
            times=times,
            each=each,
            whole=self._median(work, peer, "whole"),
            cpu=self._median(work, peer, "cpu"),
        )

    def _median(self, work: str, peer: str, figure: str) -> float:
        return statistics.median(sample[figure] for sample in self._samples[work, peer].values())

    def _over_rounds(self, value: Callable[[Lookup], float]) -> float | None:
        """The median of what a value is in each round that has all of its cases."""
        found = []
        for turn in {turn for samples in self._samples.values() for turn in samples}:
            try:
                found.append(value(self._in_round(turn)))
            except KeyError:
                continue
        return statistics.median(found) if found else None

    def _in_round(self, turn: int) -> Lookup:
        return lambda work, peer, figure: self._samples[work, peer][turn][figure]


def machine() -> dict[str, Any]:
    """What it was measured on, and how busy that was before."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return {
        "processor": model[1] if model else platform.processor(),
        "cpus": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "load": os.getloadavg()[0],
    }


def versions(peers: Iterable[str] = PEERS) -> dict[str, str]:
    """The releases of all that was measured."""
    found = {"python": platform.python_version(), "taskmaster": taskmaster.__version__}
    for name in peers:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The date and time, with the offset from UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _aligned(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Lines whose columns are as wide as they need to be."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
