"""Runs that stop before their end because they were told to, and go on when the command is given
again.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter

import pytest
from support.cases import mostly_slow
from support.commands import children_of, free_port, wait_for
from support.playground import Playground

NOISY = """
import os
from jobs import note, handle_job

def get_jobs(last=-1):
    for key in range(last + 1, 50):
        note("read", key)
        yield key
"""


def mark_of(playground: Playground, name: str) -> tuple[object, ...]:
    """The watermark, how many jobs are settled, and whether the run is finished, as the state file
    has it.
    """
    connection = sqlite3.connect(f"{(playground.directory / name).as_uri()}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT mark, settled, finished IS NOT NULL FROM run").fetchall()
    finally:
        connection.close()
    assert len(rows) == 1
    return tuple(rows[0])


@pytest.mark.quick
def test_limit_stops_after_exactly_so_many_jobs_and_the_next_call_goes_on(playground: Playground) -> None:
    """Exit 75 until nothing is left; each session reads one job ahead, and the watermark stands
    after the last one.
    """
    playground.write("noisy.py", NOISY)
    words = ("tm-run", "noisy.py", "2", "--no-progress", "--limit=20")
    for session, (code, mark, settled) in enumerate([(75, "19", 20), (75, "39", 40), (0, "49", 50)], 1):
        ended = playground.run(*words)

        assert ended.process.returncode == code, ended.output
        assert playground.ledger.ended() == Counter(str(key) for key in range(settled))
        assert sum(what == "read" for what, _, _ in playground.ledger.lines()) == min(settled + session, 52)
        assert mark_of(playground, "noisy.tmstate") == (mark, settled, code == 0)
        if code == 75:
            assert "--limit (20 jobs) is reached" in ended.output
            assert "Resume it with: tm-run noisy.py 2 --no-progress --limit=20" in ended.output


@pytest.mark.slow
def test_limit_that_is_all_there_is_never_says_finished(playground: Playground) -> None:
    """Exit 75; the next session finds nothing more to do, and that is the end."""
    words = ("tm-run", "jobs.py", "2", "--no-progress", "--limit=30")
    first = playground.run(*words, TOTAL="30")

    assert first.process.returncode == 75, first.output
    assert "All done" not in first.output
    assert mark_of(playground, "jobs.tmstate") == ("29", 30, 0)

    second = playground.run(*words, TOTAL="30")

    assert second.process.returncode == 0, second.output
    assert playground.ledger.ended() == Counter(str(key) for key in range(30))


@pytest.mark.slow
def test_limit_is_not_exceeded_by_slaves_that_would_take_more(playground: Playground) -> None:
    """However many workers there are, whatever batch they ask for and however often a job is
    tried.
    """
    playground.write("bad.py", "from jobs import *\n\ndef handle_job(key):\n    note('end', key)\n    1 / (key % 5)\n")
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "bad.py", host, "--no-progress", "--limit=33", "--backoff=0.01")
    slaves = [playground.start("tm-slave", "bad.py", host, "--processes=2", "--batch=50") for _ in range(2)]

    assert master.end() == 75, master.output
    assert "33 jobs are settled so far, 7 of them failed" in master.output
    for slave in slaves:
        wait_for("it to miss the master", lambda slave=slave: "the master" in slave.output)
        slave.process.terminate()
        assert slave.end() == 143, slave.output
    assert playground.ledger.ended() == Counter({str(key): 1 if key % 5 else 4 for key in range(33)})


@pytest.mark.slow
def test_run_time_lets_running_jobs_end_and_the_next_call_goes_on(playground: Playground) -> None:
    """As a first SIGTERM does, but with exit 75; no job runs twice."""
    words = ("tm-run", "jobs.py", "2", "--no-progress")
    playground.hold(20)
    first = playground.start(*words, "--run-time=4s", TOTAL="200", SLEEP="0.01")
    first.wait_for_output("--run-time (4s) is over")
    playground.let_go()
    first.end()

    assert first.process.returncode == 75, first.output
    assert "Resume it with: tm-run jobs.py 2 --no-progress --run-time=4s" in first.output
    assert not playground.ledger.running()
    assert playground.ledger.ended().total() < 200  # none, where a start takes longer than the run may

    again = playground.run(*words, "--run-time=5m", TOTAL="200")

    assert again.process.returncode == 0, again.output
    assert playground.ledger.ended() == Counter(str(key) for key in range(200))


def test_run_time_gives_running_jobs_no_more_than_grace(playground: Playground) -> None:
    """A job of an hour is given up, and runs again when the run is resumed."""
    ended = playground.run(
        "tm-run", "jobs.py", "2", "--no-progress", "--run-time=1s", "--grace=0.2", TOTAL="10", SLEEP="3600"
    )

    assert ended.process.returncode == 75, ended.output
    assert "0 jobs are settled so far" in ended.output


@pytest.mark.slow
def test_a_signal_while_run_time_drains_is_what_the_command_ends_with(playground: Playground) -> None:
    """143, so that whoever sent it knows that it was heard."""
    playground.hold(0)
    run = playground.start("tm-run", "jobs.py", "2", "--no-progress", TOTAL="10")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    told = playground.run("tm-ctl", "set", "run-time=0.1s", "jobs.py")
    assert told.process.returncode == 0, told.output
    run.wait_for_output("is over")
    run.signal_group(signal.SIGTERM)

    assert run.end() == 143, run.output


@pytest.mark.slow
def test_a_script_is_told_that_its_run_stopped(playground: Playground) -> None:
    """``start`` returns, with the exit code of the command; calling it again goes on."""
    playground.write(
        "script.py",
        "from taskmaster import Taskmaster\nfrom jobs import get_jobs, handle_job\n\n"
        "if __name__ == '__main__':\n"
        "    for limit in (30, 30, None):\n"
        "        summary = Taskmaster(handle_job, get_jobs, processes=2, limit=limit, run_time='1h').start()\n"
        "        print('ended', summary.exit_code, summary.settled, summary.settled_here)\n",
    )
    ended = playground.run("python", "script.py", TOTAL="100")

    assert ended.process.returncode == 0, ended.output
    for line in ("ended 75 30 30", "ended 75 60 30", "ended 0 100 40"):
        assert line in ended.output
    assert playground.ledger.ended() == Counter(str(key) for key in range(100))


def test_an_exception_in_get_jobs_is_reported_rather_than_the_limit(playground: Playground) -> None:
    """The job after the last one cannot be read: to call the same command again would not help."""
    playground.write(
        "ends.py", "from jobs import handle_job\n\ndef get_jobs(last=0):\n    yield from range(5)\n    {}['gone']\n"
    )
    ended = playground.run("tm-run", "ends.py", "2", "--no-progress", "--limit=5")

    assert ended.process.returncode == 1, ended.output
    assert "KeyError: 'gone'" in ended.output
    assert playground.ledger.ended().total() == 5


@pytest.mark.slow
def test_a_slave_outlives_a_master_that_stops(playground: Playground) -> None:
    """It waits for the master that resumes the run, as after a signal."""
    host = f"--host=127.0.0.1:{free_port()}"
    words = ("tm-master", "jobs.py", host, "--no-progress")
    master = playground.start(*words, "--limit=40", TOTAL="100")
    slave = playground.start("tm-slave", "jobs.py", host, "--processes=2", TOTAL="100")

    assert master.end() == 75, master.output
    slave.wait_for_output("lost the master")
    wait_for("the jobs of the first master", lambda: playground.ledger.ended().total() == 40)
    again = playground.start(*words, TOTAL="100")

    assert again.end() == 0, again.output
    assert slave.end() == 0, slave.output
    assert playground.ledger.ended() == Counter(str(key) for key in range(100))


CLOSES = """
import os
import threading
from jobs import note, handle_job

def numbers(begin):
    try:
        yield from range(begin, int(os.environ["TOTAL"]))
    finally:
        note("closed", threading.current_thread().name)

def get_jobs(last=-1):
    return numbers(last + 1)

def read_again():
    return numbers(0)
"""


@pytest.mark.parametrize("source", mostly_slow(["get_jobs", "read_again"], "get_jobs"))
@pytest.mark.parametrize("how", ["limit", "SIGTERM", "end"])
def test_a_generator_runs_its_finally_blocks(playground: Playground, source: str, how: str) -> None:
    """Once, in the thread that reads it, whether its run is stopped, resumed and stopped again, or
    comes to its end.
    """
    playground.write("closes.py", CLOSES)
    words = ("tm-run", f"closes.py:{source}", "2", "--no-progress", "--size=20")
    for stop in (1, 2):
        if how == "SIGTERM":
            playground.hold(10 * stop)
            run = playground.start(*words, TOTAL="100000", SLEEP="0")
            wait_for("jobs in hand", lambda: len(playground.held()) == 2)
            playground.interrupt(run, signal.SIGTERM)
            assert run.end() == 143, run.output
        else:
            # 23 is not round, so that the source is not asked whether more comes.
            limit, total, code = (["--limit=20"], 100_000, 75) if how == "limit" else ([], 23 * stop, 0)
            ended = playground.run(*words, *limit, TOTAL=str(total))
            assert ended.process.returncode == code, ended.output
        assert [key for what, key, _ in playground.ledger.lines() if what == "closed"] == ["taskmaster-source"] * stop


@pytest.mark.parametrize("number", mostly_slow([signal.SIGTERM, signal.SIGINT], signal.SIGTERM))
def test_a_signal_to_the_local_slave_alone_is_named_with_the_command_that_goes_on(
    playground: Playground, number: signal.Signals
) -> None:
    """The run ends with it, as the exit code says."""
    playground.hold(5)
    run = playground.start("tm-run", "jobs.py", "1", "--progress=none", "--grace=1")
    wait_for("a job that waits", lambda: len(playground.held()) == 1)
    (slave,) = children_of(run.process.pid)
    os.kill(slave, number)

    assert run.end() == 128 + number, run.output
    assert f"was ended by {number.name}, which was sent to it alone" in run.output
    assert "Resume it with: tm-run jobs.py 1 --progress=none --grace=1" in run.output
