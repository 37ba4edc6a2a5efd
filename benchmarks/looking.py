"""What it costs a run that somebody looks at it: processor time with and without, side by side.

Jobs that do nothing are run, the same number with nobody looking and with the whole status, the
history and the slaves asked for once a second over a connection that is kept, as the page does.
Both come once in each round, in a shuffled order, and the processor seconds of the run (master,
slave and workers, not of who looks) are compared within the round: other work on the machine
changes how long a run takes by half, and these hardly::

    python benchmarks/looking.py --rounds=12 --jobs=10000000

Exits with 1 if looking costs more than half a per cent in the median of the rounds.
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
MOST = 1.005  # times the processor time of a run at which nobody looks
TARGET = """
def get_jobs():
    yield from range({jobs})

def handle_job(number):
    pass
"""


def look(state: Path, enough: threading.Event) -> int:
    """Ask once a second until told; give how often that was."""
    looks, since = 0, 0
    while not enough.is_set():
        with suppress(TaskmasterError), Run(state) as run:
            while not enough.wait(1.0):
                run.status()
                since = run.history("10m", since)["seq"]
                run.slaves()
                looks += 1
        time.sleep(0.05)
    return looks


def measure(arm: str, jobs: int) -> dict[str, float]:
    """Run jobs; give the processor seconds that they took, and how long it was."""
    with tempfile.TemporaryDirectory(prefix="looking-") as name:
        directory = Path(name)
        (directory / "noop.py").write_text(TARGET.format(jobs=jobs))
        os.environ["TASKMASTER_HOME"] = name
        state, enough = directory / "noop.tmstate", threading.Event()
        looker = threading.Thread(target=look, args=(state, enough), daemon=True)
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
    return {"cpu": round(cpu, 3), "seconds": round(seconds, 3)}


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=12, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=10_000_000, show_default=True)
def main(rounds: int, jobs: int) -> None:
    """Compare runs at which somebody looks with runs at which nobody does."""
    ratios = []
    for number in range(rounds):
        found = {arm: measure(arm, jobs) for arm in random.sample(ARMS, len(ARMS))}
        ratios.append(found["looking"]["cpu"] / found["nobody"]["cpu"])
        click.echo(json.dumps({"round": number, "ratio": round(ratios[-1], 4), **found}))
    median = statistics.median(ratios)
    click.echo(json.dumps({"rounds": rounds, "median": round(median, 4), "least": min(ratios), "most": max(ratios)}))
    if median > MOST:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
