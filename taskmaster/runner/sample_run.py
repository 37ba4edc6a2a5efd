"""``--sample``: a run over a part of all jobs, with a state of its own that is thrown away, and
what to learn from it.

The state of the run itself is not even opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from taskmaster.master.reading.sampler import Sampler
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.stores.contract import Store
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.master.summary import Summary, View
from taskmaster.units import show_count, show_percent
from taskmaster.view.snapshot import Snapshot

__all__ = ["SampleRun", "scratch_store"]

ENOUGH_SECONDS = 1.0  # with all workers busy, from which on the rate is measured in that time alone


class SampleRun:
    """Measures a rehearsal, and estimates the whole run from it.

    Args:
        source: The source of the whole run.
        identity: Tells its jobs apart.
        fraction: The part of them that is run, as a fraction.

    Attributes:
        source: The source of that part.
    """

    def __init__(self, source: Source, identity: JobIdentity, fraction: float) -> None:
        self._sampler = Sampler(source, identity, fraction)
        self._fraction = fraction
        self._last: Snapshot | None = None
        self._idle = 0.0  # seconds in which there were jobs, and no worker
        self._busy = 0.0  # seconds in which there was a job for every worker
        self._settled = 0  # jobs that were settled in these seconds
        self.source = Source(self._sampler, name=source.name)

    def announce(self) -> str:
        """Return what to say at the start."""
        return (
            f"Rehearsal: {show_percent(self._fraction)} of all jobs are run, the same ones each time; the others are "
            "only read. The state of the run is not touched."
        )

    def watch(self, view: View) -> View:
        """Return a view through which the rehearsal sees how the run fares."""
        return _Watched(view, self)

    def observe(self, snapshot: Snapshot) -> None:
        """Take note of how the run stands."""
        last, self._last = self._last, snapshot
        if last is None or self._sampler.handed_at is None:
            return
        seconds = snapshot.elapsed - last.elapsed
        if not snapshot.workers:
            self._idle += seconds
        elif last.workers and last.queued and snapshot.queued:
            self._busy += seconds
            self._settled += snapshot.settled_here - last.settled_here

    def report(self, summary: Summary, now: float) -> list[str]:
        """Return what to say at the end.

        Args:
            summary: The summary of the rehearsal.
            now: On the monotonic clock.
        """
        sampler = self._sampler
        if not summary.settled:
            read = show_count(sampler.read, "job")
            fraction = show_percent(self._fraction)
            return [f"Rehearsal: {read} read, and none belongs to a sample of {fraction}; give a larger --sample."]
        failed = f", {summary.failed} of them failed" if summary.failed else ""
        workers = self._last.workers if self._last is not None else 0
        whole = self.estimate(summary.settled, now)
        alike = f" with as many workers ({workers})" if workers else ""
        took = f"It took {_shown(summary.elapsed)}; to read all jobs took {_shown(sampler.reading)} of that."
        ran = f"{summary.settled} of {show_count(sampler.read, 'job')} {'was' if summary.settled == 1 else 'were'}"
        all_jobs = "The one job" if sampler.read == 1 else f"All {sampler.read} jobs"
        return [
            f"Rehearsal: {ran} run{failed}. {took}",
            f"{all_jobs} would take about {_shown(whole)}{alike}.",
        ]

    def estimate(self, settled: int, now: float) -> float:
        """Return seconds that all jobs would take: those that the source or those that the workers
        need, whatever is more.

        Args:
            settled: Jobs of the sample.
            now: On the monotonic clock.
        """
        sampler = self._sampler
        running = max(0.0, now - (sampler.handed_at or now) - self._idle)
        if self._busy >= ENOUGH_SECONDS and self._settled:
            running, settled = self._busy, self._settled
        return max(sampler.reading, running * sampler.read / settled)


class _Watched:
    """A view that tells a rehearsal what it is shown."""

    def __init__(self, view: View, sample: SampleRun) -> None:
        self._sample = sample
        self._view = view
        self.close = view.close
        self.say = view.say

    def update(self, snapshot: Snapshot) -> None:
        self._sample.observe(snapshot)
        self._view.update(snapshot)


@contextmanager
def scratch_store(target: str) -> Iterator[Store]:
    """Return a state that is gone afterwards. In a file, because what fails is kept there and may
    be much.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="taskmaster-") as directory:
        store = SqliteStore.open(Path(directory) / "rehearsal.tmstate", RunIdentity.named("a rehearsal"), target)
        try:
            yield store
        finally:
            store.close()


def _shown(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 10 else f"{seconds:.2g} s"
