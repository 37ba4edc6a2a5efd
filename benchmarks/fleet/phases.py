"""The phases of a simulated fleet's life, and what each has cost its master."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.fleet.simulated_master import Costs, Ranges, Rows, SimulatedMaster
from benchmarks.fleet.simulated_slaves import TICK_SECONDS, Fleet, Shape
from taskmaster.master.broker.limits import Limits
from taskmaster.runner.live_settings import RECLAIM_SECONDS

WARM_UP = 0.05  # of the length of a job, before the steady state is measured
RACK_SECONDS = 5.0  # a lost rack's jobs are to be out again after
RACK_FACTOR = 1.25  # or after this much of the time until as many workers are free, where that is more
SEEN_SECONDS = 0.05  # between two looks whether jobs of a lost rack are out again
AT_WORK = 0.999  # share of the workers that have to have a job before a phase has come to its end


OTHER_THREADS = ("start", "checkpoint", "read", "tick")
"""What slaves do not stand behind: of these, only the time under the lock and the garbage
collections keep the master from everything else.
"""


@dataclass(frozen=True)
class Phase:
    """What a phase has cost.

    Attributes:
        name: Which it is.
        virtual: How long it was, in virtual seconds.
        real: How long the simulation took for it.
        jobs: Jobs that ended.
        exchanges: That were answered.
        core: Share of one core that the master used.
        pause: The longest time, in seconds, in which the master did nothing but one thing: the
            longest call, time under its lock, or garbage collection.
        at: What that was.
        late: The longest time that an exchange waited.
        whole: It was not ended early.
        costs: Processor seconds, calls and the longest call, by what it was for.
    """

    name: str
    virtual: float
    real: float
    jobs: int
    exchanges: int
    core: float
    pause: float
    at: str
    late: float
    whole: bool
    costs: dict[str, tuple[float, int, float]]


@dataclass(frozen=True)
class Result:
    """What was found for a fleet.

    Attributes:
        shape: What was simulated.
        phases: What each phase has cost.
        memory: Resident memory of the process at its highest, in MB, without what the simulated
            slaves take at the end.
        recovery: Virtual seconds from the end of the master until all slaves were back and all
            workers had a job.
        rack: Virtual seconds from the loss of a rack until its jobs were out again.
        free: Virtual seconds in which as many workers end a batch as the rack held: a lost batch
            cannot be out again before a worker is free.
        busy: Share of the workers that had a job in the steady state.
    """

    shape: Shape
    phases: list[Phase]
    memory: float
    recovery: float
    rack: float
    free: float
    busy: float

    def goals(self) -> list[tuple[str, float, str, bool]]:
        """What is to be reached: the name, what was found, what is wanted, and whether it was."""
        steady = self.phases[1]
        pause = max(phase.pause for phase in self.phases[1:])
        rack = max(RACK_SECONDS, RACK_FACTOR * self.free)
        found = [
            ("steady state: share of one core", steady.core, 1.0, "< 1"),
            ("longest pause, s", pause, 0.5, "< 0.5"),
            ("memory, MB", self.memory, 2048.0, "< 2,048"),
            ("restart: all at work again after, s", self.recovery, 60.0, "< 60"),
            ("rack lost: its jobs out again after, s", self.rack, rack, f"< {rack:.3g}"),
        ]
        whole = [True, all(phase.whole for phase in self.phases), True, self.phases[2].whole, self.phases[3].whole]
        return [(*one[:2], one[3], ended and one[1] < one[2]) for one, ended in zip(found, whole, strict=True)]

    def missed(self) -> bool:
        """Whether a goal was missed."""
        return not all(reached for *_, reached in self.goals())

    def as_json(self) -> dict[str, object]:
        """The result as plain values."""
        return asdict(self)


class _Clock:
    """Measures phases."""

    def __init__(self, fleet: Fleet, say: Callable[[str], None], until: float) -> None:
        self._fleet = fleet
        self._say = say
        self._until = until
        self.phases: list[Phase] = []

    def run(self, name: str, until: Callable[[], bool], share: float) -> Phase:
        """Run a phase, with its share of the real time that is left."""
        fleet = self._fleet
        fleet.late = 0.0
        master = fleet.master
        if name != "restart":
            master.costs = Costs()
        began, handled, real = fleet.now, fleet.handled, time.monotonic()
        deadline = real + max(0.2, share * (self._until - real))
        whole = False

        def ended() -> bool:
            nonlocal whole
            whole = until()
            return whole or time.monotonic() > deadline

        fleet.run(ended)
        costs, virtual = fleet.master.costs, max(fleet.now - began, 1e-9)
        longest = {key: seconds for key, seconds in costs.longest.items() if key not in OTHER_THREADS}
        at = max(longest, key=lambda key: longest[key], default="")
        phase = Phase(
            name, virtual, time.monotonic() - real, fleet.handled - handled, costs.calls["exchange"],
            costs.whole / virtual, longest.get(at, 0.0), at, fleet.late, whole,
            {key: (costs.seconds[key], costs.calls[key], costs.longest[key]) for key in costs.seconds},
        )  # fmt: skip
        self.phases.append(phase)
        self._say(f"{name}: {phase.virtual:.1f} s virtual in {phase.real:.1f} s{'' if phase.whole else ', NOT whole'}")
        return phase


def measure(
    path: Path,
    shape: Shape,
    *,
    jobs: int = 1_000_000_000,
    rows: bool = False,
    steady: float = 30.0,
    rack: int = 100,
    budget: float = 280.0,
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Simulate a fleet through all phases.

    Args:
        path: The state file.
        shape: What is simulated.
        jobs: How many jobs there are.
        rows: They are plain ones.
        steady: Virtual seconds of the steady state.
        rack: Slaves that are lost at once.
        budget: Real seconds that this may take, about.
        say: Is told how far it is.
    """
    starts = iter(range(1, 100))
    workers = shape.slaves * shape.workers
    limits = Limits(span_follows=True, reclaim=RECLAIM_SECONDS)
    until = time.monotonic() + budget

    def start(now: Callable[[], float]) -> SimulatedMaster:
        return SimulatedMaster(path, (Rows if rows else Ranges)(jobs), limits, next(starts), now)

    fleet = Fleet(shape, start)
    clock = _Clock(fleet, say, until)

    def all_at_work() -> bool:
        return fleet.welcome >= len(fleet.slaves) and fleet.busy >= AT_WORK * len(fleet.slaves) * shape.workers

    clock.run("start", all_at_work, 0.6)
    warm = fleet.now + WARM_UP * shape.seconds
    fleet.run(lambda: fleet.now >= warm or time.monotonic() > until)
    end, busy = fleet.now + steady, [0.0, 0.0]

    def over() -> bool:
        busy[0] += fleet.busy
        busy[1] += 1
        return fleet.now >= end

    clock.run("steady", over, 0.5)
    fleet.restart()
    recovery = clock.run("restart", all_at_work, 0.8)
    settled = fleet.now + limits.reclaim  # jobs are not kept for slaves that were at them any more
    fleet.run(lambda: fleet.now >= settled or time.monotonic() > until)
    held = fleet.lose(rack)
    free = held * shape.batch * shape.seconds / (len(fleet.slaves) * shape.workers)
    lost_at = fleet.now
    seen = [lost_at]

    def out_again() -> bool:
        if fleet.now < seen[0] + SEEN_SECONDS:
            return False
        seen[0] = fleet.now
        return fleet.now > lost_at + limits.lease_grace + 2 * TICK_SECONDS and not fleet.master.has_lost

    lost = clock.run("rack", out_again, 1.0)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    memory -= fleet.memory()  # their objects; what it takes to keep these counts as the master's
    fleet.master.close()
    return Result(shape, clock.phases, memory, recovery.virtual, lost.virtual, free, busy[0] / busy[1] / workers)


def table(result: Result) -> str:
    """The result for people."""
    shape = result.shape
    about = f"{shape.slaves:,} slaves x {shape.workers} workers, jobs of {shape.seconds:g} s, {shape.batch} in a batch"
    head = (
        f"{'phase':10}{'virtual s':>11}{'real s':>8}{'jobs/s':>10}{'exchanges/s':>13}{'of a core':>11}{'pause ms':>10}"
    )
    lines = [f"{about}; workers busy {result.busy:.1%} in the steady state", "", f"{head}  {'at':12}{'late ms':>9}"]
    lines += [
        f"{phase.name:10}{phase.virtual:>11.1f}{phase.real:>8.1f}{phase.jobs / phase.virtual:>10,.0f}"
        f"{phase.exchanges / phase.virtual:>13,.0f}{phase.core:>11.2f}{1000 * phase.pause:>10.1f}  {phase.at:12}"
        f"{1000 * phase.late:>9.1f}{'' if phase.whole else '  NOT WHOLE'}"
        for phase in result.phases
    ]
    for phase in result.phases:
        lines += ["", f"{phase.name}: what it was for"]
        for name, (seconds, calls, longest) in sorted(phase.costs.items(), key=lambda one: -one[1][0]):
            lines.append(
                f"  {name:12}{calls:>10,} calls{seconds:>9.2f} s{1e6 * seconds / max(calls, 1):>11,.1f} us each"
                f"{1000 * longest:>10.1f} ms at most{seconds / phase.virtual:>8.3f} of a core"
            )
    lines.append("")
    lines += [
        f"{name:42}{value:>10.2f}  {goal:>9}  {'reached' if reached else 'MISSED'}"
        for name, value, goal, reached in result.goals()
    ]
    return "\n".join(lines)
