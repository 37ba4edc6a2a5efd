"""Ctrl-C and SIGTERM, sent as a terminal and a container send them."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.cases import mostly_slow
from support.commands import free_port, wait_for
from support.playground import Playground


def test_a_signal_to_all_processes_of_a_service_lets_running_jobs_end(playground: Playground) -> None:
    """As ``systemctl stop`` and a reboot send it, to workers and all; nothing is held against the
    jobs.
    """
    words = ("tm-run", "jobs.py", "2", "--progress=none", "--crashes=1")
    playground.hold(0)
    run = playground.start(*words, TOTAL="6", SLEEP="0")
    wait_for("running jobs", lambda: len(playground.ledger.running()) == 2)
    for pid in playground.left():
        os.kill(pid, signal.SIGTERM)
    run.wait_for_output("the same signal again ends at once")
    playground.let_go()

    assert run.end() == 143, run.output
    assert "died" not in run.output
    assert not playground.ledger.running()
    assert len(playground.ledger.ended()) >= 2

    again = playground.run(*words, TOTAL="6", SLEEP="0")

    assert again.process.returncode == 0, again.output
    assert set(playground.ledger.ended().values()) == {1}
    assert len(playground.ledger.ended()) == 6


ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), mostly_slow(ENDS, signal.SIGINT))
def test_a_signal_to_the_whole_group_ends_a_local_run_in_good_order(
    playground: Playground, number: int, code: int
) -> None:
    """Running jobs end, nothing else starts, the command that resumes is printed, and resuming
    repeats nothing.
    """
    words = ("tm-run", "jobs.py", "2", "--progress=none")
    playground.hold(20)
    run = playground.start(*words, TOTAL="300")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    playground.interrupt(run, number)

    assert run.end() == code, run.output
    assert "tm-run jobs.py 2 --progress=none" in run.output
    assert not playground.ledger.running()
    assert "Traceback" not in run.output

    again = playground.run(*words, TOTAL="300")

    assert again.process.returncode == 0, again.output
    assert playground.ledger.ended().total() == 300
    assert len(playground.ledger.ended()) == 300


def test_a_second_signal_ends_at_once(playground: Playground) -> None:
    """Also when a job has hours to go; the state is written all the same."""
    words = ("tm-run", "jobs.py", "2", "--progress=none")
    run = playground.start(*words, TOTAL="10", SLEEP="3600")
    wait_for("running jobs", lambda: len(playground.ledger.running()) == 2)
    run.signal_group(signal.SIGINT)
    run.wait_for_output("the same signal again ends at once")
    time.sleep(1.2)  # two within a second count as one
    run.signal_group(signal.SIGINT)

    assert run.end() == 130, run.output


def test_grace_limits_how_long_running_jobs_are_waited_for(playground: Playground) -> None:
    """After ``--grace`` seconds the run ends without them."""
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", "--grace=0.5", TOTAL="10", SLEEP="3600")
    wait_for("running jobs", lambda: len(playground.ledger.running()) == 2)
    run.signal_group(signal.SIGTERM)

    assert run.end() == 143, run.output


@pytest.mark.slow
def test_an_interrupted_slave_gives_back_what_it_has_not_started(playground: Playground) -> None:
    """It ends with 130; another slave does the rest, and nothing is run twice."""
    host = f"--host=127.0.0.1:{free_port()}"
    playground.hold(20)
    master = playground.start("tm-master", "jobs.py", host, "--progress=none", TOTAL="200")
    slave = playground.start("tm-slave", "jobs.py", host, "--processes=2")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    playground.interrupt(slave)

    assert slave.end() == 130, slave.output

    other = playground.run("tm-slave", "jobs.py", host, "--processes=2")

    assert other.process.returncode == 0, other.output
    assert master.end() == 0, master.output
    assert playground.ledger.ended().total() == 200


@pytest.mark.slow
def test_an_interrupted_master_keeps_its_slaves(playground: Playground) -> None:
    """They wait, and go on with the master that resumes the run."""
    host = f"--host=127.0.0.1:{free_port()}"
    words = ("tm-master", "jobs.py", host, "--progress=none")
    playground.hold(20)
    master = playground.start(*words, TOTAL="300")
    slave = playground.start("tm-slave", "jobs.py", host, "--processes=2", TOTAL="300")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    playground.interrupt(master)

    assert master.end() == 130, master.output

    slave.wait_for_output("lost the master")
    again = playground.start(*words, TOTAL="300")

    assert again.end() == 0, again.output
    assert slave.end() == 0, slave.output
    assert playground.ledger.ended().total() == 300
