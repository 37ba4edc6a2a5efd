"""``--engine dask`` on a real scheduler and real workers, as processes: nothing is missing, and
nothing runs twice that need not, whatever of them is killed.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from support.commands import wait_for
from support.dask_cluster import DaskProcesses
from support.playground import Playground

pytestmark = pytest.mark.slow

ALL = [str(key) for key in range(400)]


@pytest.fixture
def cluster(playground: Playground) -> Iterator[DaskProcesses]:
    """Two workers of one thread each."""
    found = DaskProcesses(playground)
    try:
        yield found
    finally:
        found.close()


def twice(playground: Playground) -> dict[str, int]:
    """Jobs that ran to their end more than once."""
    return {key: number for key, number in playground.ledger.ended().items() if number > 1}


def test_jobs_run_on_the_workers_of_the_cluster_each_once(playground, cluster):
    """The file of the target travels; the callback runs below the cluster's workers, and its slaves
    are gone with the run.
    """
    run = playground.run("tm-run", "jobs.py", "--engine=dask", f"--scheduler={cluster.address}", TOTAL="400")

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(ALL)
    assert "All done" in run.output
    wait_for("the slaves to end", lambda: not any("taskmaster.slave" in line for line in playground.left().values()))
    assert all(one.process.poll() is None for one in cluster.workers)


def test_a_killed_worker_costs_what_was_in_flight(playground, cluster):
    """Kill -9 of a Dask worker: its jobs run elsewhere, none is missing, and few run twice."""
    playground.hold(after=100)
    run = playground.start(
        "tm-run", "jobs.py", "--engine=dask", f"--scheduler={cluster.address}", "--batch=2", TOTAL="400"
    )
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2)
    os.kill(cluster.inner(cluster.workers[0]), signal.SIGKILL)
    playground.let_go()

    assert run.end() == 0, run.output
    assert set(playground.ledger.ended()) == set(ALL)
    assert sum(number - 1 for number in twice(playground).values()) <= 8


def test_ctrl_c_drains_and_the_same_command_resumes(playground, cluster):
    """Ctrl-C: running jobs end, nothing runs on, and no job runs twice in both sessions."""
    words = ["tm-run", "jobs.py", "--engine=dask", f"--scheduler={cluster.address}"]
    playground.hold(after=100)
    run = playground.start(*words, TOTAL="400")
    wait_for("a job that waits", playground.held)
    playground.interrupt(run)

    assert run.end() == 130, run.output
    wait_for("the slaves to end", lambda: not any("taskmaster.slave" in line for line in playground.left().values()))
    assert 100 <= len(playground.ledger.ended()) < 400

    again = playground.run(*words, TOTAL="400")
    assert again.process.returncode == 0, again.output
    assert playground.ledger.ended() == Counter(ALL)
