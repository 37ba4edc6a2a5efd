"""What one master answers over a real network stack, and whether the simulated fleet says the same.

A real ``tm-master`` on loopback, and slaves that are nothing but connections, all of one process:
each reports the batches that it was given at once, and asks for others. The same exchanges are then
made with the simulated master of ``benchmarks.fleet``, whose costs have to be those of the real
one::

    python -m benchmarks.wire --shape=1000x64 --shape=4000x1

Exits with 1 if a goal was missed, or if the model is off by more than 30 %.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.fleet.simulated_master import Rows, SimulatedMaster
from benchmarks.fleet.simulated_slaves import READ_SECONDS, TICK_SECONDS, finished
from taskmaster.errors import TaskmasterError
from taskmaster.master.broker.limits import Limits
from taskmaster.model import PROTOCOL, Answer
from taskmaster.transport import client

KEY = "k" * 16
JOBS = 1_000_000_000
SIZE = 100_000  # jobs in the queue
SETTLE_SECONDS = 1.0  # before it is measured
SETTLE_ROUNDS = 2  # the same of the model: exchanges of each connection
LATE_SECONDS = 60.0  # for anything that should happen at all
OFF = 0.3  # how far the model may be off
TARGET = "def get_jobs(last=-1):\n    yield from range(last + 1, 1_000_000_000)\n"


@dataclass(frozen=True)
class Measured:
    """What was found for a number of connections.

    Attributes:
        connections: How many there were.
        workers: As how many each asks for batches at once.
        connected: Seconds until all had said hello.
        exchanges: A second.
        batches: A second.
        core: Share of one core that the master used.
        cost: Microseconds of the master's processor time for a batch.
        model: The same by the simulated master.
        memory: Resident memory of the master, in MB.
        own: Share of a core that the connections' process used.
    """

    connections: int
    workers: int
    connected: float
    exchanges: float
    batches: float
    core: float
    cost: float
    model: float
    memory: float
    own: float

    @property
    def bears(self) -> float:
        """Batches a second of a whole core."""
        return 1e6 / self.cost

    @property
    def off(self) -> float:
        """How far the model is off, as a share of what was measured."""
        return self.model / self.cost - 1

    def goals(self) -> list[tuple[str, float, str, bool]]:
        """What is to be reached, what was found, and whether it was."""
        found = [("model is off by", self.off, f"< {OFF:.0%}", abs(self.off) < OFF)]
        if (self.connections, self.workers) == (1000, 64):
            found.append(("batches/s of one core", self.bears, ">= 20,000", self.bears >= 20_000))
        if (self.connections, self.workers) == (4000, 1):
            found.append(("exchanges/s of one core", self.bears, ">= 10,000", self.bears >= 10_000))
        return found


def about(session: str, workers: int) -> dict[str, Any]:
    """What a connection says of itself."""
    return {
        "protocol": PROTOCOL, "session": session, "name": "wire:1", "workers": workers, "slots": workers, "held": [],
        "offers": [], "run": "", "code": "", "callback": "", "target": "",
    }  # fmt: skip


def reports_on(batches: Any) -> list[tuple[Any, ...]]:
    """Report that these batches have ended."""
    return [finished(one[0], one[1], 0.5) for one in batches]


@contextmanager
def started_master(folder: Path) -> Iterator[tuple[int, int]]:
    """A master with a state of its own: its port and its process id."""
    (folder / "wire_jobs.py").write_text(TARGET)
    command = [str(Path(sys.executable).with_name("tm-master")), "wire_jobs.py", "--host=127.0.0.1:0"]
    command += [f"--key={KEY}", "--state=s", "--progress=none", f"--size={SIZE}"]
    said = folder / "said"
    with said.open("wb") as errors:
        environment = {**os.environ, "TASKMASTER_HOME": str(folder)}
        master = subprocess.Popen(command, cwd=folder, env=environment, stdout=errors, stderr=errors)
    try:
        deadline = time.monotonic() + LATE_SECONDS
        while not (found := re.search(r"running on '[^']*:(\d+)'", said.read_text())):
            if master.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"The master does not serve:\n{said.read_text()}")
            time.sleep(0.05)
        yield int(found[1]), master.pid
    finally:
        for _ in range(2):
            master.send_signal(signal.SIGINT)
            time.sleep(1.2)  # the second one, not the same one twice
        try:
            master.wait(20)
        except subprocess.TimeoutExpired:
            master.kill()
            master.wait()


def used(pid: int) -> tuple[float, float]:
    """Processor seconds and resident MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(memory.split()[1]) / 1024


class Connections:
    """All connections to a master, in one loop.

    Args:
        port: The master's.
        number: How many connections.
        workers: As how many workers each asks.
    """

    def __init__(self, port: int, number: int, workers: int) -> None:
        self.greeted = self.exchanges = self.batches = 0
        self._workers = workers
        self._selector = selectors.DefaultSelector()
        self._sessions: dict[Any, str] = {}
        deadline = time.monotonic() + LATE_SECONDS
        while len(self._sessions) < number:
            try:
                line = client.connect("127.0.0.1", port, KEY.encode())
            except TaskmasterError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            self._sessions[line] = session = secrets.token_hex(16)
            self._selector.register(line, selectors.EVENT_READ)
            line.post("hello", about(session, workers))

    def run(self, seconds: float, number: int | None = None) -> None:
        """Exchange for some seconds, or until enough connections have been welcomed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (number is not None and self.greeted >= number):
            for entry, _ in self._selector.select(0.5):
                self._answered(entry.fileobj)

    def close(self) -> None:
        """Hang up."""
        for line in self._sessions:
            line.close()
        self._selector.close()

    def _answered(self, line: Any) -> None:
        complete, value = line.receive()
        if not complete:
            return
        batches: tuple[Any, ...] = ()
        if isinstance(value, dict):
            self.greeted += 1
        else:
            batches = Answer.from_wire(value).batches
            self.exchanges += 1
            self.batches += len(batches)
        line.post("exchange", self._sessions[line], reports_on(batches), (self._workers, 1, 0, ""))


def modelled(number: int, workers: int, seconds: float) -> float:
    """Make the same exchanges with the simulated master; give the microseconds for a batch."""
    now = [1000.0]
    with tempfile.TemporaryDirectory(prefix="wire-") as name:
        limits = Limits(size=SIZE, span_follows=True)
        master = SimulatedMaster(Path(name) / "s.tmstate", Rows(JOBS), limits, 1, lambda: now[0])
        held: dict[str, Any] = {secrets.token_hex(16): () for _ in range(number)}
        for session in held:
            master.call("hello", about(session, workers))
        due = dict.fromkeys(("tick", "read", "checkpoint"), now[0])
        # What is handed out for the first time comes with no report of another one.
        rounds, batches, spent, end = 0, 0, 0.0, math.inf
        while now[0] < end:
            rounds += 1
            if rounds == SETTLE_ROUNDS + 1:
                batches, spent, end = 0, master.costs.whole, now[0] + seconds
            for session, before in held.items():
                if now[0] >= due["read"]:
                    more = True
                    while more:  # the reader catches up, and waits then
                        took, more = master.read()
                        now[0] += took
                    due["read"] = now[0] + READ_SECONDS
                if now[0] >= due["tick"]:
                    now[0] += master.tick()
                    due["tick"] = now[0] + TICK_SECONDS
                if now[0] >= due["checkpoint"]:
                    took, pause = master.checkpoint()
                    now[0] += took
                    due["checkpoint"] = now[0] + pause
                answer, took = master.call("exchange", session, reports_on(before), (workers, 1, 0, ""))
                held[session] = answer[2]
                now[0] += took
                batches += len(answer[2])
        spent = master.costs.whole - spent
        master.close()
    return 1e6 * spent / max(batches, 1)


def measure(number: int, workers: int, seconds: float) -> Measured:
    """Measure one shape."""
    with tempfile.TemporaryDirectory(prefix="wire-") as name, started_master(Path(name)) as (port, pid):
        began = time.monotonic()
        connections = Connections(port, number, workers)
        try:
            connections.run(LATE_SECONDS, number)
            connected = time.monotonic() - began
            if connections.greeted < number:
                raise click.ClickException(f"Only {connections.greeted} of {number} connections were welcomed.")
            connections.run(SETTLE_SECONDS)
            connections.exchanges = connections.batches = 0
            (cpu, _), own, began = used(pid), time.process_time(), time.monotonic()
            connections.run(seconds)
            took = time.monotonic() - began
            (now, memory), own = used(pid), time.process_time() - own
        finally:
            connections.close()
    exchanges, batches = connections.exchanges / took, connections.batches / took
    cost = 1e6 * (now - cpu) / max(1, connections.batches)
    model = modelled(number, workers, min(seconds, 5.0))
    return Measured(
        number, workers, connected, exchanges, batches, (now - cpu) / took, cost, model, memory, own / took
    )  # fmt: skip


def table(found: list[Measured]) -> str:
    """The results for people."""
    head = f"{'connections':>14}{'all in, s':>11}{'exchanges/s':>13}{'batches/s':>11}{'of a core':>11}"
    lines = [f"{head}{'us a batch':>12}{'the model':>11}{'memory, MB':>12}{'others':>8}"]
    for one in found:
        lines.append(
            f"{f'{one.connections} x {one.workers}':>14}{one.connected:>11.1f}{one.exchanges:>13,.0f}"
            f"{one.batches:>11,.0f}{one.core:>11.2f}{one.cost:>12.1f}{one.model:>11.1f}{one.memory:>12.0f}{one.own:>8.2f}"
        )
        lines += [
            f"{'':14}{name}: {f'{value:+.0%}' if 'model' in name else f'{value:,.0f}'}, wanted {goal}: "
            f"{'reached' if reached else 'MISSED'}"
            for name, value, goal, reached in one.goals()
        ]
    return "\n".join(lines)


@click.command()
@click.option("--shape", "shapes", multiple=True, default=("1000x64", "4000x1"), show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Length of a measurement.")
@click.option("--json", "as_json", is_flag=True, help="As one line of JSON.")
def main(shapes: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Measure what one master answers."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found = []
    for shape in shapes:
        number, _, workers = shape.partition("x")
        if hard != resource.RLIM_INFINITY and int(number) + 100 > hard:
            raise click.ClickException(f"{number} connections need more open files than ulimit -n allows ({hard}).")
        found.append(measure(int(number), int(workers), seconds))
    click.echo(json.dumps([asdict(one) for one in found]) if as_json else table(found))
    if not all(reached for one in found for *_, reached in one.goals()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
