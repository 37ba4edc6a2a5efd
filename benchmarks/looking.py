"""What it costs a run that somebody looks at it: processor time with and without, side by side.

Jobs that do nothing are run, the same number with nobody looking and with the whole status, the
history and the slaves asked for over a connection that is kept, as the page does. Both come once in
each round, in a shuffled order, and the processor seconds of the run (master, slave and workers,
not of who looks) are compared within the round::

    python benchmarks/looking.py --rounds=12 --jobs=10000000 --often=50

Two runs of the same differ by a tenth, and a look a second costs a thousandth at most: no number of
rounds that one could wait for shows that. So it is looked 50 times a second, and what that costs
is divided by how often it really was; the noise is divided with it.

Exits with 1 if looking once a second costs more than half a per cent in the median of the rounds.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import click

from taskmaster.control import Run
from taskmaster.errors import TaskmasterError

ARMS = ("nobody", "looking")
MOST = 0.005  # of the processor time of a run at which nobody looks
TARGET = """
def get_jobs():
    yield from range({jobs})

def handle_job(number):
    pass
"""


def look(state: Path, enough: threading.Event, often: float, looked: list[float]) -> None:
    """Ask at a given rate until ``enough`` is set, and note the time of each answer."""
    since = 0
    while not enough.is_set():
        with suppress(TaskmasterError), Run(state) as run:
            while not enough.wait(1.0 / often):
                run.status()
                since = run.history("10m", since)["seq"]
                run.slaves()
                looked.append(time.monotonic())
        time.sleep(0.02)


def measure(arm: str, jobs: int, often: float) -> dict[str, float]:
    """Run jobs; give the processor seconds that they took, how long it was, and how many looks a
    second there were.
    """
    with tempfile.TemporaryDirectory(prefix="looking-") as name:
        directory = Path(name)
        (directory / "noop.py").write_text(TARGET.format(jobs=jobs))
        os.environ["TASKMASTER_HOME"] = name
        state, enough = directory / "noop.tmstate", threading.Event()
        looked: list[float] = []
        looker = threading.Thread(target=look, args=(state, enough, often, looked), daemon=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [str(Path(sys.executable).with_name("tm-run")), "noop.py", "2", "--progress=none"]
        began = time.monotonic()
        run = subprocess.Popen(command, cwd=directory, stderr=subprocess.DEVNULL)
        if arm == "looking":
            looker.start()
        run.wait(timeout=600)
        seconds = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        enough.set()
        if arm == "looking":
            looker.join(10)
    if run.returncode != 0:
        raise click.ClickException(f"The run ended with {run.returncode}.")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": round(cpu, 3), "seconds": round(seconds, 3), "looks": round(len(looked) / seconds, 2)}


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=12, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=10_000_000, show_default=True)
@click.option("--often", type=click.FloatRange(0.1), default=50.0, show_default=True, help="Looks a second.")
def main(rounds: int, jobs: int, often: float) -> None:
    """Compare runs at which somebody looks with runs at which nobody does."""
    costs = []
    for number in range(rounds):
        found = {arm: measure(arm, jobs, often) for arm in random.sample(ARMS, len(ARMS))}
        more = found["looking"]["cpu"] / found["nobody"]["cpu"] - 1.0
        costs.append(more / max(0.1, found["looking"]["looks"]))
        click.echo(json.dumps({"round": number, "more": round(more, 4), "of_one": round(costs[-1], 6), **found}))
    low, median, high = statistics.quantiles(costs) if rounds > 1 else costs * 3
    shown = {"quarter": round(low, 6), "median": round(median, 6), "three_quarters": round(high, 6)}
    click.echo(json.dumps({"rounds": rounds, "a_look_a_second_costs": shown, "goal": MOST}))
    if median > MOST:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
