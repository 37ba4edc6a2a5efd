"""A snapshot as text: the status line, and the object that programs read.

Pure: no clock, no terminal, and the same snapshots give the same text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from datetime import timedelta
from typing import Any, NamedTuple

from taskmaster.redaction import clean
from taskmaster.units import show_count
from taskmaster.view.snapshot import RunState, Snapshot
from taskmaster.view.time_left import Stretch, TimeLeft, time_left

__all__ = ["RATE_SECONDS", "STATUS_SCHEMA", "Rate", "eta", "show_time_left", "sparkline", "status_line", "to_json"]

STATUS_SCHEMA = 1
"""Version of what ``to_json`` returns. It rises when a field changes its meaning or goes, not when
one is added.
"""

RATE_SECONDS = 10.0  # over which the rate is measured
RATE_SAMPLE_SECONDS = 0.5  # between two remembered samples, so that few are kept at any rate of updates
WHOLE_RATE = 10  # jobs a second, from which on the short form shows no decimals
MINUTE_SECONDS, MOST_MINUTES = 60.0, 60  # minutes of work whose rates say how much the speed varies
LONGEST_REASON_SHOWN = 300  # characters
BARS = "▁▂▃▄▅▆▇█"
SEPARATOR = " | "
ELLIPSIS = "..."
_FIELDS = [one.name for one in fields(Snapshot) if one.name != "most_job_seconds"]  # which ``job_seconds`` has


class Sample(NamedTuple):
    """How far the session was at a moment.

    Attributes:
        elapsed: Seconds of the session.
        settled: Jobs that it had settled.
        share: Part of the work that it had settled, by the position of the key.
        worked: Those of the seconds in which it was not paused.
    """

    elapsed: float = 0.0
    settled: int = 0
    share: float = 0.0
    worked: float = 0.0

    def until(self, later: Sample) -> Stretch:
        """Return what was done from here to there."""
        return Stretch(later.settled - self.settled, later.share - self.share, later.worked - self.worked)


class Rate:
    """Jobs settled per second over the last ten seconds of this session, or over all of it while it
    is younger.
    """

    def __init__(self) -> None:
        # The first one is the beginning, which is what makes the rate right at once after a resume,
        # however much was settled before.
        self._samples: deque[Sample] = deque([Sample()])
        self._latest = self._minute = Sample()
        self._changed: Sample | None = None  # since when there is the rate limit that there is
        self._limit: float | None = None
        self.minutes: deque[float] = deque(maxlen=MOST_MINUTES)  # jobs a second of each minute of work

    def add(
        self,
        elapsed: float,
        settled_here: int,
        working: float | None = None,
        share_here: float = 0.0,
        limit: float | None = None,
    ) -> None:
        """Note how many jobs this session had settled ``elapsed`` seconds after its start.

        Args:
            elapsed: Seconds of the session.
            settled_here: Jobs that it has settled.
            working: Those of the seconds in which it was not paused; None: all.
            share_here: Part of the work that it has settled, by the position of the key.
            limit: Jobs a second that may be handed out at most; None: any number.
        """
        if limit != self._limit:
            # How fast it was with another limit says nothing of how fast it will be.
            self._limit, self._changed, self._minute = limit, self._latest, self._latest
            self.minutes.clear()
        at = elapsed if working is None else working
        self._latest = Sample(elapsed, settled_here, share_here, at)
        if at - self._minute.worked >= MINUTE_SECONDS:
            self.minutes.append(self._minute.until(self._latest).speed)
            self._minute = self._latest
        if elapsed - self._samples[-1].elapsed >= RATE_SAMPLE_SECONDS:
            self._samples.append(self._latest)
        while len(self._samples) > 1 and self._samples[1].elapsed <= elapsed - RATE_SECONDS:
            self._samples.popleft()

    @property
    def value(self) -> float:
        """Return the jobs per second; 0.0 while no time has passed."""
        seconds = self._latest.elapsed - self._samples[0].elapsed
        return (self._latest.settled - self._samples[0].settled) / seconds if seconds > 0 else 0.0

    @property
    def recent(self) -> Stretch:
        """Return what was done in these seconds, of those since another limit was set."""
        return max(self._samples[0], self._changed or self._samples[0]).until(self._latest)

    @property
    def steady(self) -> Stretch | None:
        """Return what was done since another limit was set; None while none was."""
        return None if self._changed is None else self._changed.until(self._latest)


def eta(snapshot: Snapshot, rate: Rate) -> float | None:
    """Return the seconds until all jobs are settled; None if they cannot be estimated, or the run
    does not run.
    """
    return time_left(snapshot, rate).seconds if snapshot.state is RunState.RUNNING else None


def show_time_left(left: TimeLeft) -> str:
    """Return when the run will be over, for people; "" if that cannot be estimated."""
    if left.seconds is None:
        return ""
    if left.if_resumed:
        return f"ETA {_duration(left.seconds)} once resumed"
    return f"ETA {_duration(left.seconds)}"


def status_line(
    snapshot: Snapshot, rate: Rate, slave_command: str = "", width: int | None = None, left: TimeLeft | None = None
) -> str:
    """Return ``Current Job: 30421 | Rate:  991.06/s | Elapsed Time: 0:00:40``, then what else is
    known.

    Why the run waits and what has failed come first among the rest. A line that would not fit is
    given in a short form, in which the same comes before everything else: at 80 columns the long
    form ends before the reason begins, and the run looks hung.

    Args:
        snapshot: The snapshot of the run.
        rate: The rate that the snapshots up to this one have given.
        slave_command: The command that starts a slave; "" if slaves need not be started by hand.
        width: Most columns of the line; None: no limit.
        left: When it will be over, where the master has said that; None: it is reckoned.
    """
    why, eta_text = _state_and_reason(snapshot, slave_command), show_time_left(left or time_left(snapshot, rate))
    parts = [*_long_form(snapshot, rate), *why, *_failed(snapshot), *_rest(snapshot, eta_text, slave_command)]
    line = clean(SEPARATOR.join(parts))
    if width is None or len(line) <= width:
        return line
    return _short_form(snapshot, rate, clean(why[0]) if why else "", eta_text, width)


def _long_form(snapshot: Snapshot, rate: Rate) -> list[str]:
    return [
        f"Current Job: {snapshot.settled}",
        f"Rate:  {rate.value:6.2f}/s",
        f"Elapsed Time: {_duration(snapshot.elapsed)}",
    ]


def _failed(snapshot: Snapshot) -> list[str]:
    return [f"{snapshot.failed} failed"] if snapshot.failed else []


def _rest(snapshot: Snapshot, left: str, slave_command: str) -> list[str]:
    parts = _of_total(snapshot)
    if left:
        parts.append(left)
    if snapshot.queued:
        parts.append(f"{snapshot.queued} in queue")
    if snapshot.engine:
        parts.append(snapshot.engine)
    # A slave that the run has brought along itself is nothing to tell.
    elif snapshot.slaves > (0 if slave_command else 1):
        parts.append(f"{snapshot.slaves} slave{'s' if snapshot.slaves > 1 else ''}")
    if snapshot.waiting:
        parts.append(f"{snapshot.waiting} to be tried again")
    if snapshot.skipped:
        parts.append(f"{snapshot.skipped} skipped")
    return parts


def _short_form(snapshot: Snapshot, rate: Rate, why: str, left: str, width: int) -> str:
    """Return why the run waits and what has failed, then what fits of the rest, by usefulness."""
    parts = [
        *_failed(snapshot),
        show_count(snapshot.settled, "job"),
        *(part.partition(" of ")[0] for part in _of_total(snapshot)),
        f"{rate.value:.{0 if rate.value >= WHOLE_RATE else 2}f}/s",
        *([left] if left else []),
        _duration(snapshot.elapsed),
        *([snapshot.engine] if snapshot.engine else [f"{snapshot.slaves} slaves"] if snapshot.slaves > 1 else []),
    ]
    if why:
        # The reason may take all but what the counts need; where not even that is there, half.
        counts = sum(len(part) + len(SEPARATOR) for part in parts[: 1 + bool(snapshot.failed)])
        parts.insert(0, _cut(why, max(width - counts, width // 2)))
    line = parts[0]
    for part in parts[1:]:
        if len(line) + len(SEPARATOR) + len(part) <= width:
            line += SEPARATOR + part
    return line[:width]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - len(ELLIPSIS))] + ELLIPSIS


def to_json(snapshot: Snapshot, rate: Rate) -> dict[str, Any]:
    """Return a snapshot for programs: its fields, ``schema``, ``rate`` (jobs per second), ``eta``
    (seconds while the run runs, or None) and ``eta_detail``, which has more of it, also while the
    run is held; ``why`` is an object with ``code``, ``sentence``, ``cure`` and ``since_at``.
    """
    left = eta(snapshot, rate)
    plain = {name: getattr(snapshot, name) for name in _FIELDS}
    sentence, cure, since = (plain.pop(name) for name in ("why_sentence", "cure", "why_since"))
    return {
        "schema": STATUS_SCHEMA,
        **plain,
        "state": str(snapshot.state),
        "why": {"code": snapshot.why, "sentence": sentence, "cure": cure, "since_at": since or None},
        "elapsed": round(snapshot.elapsed, 3),
        "rate": round(rate.value, 3),
        "eta": None if left is None else round(left, 3),
        "eta_detail": {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in time_left(snapshot, rate)._asdict().items()
        },
    }


def _of_total(snapshot: Snapshot) -> list[str]:
    if snapshot.share is not None:
        return [f"{int(1000 * snapshot.share) / 10:.1f}%"]
    if not snapshot.total:
        return []
    if snapshot.settled > snapshot.total:
        return [f"more than the {snapshot.total} expected"]
    # Cut, not rounded: 100 % is said when the last job is settled, and not before.
    return [f"{1000 * snapshot.settled // snapshot.total / 10:.1f}% of {snapshot.total}"]


def _state_and_reason(snapshot: Snapshot, slave_command: str) -> list[str]:
    """Return the state unless it is just running, and why the run waits."""
    reason = _cut(snapshot.reason, LONGEST_REASON_SHOWN)
    if snapshot.state is not RunState.RUNNING:
        return [f"{snapshot.state}: {reason}" if reason else snapshot.state]
    if reason:
        return [reason]
    if snapshot.slaves:
        return []
    return [f"waiting for slaves: {slave_command}" if slave_command else "waiting for workers"]


def _duration(seconds: float) -> str:
    try:
        return str(timedelta(seconds=int(seconds)))
    except OverflowError:
        return "ages"  # a job an hour, and a billion of them


def sparkline(values: Sequence[float]) -> str:
    """Return numbers as a row of bars, the largest of which is full."""
    most = max(values, default=0.0)
    if most <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[min(len(BARS) - 1, int(len(BARS) * value / most))] for value in values)
