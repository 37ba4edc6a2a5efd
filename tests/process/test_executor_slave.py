"""``tm-slave --executor`` with real executors: a job never takes an executor's worker down, and
nothing is missing whatever dies.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import suppress

import psutil
import pytest
from support.commands import Command, free_port, wait_for
from support.dask_cluster import DaskProcesses
from support.playground import Playground

# Pools that note their workers, and Dask's.
POOLS = """
import multiprocessing, os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

def processes():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))

def spawned():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))

def replaced():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)

def loky():
    from loky import ProcessPoolExecutor
    return ProcessPoolExecutor(2)

def threads():
    return ThreadPoolExecutor(2)

def dask():
    from distributed import Client
    return Client(os.environ["SCHEDULER"], set_as_default=False).get_executor(pure=False, retries=0)

def inproc():
    from distributed import Client
    return Client(processes=False, n_workers=1, dashboard_address=None).get_executor(pure=False)

def broken():
    raise RuntimeError("there is no licence for this cluster")

def something():
    return 3
"""
USER = """
from jobs import *

def teardown():
    note("teardown", os.getpid())

def handle_job(key):
    note("start", key)
    hold()
    if key == 50:
        os._exit(9)
    if key == 100:
        os.kill(os.getpid(), 11)
    if key == 150:
        time.sleep(600)
    if key == 200:
        raise ValueError("never")
    time.sleep(SLEEP)
    note("end", key)
"""
BAD = {"50", "100", "150", "200"}
QUICK = ["--no-progress", "--retries=0", "--crashes=1", "--job-timeout=3"]

pytestmark = pytest.mark.slow


@pytest.fixture(params=["processes"])
def executor(request: pytest.FixtureRequest, playground: Playground) -> dict[str, str]:
    """What a command needs to know of an executor: its name, and the environment of its factory."""
    playground.write("pools.py", POOLS)
    playground.write("user.py", USER)
    environment = {"NAME": request.param}
    if request.param == "dask":
        cluster = DaskProcesses(playground)
        cluster.wait_for_workers(2)
        environment["SCHEDULER"] = cluster.address
        request.addfinalizer(cluster.close)  # noqa: PT021
    return environment


def start(playground: Playground, executor: dict[str, str], *words: str, **environment: str) -> tuple[Command, Command]:
    """Start a master, and a slave with an executor."""
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "user.py", host, *QUICK, *words, **environment)
    name = f"--executor=pools.py:{executor['NAME']}"
    return master, playground.start("tm-slave", "user.py", host, name, "--ship=jobs.py", **executor, **environment)


def hosts(playground: Playground) -> set[int]:
    """The executor's workers that keep a worker of ours."""
    found = set()
    for pid, line in playground.left().items():
        if "slave.worker.fork_server" in line:
            with suppress(psutil.NoSuchProcess):  # it ends just now
                found.add(psutil.Process(pid).ppid())
    return {pid for pid in found if "slave.worker.fork_server" not in playground.left().get(pid, "")}


@pytest.mark.parametrize("executor", ["processes", "loky", "dask"], indirect=True)
def test_a_job_takes_no_worker_of_an_executor_down(playground: Playground, executor: dict[str, str]) -> None:
    """One that exits, one that crashes, one that hangs and one that raises: exactly they fail, all
    others run once, and the executor's workers are those that there were.
    """
    playground.hold(20)
    master, slave = start(playground, executor, TOTAL="300")
    wait_for("two hosts", lambda: len(hosts(playground)) == 2)
    before = hosts(playground)
    playground.let_go()

    wait_for("most jobs", lambda: playground.ledger.ended().total() > 200)
    assert hosts(playground) <= before
    assert master.end() == 3, master.output
    assert slave.end() == 0, slave.output
    ended = playground.ledger.ended()
    assert ended == Counter(str(key) for key in range(300) if str(key) not in BAD), master.output
    assert "4 of them failed" in master.output
    assert "another one is made" not in slave.output
    assert "2 worker processes on the executor." in slave.output
    if executor["NAME"] == "processes":  # the others' workers live longer than the command
        lines = playground.ledger.lines()
        killed = {process for what, key, process in lines if what == "start" and key in BAD - {"200"}}
        alive = {process for what, _, process in lines if what == "start"} - killed
        assert alive
        assert alive <= {process for what, _, process in lines if what == "teardown"}


@pytest.mark.parametrize("executor", ["processes", "replaced", "loky", "dask"], indirect=True)
def test_what_a_teardown_there_raises_is_an_exit_code_of_both(playground: Playground, executor: dict[str, str]) -> None:
    """Of one worker of two, also where the executor replaces its own workers."""
    playground.write(
        "user.py",
        "import os\nfrom jobs import *\nfirst = []\ndef handle_job(key):\n    note('start', key)\n"
        "    if key == 3: first.append(key)\n    note('end', key)\n"
        "def teardown():\n    if first: raise OSError('no disk')\n",
    )
    master, slave = start(playground, executor, TOTAL="60")

    assert slave.end() == 1, slave.output
    assert master.end() == 1, master.output
    assert set(playground.ledger.ended()) == {str(key) for key in range(60)}
    assert "teardown() raised OSError" in master.output
    assert "workers that could not do at their end what was left to be done: 1;" in slave.output


def test_a_drained_and_a_killed_worker(playground: Playground, executor: dict[str, str]) -> None:
    """SIGTERM lets running batches end and costs nothing, and ends what does not; a killed worker
    breaks the pool, another is made, and what was in flight runs again.
    """
    environment = {"TOTAL": "400", "SLEEP": "0.01"}
    playground.write("user.py", USER.replace("== 50", "== -1").replace("== 100", "== -1").replace("== 150", "== -1"))
    playground.hold(40)
    master, slave = start(playground, executor, **environment)
    wait_for("two hosts", lambda: len(playground.held()) == 2)
    os.kill(slave.pid, signal.SIGTERM)
    slave.wait_for_output("the same signal again ends at once")
    playground.let_go()
    assert slave.end() == 143, slave.output
    assert set(playground.ledger.ended().values()) == {1}

    playground.hold(60)
    short = playground.start(*slave.words, "--grace=0.5", **executor, **environment)
    wait_for("two hosts", lambda: len(playground.held()) == 2)
    os.kill(short.pid, signal.SIGTERM)
    assert short.end() == 143, short.output
    wait_for("their end", lambda: not playground.held() and not hosts(playground))
    assert set(playground.ledger.ended().values()) == {1}

    playground.hold(80)
    again = playground.start(*slave.words, **executor, **environment)
    wait_for("two hosts", lambda: len(playground.held()) == 2)
    os.kill(min(hosts(playground)), signal.SIGKILL)
    again.wait_for_output("another one is made")
    playground.let_go()
    assert master.end() == 3, master.output
    assert again.end() == 0, again.output
    assert set(playground.ledger.ended()) == {str(key) for key in range(400) if key != 200}


def test_what_cannot_be_used_is_refused(playground: Playground, executor: dict[str, str]) -> None:
    """Threads, workers in the command's own process, a factory that raises or gives no executor,
    and a callback that cannot be imported there: exit code 2, and why.
    """
    playground.write("nothing.py", "import nowhere\\n\\ndef handle_job(key): ...\\n")
    for name, why in [
        ("threads", "whose workers are in this very process"),
        ("inproc", "whose workers are in this very process"),
        ("broken", "there is no licence for this cluster"),
        ("something", "which is no Executor"),
        ("missing", "missing"),
    ]:
        refused = playground.run("tm-slave", "user.py", f"--executor=pools.py:{name}")
        assert refused.process.returncode == 2, refused.output
        assert why in refused.output
    port = free_port()
    master = playground.start("tm-master", "user.py:get_jobs", f"--host=127.0.0.1:{port}", "--no-progress")
    words = [f"--host=127.0.0.1:{port}", "--executor=pools.py:processes"]
    lost = playground.run("tm-slave", "nothing.py:handle_job", *words)
    assert lost.process.returncode == 2, lost.output
    assert "nowhere" in lost.output
    master.kill()
