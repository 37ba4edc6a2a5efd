"""A master that is restarted while slaves run jobs that take longer than it lives."""

from __future__ import annotations

import signal

import pytest
from support.commands import free_port, wait_for
from support.playground import Playground

# They wait for seconds: `make check` runs them.
pytestmark = pytest.mark.slow

MODULE = """
import os, time

def note(what, key):
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{what} {key} {os.getpid()}\\n".encode())
    os.close(fd)

def get_jobs(last=-1):
    yield from range(last + 1, 60)

LONG = {5, 6}
"""
# What a slave has been told is seen nowhere outside; in the master, it is when the slave asks
# again. A file for each job that it can show to the next master, and for each that was taken over.
WATCHED = """
from taskmaster.master.broker.takeover import Takeover

tickets, reclaim, answered, count = Takeover.tickets, Takeover.reclaim, [], [0]

def answer(what):
    count[0] += 1
    answered.append(f"{what}-{os.getpid()}-{count[0]}")

def watched_tickets(self, slave):
    while answered:
        open(answered.pop(), "w").close()
    found = tickets(self, slave)
    for _ in found:
        answer("told")
    return found

def watched_reclaim(self, slave, number):
    token = reclaim(self, slave, number)
    if token is not None:
        answer("taken")
    return token

Takeover.tickets, Takeover.reclaim = watched_tickets, watched_reclaim
"""
PLAIN = """
def handle_job(n):
    note("start", n)
    while n in LONG and not os.path.exists("go"):
        time.sleep(0.05)
    time.sleep(0.05)
    if n == 6:
        raise ValueError("late")
    note("end", n)
"""
COROUTINE = """
import asyncio

async def handle_job(n):
    note("start", n)
    while n in LONG and not os.path.exists("go"):
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    if n == 6:
        raise ValueError("late")
    note("end", n)
"""


@pytest.mark.parametrize(
    ("how", "callback"),
    [
        ("kill", "plain"),
        ("kill", "coroutines"),
        ("terminate", "plain"),
        ("terminate", "coroutines"),
    ],
)
@pytest.mark.timeout(120)
def test_long_jobs_outlive_their_master(playground: Playground, how: str, callback: str) -> None:
    """Two restarts while they run: each long job is started once, its end counts, and its failure
    too.
    """
    playground.write("mod.py", MODULE + WATCHED + (PLAIN if callback == "plain" else COROUTINE))
    where = f"--host=127.0.0.1:{free_port()}"
    words = ("tm-master", "mod", where, "--progress=none", "--retries=0", "--grace=0.5", "--max-failures=5")
    master = playground.start(*words)
    options = ["--processes=3"] if callback == "plain" else ["--processes=1", "--concurrency=3"]
    slave = playground.start("tm-slave", "mod", where, *options)
    wait_for("the long jobs", lambda: {"5", "6"} <= {key for key, _ in playground.ledger.running()})
    wait_for("both to be in the state", lambda: playground.look("SELECT 1 FROM parked GROUP BY 1 HAVING count(*) >= 2"))
    wait_for("the slave to know that", lambda: len(list(playground.directory.glob("told-*"))) >= 2)
    for _ in range(2):
        assert {key for key, _ in playground.ledger.running()} >= {"5", "6"}
        if how == "kill":
            master.kill()
        else:
            master.process.send_signal(signal.SIGTERM)
            assert master.end() == 143, master.output
        master = playground.start(*words)
        taken = f"taken-{master.pid}-*"
        wait_for("both to be taken over", lambda name=taken: len(list(playground.directory.glob(name))) == 2)
    playground.write("go", "")

    assert master.end(60) == 3, master.output
    assert slave.end() == 0, slave.output
    starts = [key for what, key, _ in playground.ledger.lines() if what == "start"]
    assert (starts.count("5"), starts.count("6")) == (1, 1)
    assert set(playground.ledger.ended()) == set(map(str, range(60))) - {"6"}
    assert "1 of them failed" in master.output
    assert "late" in master.output


@pytest.mark.timeout(60)
def test_a_long_job_whose_slave_is_gone_too_runs_again(playground: Playground) -> None:
    """Nobody shows its ticket: after a few seconds it is handed out to somebody else."""
    module = MODULE.replace("{5, 6}", "{5}").replace("60", "20")
    playground.write("mod.py", module + PLAIN.replace("n == 6", "n < 0"))
    where = f"--host=127.0.0.1:{free_port()}"
    words = ("tm-master", "mod", where, "--progress=none")
    master = playground.start(*words)
    slave = playground.start("tm-slave", "mod", where, "--processes=2")
    wait_for("the long job", lambda: {"5"} <= {key for key, _ in playground.ledger.running()})
    wait_for("it to be in the state", lambda: playground.look("SELECT 1 FROM parked"))
    slave.kill()
    master.kill()
    master = playground.start(*words)
    slave = playground.start("tm-slave", "mod", where, "--processes=2")
    playground.write("go", "")

    assert master.end() == 0, master.output
    assert slave.end() == 0, slave.output
    assert set(playground.ledger.ended()) == set(map(str, range(20)))


PARKED = """
import os, time
from taskmaster import Job

class Ranges:
    parked = True

    def iterate(self, last):
        for first in range(0 if last is None else last[1], 90):
            yield Job((first, first + 1), first)

def get_jobs():
    return Ranges()

def note(what, key):
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{what} {key} {os.getpid()}\\n".encode())
    os.close(fd)

def handle_job(first):
    note("start", first)
    time.sleep(0.7)
    note("end", first)
"""


@pytest.mark.timeout(120)
def test_parked_jobs_outlive_their_master_however_short_they_are(playground: Playground) -> None:
    """What runs at the moment when the master is killed is started once, and its end counts."""
    playground.write("mod.py", PARKED)
    where = f"--host=127.0.0.1:{free_port()}"
    words = ("tm-master", "mod", where, "--progress=none")
    master = playground.start(*words)
    slave = playground.start("tm-slave", "mod", where, "--processes=4", "--batch=1")
    caught: set[str] = set()
    for ended in (10, 30, 50):
        wait_for("jobs to end", lambda ended=ended: len(playground.ledger.ended()) >= ended)
        master.kill()
        running = {key for key, _ in playground.ledger.running()}
        assert running, "the slave has no work in hand"
        caught |= running
        master = playground.start(*words)

    assert master.end(60) == 0, master.output
    assert slave.end() == 0, slave.output
    starts = [key for what, key, _ in playground.ledger.lines() if what == "start"]
    assert set(playground.ledger.ended()) == set(map(str, range(90)))
    assert len(caught) >= 6
    assert {key for key in caught if starts.count(key) > 1} == set()
