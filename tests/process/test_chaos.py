"""kill -9 of masters, slaves and workers at random moments, judged by the ledger."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from commands import children_of, free_port, wait_for
from conftest import Playground

JOBS = 5000
MASTER_KILLS = 5
SLAVE_KILLS = 20
WORKERS = 2


def descendants(pid: int) -> set[int]:
    """All live processes below a process."""
    found: set[int] = set()
    for child in children_of(pid):
        found |= {child} | descendants(child)
    return found


def check_ledger(playground: Playground, jobs: int) -> int:
    """Every job ran to its end; returns how many executions were repeats."""
    ended = playground.ledger.ended()
    lost = [key for key in map(str, range(jobs)) if not ended[key]]

    assert not lost, f"{len(lost)} jobs were lost, such as {lost[:5]}"
    assert not set(ended) - set(map(str, range(jobs)))

    return ended.total() - jobs


@pytest.mark.timeout(170)
def test_nothing_is_lost_when_masters_and_slaves_are_killed(playground: Playground) -> None:
    """5,000 jobs, 5 masters and 20 slaves killed while they held work: none lost, repeats bounded."""
    seed = int(os.environ.get("TASKMASTER_SEED", time.time_ns() % 1_000_000))
    print(f"replay with TASKMASTER_SEED={seed}")
    dice = random.Random(seed)
    port = str(free_port())
    master_words = ("tm-master", "jobs.py", f"--host=127.0.0.1:{port}", "--progress=none")
    slave_words = ("tm-slave", "jobs.py", f"--host=127.0.0.1:{port}", f"--processes={WORKERS}", "--wait=60")
    environment = {"TOTAL": str(JOBS), "SLEEP": "0.01"}
    master = playground.start(*master_words, **environment)
    slaves = [playground.start(*slave_words, **environment) for _ in range(2)]
    masters_left, slaves_left, exposed = MASTER_KILLS, SLAVE_KILLS, 0
    while (masters_left or slaves_left) and master.process.poll() is None:
        time.sleep(dice.uniform(0.1, 0.5))
        wait_for("work in flight", lambda m=master: playground.ledger.running() or m.process.poll() is not None)
        if dice.random() < masters_left / (masters_left + slaves_left):
            if playground.ledger.running():
                exposed += 1
            master.kill()
            masters_left -= 1
            master = playground.start(*master_words, **environment)
        else:
            running = {pid for _, pid in playground.ledger.running()}
            # One that works, if there is one: what was just started has nothing to lose yet.
            busy = [slave for slave in slaves if running & descendants(slave.pid)]
            victim = dice.choice(busy or slaves)
            slaves.remove(victim)
            held = descendants(victim.pid)
            exposed += any(pid in held for _, pid in playground.ledger.running())
            victim.kill()
            slaves_left -= 1
            slaves.append(playground.start(*slave_words, **environment))

    assert master.end(90) == 0, master.output
    assert masters_left == slaves_left == 0, "the run was over before all were killed"
    assert exposed >= 15, f"only {exposed} of 25 victims held work"
    for slave in slaves:
        assert slave.end() in (0, 6), slave.output
    repeats = check_ledger(playground, JOBS)
    # A killed slave had at most two batches of 0.2 s in each worker; a killed master has not heard of 0.5 s of work at
    # the slaves, and has not written down another 0.2 s: with 10 ms jobs and 4 workers, that many for each kill.
    assert repeats <= SLAVE_KILLS * WORKERS * 100 + MASTER_KILLS * 2 * WORKERS * 120
    print(f"{repeats} of {JOBS} jobs were repeated")


@pytest.mark.timeout(120)
def test_a_local_run_survives_the_death_of_its_workers(playground: Playground) -> None:
    """Kill -9 of ten workers, each in the middle of a job: nothing is lost, and nobody is blamed for it in the end."""
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", TOTAL="600", SLEEP="0.02")
    killed = 0
    while killed < 10 and run.process.poll() is None:
        running = playground.ledger.running()
        live = [pid for _, pid in running if os.path.exists(f"/proc/{pid}")]
        if live:
            os.kill(live[0], signal.SIGKILL)
            killed += 1
        time.sleep(0.2)

    assert run.end(60) == 0, run.output
    assert killed == 10
    assert check_ledger(playground, 600) <= 10


def test_a_local_run_that_is_killed_leaves_nothing_running(playground: Playground) -> None:
    """Kill -9 of the master takes slave and workers with it; run again, it goes on where it was."""
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", TOTAL="400", SLEEP="0.02")
    wait_for("some work", lambda: playground.ledger.ended().total() > 50)
    run.kill()
    wait_for("every process to end", lambda: not playground.left(), 5.0)
    again = playground.run("tm-run", "jobs.py", "2", "--progress=none", TOTAL="400", SLEEP="0.02")

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
    wait_for("its processes to end", lambda: not held & set(playground.left()), 5.0)
    master.kill()
