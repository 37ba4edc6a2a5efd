"""The scripts of ``examples/deploy/slurm``, on a real Slurm."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from support.commands import wait_for
from support.playground import Playground
from support.slurm import Slurm, cannot_queue

DEPLOY = Path(__file__).parents[2] / "examples" / "deploy" / "slurm"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def slurm(playground: Playground) -> Slurm:
    """A queue; where there can be none, in CI that is a failure."""
    if why := cannot_queue():
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return Slurm(playground)


def test_an_array_finishes_a_run(slurm: Slurm, playground: Playground) -> None:
    """A slave is cancelled, one is requeued, and the master's time is up: no job is lost, none runs
    twice, and what was requeued goes on.
    """
    shutil.copy(playground.directory / "jobs.py", playground.directory / "backfill.py")
    slurm.run("tm-ctl", "keygen", "tm.key")
    logs = {name: playground.directory / f"{name}.log" for name in ("master", "slave-1", "slave-2")}

    def held(workers: int) -> bool:
        found = playground.ledger.ended().total()
        time.sleep(0.1)
        return len(playground.ledger.running()) == workers and playground.ledger.ended().total() == found

    def heard(name: str, what: str) -> None:
        wait_for(f"{what} of {name}", lambda: what in logs[name].read_text())

    playground.hold(0)
    # The slaves are first: they wait for an address.
    slaves = slurm.submit(DEPLOY / "slaves.sbatch", "--array=1-2", "--cpus-per-task=2")
    master = slurm.submit(DEPLOY / "master.sbatch", TOTAL="400", RUN_TIME="8s")
    wait_for("jobs that wait", lambda: held(4))
    heard("master", "draining")
    slurm.run("scancel", f"{slaves}_1")
    heard("slave-1", "the same signal again ends at once")
    playground.hold(120)  # at once: on a slow machine all may have ended before the next look
    wait_for("the end of a slave", lambda: slurm.job(f"{slaves}_1")["JobState"] == "CANCELLED")

    wait_for("jobs of the second slave that wait", lambda: playground.ledger.ended().total() >= 120 and held(2))
    slurm.run("scontrol", "requeue", f"{slaves}_2")
    heard("slave-2", "the same signal again ends at once")
    playground.let_go()

    def completed() -> bool:
        return {slurm.job(one)["JobState"] for one in (master, f"{slaves}_2")} == {"COMPLETED"}

    wait_for("the end of the master and of a slave", completed)
    assert int(slurm.job(master)["Restarts"]) >= 1
    assert slurm.job(f"{slaves}_2")["Restarts"] == "1"
    assert set(playground.ledger.ended().values()) == {1}
    assert playground.ledger.ended().total() == 400
