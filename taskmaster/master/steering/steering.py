"""Steering: applies what an operator asks for to a run. Pure: called under the master's one lock,
with the time passed in.

A change is in force when ``apply`` returns. The next checkpoint writes it into the state: ``news``
gives what has to be written. Live changes that an earlier session has left are in force from the
start, whatever the command line says.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from taskmaster.errors import UsageError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.replay import Selection
from taskmaster.master.broker.slaves import Quieted
from taskmaster.master.records.steering_records import (
    HOLD,
    NOTHING_LOST,
    QUIET,
    RATE,
    LiveChange,
    News,
    SessionCommand,
    TrailRow,
    is_setting,
)
from taskmaster.master.steering import quiet_slaves
from taskmaster.master.steering.allowance import Allowance
from taskmaster.master.steering.amounts import (
    BY_DEFAULT,
    OFF,
    because,
    end_of_hold,
    rate_from,
    rate_text,
    said_of_rate,
)
from taskmaster.master.steering.inherited import StartValues, said_at_start
from taskmaster.master.steering.request import Command, SteerRequest
from taskmaster.master.steering.slave_names import slaves_named
from taskmaster.master.steering.steered import ChangeableSettings, Steered
from taskmaster.master.steering.trail import Trail
from taskmaster.units import rate_of, show_moment, show_rate, show_rounded

__all__ = ["Steering"]

REMEMBERED_ANSWERS = 256


class _Done(NamedTuple):
    """What a request has led to."""

    say: str
    before: str = ""
    after: str = ""
    changed: bool = True


class Steering:
    """Checks what operators ask for, applies it, and keeps what the state has to store.

    Args:
        broker: Is held, and gives failed jobs out again.
        steered: What is steered beside it.
        settings: What can be set.
        live: Changes that are in force from an earlier session.
        trail: What was done in earlier sessions.
        rate: Jobs a second as the command line has them; None: no limit.
        run: The id of the run; "" if requests are not asked for it.

    Attributes:
        trail: The trail of changes.
        live: What is in force, by name.
        lost: Changes of an earlier session that could not be put in force again, with why.
        applied: How often each command was applied in this session.
    """

    def __init__(
        self,
        broker: Broker,
        steered: Steered,
        settings: ChangeableSettings,
        *,
        live: Sequence[LiveChange] = (),
        trail: Sequence[TrailRow] = (),
        rate: float | None = None,
        run: str = "",
    ) -> None:
        self.trail = Trail(trail)
        self.live: dict[str, LiveChange] = {}
        self.lost: list[tuple[LiveChange, str]] = []
        self.applied: Counter[str] = Counter()
        self._broker = broker
        self._steered = steered
        self._settings = settings
        self._rate, self._run = rate, run
        self._allowance = Allowance()
        self._version = self._saved_version = 0
        self._commands: dict[Command, Callable[[SteerRequest, float], _Done]] = {
            Command.PAUSE: self._pause,
            Command.RESUME: self._resume,
            Command.RATE: self._set_rate,
            Command.STOP: self._stop,
            Command.QUIET: self._quiet,
            Command.SET: self._set,
            Command.RETRY: self._retry,
            Command.NOTE: self._note,
        }
        self._answers: OrderedDict[str, dict[str, Any]] = OrderedDict()
        for change in live:
            self._restore(change)

    # -- what is in force --------------------------------------------------------------------------

    @property
    def hold(self) -> LiveChange | None:
        """The operator's hold; None if there is none."""
        return self.live.get(HOLD)

    def describe_hold(self) -> str:
        """Return who holds the run, until when and why; "" if nobody does."""
        hold = self.hold
        if hold is None:
            return ""
        return _who(hold) + (f": {hold.reason}" if hold.reason else "")

    def reason_for_hold(self) -> str:
        """Return the same for a line that may be cut: why the run is held comes first."""
        hold = self.hold
        if hold is None:
            return ""
        return f"{hold.reason} ({_who(hold)})" if hold.reason else _who(hold)

    def at_start(self, state: str) -> list[str]:
        """Return what is to be said at the start of what earlier sessions have left in force.

        Args:
            state: The run as a command of ``tm-ctl`` names it.
        """
        killed = [row.reason for row in self.trail.unwritten() if row.command == SessionCommand.KILLED]
        start = StartValues(self._rate, self._settings.start_value)
        return said_at_start(killed, self.live.values(), self.lost, start, state)

    def tick(self, now: float) -> None:
        """Let time pass: a hold ends in time, and slaves that have said goodbye are forgotten."""
        for name in quiet_slaves.gone(self.live, self._broker.slaves):
            self._take_back(name)
        hold = self.hold
        if hold is not None and hold.until is not None and now >= hold.until:
            self._take_back(HOLD)
            self._broker.hand_out.hold(held=False)
            self.trail.note(now, "resume", reason="the time of the hold is over", before="paused", after="running")

    def note(self, now: float, command: str, reason: str = "", after: str = "", before: str = "") -> None:
        """Write down what nobody has commanded."""
        self.trail.note(now, command, reason=reason, before=before, after=after)

    def forget(self) -> None:
        """Drop all changes that are in force: in a finished run, there is nothing to steer."""
        if self.live:
            self.live.clear()
            self._version += 1

    # -- the state ---------------------------------------------------------------------------------

    def news(self, successor: str = "") -> News:
        """Return what the next checkpoint has to write; ``successor`` is that of the watermark."""
        live = list(self.live.values()) if self._version != self._saved_version else None
        return News(self.trail.unwritten(successor), live, self._version)

    def written(self, news: News) -> None:
        """Note that the state has what ``news`` gave."""
        self.trail.written(news.trail)
        self._saved_version = news.version

    # -- requests ----------------------------------------------------------------------------------

    def knows(self, ident: str) -> bool:
        """Return whether the request with this id was answered."""
        return ident in self._answers

    def apply(self, value: Any, peer: str, now: float) -> dict[str, Any]:
        """Apply a request, and return the answer to it.

        Args:
            value: What a client has sent.
            peer: The address that it came from.
            now: Seconds since the epoch.
        """
        try:
            request = SteerRequest.from_wire(value)
            known = self._answers.get(request.id)
            if known is not None:
                return known
            if self._run and request.run not in ("", self._run):
                raise UsageError(f"The run {request.run} is not at work here any more: this is the run {self._run}.")
            self._allowance.check(request.command, now)
            done = self._commands[request.command](request, now)
        except UsageError as exc:
            return {"ok": False, "why": str(exc)}
        self.applied[str(request.command)] += 1
        row = 0
        if done.changed:
            self._allowance.spend(request.command, now)
            row = self.trail.add(now, request, peer, before=done.before, after=done.after).seq
        answer = {
            "ok": True,
            "changed": done.changed,
            "before": done.before,
            "after": done.after,
            "trail": row,
            "say": done.say,
        }
        self._answers[request.id] = answer
        while len(self._answers) > REMEMBERED_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    def _pause(self, request: SteerRequest, now: float) -> _Done:
        _only(request, "for", "until")
        until = end_of_hold(request.arguments, now)
        former = self.hold
        before = f"paused {self.describe_hold()}" if former is not None else "running"
        self._keep(LiveChange(HOLD, "", request.who, now, request.reason, until))
        self._broker.hand_out.hold(held=True)
        ends = f" until {show_moment(until)}" if until is not None else ""
        running = min(self._broker.leases.open, self._broker.slaves.slots)
        rest = "" if not running else f"; {running} {'job runs' if running == 1 else 'jobs run'} on to the end"
        again = "was paused already, and is now" if former is not None else "is"
        return _Done(f"The run {again} paused{ends}{rest}.", before, f"paused{ends}")

    def _resume(self, request: SteerRequest, now: float) -> _Done:
        _only(request)
        if self.hold is None:
            return _Done(f"The run was not paused by anybody.{self._still_waits()}", changed=False)
        before = f"paused {self.describe_hold()}, for {show_rounded(now - self.live[HOLD].at)}"
        self._take_back(HOLD)
        self._broker.hand_out.hold(held=False)
        return _Done(f"The run goes on.{self._still_waits()}", before, "running")

    def _still_waits(self) -> str:
        why = self._steered.also_holds()
        return f" It still waits: {why}." if why else ""

    def _set_rate(self, request: SteerRequest, now: float) -> _Done:
        _only(request, "rate")
        text = request.arguments.get("rate", "").strip().lower()
        before = self.live[RATE].value if RATE in self.live else show_rate(self._rate)
        if text == BY_DEFAULT:
            if RATE not in self.live:
                return _Done(f"The rate is that of the command line: {show_rate(self._rate)}.", changed=False)
            self._take_back(RATE)
            rate, after = self._rate, show_rate(self._rate)
            self._steered.set_rate(rate, "" if rate is None else f"--rate {rate:g} a second")
        else:
            rate = None if text == OFF else rate_from(text)
            after = OFF if rate is None else show_rate(rate)
            self._keep(LiveChange(RATE, OFF if rate is None else repr(rate), request.who, now, request.reason))
            self._steered.set_rate(rate, because(rate, self.live[RATE]))
        if rate is not None:
            # Slaves may hold a second's worth at the former rate.
            self._broker.recalls.ask_back(all_unstarted=True)
        before, after = rate_text(before), rate_text(after)
        return _Done(said_of_rate(after, before), before, after)

    def _stop(self, request: SteerRequest, now: float) -> _Done:  # noqa: ARG002  # as for all commands
        _only(request, "now")
        at_once = request.arguments.get("now") == "yes"
        why = f" ({request.reason})" if request.reason else ""
        news = at_once or not self._broker.draining
        self._steered.stop(f"Stopped by {request.who}{why}", at_once=at_once)
        how = "at once" if at_once else "when the jobs that run have ended, or --grace is over"
        return _Done(f"The run ends {how}, where it can go on.", "running", "stopped", changed=news)

    def _quiet(self, request: SteerRequest, now: float) -> _Done:
        _only(request, "slave", "undo", "stay")
        slaves, known = self._broker.slaves, quiet_slaves.known_slaves(self._broker.slaves)
        names = slaves_named(request.arguments.get("slave", ""), sorted(set(known.values())))
        undo, stay = request.arguments.get("undo") == "yes", request.arguments.get("stay") == "yes"
        own, engine = self._steered.own_slave(), bool(self._steered.engine)
        stay = stay or engine
        meant = {ident: name for ident, name in known.items() if name in names}
        changed = [ident for ident in meant if (ident in slaves.quieted) is undo]
        for ident, name in meant.items():
            # The slave of this command ends with the run; if it ended before, the run would fail.
            # An engine takes a slave that ended well for the run's end, and starts no other.
            quieted = None if undo else Quieted(name, not (stay or name == own), request.who, request.reason)
            slaves.silence(ident, quieted)
            if quieted is not None and name != own:  # that one does not outlive the master
                self._keep(quiet_slaves.change_of(ident, quieted, now))
            elif QUIET + ident in self.live:
                self._take_back(QUIET + ident)
        if undo:
            said = quiet_slaves.said_of_undo(names, changed=bool(changed))
            return _Done(said, "quiet", f"{quiet_slaves.shown(names)}: at work", changed=bool(changed))
        end = ", for the engine would not start another in its place" if engine else ""
        others = [slave for slave in slaves if not slave.quiet]
        alone = "" if others else " No other slave is connected: the run waits for one."
        said = quiet_slaves.said_of_quiet(names, stay=stay or names == [own])
        return _Done(f"{said}{end}.{alone}", "at work", f"{quiet_slaves.shown(names)}: quiet")

    def _set(self, request: SteerRequest, now: float) -> _Done:
        if not request.arguments:
            raise UsageError("Nothing is to be set: give NAME=VALUE, such as retries=5.")
        live = {name: change for name, change in self.live.items() if is_setting(name)}
        before, after = [], []
        for given, value in request.arguments.items():
            name = given.strip().lower().replace("_", "-")
            start = self._settings.start_value(name)
            before.append(f"{name}={live[name].value if name in live else start}")
            if value.strip().lower() == BY_DEFAULT:
                live.pop(name, None)
            else:
                live[name] = LiveChange(name, value.strip(), request.who, now, request.reason)
            after.append(f"{name}={live[name].value if name in live else start}")
        self._settings.change({name: change.value for name, change in live.items()})
        if before == after:
            return _Done(f"It was so before: {', '.join(after)}.", changed=False)
        self.live = {**{name: change for name, change in self.live.items() if not is_setting(name)}, **live}
        self._version += 1
        return _Done(f"Set: {', '.join(after)}; it was {', '.join(before)}.", ", ".join(before), ", ".join(after))

    def _retry(self, request: SteerRequest, now: float) -> _Done:  # noqa: ARG002
        _only(request, "kind", "job", "all")
        kind, job = request.arguments.get("kind"), request.arguments.get("job")
        if sum((kind is not None, job is not None, request.arguments.get("all") == "yes")) != 1:
            raise UsageError("Say which failed jobs are meant: --kind=CLASS, --job=KEY, or --all.")
        if self._broker.replay.on:
            raise UsageError("This session runs the failed jobs again anyway: it was started with --failed.")
        if self._broker.draining:
            raise UsageError("The run is ending, and hands out nothing more: --failed runs its failed jobs again.")
        failed = self._broker.counts().failed
        if not failed:
            raise UsageError("No job of this run counts as failed: there is nothing to try again.")
        self._broker.replay.ask(Selection(failed, kind, job))
        which = f"that failed with {kind}" if kind is not None else f"with the key {job}" if job is not None else ""
        said, again = f"The failed jobs {which}".strip(), f"again: {f'those {which}' if which else 'all of them'}"
        return _Done(f"{said} are tried again, before anything new.", f"{failed} failed", again)

    def _note(self, request: SteerRequest, now: float) -> _Done:  # noqa: ARG002
        _only(request, "fine")
        if not request.reason:
            raise UsageError("The note is empty: say something.")
        if request.arguments.get("fine") is None:
            return _Done("It is in the trail.")
        if self.trail.bad_end is None:
            raise UsageError("No session of this run has ended badly: there is nothing that --fine could say of it.")
        return _Done("It is in the trail that nothing is lost.", "ended badly", NOTHING_LOST)

    # -- inside ------------------------------------------------------------------------------------

    def _keep(self, change: LiveChange) -> None:
        self.live[change.name] = change
        self._version += 1

    def _take_back(self, name: str) -> None:
        del self.live[name]
        self._version += 1

    def _restore(self, change: LiveChange) -> None:
        """Put a change of an earlier session in force again."""
        try:
            if change.name == HOLD:
                self._broker.hand_out.hold(held=True)
            elif change.name == RATE:
                rate = None if change.value == OFF else rate_of("the rate", change.value)
                self._steered.set_rate(rate, because(rate, change))
            elif quiet_slaves.quiets(change):
                self._broker.slaves.silence(*quiet_slaves.quieted_by(change))
            else:
                known = {n: c.value for n, c in self.live.items() if is_setting(n)}
                self._settings.change({**known, change.name: change.value})
        except UsageError as exc:
            self.lost.append((change, str(exc)))
            return
        self.live[change.name] = change


def _who(hold: LiveChange) -> str:
    until = f" until {show_moment(hold.until)}" if hold.until is not None else ""
    return f"by {hold.by} since {show_moment(hold.at)}{until}"


def _only(request: SteerRequest, *names: str) -> None:
    """Refuse arguments that a command does not have."""
    unknown = sorted(set(request.arguments) - set(names))
    if unknown:
        raise UsageError(
            f"{request.command} takes no {unknown[0]!r}" + (f"; it takes {', '.join(names)}." if names else ".")
        )
