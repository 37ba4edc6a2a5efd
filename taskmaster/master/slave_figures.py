"""What each slave has done: jobs, busy time, how long a job takes there; and which have gone, and
how.

Counted per report, never per job, under the master's lock; all else is reckoned when somebody
looks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

from taskmaster import keys
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.prepared import Prepared
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.broker.verdicts import Verdict
from taskmaster.master.tally.durations import Durations, bucket_of
from taskmaster.records import changing
from taskmaster.redaction import clean_short
from taskmaster.view.snapshot import SlaveState

__all__ = ["SORTED_BY", "SlaveFigures"]

MOST_GONE = 200  # slaves that have gone and are still listed
MOST_NEWS = 10_000  # most comings and goings of slaves that are kept until they are taken
SLAVE_RATE_SECONDS = 60.0  # over which the rate of a slave is measured
SLAVE_SAMPLE_SECONDS = 10.0  # between two samples of how much each slave has done


@changing(compared=True)
class _Figures:
    """What is known of one slave."""

    ident: str
    name: str
    workers: int
    release: str
    python: str
    since: float  # seconds since the epoch
    met: float  # monotonic seconds
    done: int = 0
    failed: int = 0
    busy: float = 0.0
    running: float = 0.0  # seconds of jobs that have not ended, as of when they were looked at last
    durations: Durations = field(default_factory=Durations)
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    gone: str = ""
    gone_at: float | None = None

    def rate(self, now: float) -> float:
        """Return the jobs a second of the last minute."""
        seconds, jobs = self.samples[0]
        return 0.0 if self.gone else (self.done + self.failed - jobs) / max(now - seconds, 1e-3)

    def busy_share(self, now: float) -> float | None:
        """Return the part of its workers' time in which they had a job; None when it has gone."""
        if self.gone:
            return None
        return min(1.0, (self.busy + self.running) / (max(now - self.met, 1e-3) * max(1, self.workers)))


# What the slaves can be sorted by: the name rises, of all else the largest comes first.
_SORT_KEYS: dict[str, Callable[[_Figures, float], Any]] = {
    "name": lambda figures, _: figures.name,
    "rate": lambda figures, now: -figures.rate(now),
    "done": lambda figures, _: -figures.done,
    "failed": lambda figures, _: -figures.failed,
    "busy_share": lambda figures, now: -(figures.busy_share(now) or 0.0),
    "p95": lambda figures, _: -(figures.durations.quantile(0.95) or 0.0),
}
SORTED_BY = tuple(_SORT_KEYS)


class SlaveFigures:
    """The figures of each slave, connected or gone.

    Args:
        broker: Knows what slaves hold.
        text_of: Gives a job's key as text, encoded.
        clock: Monotonic seconds.
        wall: Seconds since the epoch.

    Attributes:
        whole: How long jobs take, of all slaves.
        gone_before: Slaves that have gone and are not listed any more.
        lost: Slaves that were lost in this session.
    """

    def __init__(
        self,
        broker: Broker,
        text_of: Callable[[Any], str | None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.whole = Durations()
        self.gone_before = 0
        self.lost = 0
        self._broker = broker
        self._text_of = text_of
        self._clock = clock
        self._wall = wall
        self._known: dict[str, _Figures] = {}
        self._gone: deque[_Figures] = deque()
        self._sampled = 0.0
        self._news: deque[tuple[str, str]] = deque(maxlen=MOST_NEWS)

    def meet(self, slave: ConnectedSlave, info: dict[str, Any]) -> None:
        """Note that a slave has said hello, for the first time or again."""
        found = self._known.get(slave.id)
        if found is None:
            release, python = clean_short(info.get("version"), 50), clean_short(info.get("python"), 50)
            now = self._clock()
            found = _Figures(slave.id, slave.name, slave.workers, release, python, self._wall(), now)
            found.samples.append((now, 0))
            self._known[slave.id] = found
            self._news.append((slave.name, ""))
        found.workers = slave.workers

    def job_facts(self) -> dict[str, float | None]:
        """Return how long jobs take, as the reason for the run's speed says it."""
        return {"job_seconds": self.whole.quantile(0.5), "most_job_seconds": self.whole.quantile(0.95)}

    def note(self, slave: ConnectedSlave, prepared: Prepared) -> None:
        """Count what a report has brought."""
        found = self._known.get(slave.id)
        if found is None:
            return
        for start, end in prepared.ended:
            found.done += end - start
        if prepared.verdicts:
            found.done -= len(prepared.verdicts)
            found.failed += sum(verdict is not Verdict.SKIPPED for _, verdict in prepared.verdicts.values())
        report = prepared.report
        seconds = report.seconds
        if report.times.counts:
            found.busy += seconds
            found.durations.add_times(report.times)
            self.whole.add_times(report.times)
        elif seconds and (jobs := report.keep):
            # ``Durations.add``, written out: of a batch of one short job, two calls of it would be
            # a twentieth of all that the master does. Of a slave, only the buckets are needed.
            each, whole = seconds / jobs, self.whole
            bucket = bucket_of(each)
            found.busy += seconds
            found.durations.counts[bucket] += jobs
            whole.counts[bucket] += jobs
            whole.seconds += seconds
            if jobs > 1:
                whole.averaged = True
            if each > whole.longest:  # noqa: PLR1730  # twice as fast as max()
                whole.longest = each

    def leave(self, slave: ConnectedSlave, how: SlaveState) -> None:
        """Note that a slave has gone."""
        found = self._known.pop(slave.id, None)
        if found is None:
            return
        found.gone, found.gone_at = how, self._wall()
        self._news.append((found.name, how))
        self._gone.append(found)
        if len(self._gone) > MOST_GONE:
            self._gone.popleft()
            self.gone_before += 1

    def take_goodbye(self, ident: Any) -> str:
        """Note that a slave which was lost has said goodbye after all; return its name, "" if none
        of those that are listed has that id.
        """
        lost = (gone for gone in reversed(self._gone) if gone.gone == SlaveState.LOST)
        found = next((gone for gone in lost if gone.ident == ident), None)
        if found is None:
            return ""
        found.gone = SlaveState.SAID_GOODBYE
        return found.name

    def take_news(self) -> list[tuple[str, str]]:
        """Return the names of the slaves that have come and gone since the last call, and "" or how
        they have gone.
        """
        found = list(self._news)
        self._news.clear()
        return found

    def tick(self) -> None:
        """Let time pass, and see which slaves the broker has given up."""
        if len(self._known) != len(self._broker.slaves):
            for ident, found in list(self._known.items()):
                if self._broker.slaves.get(ident) is None:
                    self.leave(ConnectedSlave(ident, found.name, 0, 0, 0.0), SlaveState.LOST)
                    self.lost += 1
        now = self._clock()
        if now - self._sampled >= SLAVE_SAMPLE_SECONDS:
            self._sampled = now
            for found in self._known.values():
                found.samples.append((now, found.done + found.failed))
                while len(found.samples) > 1 and now - found.samples[0][0] > SLAVE_RATE_SECONDS:
                    found.samples.popleft()

    def __len__(self) -> int:
        return len(self._known) + len(self._gone)

    def rows(self, first: int = 0, most: int | None = None, sort: str = "") -> list[tuple[dict[str, Any], Any]]:
        """Return the figures of each slave, and the job that it has been running for longest; under
        the lock, so that no more is reckoned than is asked for.

        Args:
            first: How many slaves are left out.
            most: How many are wanted at most; None: all.
            sort: One of ``SORTED_BY``; any other text: the connected ones first, in the order in
                which they came.
        """
        now = self._clock()
        connected = [(self._known[slave.id], slave) for slave in self._broker.slaves if slave.id in self._known]
        found: list[tuple[_Figures, ConnectedSlave | None]] = [
            *connected,
            *((one, None) for one in reversed(self._gone)),
        ]
        key = _SORT_KEYS.get(sort)
        if sort == "busy_share":
            for figures, slave in connected:
                figures.running = self._running_seconds(figures, slave, now)
        if key is not None:
            found.sort(key=lambda one: key(one[0], now))
        return [
            (self._row(figures, now), None) if slave is None else self._connected_row(figures, slave, now)
            for figures, slave in found[first : None if most is None else first + most]
        ]

    def _connected_row(self, figures: _Figures, slave: ConnectedSlave, now: float) -> tuple[dict[str, Any], Any]:
        figures.running = self._running_seconds(figures, slave, now)
        row = self._row(figures, now)
        leases = self._broker.leases.held_by(slave)
        # The others have not begun, or not for long.
        oldest = min(
            (lease for lease in leases if lease.open and lease.worker), key=lambda lease: lease.moved, default=None
        )
        job = None
        if oldest is not None:
            job = oldest.batch.jobs[next(iter(oldest.unended()))]
            row["longest_seconds"] = round(max(0.0, now - oldest.moved), 3)
            row["worker"] = oldest.worker
        connected = SlaveState.AT_WORK if slave.closed is None else SlaveState.AWAY
        row["state"] = str(SlaveState.QUIET if slave.quiet else connected)
        row["in_hand"] = sum(lease.open for lease in leases)
        row["heard_seconds"] = round(max(0.0, now - slave.renewed), 3)
        return row, job

    def _running_seconds(self, figures: _Figures, slave: ConnectedSlave, now: float) -> float:
        """Return how long the jobs have been running that a slave names, one for each worker."""
        leases = self._broker.leases.held_by(slave)
        seconds = sorted((max(0.0, now - lease.moved) for lease in leases if lease.open and lease.worker), reverse=True)
        return sum(seconds[: figures.workers])

    def named(self, rows: Sequence[tuple[dict[str, Any], Any]]) -> list[dict[str, Any]]:
        """Return the rows with the keys of their longest jobs; outside the lock, for that may run
        the user's code.
        """
        for row, job in rows:
            if job is not None:
                text = self._text_of(job)
                row["longest"] = "" if text is None else keys.show(text)[:300]
        return [row for row, _ in rows]

    def _row(self, figures: _Figures, now: float) -> dict[str, Any]:
        share = figures.busy_share(now)
        return {
            "name": figures.name,
            "workers": figures.workers,
            "state": str(figures.gone or SlaveState.AT_WORK),
            "gone_at": figures.gone_at,
            "in_hand": 0,
            "done": figures.done,
            "failed": figures.failed,
            "rate": round(figures.rate(now), 3),
            "busy_share": None if share is None else round(share, 4),
            "p50": _rounded(figures.durations.quantile(0.5, self.whole.longest)),
            "p95": _rounded(figures.durations.quantile(0.95, self.whole.longest)),
            "longest": "",
            "longest_seconds": None,
            "worker": 0,
            "heard_seconds": None,
            "since_at": round(figures.since, 3),
            "release": figures.release,
            "python": figures.python,
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 9)
