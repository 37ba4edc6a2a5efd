"""Why a run is no faster: one sentence with its figures, and what cures it. Pure.

The first of the reasons that is true is given, from what stops the run altogether to what only
limits it; ``WhyCode`` has them in this order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from taskmaster.records import record
from taskmaster.units import show_rounded

__all__ = ["LONG_SECONDS", "SLOW_SOURCE_SECONDS", "Why", "WhyCode", "WhyFacts", "why"]

LONG_SECONDS = 10.0
"""A job that has run for less is not named as the one that a run waits for."""

SLOW_SOURCE_SECONDS = 1.0
"""A longer wait for the source's next job is shown."""

MICRO = ("µs", 1e6)
BUSY_FRACTION = 0.9  # of the workers: if more are busy, they are what limits the run


class WhyCode(StrEnum):
    """What holds a run, or limits it; programs may rely on these names."""

    STATE = "state"
    """The state cannot be written."""
    STOPPING = "stopping"
    """The run is being ended."""
    PAUSED = "paused"
    """An operator holds it."""
    THROTTLED = "throttled"
    """A guard, a throttle function, the hours, or an outage holds it."""
    SLAVES = "slaves"
    """No slave is connected."""
    REFUSED = "refused"
    """No slave is connected, because those that came were refused."""
    QUIET = "quiet"
    """Every connected slave was made quiet."""
    SOURCE = "source"
    """The source gives no jobs, or raised."""
    SPAN = "span"
    """One job holds the watermark, and as much is read beyond it as may be."""
    RETRY = "retry"
    """Only jobs that wait for another attempt are left."""
    LAST = "last"
    """The last jobs run."""
    RATE = "rate"
    """The rate is what limits it."""
    PACE = "pace"
    """A database allows no more, or a guard is near its limit: workers rest between batches."""
    WORKERS = "workers"
    """All workers are busy: nothing else limits it."""
    FEEDING = "feeding"
    """Workers wait now and then: the source, or the way to the slaves, limits it."""

    @property
    def exit_code(self) -> int:
        """The exit code of ``tm-ctl why``."""
        return _EXIT_CODES.get(self, 0)


_EXIT_CODES = {
    WhyCode.PAUSED: 1,
    WhyCode.STOPPING: 1,
    WhyCode.THROTTLED: 2,
    WhyCode.RATE: 2,
    WhyCode.PACE: 2,
    WhyCode.SLAVES: 3,
    WhyCode.REFUSED: 3,
    WhyCode.QUIET: 3,
    WhyCode.SOURCE: 4,
    WhyCode.STATE: 5,
}


class Why(NamedTuple):
    """Why a run is no faster.

    Attributes:
        code: What it is.
        sentence: With figures, without the full stop.
        cure: What can be done about it; "" where nothing need be.
    """

    code: WhyCode
    sentence: str
    cure: str = ""


@record()
class WhyFacts:
    """What the reason is found from; times in seconds.

    Attributes:
        unwritable: Why the state cannot be written; "" if it can.
        unwritable_seconds: For how long already.
        state_timeout: How long the run waits for it.
        draining: Whether the run is being ended.
        hold: A text about the operator's hold: who, since when and why; "" if there is none.
        throttled: Why a guard, a throttle function or an outage holds it.
        slaves: Connected slaves.
        quiet: Who made all of them quiet; "" if any gets jobs.
        undo: The command that takes that back.
        workers: Their worker processes.
        resting: How many of these are on slaves that were made quiet and have no job any more.
        busy: How many have a job.
        engine: The standing of the engine that runs the slaves, as text; "" if there is none.
        refused: What the last slave that was refused was told; "" if none was.
        error: What the source raised; "" if it did not.
        source: What the source is called.
        source_seconds: For how long it has not given a job although there is room.
        source_wanted: Whether workers wait for it.
        span_full: Whether nothing more may be read.
        span: How many jobs may be read beyond the watermark.
        longest: The job that has been running for longest, as text, with its slave; "" if none
            runs.
        longest_seconds: For how long.
        alone: Whether nothing else is left to be handed out.
        leased: Jobs handed out and not ended.
        waiting: Jobs that wait for another attempt.
        crowded: Whether nothing more is read, because too many jobs wait to be handed out again.
        next_due: Seconds until the next of these; None if none waits.
        rate: A text about the rate while it limits the run; else "".
        pace: A text about the pace and the guards while they slow the run; else "".
        job_seconds: Within which half of the jobs end; None if that is not known.
        most_job_seconds: Within which 95 % of them do.
        queued: Jobs that can be handed out.
        skipping: How many jobs a source that cannot go on after a key has skipped so far; None: it
            skips nothing at the moment.
    """

    unwritable: str = ""
    unwritable_seconds: float = 0.0
    state_timeout: float = 0.0
    draining: bool = False
    hold: str = ""
    throttled: str = ""
    slaves: int = 0
    quiet: str = ""
    undo: str = ""
    workers: int = 0
    resting: int = 0
    busy: int = 0
    engine: str = ""
    refused: str = ""
    error: str = ""
    source: str = "get_jobs"
    source_seconds: float = 0.0
    source_wanted: bool = False
    span_full: bool = False
    span: int = 0
    longest: str = ""
    longest_seconds: float = 0.0
    alone: bool = False
    leased: int = 0
    waiting: int = 0
    crowded: bool = False
    next_due: float | None = None
    rate: str = ""
    pace: str = ""
    job_seconds: float | None = None
    most_job_seconds: float | None = None
    queued: int = 0
    skipping: int | None = None


def why(facts: WhyFacts) -> Why:
    """Return the first reason that is true."""
    for reason in _REASONS:
        found = reason(facts)
        if found is not None:
            return found
    return _at_work(facts)


def _unwritable(facts: WhyFacts) -> Why | None:
    if not facts.unwritable:
        return None
    since = f"for {show_rounded(facts.unwritable_seconds)} already" if facts.unwritable_seconds >= 1 else ""
    reason = facts.unwritable.rstrip(".")
    if reason.startswith("The state "):  # it says which one it is, and what it cannot be
        sentence = f"t{reason[1:]}" + (f" ({since})" if since else "")
    else:
        sentence = "the state cannot be written" + (f", {since}" if since else "") + f": {reason}"
    left = max(0.0, facts.state_timeout - facts.unwritable_seconds)
    end = "never gives up" if left == math.inf else f"gives up in {show_rounded(left)}"
    cure = f"Make room, or mend the disk: nothing is lost, and the run goes on by itself. It {end}."
    return Why(WhyCode.STATE, sentence, cure)


def _stopping(facts: WhyFacts) -> Why | None:
    if not facts.draining:
        return None
    running = _running(facts)
    return Why(WhyCode.STOPPING, f"the run is being ended: {running or 'nothing runs any more'}")


def _paused(facts: WhyFacts) -> Why | None:
    if not facts.hold:
        return None
    running = _running(facts)
    sentence = f"paused {facts.hold}" + (f"; {running}" if running else "")
    return Why(WhyCode.PAUSED, sentence, "`tm-ctl resume` lets it go on.")


def _throttled(facts: WhyFacts) -> Why | None:
    if not facts.throttled:
        return None
    return Why(WhyCode.THROTTLED, facts.throttled, "It goes on by itself when that is over.")


def _no_slave(facts: WhyFacts) -> Why | None:
    if facts.slaves:
        return None
    if facts.refused:
        what, _, rest = facts.refused.partition(". ")  # the first sentence says what is wrong, the others what to do
        cure = rest or "Mend that, and start the slave again."
        return Why(WhyCode.REFUSED, f"no slave is connected; the last one that came was refused: {what}", cure)
    jobs = f"; {_count(facts.queued, 'job waits', 'jobs wait')} for one" if facts.queued else ""
    cure = "Start one with tm-slave, as the master said at its start."
    if facts.engine:
        cure = f"The engine starts them: {facts.engine.removeprefix('engine: ')}."
    return Why(WhyCode.SLAVES, f"no slave is connected{jobs}", cure)


def _all_quiet(facts: WhyFacts) -> Why | None:
    if not facts.quiet or (facts.alone and not facts.waiting):
        return None
    running = _running(facts)
    sentence = f"no slave takes jobs: {facts.quiet}" + (f"; {running}" if running else "")
    return Why(WhyCode.QUIET, sentence, f"`{facts.undo}` lets it take jobs again.")


def _source_waits(facts: WhyFacts) -> Why | None:
    if facts.skipping is not None:
        skipped = _count(facts.skipping, "job", "jobs")
        sentence = f"{facts.source} is read again up to the key where the run goes on: {skipped} skipped"
        return Why(WhyCode.SOURCE, sentence, "Let it take `last`, and begin there.")
    if facts.error and not facts.queued:
        return Why(
            WhyCode.SOURCE,
            f"{facts.source} raised {facts.error}; what was read before is finished, and then the run stops",
            "Mend it, and start the run again: it goes on from there.",
        )
    if not facts.source_wanted or facts.queued or facts.source_seconds < 1 or facts.span_full:
        return None
    idle = facts.workers - facts.resting - facts.busy
    waits = f"; {_count(idle, 'worker waits', 'workers wait')}" if idle > 0 else ""
    sentence = f"waiting for {facts.source}, which has given no job for {show_rounded(facts.source_seconds)}{waits}"
    return Why(WhyCode.SOURCE, sentence, "A faster query, or larger pages, would help.")


def _span_is_full(facts: WhyFacts) -> Why | None:
    if not facts.span_full or facts.queued:
        return None
    sentence = f"{_count(facts.span, 'job is', 'jobs are')} read beyond the oldest that is not settled"
    cure = "A higher --span lets more be read meanwhile."
    if facts.longest and facts.longest_seconds >= LONG_SECONDS:
        sentence += f": the job {facts.longest} has run for {show_rounded(facts.longest_seconds)}"
        return Why(WhyCode.SPAN, sentence, f"A job that hangs is ended with --job-timeout. {cure}")
    return Why(WhyCode.SPAN, f"{sentence}, and the next checkpoint is waited for", cure)


def _only_retries(facts: WhyFacts) -> Why | None:
    if not facts.waiting or facts.next_due is None:
        return None
    if facts.crowded and facts.busy < BUSY_FRACTION * (facts.workers - facts.resting):
        jobs = _count(facts.waiting, "job waits", "jobs wait")
        sentence = f"{jobs} to be tried again, the next in {show_rounded(facts.next_due)}; no more are read beside them"
        return Why(WhyCode.RETRY, sentence, "`tm-ctl set size=...` lets more be read meanwhile.")
    if not facts.alone or facts.leased:
        return None
    jobs = "the job that is" if facts.waiting == 1 else f"the {facts.waiting} jobs that are"
    return Why(WhyCode.RETRY, f"waiting for {jobs} to be tried again, the next in {show_rounded(facts.next_due)}")


def _last_jobs(facts: WhyFacts) -> Why | None:
    if not facts.alone or not facts.longest or not facts.leased:
        return None
    which = "last job runs" if facts.leased == 1 else f"last {facts.leased} jobs run"
    return Why(WhyCode.LAST, f"the {which}: {facts.longest}, for {show_rounded(facts.longest_seconds)}")


def _limited(facts: WhyFacts) -> Why | None:
    if not facts.rate:
        return None
    return Why(WhyCode.RATE, facts.rate, "`tm-ctl rate` changes it.")


def _slowed(facts: WhyFacts) -> Why | None:
    if not facts.pace:
        return None
    cure = "It goes faster by itself when that allows more; so it does with a higher limit (--pace, --guard)."
    return Why(WhyCode.PACE, facts.pace, cure)


_REASONS: tuple[Callable[[WhyFacts], Why | None], ...] = (
    _unwritable,
    _stopping,
    _paused,
    _throttled,
    _no_slave,
    _all_quiet,
    _source_waits,
    _span_is_full,
    _only_retries,
    _last_jobs,
    _limited,
    _slowed,
)


def _at_work(facts: WhyFacts) -> Why:
    takes = "" if facts.job_seconds is None else f"; a job takes {_short(facts.job_seconds)}"
    if takes and facts.most_job_seconds is not None:
        takes += f" (95 % under {_short(facts.most_job_seconds)})"
    able = facts.workers - facts.resting
    resting = f" ({_count(facts.resting, 'more is', 'more are')} on quiet slaves)" if facts.resting else ""
    busy = f"{facts.busy} of {_count(able, 'worker is', 'workers are')} busy{resting}{takes}"
    # Reports come twice a second: a job that seems to have run for less may have ended.
    long = facts.longest and facts.longest_seconds >= LONG_SECONDS
    longest = f"; the job {facts.longest} has run for {show_rounded(facts.longest_seconds)}" if long else ""
    if facts.busy >= BUSY_FRACTION * able:
        return Why(WhyCode.WORKERS, f"nothing holds it: {busy}{longest}", "More workers make it faster.")
    slow = "the source gives fewer jobs than they could do" if not facts.queued else "jobs are on their way to them"
    return Why(WhyCode.FEEDING, f"{busy}: {slow}{longest}")


def _running(facts: WhyFacts) -> str:
    running = min(facts.leased, facts.busy) or facts.leased
    if not running:
        return ""
    text = _count(running, "job still runs", "jobs still run")
    if facts.longest:
        text += f", the longest ({facts.longest}) for {show_rounded(facts.longest_seconds)}"
    return text


def _count(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def _short(seconds: float) -> str:
    unit, factor = next(((unit, factor) for unit, factor in (("s", 1.0), ("ms", 1e3)) if seconds * factor >= 1), MICRO)
    # Two digits: the times are known to the part of a power of two in which they are.
    return f"{float(f'{seconds * factor:.2g}'):g} {unit}"
