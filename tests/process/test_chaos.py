"""kill -9 of masters, slaves and workers at random moments, judged by the ledger."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise

import pytest
from support import proof
from support.commands import Command, children_of, free_port, wait_for
from support.ledger import ENDLESS
from support.playground import Playground

JOBS = proof.size(5_000, 200_000)
MASTER_KILLS = proof.size(5, 100)
SLAVE_KILLS = proof.size(20, 400)
WORKER_KILLS = proof.size(20, 400)
WORKERS = 2


def descendants(pid: int) -> set[int]:
    """All live processes below a process."""
    found: set[int] = set()
    for child in children_of(pid):
        found |= {child} | descendants(child)
    return found


def at_work(playground: Playground, slaves: list[Command]) -> set[int]:
    """The live workers that run a job: those that were killed with one have a job in the ledger,
    too.
    """
    below = {pid for slave in slaves for pid in descendants(slave.pid)}
    return {pid for _, pid in playground.ledger.running()} & below


def check_ledger(playground: Playground, jobs: int) -> int:
    """Every job ran to its end; returns how many executions were repeats."""
    ended = playground.ledger.ended()
    lost = [key for key in map(str, range(jobs)) if not ended[key]]

    assert not lost, f"{len(lost)} jobs were lost, such as {lost[:5]}"
    assert not set(ended) - set(map(str, range(jobs)))

    return ended.total() - jobs


def longest_stall(playground: Playground) -> float:
    """Seconds between two ends of jobs, where that was longest."""
    ends = sorted(at for what, _, _, at in playground.ledger.timed() if what == "end")
    return max((after - before for before, after in pairwise(ends)), default=0.0)


@pytest.mark.proof
@pytest.mark.timeout(proof.size(170, 4 * 3600))
def test_nothing_is_lost_when_masters_slaves_and_workers_are_killed(playground: Playground) -> None:
    """Kill -9 while they hold work: no job is lost, none has failed, repeats are bounded."""
    dice = random.Random(proof.seed())
    port = str(free_port())
    master_words = ("tm-master", "jobs.py", f"--host=127.0.0.1:{port}", "--progress=none", "--crashes=50", "--size=500")
    slave_words = ("tm-slave", "jobs.py", f"--host=127.0.0.1:{port}", f"--processes={WORKERS}", "--wait=60")
    # As many jobs as it takes until all are killed, on a machine of any speed.
    playground.write("jobs.py", ENDLESS)
    environment = {"TOTAL": str(JOBS), "SLEEP": "0.01"}
    master = playground.start(*master_words, **environment)
    slaves = [playground.start(*slave_words, **environment) for _ in range(2)]
    left = Counter(master=MASTER_KILLS, slave=SLAVE_KILLS, worker=WORKER_KILLS)
    exposed: Counter[str] = Counter()
    while left.total() and master.process.poll() is None:
        time.sleep(dice.uniform(0.05, 0.4))
        wait_for("work in flight", lambda m=master: at_work(playground, slaves) or m.process.poll() is not None)
        kind = dice.choice(list(left.elements()))
        running = at_work(playground, slaves)
        # One that works, if there is one: what was just started has nothing to lose yet.
        busy = [slave for slave in slaves if running & descendants(slave.pid)]
        left[kind] -= 1
        if kind == "master":
            exposed[kind] += bool(busy)
            master.kill()
            master = playground.start(*master_words, **environment)
        elif kind == "slave":
            victim = dice.choice(busy or slaves)
            exposed[kind] += victim in busy
            slaves.remove(victim)
            victim.kill()
            slaves.append(playground.start(*slave_words, **environment))
        else:
            below = running & {pid for slave in busy for pid in descendants(slave.pid)}
            exposed[kind] += bool(below)
            if below:
                with suppress(ProcessLookupError):
                    os.kill(dice.choice(sorted(below)), signal.SIGKILL)

    playground.write("enough", "")

    assert master.end(proof.size(90, 3600)) == 0, master.output
    assert not left.total(), "the run was over before all were killed"
    assert exposed["master"] >= 0.6 * MASTER_KILLS, exposed
    assert exposed["slave"] >= 0.6 * SLAVE_KILLS, exposed
    assert exposed["worker"] >= 0.6 * WORKER_KILLS, exposed
    for slave in slaves:
        assert slave.end() in (0, 6), slave.output
    jobs = int((playground.directory / "jobs.txt").read_text())
    repeats = check_ledger(playground, jobs)
    # A killed slave had at most two batches of 0.5 s in each worker; a killed master has not heard
    # of 0.5 s of work at the slaves, and has not written down another 0.25 s: with 10 ms jobs and 4
    # workers, that many for each kill.
    bound = SLAVE_KILLS * WORKERS * 100 + MASTER_KILLS * 2 * WORKERS * 120 + WORKER_KILLS * 50
    proof.record(
        f"kill -9 of {MASTER_KILLS} masters, {SLAVE_KILLS} slaves and {WORKER_KILLS} workers ({exposed['master']}, "
        f"{exposed['slave']} and {exposed['worker']} with work in hand), {jobs:,} jobs",
        tried=MASTER_KILLS + SLAVE_KILLS + WORKER_KILLS,
        survived=MASTER_KILLS + SLAVE_KILLS + WORKER_KILLS,
        repeated=repeats,
        bound=bound,
        stall=longest_stall(playground),
    )

    assert repeats <= bound


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_local_run_survives_the_death_of_its_workers(playground: Playground) -> None:
    """Kill -9 of ten workers, each in the middle of a job: nothing is lost, and nobody is blamed
    for it in the end.
    """
    playground.write("jobs.py", ENDLESS)
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", "--size=200", TOTAL="0", SLEEP="0.02")
    killed: set[int] = set()
    while len(killed) < 10 and run.process.poll() is None:
        running = {pid for _, pid in playground.ledger.running()}
        # One that was killed has a job in the ledger for ever, and is a process until it is waited
        # for.
        if live := running - killed:
            victim = min(live)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        time.sleep(0.2)  # for another worker to begin

    playground.write("enough", "")

    assert run.end(60) == 0, run.output
    assert len(killed) == 10
    assert check_ledger(playground, int((playground.directory / "jobs.txt").read_text())) <= 10


def test_a_local_run_that_is_killed_leaves_nothing_running(playground: Playground) -> None:
    """Kill -9 of the master takes slave and workers with it; run again, it goes on where it was."""
    playground.hold(100)
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", TOTAL="400", SLEEP="0.01")
    wait_for("a checkpoint", lambda: playground.in_state() > 50)
    run.kill()
    wait_for("every process to end", lambda: not playground.left())
    playground.let_go()
    again = playground.run("tm-run", "jobs.py", "2", "--progress=none", TOTAL="400")

    assert again.process.returncode == 0, again.output
    assert "Resuming at" in again.output
    assert check_ledger(playground, 400) <= 60


def test_a_killed_slave_leaves_nothing_running(playground: Playground) -> None:
    """Neither its workers nor anything else outlives it."""
    port = free_port()
    master = playground.start("tm-master", "jobs.py", f"--host=127.0.0.1:{port}", "--progress=none", SLEEP="0.5")
    slave = playground.start("tm-slave", "jobs.py", f"--host=127.0.0.1:{port}", "--processes=2", SLEEP="0.5")
    wait_for("running jobs", lambda: len(playground.ledger.running()) == 2)
    held = descendants(slave.pid)

    assert len(held) >= 2

    slave.kill()
    wait_for("its processes to end", lambda: not held & set(playground.left()))
    master.kill()
