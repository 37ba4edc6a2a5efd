"""How many slaves there should be on an engine, and when more would be of no use. Pure.

A slave that is lost with its engine's worker is started again. One that ends because it cannot work
is started again, too, after a pause that grows: other workers may be able to. When workers of the
engine say the same often enough, and no slave works, the fleet gives up.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from taskmaster.engine.ended import NO_MASTER, Ended
from taskmaster.errors import TargetError
from taskmaster.records import record

__all__ = ["Fleet", "FleetStatus", "last_line"]

SAYINGS = 3  # of slaves that cannot work, from as many workers of the engine, until the fleet gives up
FIRST_SLAVE_PAUSE_SECONDS, LONGEST_SLAVE_PAUSE_SECONDS = 1.0, 60.0
GREETING = "tm-slave: connected to the master at "
WORKED_SECONDS = 10.0  # after which a slave that has not ended is taken to work


def last_line(text: str) -> str:
    """Return the last line of what a slave has said: there it says why it has ended."""
    return text.rstrip().rpartition("\n")[2].strip()


def what_it_said(how: Ended) -> str:
    """Return what a slave has said, but for its greeting."""
    lines = how.said.strip().splitlines()
    while lines and lines[0].startswith(GREETING):
        del lines[0]
    return "\n".join(lines)


@record(slots=False)
class FleetStatus:
    """How a fleet stands.

    Attributes:
        running: Slaves that run.
        wanted: Slaves that there should be.
        away_since: When the engine's scheduler was first found not to answer; None if it answers.
    """

    running: int
    wanted: int
    away_since: float | None = None

    def show(self, now: float) -> str:
        """Return it as people read it."""
        text = f"engine: {self.running} of {self.wanted} slaves"
        return text if self.away_since is None else f"{text}; scheduler away since {now - self.away_since:.0f} s"


@dataclass
class Fleet:
    """The slaves of one run on an engine; times are of one monotonic clock.

    Attributes:
        run: Its name, which the tasks' names begin with.
        slaves: How many there should be; None: one for each worker of the engine.
        over: Whether a slave has ended well, so that no more are needed.
        heard_end: Whether a slave has heard that the run is over.
        unfinished: Whether workers of a slave could not end as they should.
        failure: Why the fleet gives up; "" if it does not.
        exit_code: The exit code of a command whose fleet has given up.
        last_problem: What a slave, or the engine, has said last of what went wrong.
    """

    run: str
    slaves: int | None
    over: bool = False
    heard_end: bool = False
    unfinished: bool = False
    failure: str = ""
    exit_code: int = 0
    last_problem: str = ""
    _tasks: dict[str, float] = field(default_factory=dict)
    _number: int = 0
    _workers: int = 0
    _running: int = 0
    _away_since: float | None = None
    _refuses: bool = False  # it says how it stands, and takes no task
    _not_before: float = 0.0
    _pause: float = FIRST_SLAVE_PAUSE_SECONDS
    _sayings: list[tuple[str, int | None]] = field(default_factory=list)
    _said: str = ""

    @property
    def wanted(self) -> int:
        """How many slaves there should be: without workers, one, which an engine that grows with
        its tasks takes for a reason to.
        """
        return max(1, self._workers) if self.slaves is None else self.slaves

    @property
    def tasks(self) -> Collection[str]:
        """Names of the tasks that the engine has been given and that have not ended."""
        return self._tasks.keys()

    def status(self) -> FleetStatus:
        """Return how it stands."""
        return FleetStatus(self._running, self.wanted, self._away_since)

    def away(self, now: float, why: str) -> None:
        """Note that the engine does not answer."""
        if self._away_since is None:
            self._away_since = now
        self.last_problem = why

    def seen(self, workers: int, running: int) -> None:
        """Note how the engine stands; one that takes no task is still away."""
        if not self._refuses:
            self._away_since = None
        self._workers, self._running = workers, running

    def draining(self, names: Collection[str]) -> None:
        """Note that only these tasks are still to end; the others have been withdrawn."""
        self._tasks = {name: began for name, began in self._tasks.items() if name in names}

    def ended(self, name: str, how: Ended, now: float) -> None:
        """Note how a task ended."""
        began = self._tasks.pop(name, now)
        self.heard_end = self.heard_end or how.heard_end
        self.over = self.over or how.heard_end or how.told_to_end or how.code == 0
        if how.by_will:
            return
        self.last_problem = what_it_said(how) or f"a slave ended with {how.code}"
        self.unfinished = self.unfinished or how.unfinished
        if how.heard_end or how.told_to_end:
            return
        lived = now - began if how.code is None else how.lived
        if lived >= WORKED_SECONDS and how.code != NO_MASTER:
            self._pause = FIRST_SLAVE_PAUSE_SECONDS
            self._sayings.clear()
        elif how.cannot_work:
            self._sayings.append((how.worker, how.code))
            self._said = last_line(self.last_problem)  # the first one has been shown in full
            self._judge(now)
        if now >= self._not_before:  # else it is one of those that are lost together, as with their scheduler
            self._not_before = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_SLAVE_PAUSE_SECONDS)

    def give_up(self, why: str, exit_code: int) -> None:
        """Note that there will be no slave any more."""
        self.failure, self.exit_code = why, exit_code

    def due(self, now: float) -> list[str]:
        """Return the names of the tasks that are to be submitted now."""
        if self.over or self.failure or now < self._not_before:
            return []
        if self._away_since is not None and not self._refuses:
            return []
        missing = self.wanted - len(self._tasks)
        if missing <= 0:
            self._refuses = False  # nothing is asked of it any more
        names = []
        for _ in range(missing):
            self._number += 1
            names.append(f"taskmaster-slave-{self.run}-{self._number}")
        self._tasks.update(dict.fromkeys(names, now))
        return names

    def unsubmitted(self, names: Collection[str]) -> None:
        """Note which of those that ``due`` has given the engine has not taken: they are due
        again.
        """
        for name in names:
            self._tasks.pop(name, None)
        self._refuses = bool(names)

    def surplus(self, withdrawable: Collection[str]) -> list[str]:
        """Return the names of the tasks that run nowhere and are too many: the engine has lost
        workers.
        """
        many = len(self._tasks) - self.wanted
        names = [name for name in self._tasks if name in withdrawable][: max(0, many)]
        for name in names:
            del self._tasks[name]
        return names

    def _judge(self, now: float) -> None:
        """Give up if enough workers have said that they cannot run the callback, and none works."""
        if any(now - began >= WORKED_SECONDS for began in self._tasks.values()) and self._running:
            return
        enough = min(SAYINGS, max(1, self._workers))
        if len(self._sayings) >= SAYINGS and len({worker for worker, _ in self._sayings}) >= enough:
            unreached = all(code == NO_MASTER for _, code in self._sayings)
            self.give_up(self._said, NO_MASTER if unreached else TargetError.exit_code)
