"""``--engine dask`` on a real scheduler and real workers, as processes: nothing is missing, and
nothing runs twice that need not, whatever of them is killed.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from distributed import Client
from support.commands import free_port, wait_for
from support.dask_cluster import DaskProcesses
from support.engines import EngineOfTest
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


def test_a_retired_worker_drains_and_a_killed_one_costs_what_was_in_flight(playground, cluster):
    """Dask takes a worker away under a slave: it ends what runs, gives the rest back, and no job
    runs twice. Kill -9 of another one: its jobs run elsewhere, none is missing, and few run twice.
    """
    engine = EngineOfTest(playground, "--engine=dask", f"--scheduler={cluster.address}")
    playground.hold(after=100)
    run = engine.start("tm-run", "jobs.py", "--batch=2", TOTAL="400")
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2 and len(engine.hosts()) >= 2)
    before = engine.hosts()
    with Client(cluster.address, set_as_default=False) as client:
        first = next(iter(client.nthreads()))  # asked before the new one may be among them
        cluster.start_worker()
        client.retire_workers([first])
    playground.hold(after=250)
    wait_for(
        "two slaves at work, one of them on the new worker",
        lambda: len(playground.held()) >= 2 and len(engine.hosts()) >= 2 and engine.hosts() != before,
    )
    assert len(playground.ledger.ended()) >= 250
    assert not twice(playground)
    os.kill(engine.hosts().pop(), signal.SIGKILL)
    playground.let_go()

    assert run.end() == 0, run.output
    assert set(playground.ledger.ended()) == set(ALL)
    assert sum(number - 1 for number in twice(playground).values()) <= 8


def test_the_scheduler_is_killed_and_comes_back(playground, cluster):
    """The run waits meanwhile, and ends on the workers that come with the new scheduler."""
    playground.hold(after=100)
    run = playground.start(
        "tm-run", "jobs.py", "--engine=dask", f"--scheduler={cluster.address}", "--batch=2", TOTAL="400"
    )
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2)
    cluster.scheduler.kill()
    run.wait_for_output("the engine does not answer")
    status = playground.run("tm-ctl", "status", "jobs.py")
    assert "of 2 slaves; scheduler away since" in status.output, status.output
    for worker in cluster.workers:
        worker.kill()
    playground.let_go()
    cluster.start_scheduler()
    cluster.start_worker()

    assert run.end() == 0, run.output
    assert set(playground.ledger.ended()) == set(ALL)
    assert sum(number - 1 for number in twice(playground).values()) <= 8


def test_a_target_that_cannot_be_imported_there_stops_the_run_with_its_message(playground, cluster):
    """Which says what was missing; what --ship names is there, in the same command."""
    playground.write("helper.py", "WORD = 1")
    path = playground.directory / "user.py"
    path.write_text("import helper\n" + (playground.directory / "jobs.py").read_text())
    words = ["tm-run", "user.py", "--engine=dask", f"--scheduler={cluster.address}"]

    run = playground.run(*words, TOTAL="400")
    assert run.process.returncode == 2, run.output
    assert "No module named 'helper'" in run.output
    assert run.output.count("Traceback") == 1
    assert "--ship" in run.output
    assert playground.ledger.ended() == Counter()

    run = playground.run(*words, "--ship=helper.py", TOTAL="400")
    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(ALL)
    assert "All done" in run.output
    wait_for("the slaves to end", lambda: not any("taskmaster.slave" in line for line in playground.left().values()))
    assert all(one.process.poll() is None for one in cluster.workers)


def test_the_key_is_in_no_log_and_in_no_process_list(playground, cluster):
    """Nor is a variable of --env, which arrives all the same."""
    key, secret = "k" * 40 + "very-secret-key", "very-secret-variable"
    playground.write("tm.key", key).chmod(0o600)
    check = f"\n    assert os.environ['WORD'] == {secret!r}\n"
    playground.write("user.py", (playground.directory / "jobs.py").read_text() + check)
    playground.hold(after=10)
    words = ["--engine=dask", f"--scheduler={cluster.address}", "--key-file=tm.key", "--env=WORD", "--log-level=debug"]
    run = playground.start("tm-run", "user.py", *words, TOTAL="400", WORD=secret)
    wait_for("a job that waits", playground.held)
    lines = "\n".join(playground.left().values())
    playground.let_go()

    assert run.end() == 0, run.output
    assert "taskmaster.slave" in lines
    for text in (lines, run.output, cluster.output):
        assert key not in text
        assert secret not in text


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["--scheduler=tcp://10.255.255.1:8786"], "--insecure-engine"),
        (["--scheduler=tls://10.255.255.1:8786"], "--host"),
        ([], "--scheduler"),
        (["--scheduler=nowhere"], "tls://"),
    ],
)
def test_what_is_too_dangerous_or_cannot_work_is_refused_before_anything_begins(playground, words, cure):
    """Exit code 2, and no state."""
    run = playground.run("tm-run", "jobs.py", "--engine=dask", *words)

    assert run.process.returncode == 2, run.output
    assert cure in run.output
    assert not list(playground.directory.glob("*.tmstate"))


POOLS = """
import os
from distributed import Client

def make():
    return Client(os.environ["SCHEDULER"]).get_executor(pure=False, retries=0)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("executor", [False, True], ids=["dask", "executor"])
def test_slaves_of_a_master_elsewhere_drain_with_their_command_and_come_back(playground, cluster, executor):
    """Ctrl-C ends the slaves, no job runs twice, and the same command goes on: also with Dask's
    Executor, whose calls can be taken back while they run.
    """
    playground.write("pools.py", POOLS)
    playground.environment["SCHEDULER"] = cluster.address
    engine = ["--engine=pools.py:make"] if executor else ["--engine=dask", f"--scheduler={cluster.address}"]
    port = free_port()
    total = 3000
    master = playground.start("tm-master", "jobs.py", f"--host=127.0.0.1:{port}", TOTAL=str(total))
    words = ["jobs.py", *engine, f"--host=127.0.0.1:{port}"]
    playground.hold(after=100)
    cluster.wait_for_workers(2)  # an Executor's are counted once
    fleet = playground.start("tm-slave", *words)
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2)
    fleet.signal_group(signal.SIGINT)
    wait_for("the slaves to hear it", lambda: cluster.output.count("SIGTERM") >= 2)
    assert fleet.process.poll() is None, "jobs run, and are waited for"
    playground.let_go()
    assert fleet.end() == 130, fleet.output
    assert "slaves on the engine have 30 s to end what runs" in fleet.output

    again = playground.run("tm-slave", *words)
    assert again.process.returncode == 0, again.output
    assert "will work for the master at" in again.output
    assert "the run is over" in again.output
    assert master.end() == 0, master.output
    assert playground.ledger.ended() == Counter(map(str, range(total)))


def test_a_script_hands_over_its_own_client(playground, cluster):
    """Taskmaster(engine=client): the module beside the script travels, the client stays open, and a
    function of the script itself is refused.
    """
    playground.write(
        "script.py",
        f"""
import sys
from distributed import Client
from taskmaster import Taskmaster
import jobs

def own(job):
    pass

if __name__ == "__main__":
    with Client({cluster.address!r}) as client:
        callback = own if "own" in sys.argv else jobs.handle_job
        summary = Taskmaster(callback, jobs.get_jobs, engine=client).start()
        print(summary.settled, client.status)
""",
    )

    run = playground.run("python", "script.py", TOTAL="400", PYTHONWARNINGS="ignore")
    assert run.process.returncode == 0, run.output
    assert "400 running" in run.output
    assert playground.ledger.ended() == Counter(ALL)

    run = playground.run("python", "script.py", "own", TOTAL="400", PYTHONWARNINGS="ignore")
    assert run.process.returncode == 2, run.output
    assert "have to import it" in run.output
