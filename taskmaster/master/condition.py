"""What a run is doing, and why not more: gathered from its parts, and said in one sentence."""

from __future__ import annotations

from typing import Any

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.counts import Counts
from taskmaster.master.reading.reader import Reader
from taskmaster.master.reading.source import Source
from taskmaster.master.standing import Standing
from taskmaster.master.steering.quiet_slaves import no_slave_takes_jobs
from taskmaster.master.steering.steering import Steering
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.master.why import SLOW_SOURCE_SECONDS, Why, WhyCode, WhyFacts, why
from taskmaster.records import record
from taskmaster.runtime.tracebacks import one_line
from taskmaster.units import show_seconds
from taskmaster.view.snapshot import RunState

__all__ = ["Condition", "Found"]

SILENT_SECONDS = 30.0  # when no job is settled for longer, the progress says why


@record()
class Found:
    """What was found under the lock.

    Attributes:
        state: What the run is doing.
        reason: Why it waits, as the progress says it.
        facts: What the whole reason is found from.
    """

    state: RunState
    reason: str
    facts: dict[str, Any]


class Condition:
    """Finds the reason why a run is no faster, from the parts of a master.

    Args:
        broker: Which job is where.
        throttle: What holds the handing out back.
        reader: How the reading goes.
        source: The source of the jobs.
        standing: Names jobs.
        steering: What an operator has changed.

    Attributes:
        code: What held the run, or limited it, when it was last explained.
        since: Since when that holds it (monotonic seconds).
    """

    def __init__(
        self,
        broker: Broker,
        throttle: Throttle,
        reader: Reader,
        source: Source,
        standing: Standing,
        steering: Steering,
    ) -> None:
        self._broker = broker
        self._throttle = throttle
        self._reader = reader
        self._source = source
        self._standing = standing
        self._steering = steering
        self.code = WhyCode.SLAVES
        self.since = 0.0
        self._ending = False
        self._moved = (0, 0.0)  # settled jobs of this session, and when that number last changed

    def end(self) -> None:
        """Note that nothing is worked on any more, and that only the last checkpoint is left."""
        self._ending = True

    def observe(self, end: RunState | None, counts: Counts, now: float) -> Found:
        """Return what the run is doing; under the lock.

        Args:
            end: How it has ended; None: it has not.
            counts: The numbers of the broker.
            now: Monotonic seconds.
        """
        broker, throttle = self._broker, self._throttle
        if counts.settled_here != self._moved[0] or not self._moved[1]:
            self._moved = (counts.settled_here, now)
        throttled = broker.outage.reason or throttle.why(now)
        limits, intake = broker.limits, broker.intake
        quiet, undo = no_slave_takes_jobs(broker.slaves)
        resting = broker.slaves.resting
        facts = {
            "unwritable": broker.paused,
            "state_timeout": limits.state_timeout,
            "draining": broker.draining or self._ending,
            "hold": self._steering.describe_hold(),
            "throttled": throttled,
            "slaves": counts.slaves,
            "quiet": quiet,
            "undo": undo,
            "workers": counts.workers,
            "resting": resting,
            "busy": min(counts.workers - resting, counts.leased),
            "source": self._source.name,
            "source_seconds": self._reader.waits(now),
            "source_wanted": bool(broker.slaves.unfed) and not intake.exhausted,
            "span_full": intake.span >= intake.span_limit,
            "span": intake.span_limit,
            "alone": counts.alone,
            "leased": counts.leased,
            "waiting": counts.waiting,
            "crowded": intake.crowded,
            "next_due": counts.next_due,
            "rate": throttle.limiting(now),
            "pace": throttle.slowing() if throttle.slows else "",
            "queued": counts.queued,
            "skipping": None if counts.queued else self._reader.skipped,
        }
        state, reason = self._state(end, counts, throttled)
        if state is RunState.RUNNING:
            paced = "; ".join(filter(None, (throttle.limiting(now), throttle.slowing())))
            reason = paced or self._slow_source(now)
        return Found(state, reason, facts)

    def _state(self, end: RunState | None, counts: Counts, throttled: str) -> tuple[RunState, str]:
        broker = self._broker
        if end is not None or self._ending or broker.draining:
            return end or (RunState.ENDING if self._ending else RunState.DRAINING), broker.paused
        if broker.paused:
            return RunState.PAUSED, broker.paused
        if broker.hand_out.held:
            return RunState.PAUSING if counts.leased else RunState.PAUSED, self._steering.reason_for_hold()
        if throttled:
            return RunState.THROTTLED, throttled
        resuming = self._reader.skipped is not None and not counts.queued and not counts.leased
        return (RunState.RESUMING if resuming else RunState.RUNNING), ""

    def _slow_source(self, now: float) -> str:
        """Say that workers wait for the source, and for how long already."""
        seconds = self._reader.waits(now)
        if seconds < SLOW_SOURCE_SECONDS or self._broker.intake.queued or not self._broker.slaves.unfed:
            return ""
        return f"waiting for {self._source.name}, for {show_seconds(int(seconds))} now"

    def explain(self, found: Found, counts: Counts, now: float, more: dict[str, Any]) -> tuple[str, Why]:
        """Return the reason for the progress, and the whole one; outside the lock, because it asks
        for keys.

        Args:
            found: What ``look`` has given.
            counts: The same numbers.
            now: Monotonic seconds.
            more: WhyFacts that others know.
        """
        error = self._reader.error
        named = self._standing.longest(counts)
        facts = WhyFacts(**found.facts, **named, **more, error="" if error is None else one_line(error))
        whole = why(facts)
        if whole.code is not self.code or not self.since:
            self.since = now
        self.code = whole.code
        reason = found.reason
        if found.state is RunState.RESUMING:
            reason = whole.sentence
        elif found.state is RunState.PAUSING:
            reason = whole.sentence.removeprefix("paused ")
        elif found.state is RunState.RUNNING:
            reason = self._standing.reason(counts) or reason
            if whole.code is WhyCode.QUIET:
                reason = f"{whole.sentence}; {facts.undo}"
            silent = now - self._moved[1] >= SILENT_SECONDS
            if not reason and (whole.code in (WhyCode.SPAN, WhyCode.REFUSED) or (silent and counts.slaves)):
                reason = whole.sentence
        return reason, whole
