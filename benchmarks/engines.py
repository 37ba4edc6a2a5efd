"""Slaves on a Dask cluster of two workers, beside what a person writes on Dask alone, and beside
``tm-run`` on this machine: ``python benchmarks/engines.py``.

``tm-slave --executor``, whose batches run as calls of an executor, is measured beside them on three
of these: from the moment in which the first worker has run ``setup`` to the end of both commands,
for workers of Dask's and loky's end later.

One cluster serves all, and is there, idle, while ``tm-run`` is measured. What it uses of the two
cores, nobody can compute with: the ideal of W3 is what two plain loops take beside it, to which
nothing is handed out. Their share of a cluster that uses nothing is said, too. In each round
everything is measured once; the table has the medians. Clocks are those of
``benchmarks/peers/tm_run.py``, and for Dask alone from before the first job is handed over until
after the last result has come. A measurement in which a job was not done fails the whole. Exit code
1: a goal was missed.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.executors import SCHEDULER  # noqa: E402
from benchmarks.peers.dask_cluster import together  # noqa: E402
from benchmarks.works import MILLISECOND, NOTES, WORKERS, nothing, read_notes  # noqa: E402

COMMAND, MASTER, SLAVE = (str(Path(sys.executable).with_name(name)) for name in ("tm-run", "tm-master", "tm-slave"))
LIMIT = 120.0  # seconds after which a measurement is ended as a failure
WINDOW = 64  # futures that a loop of `submit` a job has open
GROUP = 20_000  # jobs of a batch that is made by hand
GROUPS_OPEN = 4
FIRST_JOBS = 20
# Jobs of each way; with --quick a twentieth.
JOBS = {"W1 tm-run": 30_000_000, "W1 --engine=dask": 30_000_000, "W1 batches of 20,000": 4_000_000,
        "W1 submit a job": 1_500, "W3 two plain loops": 20_000, "W3 tm-run": 20_000,
        "W3 --engine=dask": 20_000,
        "W1 --executor processes": 10_000_000, "W1 --executor loky": 10_000_000,
        "W1 --executor dask": 10_000_000}  # fmt: skip


def command(directory: Path, callback: str, jobs: int, *words: str) -> tuple[dict[str, list[float]], float]:
    """Run ``tm-run``; return what its workers noted, and when it began."""
    notes = directory / "notes"
    for former in (notes, *directory.glob("state*")):
        former.unlink(missing_ok=True)
    line = [COMMAND, "benchmarks.works:integers", f"n={jobs}", f"--handle-job-callback={callback}",
            "--state=state", *words]  # fmt: skip
    began = time.monotonic()
    ended = subprocess.run(
        line, cwd=directory, env={**os.environ, NOTES: str(notes)}, capture_output=True, text=True, timeout=LIMIT,
        check=False,
    )  # fmt: skip
    settled = re.findall(r"Current Job: (\d+)", ended.stderr)
    if ended.returncode != 0 or not settled or int(settled[-1]) != jobs:
        raise click.ClickException(f"{' '.join(line)} ended with {ended.returncode}:\n{ended.stderr}")
    return read_notes(notes), began


def of_an_executor(directory: Path, name: str, jobs: int) -> float:
    """Return the seconds of a master whose one slave has an executor of two workers."""
    notes = directory / "notes"
    for former in (notes, *directory.glob("state*")):
        former.unlink(missing_ok=True)
    host = f"--host=127.0.0.1:{free_port()}"
    environment = {**os.environ, NOTES: str(notes)}
    line = [MASTER, "benchmarks.works:integers", f"n={jobs}", "--state=state", host]
    master = subprocess.Popen(line, cwd=directory, env=environment, stderr=subprocess.PIPE, text=True)
    slave = [SLAVE, "benchmarks.works:nothing", host, f"--executor=benchmarks.executors:{name}", f"--env={NOTES}"]
    done = subprocess.run(slave, cwd=directory, env=environment, capture_output=True, timeout=LIMIT, check=False)
    said = master.communicate(timeout=LIMIT)[1]
    ended = time.monotonic()
    settled = re.findall(r"Current Job: (\d+)", said)
    if done.returncode or master.returncode or not settled or int(settled[-1]) != jobs:
        raise click.ClickException(f"{' '.join(line)} ended with {master.returncode}:\n{said}")
    return ended - min(read_notes(notes)["setup"])


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def working(directory: Path, callback: str, jobs: int, *words: str) -> float:
    """Return the seconds in which workers were at work."""
    found, _ = command(directory, callback, jobs, *words)
    return max(found["teardown"]) - min(found["setup"])


def loops(jobs: int) -> float:
    """Return the seconds of two plain loops, each over half of the jobs of W3."""
    line = [sys.executable, "-m", "benchmarks.peers.loops", "W3", str(jobs)]
    found = json.loads(subprocess.run(line, cwd=ROOT, capture_output=True, timeout=LIMIT, check=True).stdout)
    if found["jobs"] != jobs:
        raise click.ClickException(f"{found['jobs']} of {jobs} jobs were done.")
    return float(found["seconds"])


def by_hand(client: Any, jobs: int, size: int, window: int) -> float:
    """Return the seconds of a loop over ``as_completed``, which a person would write on Dask."""
    from distributed import as_completed

    def submitted() -> Iterator[Any]:
        left = iter(range(jobs))
        while group := list(itertools.islice(left, size)):
            yield client.submit(together, nothing, group, pure=False)

    began = time.monotonic()
    futures, done = submitted(), 0
    completed = as_completed(itertools.islice(futures, window))
    for future in completed:
        done += future.result()
        for another in itertools.islice(futures, 1):
            completed.add(another)
    if done != jobs:
        raise click.ClickException(f"{done} of {jobs} jobs were done.")
    return time.monotonic() - began


@contextmanager
def cluster(directory: Path) -> Iterator[str]:
    """A scheduler and two workers of one thread, each a process; gives the address."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    python, quiet = [sys.executable, "-m"], ["--host=127.0.0.1", "--no-dashboard"]
    lines = [[*python, "distributed.cli.dask_scheduler", *quiet, f"--port={port}"]]
    lines += [[*python, "distributed.cli.dask_worker", address, *quiet, "--nthreads=1"] for _ in range(WORKERS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory)}
    with (directory / "dask.log").open("wb") as log:
        processes = [
            subprocess.Popen(line, cwd=directory, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            for line in lines
        ]
        try:
            yield address
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(LIMIT)


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--quick", is_flag=True, help="A twentieth of the jobs: to see that it works.")
def main(rounds: int, quick: bool) -> None:
    """Measure, print a table, and say which goals were reached."""
    from distributed import Client

    os.environ.update(TASKMASTER_PROGRESS="lines", PYTHONPATH=str(ROOT))
    times: dict[str, list[float]] = {name: [] for name in (*JOBS, "first job")}
    share = 20 if quick else 1
    jobs = {name: number // share for name, number in JOBS.items()}
    with tempfile.TemporaryDirectory() as scratch, cluster(Path(scratch)) as address:
        directory = Path(scratch)
        os.environ.update({"TASKMASTER_HOME": scratch, SCHEDULER: address})
        there = ["--engine=dask", f"--scheduler={address}", f"--slaves={WORKERS}", f"--env={NOTES}"]
        with Client(address) as client:
            client.wait_for_workers(WORKERS)
            by_hand(client, 100, 1, WINDOW)  # the workers have imported what they need

            def first() -> float:
                found, began = command(directory, "mark", FIRST_JOBS, *there)
                return min(found["job"]) - began

            ways: dict[str, Callable[[], float]] = {
                "W1 tm-run": lambda: working(directory, "nothing", jobs["W1 tm-run"], f"--processes={WORKERS}"),
                "W1 --engine=dask": lambda: working(directory, "nothing", jobs["W1 --engine=dask"], *there),
                "W1 batches of 20,000": lambda: by_hand(client, jobs["W1 batches of 20,000"], GROUP, GROUPS_OPEN),
                "W1 submit a job": lambda: by_hand(client, jobs["W1 submit a job"], 1, WINDOW),
                "W3 two plain loops": lambda: loops(jobs["W3 two plain loops"]),
                "W3 tm-run": lambda: working(directory, "busy", jobs["W3 tm-run"], f"--processes={WORKERS}"),
                "W3 --engine=dask": lambda: working(directory, "busy", jobs["W3 --engine=dask"], *there),
                **{
                    way: partial(of_an_executor, directory, way.split()[-1], jobs[way])
                    for way in JOBS
                    if "--executor" in way
                },
                "first job": first,
            }
            for number in range(rounds):
                for name, measure in ways.items():
                    times[name].append(measure())
                click.echo(f"round {number + 1} of {rounds} is done", err=True)
    middle = {name: statistics.median(found) for name, found in times.items()}
    rates = {name: jobs[name] / middle[name] for name in jobs}
    click.echo(f"{'':24}{'jobs':>12}{'seconds':>10}{'jobs/s':>14}")
    for name, rate in rates.items():
        click.echo(f"{name:24}{jobs[name]:>12,}{middle[name]:>10.2f}{rate:>14,.0f}")
    ours = rates["W1 --engine=dask"]
    computing = jobs["W3 two plain loops"] * MILLISECOND / WORKERS
    goals = [
        ("W1, times a submit a job", ours / rates["W1 submit a job"], 1000.0),
        ("W1, times batches of 20,000 by hand", ours / rates["W1 batches of 20,000"], 3.0),
        ("W1, times tm-run here", ours / rates["W1 tm-run"], 0.5),
        ("W3, share of the ideal", rates["W3 --engine=dask"] / rates["W3 two plain loops"], 0.97),
        ("W3, times tm-run here", rates["W3 --engine=dask"] / rates["W3 tm-run"], 0.97),
        ("seconds to the first job", middle["first job"], -2.0),
    ]
    click.echo(
        f"the ideal is {computing / middle['W3 two plain loops']:.2f} of what two cores compute that the idle cluster "
        "leaves alone"
    )
    missed = False
    for name, value, goal in goals:
        good = value >= goal if goal > 0 else value <= -goal
        missed = missed or not good
        bound = f">= {goal:,g}" if goal > 0 else f"<= {-goal:g}"
        click.echo(f"{name:40}{value:>12,.2f}   {bound:10}{'' if good else 'MISSED'}")
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
