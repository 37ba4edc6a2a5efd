"""Slaves come and go; workers run one job at once or many; nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from support.cases import mostly_slow
from support.commands import children_of, free_port, wait_for
from support.playground import PREAMBLE, Playground


def test_a_slave_waits_for_its_master_and_says_so(playground: Playground) -> None:
    """Started first, it waits; the master comes, and both end."""
    host = f"--host=127.0.0.1:{free_port()}"
    slave = playground.start("tm-slave", "jobs.py", host, "--processes=2", TOTAL="30")
    slave.wait_for_output("waiting for the master")
    master = playground.start("tm-master", "jobs.py", host, "--progress=none", TOTAL="30")

    assert master.end() == 0, master.output
    assert slave.end() == 0, slave.output
    assert "30 jobs done" in slave.output
    assert slave.output.count("waiting for the master") == 1
    assert playground.ledger.ended() == Counter(map(str, range(30)))


@pytest.mark.slow
@pytest.mark.quick
def test_a_slave_that_joins_in_the_middle_gets_its_share(playground: Playground) -> None:
    """Two slaves end up with the whole, each job once."""
    host = f"--host=127.0.0.1:{free_port()}"
    playground.hold(20)
    master = playground.start("tm-master", "jobs.py", host, "--progress=none", TOTAL="400")
    first = playground.start("tm-spawn", "jobs.py", "1", host)
    wait_for("some work", lambda: playground.ledger.ended().total() >= 20)
    second = playground.start("tm-spawn", "jobs", "3", host)
    wait_for("a job in each worker", lambda: len(playground.held()) == 4)
    playground.let_go()

    assert master.end() == 0, master.output
    assert first.end() == second.end() == 0
    assert playground.ledger.ended() == Counter(map(str, range(400)))
    assert len({pid for _, _, pid in playground.ledger.lines()}) == 4


@pytest.mark.slow
def test_a_slave_survives_two_restarts_of_its_master(playground: Playground) -> None:
    """Kill -9 of the master: the same slave process goes on with the next one."""
    host = f"--host=127.0.0.1:{free_port()}"
    words = ("tm-master", "jobs.py", host, "--progress=none")
    slave = playground.start("tm-slave", "jobs.py", host, "--processes=2")
    for bound in (100, 250):
        playground.hold(bound)
        master = playground.start(*words, TOTAL="600")
        wait_for("some work", lambda bound=bound: playground.ledger.ended().total() >= bound)
        wait_for("jobs in hand", lambda: len(playground.held()) == 2)
        master.kill()
    playground.let_go()
    master = playground.start(*words, TOTAL="600")

    assert master.end() == 0, master.output
    assert slave.end() == 0, slave.output
    assert len(playground.ledger.ended()) == 600
    assert len({pid for _, _, pid in playground.ledger.lines()}) == 2, "the workers were kept"


OVERLAP = """
def get_jobs(last=-1):
    yield from range(last + 1, 120)
"""
THREADS = """
import threading
ten = threading.Barrier(10)

def handle_job(n):
    if n < 10:
        ten.wait()
    note(n)
"""
COROUTINES = """
import asyncio
here = []

async def handle_job(n):
    here.append(n)
    while len(here) < 10:
        await asyncio.sleep(0.01)
    note(n)
"""


@pytest.mark.parametrize(
    ("handler", "option"),
    [
        (THREADS, "--threads=10"),
        (COROUTINES, "--concurrency=10"),
    ],
    ids=["threads", "coroutines"],
)
@pytest.mark.parametrize("batch", [[], *mostly_slow([["--batch=1"], ["--batch=3"]])], ids=["chosen", "one", "three"])
def test_several_jobs_at_once_in_a_worker(playground: Playground, handler: str, option: str, batch: list[str]) -> None:
    """The first ten wait for each other in one worker, and would for ever if any came later; each
    job runs once.
    """
    playground.write("mod.py", PREAMBLE + OVERLAP + handler)
    run = playground.run("tm-run", "mod", "1", option, *batch, "--progress=none")

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(map(str, range(120)))


@pytest.mark.parametrize("option", ["--threads=4", "--concurrency=4"])
@pytest.mark.slow
def test_with_several_at_once_failures_and_crashes_hit_the_right_job(playground: Playground, option: str) -> None:
    """A job that raises fails; one that kills its worker fails after three tries; all others are
    done.
    """
    handler = "async def handle_job(n):\n" if "concurrency" in option else "def handle_job(n):\n"
    playground.write(
        "mod.py",
        PREAMBLE
        + OVERLAP
        + handler
        + "    if n == 33:\n        raise ValueError('bad')\n"
        + "    if n == 66:\n        os.kill(os.getpid(), 9)\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", option, "--progress=none")

    assert run.process.returncode == 3, run.output
    assert set(playground.ledger.ended()) == set(map(str, range(120))) - {"33", "66"}
    assert "2 of them failed" in run.output
    assert "SIGKILL" in run.output


def test_setup_and_teardown_run_once_in_each_worker(playground: Playground) -> None:
    """Also for the worker that takes the place of one that died."""
    playground.write(
        "mod.py",
        PREAMBLE
        + OVERLAP
        + "def setup():\n    note('setup')\ndef teardown():\n    note('teardown')\n"
        + "def handle_job(n):\n    if n == 60:\n        flag = os.environ['LEDGER'] + '.died'\n"
        + "        if not os.path.exists(flag):\n            open(flag, 'w').close()\n            os._exit(1)\n"
        # Else the other worker may have done all before a new one has begun.
        + "    while n > 70 and open(os.environ['LEDGER']).read().count('setup') < 3:\n        time.sleep(0.02)\n"
        + "    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none")

    assert run.process.returncode == 0, run.output
    ended = playground.ledger.ended()
    assert ended["setup"] == 3
    assert ended["teardown"] == 2


@pytest.mark.slow
def test_a_slave_that_cannot_work_is_not_counted(playground: Playground) -> None:
    """Not even for the time that one has to come back: it says that it goes."""
    playground.write("mod.py", PREAMBLE + "def get_jobs():\n    return range(5)\ndef handle_job(n):\n    note(n)\n")
    playground.write(
        "lacking.py", PREAMBLE + "def setup():\n    raise ValueError('no database')\n" + "handle_job = note\n"
    )
    port = free_port()
    host = f"--host=127.0.0.1:{port}"
    # Nobody is given up for lost, and no job handed out, while this looks.
    master = playground.start("tm-master", "mod.py", host, "--progress=none", "--lease-grace=600", "--rate=0.001")
    master.wait_for_output("server running")
    working = playground.start("tm-slave", "mod.py", host, "--processes=1")
    counted = lambda: json.loads(playground.run("tm-ctl", "status", host, "--json").output)["slaves"]  # noqa: E731
    wait_for("the slave", lambda: counted() == 1)
    lacking = playground.run("tm-slave", "lacking.py:handle_job", host, "--processes=1")

    assert lacking.process.returncode == 1, lacking.output
    assert "no database" in lacking.output
    assert counted() == 1
    working.kill()
    wait_for("it to be seen that the connection has ended", lambda: counted() == 0)


def test_a_setup_that_raises_is_shown(playground: Playground) -> None:
    """With the user's traceback, and no jobs are blamed for it."""
    playground.write("mod.py", PREAMBLE + OVERLAP + "def setup():\n    raise OSError('no database here')\n")
    run = playground.run("tm-run", "mod", "2", "--progress=none")

    assert run.process.returncode == 1, run.output
    assert "OSError: no database here" in run.output
    assert "setup()" in run.output


def test_what_callbacks_print_comes_out_in_whole_lines(playground: Playground) -> None:
    """On the stream that they printed it to, not on the other one."""
    playground.write(
        "mod.py",
        PREAMBLE
        + OVERLAP
        + "import sys\ndef handle_job(n):\n    print('out', n)\n    print('err', n, file=sys.stderr)\n"
        + "    os.write(1, f'raw {n}\\n'.encode())\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none")

    assert run.process.returncode == 0, run.output
    lines = Counter(run.output.splitlines())
    for n in range(120):
        assert lines[f"out {n}"] == lines[f"err {n}"] == lines[f"raw {n}"] == 1


@pytest.mark.slow
def test_a_killed_fork_server_costs_nothing_but_time(playground: Playground) -> None:
    """The process that forks the workers is started again, and no job is charged, although the same
    ones run each time: more often than a job may kill its worker.
    """
    playground.hold(30)
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", TOTAL="300")
    (supervisor,) = wait_for("the slave", lambda: children_of(run.pid))
    killed: set[int] = set()
    for _ in range(5):
        before = playground.held()
        wait_for("jobs in hand", lambda before=before: playground.held() - before)
        (fork_server,) = wait_for("a fork server", lambda: set(children_of(supervisor)) - killed)
        os.kill(fork_server, signal.SIGKILL)
        killed.add(fork_server)
    playground.let_go()

    assert run.end() == 0, run.output
    assert len(playground.ledger.ended()) == 300
    assert len(killed) == 5


@pytest.mark.slow
def test_a_killed_supervisor_of_a_local_run_is_started_again(playground: Playground) -> None:
    """The run goes on with a new one."""
    playground.hold(30)
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", TOTAL="300")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    (supervisor,) = children_of(run.pid)
    os.kill(supervisor, signal.SIGKILL)
    playground.let_go()

    assert run.end() == 0, run.output
    assert "started again" in run.output
    assert len(playground.ledger.ended()) == 300


def test_no_more_is_read_than_the_queue_holds_while_no_slave_is_there(playground: Playground) -> None:
    """``get_jobs`` counts its own yields."""
    playground.write(
        "mod.py", PREAMBLE + "def get_jobs():\n    for n in range(10_000_000):\n        note(n)\n        yield n\n"
    )
    master = playground.start("tm-master", "mod", f"--host=127.0.0.1:{free_port()}", "--size=200", "--progress=lines")
    master.wait_for_output("tm-slave mod")
    wait_for("200 yields", lambda: playground.ledger.ended().total() >= 200)
    time.sleep(0.5)  # in which a source that is not held back would yield thousands

    assert playground.ledger.ended().total() == 200
    master.kill()


@pytest.mark.slow
def test_a_suspended_master_blames_nobody(playground: Playground) -> None:
    """SIGSTOP for longer than the lease: every slave keeps its jobs, none runs twice."""
    playground.hold(30)
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "jobs.py", host, "--progress=none", "--lease=4", TOTAL="300")
    slave = playground.start("tm-slave", "jobs.py", host, "--processes=2")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    os.kill(master.pid, signal.SIGSTOP)
    playground.let_go()
    time.sleep(6)  # longer than the lease of 4 seconds
    os.kill(master.pid, signal.SIGCONT)

    assert master.end() == 0, master.output
    assert slave.end() == 0, slave.output
    assert playground.ledger.ended() == Counter(map(str, range(300)))


@pytest.mark.quick
@pytest.mark.parametrize("options", [(), ("--threads=3",)], ids=["one", "threads"])
def test_nothing_here_warns(playground: Playground, options: tuple[str, ...]) -> None:
    """Every warning is an error, in every process: forks beside threads, files left open, what will
    go away.
    """
    run = playground.run("tm-run", "jobs.py", "2", *options, "--progress=none", TOTAL="60", PYTHONWARNINGS="error")

    assert run.process.returncode == 0, run.output
    assert "Warning" not in run.output
    assert playground.ledger.ended() == Counter(map(str, range(60)))


@pytest.mark.parametrize(
    ("serve", "work"),
    [
        (("tm-master", "taskmaster.example"), ("tm-slave", "taskmaster.example")),
        (("tm-master", "taskmaster.example", "argument=value"), ("tm-spawn", "taskmaster.example", "8")),
        pytest.param(
            ("tm-master", "taskmaster.example:get_jobs"),
            ("tm-slave", "taskmaster.example:handle_job"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plain", "argument", "functions"],
)
def test_the_commands_of_the_first_release_work_as_they_stand(
    playground: Playground, default_port: None, serve: tuple[str, ...], work: tuple[str, ...]
) -> None:
    """On the default address, from any directory; with their options of then."""
    master = playground.start(*serve, "--reset", "--size=500", "--log-level=INFO", "--no-progress")
    master.wait_for_output("Taskmaster server running on '127.0.0.1:5050'")
    slave = playground.start(*work, "--address=tcp://127.0.0.1:5050")
    wait_for("the slave's work", lambda: json.loads(playground.run("tm-ctl", "status", "--json").output)["settled"])
    master.signal_group(signal.SIGINT)

    assert master.end() == 130, master.output
    assert "resume it with: tm-master taskmaster.example" in master.output

    slave.signal_group(signal.SIGTERM)

    assert slave.end() == 143, slave.output


@pytest.mark.slow
def test_a_local_run_as_in_the_first_release(playground: Playground) -> None:
    """A path with the source's function, the number of workers, an argument; or functions by their
    options.
    """
    playground.write(
        "sub.py",
        PREAMBLE
        + "def mine(limit='5', last=-1):\n    yield from range(last + 1, int(limit))\n"
        + "work = handle_job\ndel handle_job\n",
    )
    run = playground.run(
        "tm-run", "./sub.py:mine", "8", "limit=30", "--handle-job-callback=work", "--no-progress", "--reset"
    )

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(map(str, range(30)))

    again = playground.run(
        "tm-run", "sub.py", "2", "limit=40", "--get-jobs-callback=mine", "--handle-job-callback=work", "--no-progress"
    )

    assert again.process.returncode == 0, again.output
    assert playground.ledger.ended().total() == 70, "another argument is another run"


@pytest.mark.slow
def test_who_connects_and_leaves_is_said_on_both_sides(playground: Playground) -> None:
    """The slave at once, and the master in its log, with the time."""
    host = f"--host=127.0.0.1:{free_port()}"
    playground.hold(5)
    master = playground.start("tm-master", "jobs.py", host, "--progress=none", "--log-level=info", TOTAL="30")
    master.wait_for_output("server running")
    slave = playground.start("tm-slave", "jobs.py", host, "--processes=2")
    slave.wait_for_output("connected to the master at 127.0.0.1:")
    leaving = playground.start("tm-slave", "jobs.py", host, "--processes=1")
    wait_for("jobs in hand", lambda: len(playground.held()) == 3)
    playground.interrupt(leaving, signal.SIGTERM)

    assert leaving.end() == 143, leaving.output
    assert master.end() == 0, master.output
    assert slave.end() == 0, slave.output
    for text in (f":{slave.pid} is connected: 2 worker processes", f":{leaving.pid} has left"):
        (line,) = [line for line in master.output.splitlines() if text in line]

        assert re.search(r"\d\d:\d\d:\d\d", line)


@pytest.mark.parametrize("option", ["--threads=1", "--threads=3"])
def test_a_workers_death_names_its_jobs(playground: Playground, option: str) -> None:
    """Where one ran, that one; where several ran, each of them."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "import signal, threading\nthree = threading.Barrier(3)\n"
        + "def get_jobs():\n    yield from ('a', 'b\\x1b[31m', 'c')\n"
        + "def handle_job(job):\n"
        + "    first = not os.path.exists('died')\n"
        # All three run at the same time, and only the process's death ends the other two.
        + "    if THREADS > 1 and first:\n        three.wait(20)\n"
        + "    if job == 'c' and first:\n"
        + "        open('died', 'w').close()\n        os.kill(os.getpid(), signal.SIGSEGV)\n"
        + "    if THREADS > 1 and first:\n        time.sleep(30)\n    note(ord(job[0]))\n",
    )
    threads = option.removeprefix("--threads=")
    module = playground.directory / "mod.py"
    module.write_text(module.read_text().replace("THREADS", threads))
    run = playground.run("tm-run", "mod", "1", option, "--batch=3", "--progress=none")

    assert run.process.returncode == 0, run.output
    assert "crashed by SIGSEGV" in run.output
    named = "the job with the key 'c'" if threads == "1" else "the jobs with the keys 'a', 'b\\x1b[31m', 'c'"
    assert f"died while it ran {named}: crashed by SIGSEGV" in run.output
    assert playground.ledger.ended() == Counter(str(ord(letter)) for letter in "abc")


def test_processes_have_names_of_their_own(playground: Playground) -> None:
    """The short ones of Linux, and whole titles where setproctitle is installed: here, it is
    played.
    """
    playground.write(
        "setproctitle.py",
        "import os\ndef setproctitle(title):\n"
        "    with open('/proc/self/comm', 'w') as name:\n        name.write(title[:15])\n"
        "    with open(os.path.join(os.path.dirname(__file__), 'titles.txt'), 'a') as file:\n"
        "        file.write(f'{title}\\n')\n",
    )
    playground.hold(3)
    run = playground.start(
        "tm-run", "jobs.py", "2", "--progress=none", TOTAL="20", PYTHONPATH=str(playground.directory)
    )
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    (slave,) = children_of(run.pid)
    (fork_server,) = children_of(slave)
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in (slave, fork_server, *children_of(fork_server))]
    playground.let_go()

    assert run.end() == 0, run.output
    assert names == ["tm-slave", "tm-fork-server", "tm-worker", "tm-worker"]
    titles = Counter((playground.directory / "titles.txt").read_text().splitlines())
    assert titles == {
        "taskmaster: slave of jobs.py": 1,
        "taskmaster: fork server": 1,
        "taskmaster: worker of jobs.py": 2,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "def handle_job(job, database): pass",
            r"handle_job is called with a job alone, but its parameters are",
        ),
        ("def handle_job(job): pass\ndef setup(database): pass", r"setup is called without arguments"),
    ],
)
def test_a_slave_whose_callback_takes_other_arguments_ends_at_once(playground: Playground, text: str, why: str) -> None:
    """The master knows nothing of it where only the slave has a callback; no job fails for it."""
    playground.write("source.py", "def get_jobs(last=0): yield from range(last + 1, 21)\n")
    playground.write("other.py", text + "\n")
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "source.py", host, "--progress=none")
    slave = playground.run("tm-slave", "other.py:handle_job", host, "--processes=1")
    playground.write("good.py", "from jobs import handle_job\n")
    good = playground.run("tm-slave", "good.py:handle_job", host, "--processes=1")

    assert slave.process.returncode == 2, slave.output
    assert re.search(why, slave.output)
    assert good.process.returncode == 0, good.output
    assert master.end() == 0, master.output
    assert playground.ledger.ended() == Counter(map(str, range(1, 21)))


@pytest.mark.parametrize("breaks", [range(3, 4), range(1, 7)], ids=["once", "again and again"])
def test_a_batch_whose_answer_the_master_could_not_give_is_handed_out_again(
    playground: Playground, breaks: range
) -> None:
    """A master that fails after it has lent a batch: the slave has no such batch, and renews its
    lease with each word, so that only its next hello has the batch given back.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "from taskmaster.master.dispatch import Dispatch\n"
        + "pause, fed_so_far = Dispatch.pause, [0]\n"
        + "def breaks(self, slave, want, *, fed):\n"
        + "    fed_so_far[0] += fed\n"
        + f"    if fed and fed_so_far[0] in {breaks!r}:\n"
        + "        raise RuntimeError('broken while it was answered')\n"
        + "    return pause(self, slave, want, fed=fed)\n"
        + "Dispatch.pause = breaks\n"
        + "def get_jobs(last=-1):\n    yield from range(last + 1, N)\n",
    )
    run = playground.run("tm-run", "mod.py", "2", "--batch=10")

    assert run.process.returncode == 0, run.output
    assert run.output.count("broken while it was answered") == len(breaks)
    assert playground.ledger.ended() == Counter(map(str, range(400)))
