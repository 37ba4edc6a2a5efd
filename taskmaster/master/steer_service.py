"""What steers a running master, and what looks at it: requests are applied under the master's lock,
at once, and nothing here waits.

Served by ``taskmaster.master.service``. ``look`` changes nothing, and is answered from what is
known already.
"""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from taskmaster import __version__
from taskmaster.errors import UsageError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.failed_choice import FailedChoice
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.records.steering_records import News, SessionCommand, with_unknown_ends
from taskmaster.master.slave_figures import SlaveFigures
from taskmaster.master.steering.request import Command, SteerRequest
from taskmaster.master.steering.steering import Steering
from taskmaster.master.steering.trail import beginnings
from taskmaster.master.summary import OwnSlave
from taskmaster.master.tally.history import History
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.master.why import WhyCode
from taskmaster.master.work_time import WorkTime
from taskmaster.redaction import clean
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.signals import Signals
from taskmaster.units import show_count

__all__ = ["FixedSettings", "LiveSettings", "SteerService", "reason_of"]

logger = clean_logger(__name__)

MOST_SLAVES_ANSWERED = 100  # in one answer
MOST_TRAIL_ROWS_ANSWERED = 200  # of the trail in one answer
LONGEST_END_REASON = 1000  # characters of why a session has ended
SESSION_OVER = (
    "This session of the run is over, and its master about to end: nothing was changed. Give the command again in a "
    "moment; it is then for the next start."
)


class LiveSettings(Protocol):
    """What can be set in a run while it goes on; see ``taskmaster.runner.live_settings``."""

    rate: float | None

    def start_value(self, name: str) -> str:
        """Return what a setting was at the start, as text."""

    def changed(self, values: Mapping[str, str]) -> tuple[Limits, float | None, float]:
        """Return the limits, the run time and the grace that these values make."""

    def rows(self, live: Mapping[str, str], *, everything: bool = False) -> list[dict[str, Any]]:
        """Return settings, each with its value, default and source."""


class FixedSettings:
    """Settings of a run that nobody can change."""

    rate: float | None = None

    def start_value(self, name: str) -> str:
        """Refuse it."""
        raise UsageError(f"{name} cannot be changed in this run.")

    def changed(self, values: Mapping[str, str]) -> tuple[Limits, float | None, float]:
        """Refuse it."""
        raise UsageError(f"{', '.join(values)} cannot be changed in this run.")

    def rows(self, live: Mapping[str, str], *, everything: bool = False) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return nothing."""
        return []


class SteerService:
    """Answers the requests of operators: what steers a run, and what shows it.

    Args:
        broker: Which job is where.
        lock: Guards the broker.
        throttle: Has the rate.
        record: The run as it was at the start of this session.
        settings: What can be set.
        apply: Called with the run time and the grace that were set.
        line: The command line that began the session.
        clock: Seconds since the epoch.

    Attributes:
        steering: What is in force.
        work_time: For how long the session was at work, and for how long it was held.
        history: The numbers of the run over time.
        exit_code: The exit code of the session; None while it goes on.
    """

    def __init__(
        self,
        broker: Broker,
        lock: threading.Lock,
        throttle: Throttle,
        record: RunRecord,
        *,
        settings: LiveSettings | None = None,
        apply: Callable[[float | None, float], None],
        line: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._broker = broker
        self._lock = lock
        self._throttle = throttle
        self._settings = settings or FixedSettings()
        self._apply = apply
        self._clock = clock
        self._signals: Signals | None = None
        self._hurry: Callable[[], None] = lambda: None
        self._wake = self._hurry
        self._own_slave: OwnSlave | None = None
        self._figures: SlaveFigures | None = None
        self._choice: FailedChoice | None = None
        self.exit_code: int | None = None
        self._left_out, self._closed = "", False  # what was noted in this session
        self._looks: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "trail": self._look_trail,
            "settings": lambda _: self.settings(everything=True),
            "slaves": self._look_slaves,
        }
        self.work_time = WorkTime(time.monotonic())
        self.history = History(record.history)
        over = record.finished is not None  # what steered a run ends with it
        self.steering = Steering(
            broker,
            self,
            self,
            live=() if over else record.live,
            trail=record.trail,
            rate=self._settings.rate,
            run=record.id,
        )
        if over and record.live:
            self.steering.forget()
        goes_on = record.resumed and (record.mark is not None or record.settled)
        self.history.begin(clock(), record.settled, record.failures)
        for command, reason in beginnings(record.trail, line, goes_on=bool(goes_on), seen=record.last_seen):
            self.steering.note(clock(), command, reason)
        self.steering.tick(clock())  # a hold may have been over before anybody was at work

    def connect(
        self,
        hurry: Callable[[], None],
        signals: Signals,
        wake: Callable[[], None],
        own_slave: OwnSlave | None,
        figures: SlaveFigures,
        choice: FailedChoice | None = None,
    ) -> None:
        """Note the parts that are made after this one.

        Args:
            hurry: Has the next checkpoint written soon.
            signals: End the run.
            wake: Function that makes the run check its signals.
            own_slave: The slave that belongs to the run; None if it has none.
            figures: What each slave has done.
            choice: Knows which failed jobs there are.
        """
        self._hurry, self._signals, self._wake, self._choice = hurry, signals, wake, choice
        self._own_slave, self._figures = own_slave, figures

    # -- what clients call -------------------------------------------------------------------------

    def steer(self, request: Any, peer: str) -> dict[str, Any]:
        """Apply a request; the answer never waits.

        Args:
            request: What a client has sent.
            peer: The address that it came from.
        """
        none_meant = self._none_meant(request)
        with self._lock:
            if self._closed:
                return {"ok": False, "why": SESSION_OVER}
            if none_meant:
                return {"ok": False, "why": none_meant}
            self.work_time.note(time.monotonic(), paused=self.steering.hold is not None)
            last = self.steering.trail.last
            answer = self.steering.apply(request, clean(peer)[:100], self._clock())
            row = self.steering.trail.after(last, 1)  # none of a request that was refused, or was heard before
        self._hurry()
        if row:
            logger.warning(
                "%s by %s%s: %s", row[-1].command, row[-1].who, f" ({row[-1].reason})" if row[-1].reason else "",
                answer["say"],
            )  # fmt: skip
        return answer

    def _none_meant(self, value: Any) -> str:
        """Return why a request to run failed jobs again means none; "" for all others."""
        if self._choice is None or not isinstance(value, dict) or value.get("command") != Command.RETRY:
            return ""
        try:
            request = SteerRequest.from_wire(value)
        except UsageError:
            return ""  # which is said where it is applied
        return "" if self.steering.knows(request.id) else self._choice.none_meant(request.arguments)

    def answer(self, method: str, *arguments: Any) -> Any:
        """Do what the run's own page asks for: "look" or "steer"."""
        return self.steer(arguments[0], "the page") if method == "steer" else self.look(*arguments)

    def look(self, what: Any, arguments: Any) -> Any:
        """Answer what is asked for.

        Raises:
            ValueError: There is no such request.
        """
        known = self._looks.get(what) if isinstance(what, str) else None
        if known is None:
            raise ValueError(f"there is nothing called {str(what)[:100]!r} to look at here")
        return known(arguments if isinstance(arguments, dict) else {})

    def _look_trail(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        after, before = arguments.get("after"), arguments.get("before")
        with self._lock:
            rows = self.steering.trail.after(
                after if type(after) is int else 0, MOST_TRAIL_ROWS_ANSWERED, before if type(before) is int else None
            )
            saved = self.steering.trail.saved
        return {"saved": saved, "rows": [row._asdict() for row in rows]}

    def _look_slaves(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if self._figures is None:
            return {"rows": [], "slaves": 0, "gone_before": 0}
        after, most, sort = (arguments.get(name) for name in ("after", "most", "sort"))
        first = after if type(after) is int and after > 0 else 0
        most = min(most, MOST_SLAVES_ANSWERED) if type(most) is int and most > 0 else MOST_SLAVES_ANSWERED
        with self._lock:
            self._figures.tick()
            rows = self._figures.rows(first, most, sort if isinstance(sort, str) else "")
            count, before = len(self._figures), self._figures.gone_before
        return {"rows": self._figures.named(rows), "slaves": count, "gone_before": before}

    def settings(self, *, everything: bool = False) -> list[dict[str, Any]]:
        """Return settings, each with its value, default, source, and who changed it when.

        Args:
            everything: Whether to return all of them, and not only the most important ones.
        """
        with self._lock:
            live = dict(self.steering.live)
        found = self._settings.rows({name: change.value for name, change in live.items()}, everything=everything)
        for row in found:
            change = live.get(row["name"])
            row["by"], row["at"] = (change.by, change.at) if change is not None else (None, None)
        return found

    def close(self) -> None:
        """Apply nothing more: the last checkpoint would not know of it."""
        self._closed = True

    # -- what the run calls ------------------------------------------------------------------------

    def show(self, what: str, look: Callable[[Mapping[str, Any]], Any]) -> None:
        """Let something be looked at, which answers with plain values."""
        self._looks[what] = look

    def tick(self, why: WhyCode) -> None:
        """Let time pass, and note what has held the run; under the lock."""
        self.work_time.note(time.monotonic(), why, paused=self.steering.hold is not None)
        self.steering.tick(self._clock())
        if self._figures is not None:
            self._figures.tick()

    def describe(self) -> dict[str, Any]:
        """Return what ``status`` says beside the snapshot."""
        at = self._clock()
        with self._lock:
            hold, saved = self.steering.hold, self.steering.trail.saved
            last = self.steering.trail.after(0, 1)
        return {
            "release": __version__,
            "python": platform.python_version(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "at": round(at, 3),
            "hold": None
            if hold is None
            else {"by": hold.by, "reason": hold.reason, "since_at": hold.at, "until_at": hold.until},
            "exit_code": self.exit_code,
            "trail": last[-1].seq if last else 0,
            "trail_saved": saved,
        }

    def note(self, command: str, reason: str = "", after: str = "", before: str = "") -> None:
        """Write into the trail what has happened to the run."""
        with self._lock:
            self.steering.note(self._clock(), command, reason, after, before)

    def note_left_out(self, why: str) -> None:
        """Write into the trail why the run leaves jobs out, once in a session."""
        if why != self._left_out:
            self._left_out = why
            self.note(SessionCommand.LEFT_OUT, why)

    def note_end(self, error: BaseException | None, successor: str = "", left_out: str = "") -> None:
        """Write into the trail how the session has ended, and of how many workers it is not known
        yet how they end; a second call writes nothing.

        Args:
            error: The error that ended it; None if all is done.
            successor: The job that would have come next.
            left_out: Why the run leaves jobs out, which later sessions are to know.
        """
        if self.exit_code is not None:
            return
        self.close()
        code = 1 if left_out else 3 if self._broker.counts().failed else 0
        self.exit_code = code = code if error is None else getattr(error, "exit_code", 1)
        own = "" if error is None else self.own_slave()
        with self._lock:
            counts = self._broker.counts()
            # The others are to wait for the next master of a run that is not over.
            ending = 0 if error is not None and self._own_slave is None else self._broker.slaves.workers_of(own)
            self.history.end(self._clock(), counts.settled, counts.failed)
        if left_out:
            self.note_left_out(left_out)
        command = SessionCommand.FINISHED if error is None else SessionCommand.STOPPED
        reason = reason_of(error)
        after = "" if error is None else f"exit code {code}"
        if ending:
            after = with_unknown_ends(after, show_count(ending, "worker"))
        self.note(command, reason, after, "" if error is None else successor)

    def news(self, *, finished: bool, successor: str = "") -> News:
        """Return what the next checkpoint writes, with the job that comes next; under the lock."""
        if finished:
            self.steering.forget()
        news, history = self.steering.news(successor), self.history
        return news._replace(history=history.unwritten(), history_over=history.over())

    def written(self, news: News) -> None:
        """Note that the state has it; under the lock."""
        self.steering.written(news)
        self.history.written(news.history, news.history_over)

    # -- what steering calls, under the lock -------------------------------------------------------

    def set_rate(self, rate: float | None, because: str) -> None:
        """Do as ``Steered`` says."""
        self._throttle.set_rate(rate, because)

    def also_holds(self) -> str:
        """Do as ``Steered`` says."""
        broker = self._broker
        why = broker.paused or broker.outage.reason or self._throttle.why(time.monotonic())
        if not why and not broker.slaves.connected:
            why = "no slave is connected"
        return why.rstrip(".")

    def stop(self, by: str, *, at_once: bool) -> None:
        """Do as ``Steered`` says."""
        if self._signals is None:
            raise UsageError("The run has not begun yet: ask again in a moment.")
        self._signals.ask(by, at_once=at_once)
        self._wake()

    def own_slave(self) -> str:
        """Do as ``Steered`` says."""
        return "" if self._own_slave is None else self._own_slave.name

    @property
    def engine(self) -> str:
        """How the engine that runs the slaves stands, for people; "" if there is none."""
        return "" if self._own_slave is None else self._own_slave.engine

    def start_value(self, name: str) -> str:
        """Do as ``Settings`` says."""
        return self._settings.start_value(name)

    def change(self, values: Mapping[str, str]) -> None:
        """Do as ``Settings`` says."""
        limits, run_time, grace = self._settings.changed(values)
        self._broker.intake.allow_more(limits.limit)
        self._broker.limits.follow(limits)
        self._broker.settlement.change_budget(limits)
        self._apply(run_time, grace)


def reason_of(error: BaseException | None) -> str:
    """Return why a session has ended, as its trail and its events have it; "" if all is done."""
    return "" if error is None else clean(str(error) or getattr(error, "why", ""))[:LONGEST_END_REASON]
