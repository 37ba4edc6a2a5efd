"""``--engine MODULE:FACTORY`` with real pools: nothing is missing, and nothing runs twice that need
not, whatever of them is killed.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from support.commands import free_port, wait_for
from support.engines import EngineOfTest, make_engine
from support.playground import Playground

ALL = Counter(str(key) for key in range(400))


@pytest.fixture(params=["forked"])
def engine(request: pytest.FixtureRequest, playground: Playground) -> Iterator[EngineOfTest]:
    """A pool of two workers."""
    found = make_engine(request.param, playground)
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", ["forked", pytest.param("spawned", marks=pytest.mark.thorough), "threads"], indirect=True
)
def test_jobs_run_in_a_pool_each_once_and_one_that_kills_its_process_kills_no_more(playground, engine):
    """A process pool, forked or not, and threads: the job that ends its process has failed alone,
    and the pool has the workers that it had.
    """
    playground.write(
        "user.py",
        (playground.directory / "jobs.py").read_text().replace("hold()\n    note", "hold(); poison(key)\n    note")
        + "\ndef poison(key):\n    if key == 123:\n        os._exit(9)\n",
    )
    playground.hold(after=50)
    run = engine.start("tm-run", "user.py", "--crashes=1", TOTAL="400")
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2)
    hosts = engine.hosts()
    playground.let_go()

    assert run.end() == 3, run.output
    assert playground.ledger.ended() == ALL - Counter(["123"])
    assert "1 job failed" in run.output or "1 failed" in run.output, run.output
    assert "another" not in run.output
    assert hosts == {run.pid} if "threads" in engine.words[0] else len(hosts) == 2
    engine.wait_for_no_slaves()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["forked", "threads"], indirect=True)
def test_why_slaves_give_up_is_said_once_and_not_by_each_of_them(playground, engine):
    """They write where the command does, which shows the traceback of the first, and its last line
    for others.
    """
    there = "import sys\nif 'taskmaster.slave' in ' '.join(sys.orig_argv): import nowhere_at_all\n"
    playground.write("user.py", there + (playground.directory / "jobs.py").read_text())
    run = engine.run("tm-run", "user.py", TOTAL="400")

    assert run.process.returncode == 2, run.output
    assert run.output.count("Traceback") == 1, run.output
    assert run.output.count("ModuleNotFoundError: No module named 'nowhere_at_all'\n") == 1, run.output
    assert "tm-run: No slave can work on the engine" in run.output
    assert "\x1e" not in run.output


@pytest.mark.slow
def test_a_killed_worker_of_a_pool_costs_what_was_in_flight(playground, engine):
    """Kill -9 of one worker breaks all of the pool: another pool is made, no job is missing, and
    few run twice.
    """
    playground.hold(after=100)
    run = engine.start("tm-run", "jobs.py", "--batch=2", TOTAL="400")
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2)
    hosts = engine.hosts()
    os.kill(next(iter(hosts)), signal.SIGKILL)
    playground.let_go()

    assert run.end() == 0, run.output
    found = playground.ledger.ended()
    assert set(found) == set(ALL)
    assert found.total() - len(found) <= 8
    assert "BrokenProcessPool" in run.output


@pytest.mark.slow
def test_ctrl_c_and_a_killed_command_leave_nothing_behind_and_the_same_command_resumes(playground, engine):
    """Ctrl-C drains: no job runs twice. Kill -9 of the command ends the slaves and the pool."""
    playground.hold(after=100)
    run = engine.start("tm-run", "jobs.py", "--batch=2", TOTAL="400")
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2)
    playground.interrupt(run)
    assert run.end() == 130, run.output
    assert "Traceback" not in run.output
    assert "lost the master" not in run.output
    engine.wait_for_no_slaves()
    assert max(playground.ledger.ended().values()) == 1

    playground.hold(after=200)
    again = engine.start("tm-run", "jobs.py", "--batch=2", TOTAL="400")
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2)
    assert max(playground.ledger.ended().values()) == 1
    again.kill()
    wait_for("all processes to end", lambda: not playground.left())
    playground.let_go()

    last = engine.run("tm-run", "jobs.py", TOTAL="400")
    assert last.process.returncode == 0, last.output
    found = playground.ledger.ended()
    assert set(found) == set(ALL)


@pytest.mark.slow
def test_slaves_in_a_pool_of_a_master_elsewhere_drain_with_their_command(playground, engine):
    """Ctrl-C at ``tm-slave --engine``: running jobs end, none runs twice, and the same command
    comes back; with a master that is gone it ends with 6.
    """
    port = free_port()
    total = 3000
    master = playground.start("tm-master", "jobs.py", f"--host=127.0.0.1:{port}", TOTAL=str(total))
    words = ["tm-slave", "jobs.py", f"--host=127.0.0.1:{port}"]
    playground.hold(after=100)
    fleet = engine.start(*words)
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2)
    fleet.signal_group(signal.SIGINT)
    wait_for("the slaves to hear it", lambda: "SIGTERM" in fleet.output)
    playground.let_go()
    assert fleet.end() == 130, fleet.output
    engine.wait_for_no_slaves()

    again = engine.run(*words)
    assert again.process.returncode == 0, again.output
    assert master.end() == 0, master.output
    assert playground.ledger.ended() == Counter(map(str, range(total)))

    playground.write("tm.key", "k" * 40).chmod(0o600)
    late = engine.run(*words, "--wait=0", "--key-file=tm.key")
    assert late.process.returncode == 6, late.output
    assert f"cannot reach the master at 127.0.0.1:{port}" in late.output


FACTORIES = """
import concurrent.futures as futures
import sys

class Odd:
    _max_workers = 1
    def submit(self): ...
    def shutdown(self): ...

def raises():
    raise OSError("no licence")

def exits(): sys.exit(0)
def nothing(): futures.ProcessPoolExecutor(2)
def kind(): return futures.ProcessPoolExecutor
def odd(): return Odd()
def needs(number): return futures.ProcessPoolExecutor(number)
number = 5
pool = futures.ThreadPoolExecutor(1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", [["tm-run", "--engine"], ["tm-slave", "--executor"]], ids=["engine", "executor"])
def test_a_factory_that_makes_no_executor_is_refused_before_anything_begins(playground, words):
    """Exit code 2, one sentence with what was given and the cure, its own traceback where it has
    one, and no state; also where it would end the command itself.
    """
    command, option = words
    playground.write("pools.py", FACTORIES)
    playground.write("lacking.py", "import nowhere_at_all")
    for name, why in {
        "pools.py:raises": ["raised OSError: no licence. Its function", 'pools.py", line 11, in raises'],
        "pools.py:exits": ["raised SystemExit: 0."],
        "pools.py:nothing": ["gives None", "end with `return`"],
        "pools.py:kind": ["gives the class ProcessPoolExecutor", "`return ProcessPoolExecutor(...)`"],
        "pools.py:odd": ["Odd.submit() takes 1 positional argument"],
        "pools.py:needs": ["TypeError: needs() missing 1", "is called without arguments"],
        "pools.py:number": ["pools.py has the type int", "def number(...)"],
        "pools.py:pool": ["names a ThreadPoolExecutor, which is there already", "def pool(): return"],
        "pools.py:absent": ["pools.py has no function absent"],
        "lacking.py:make": ["raised ModuleNotFoundError", "import nowhere_at_all"],
        "nowhere.py:make": ["nowhere.py"],
    }.items():
        run = playground.run(command, "jobs.py", f"{option}={name}")
        assert run.process.returncode == 2, run.output
        assert f"{option}={name} " in run.output
        assert all(text in run.output for text in why), run.output
        assert run.output.count(f"{command}: ") == 1, run.output
    assert not list(playground.directory.glob("*.tmstate"))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["threads"], indirect=True)
def test_what_workers_could_not_do_at_their_end_is_the_exit_code_of_the_run_and_of_the_fleet(playground, engine):
    """The run is not called done where a teardown failed, and slaves of which there are more than
    workers do not wait for a master that has gone.
    """
    code = (playground.directory / "jobs.py").read_text() + "\ndef teardown():\n    raise OSError('not written')\n"
    playground.write("jobs.py", code)
    run = engine.run("tm-run", "jobs.py", TOTAL="100")
    assert run.process.returncode == 1, run.output
    assert "100 jobs are settled, but workers could not end as they should" in run.output

    port = free_port()
    master = playground.start("tm-master", "jobs.py", f"--host=127.0.0.1:{port}", "--reset", TOTAL="100")
    fleet = engine.run("tm-slave", "jobs.py", f"--host=127.0.0.1:{port}", "--slaves=4")
    assert fleet.process.returncode == 1, fleet.output
    assert "teardown() raised OSError" in fleet.output
    assert master.end() == 1, master.output
