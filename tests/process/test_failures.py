"""Jobs that raise, kill their worker, or cannot be sent: each fails alone, is written down, and
stops nothing.
"""

from __future__ import annotations

import os
import signal

import pytest
from support.cases import mostly_slow
from support.commands import wait_for
from support.playground import PREAMBLE, Playground, failed_jobs


def test_a_job_that_raises_is_written_down_and_the_run_goes_on(playground: Playground) -> None:
    """Exit 3; the user's traceback is in the state and on the terminal, without Taskmaster's own
    frames.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 100)\n"
        + "def handle_job(n):\n    if n % 40 == 17:\n        raise ValueError(f'bad row {n}')\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none")

    assert run.process.returncode == 3, run.output
    assert "Traceback" in run.output
    assert "bad row" in run.output
    failed = failed_jobs(playground)
    assert [(key, kind, message) for key, kind, message, _, _ in failed] == [
        ("17", "ValueError", "bad row 17"),
        ("57", "ValueError", "bad row 57"),
        ("97", "ValueError", "bad row 97"),
    ]
    assert "mod.py" in failed[0][3]
    assert "slave" not in failed[0][3]
    assert playground.ledger.ended().total() == 97


def test_a_job_that_kills_its_worker_is_found(playground: Playground) -> None:
    """By signal or by os._exit: it is tried three times and written down; its neighbours are run
    once.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 200)\n"
        + "def handle_job(n):\n"
        + "    if n == 50:\n        os.kill(os.getpid(), 11)\n"
        + "    if n == 150:\n        os._exit(7)\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none")

    assert run.process.returncode == 3, run.output
    failed = failed_jobs(playground)
    assert [(key, kind, attempts) for key, kind, _, _, attempts in failed] == [
        ("150", "WorkerDied", 3),
        ("50", "WorkerDied", 3),
    ]
    assert "status 7" in failed[0][2]
    assert "SIGSEGV" in failed[1][2]
    assert len(playground.ledger.ended()) == playground.ledger.ended().total() == 198


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("os.killpg(0, 9)", "SIGKILL"),
        ("os.kill(os.getppid(), 9)", "5 times in a row"),
        (
            "os.kill(int(open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1]), 9)",
            "5 times in a row",
        ),
    ],
    ids=["its group", "the fork server", "its slave"],
)
@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_job_that_takes_others_down_is_found(playground: Playground, deed: str, said: str) -> None:
    """Its process group, the process that forks the workers, or the whole slave: the run ends, with
    that job failed.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 20)\n"
        + f"def handle_job(n):\n    if n == 7:\n        {deed}\n        time.sleep(5)\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "1", "--progress=none")

    assert run.process.returncode == 3, run.output
    (failed,) = failed_jobs(playground)
    assert failed[0] == "7"
    assert said in failed[2]
    assert set(playground.ledger.ended()) == set(map(str, range(20))) - {"7"}


@pytest.mark.slow
def test_large_jobs_go_through(playground: Playground) -> None:
    """More than a frame holds at once, for more workers than that."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=-1):\n    for n in range(last + 1, 24):\n        yield Job(n, bytes([n]) * 9_000_000)\n"
        + "def handle_job(job):\n    note(job[0])\n",
    )
    run = playground.run("tm-run", "mod", "8", "--progress=none")

    assert run.process.returncode == 0, run.output
    assert len(playground.ledger.ended()) == 24


@pytest.mark.slow
def test_jobs_that_cannot_be_sent_fail_alone(playground: Playground) -> None:
    """One that cannot be pickled, one that cannot be unpickled, one that is too large: each with
    its key.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "class Sour:\n    def __reduce__(self):\n        raise TypeError('will not be pickled')\n"
        + "def explode():\n    raise RuntimeError('will not be unpickled')\n"
        + "class Bomb:\n    def __reduce__(self):\n        return explode, ()\n"
        + "def get_jobs(last=-1):\n    for n in range(last + 1, 60):\n"
        + "        yield Job(n, {10: Sour(), 20: Bomb(), 30: b'x' * 40_000_000}.get(n, n))\n"
        + "def handle_job(n):\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none")

    assert run.process.returncode == 3, run.output
    failed = {key: (kind, message) for key, kind, message, _, _ in failed_jobs(playground)}
    assert set(failed) == {"10", "20", "30"}
    assert "will not be pickled" in failed["10"][1]
    assert "will not be unpickled" in failed["20"][1]
    assert failed["30"][0] == "JobTooLarge"
    assert playground.ledger.ended().total() == 57


def test_a_source_that_raises_half_way_stops_the_run_where_it_can_go_on(playground: Playground) -> None:
    """What it had yielded is run, the user's traceback is shown, exit 1; mended, the run is
    resumed.
    """
    text = (
        PREAMBLE
        + "def get_jobs(last=-1):\n    for n in range(last + 1, 100):\n"
        + "        if n == 60 and BROKEN:\n            raise LookupError('the database went away')\n"
        + "        yield n\n"
        + "def handle_job(n):\n    note(n)\n"
    )
    playground.write("mod.py", text + "BROKEN = True\n")
    run = playground.run("tm-run", "mod", "2", "--progress=none")

    assert run.process.returncode == 1, run.output
    assert "LookupError: the database went away" in run.output
    assert "mod.py" in run.output
    assert playground.ledger.ended().total() == 60

    playground.write("mod.py", text + "BROKEN = False\n")
    again = playground.run("tm-run", "mod", "2", "--progress=none")

    assert again.process.returncode == 0, again.output
    assert playground.ledger.ended().total() == len(playground.ledger.ended()) == 100


def test_user_code_that_ends_the_process_only_fails_its_job(playground: Playground) -> None:
    """SystemExit where a job is pickled, in the master: that job has failed, and the master goes
    on.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "import sys\n"
        + "class Exit:\n    id = 42\n    def __reduce__(self):\n        sys.exit(7)\n"
        + "def get_jobs(last=-1):\n    for n in range(last + 1, 100):\n        yield Exit() if n == 42 else n\n"
        + "def handle_job(n):\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none")

    assert run.process.returncode == 3, run.output
    ((key, kind, _, _, _),) = failed_jobs(playground)
    assert (key, kind) == ("42", "SystemExit")
    assert playground.ledger.ended().total() == 99


@pytest.mark.slow
def test_a_child_of_the_source_does_not_keep_the_slave_alive(playground: Playground) -> None:
    """Kill -9 of a local run whose get_jobs has forked: slave and workers end with it, and the run
    can be resumed.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "import signal\n"
        + "def get_jobs(last=None):\n    if last is None and os.fork() == 0:\n"
        + "        open('child', 'w').write(f'{os.getpid()}.')\n        time.sleep(600)\n        os._exit(0)\n"
        + "    yield from range(-1 if last is None else last + 1, int(os.environ['TOTAL']))\n"
        + "def handle_job(n):\n    time.sleep(0.01)\n    note(n)\n",
    )
    run = playground.start("tm-run", "mod", "2", "--progress=none", TOTAL="100000")
    wait_for("some work", lambda: playground.ledger.ended().total() > 100)
    wait_for("a checkpoint", playground.in_state)
    file = playground.directory / "child"
    wait_for("the child to say who it is", lambda: file.exists() and file.read_text().endswith("."))
    child = int(file.read_text()[:-1])
    run.kill()
    try:
        wait_for("all but the child to end", lambda: set(playground.left()) <= {child})
        assert child in playground.left()

        again = playground.run("tm-run", "mod", "2", "--progress=none", TOTAL="300")

        assert again.process.returncode == 0, again.output
        assert "Resuming at key" in again.output
        assert child in playground.left()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_wait_that_a_subclass_sets_is_waited_for(playground: Playground) -> None:
    """It is none that Retry itself would have made, and its kind is a word of its own."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "import taskmaster\n"
        + "class TooMany(taskmaster.Retry):\n    kind = 'too many'\n"
        + "    def __init__(self, seconds):\n        super().__init__('429')\n        self.after = seconds\n"
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 20)\n"
        + "def handle_job(n):\n    if n in (7, 9):\n"
        + "        raise TooMany(0 if n == 7 else float('nan'))\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--retries=1", "--backoff=0.01")

    assert run.process.returncode == 3, run.output
    assert [(key, kind, attempts) for key, kind, _, _, attempts in failed_jobs(playground)] == [
        ("7", "TooMany", 2),
        ("9", "TooMany", 2),
    ]
    assert playground.ledger.ended().total() == 18


@pytest.mark.slow
def test_a_failure_that_is_said_in_no_known_form_is_no_success(playground: Playground) -> None:
    """What a callback does to its worker's words costs the job an attempt, and no other job."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "from taskmaster.model import Failure\nfrom taskmaster.slave.worker.message_sender import MessageSender\n"
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 200)\n"
        + "def handle_job(n):\n    if n == 77:\n"
        + "        MessageSender._failure = lambda self, index, exc: Failure(index, 'E', '', '', 'bogus')\n"
        + "        raise ValueError('no')\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--retries=1", "--backoff=0.01")

    assert run.process.returncode == 3, run.output
    assert [(key, kind, attempts) for key, kind, _, _, attempts in failed_jobs(playground)] == [("77", "WorkerDied", 3)]
    assert set(playground.ledger.ended()) == set(map(str, range(200))) - {"77"}


@pytest.mark.slow
def test_a_job_that_hangs_while_it_is_unpickled_takes_too_long(playground: Playground) -> None:
    """It is found in its batch, and charged; the others are run once."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "class Row:\n    def __init__(self, id):\n        self.id = id\n"
        + "    def __setstate__(self, state):\n        self.__dict__ = state\n"
        + "        if self.id == 7:\n            time.sleep(600)\n"
        + "def get_jobs(last=-1):\n    for n in range(last + 1, 20):\n        yield Row(n)\n"
        + "def handle_job(row):\n    note(row.id)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--job-timeout=2", "--crashes=1", "--batch=10")

    assert run.process.returncode == 3, run.output
    assert [(key, kind, attempts) for key, kind, _, _, attempts in failed_jobs(playground)] == [("7", "TimedOut", 1)]
    assert "for more than 2 s" in run.output
    assert set(playground.ledger.ended()) == set(map(str, range(20))) - {"7"}


@pytest.mark.parametrize("then", ["pass", "time.sleep(600)"], ids=["goes on", "hangs"])
@pytest.mark.slow
def test_a_job_that_closes_its_workers_socket_ends_with_it(playground: Playground, then: str) -> None:
    """A close too many hits what is not its own: nobody could hear of the job any more, and its
    batch would hang.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "import socket\nkept = []\n"
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 4)\n"
        + "def handle_job(n):\n"
        + "    if n == 1 and not os.path.exists('once'):\n"
        + "        open('once', 'w').close()\n        os.closerange(3, 60)\n"
        + f"        kept.extend(socket.socketpair() for _ in range(20))\n        {then}\n"
        + "    note(n)\n",
    )
    # One by one: a worker has two batches at most, does them and is seen to; so it cannot have the
    # last of these.
    run = playground.run("tm-run", "mod", "1", "--progress=none", "--backoff=0.01", "--batch=1")

    assert run.process.returncode == 0, run.output
    assert set(playground.ledger.ended()) == set(map(str, range(4)))
    assert "its socket to the slave was closed" in run.output


@pytest.mark.parametrize("kind", mostly_slow(["KeyboardInterrupt", "SystemExit"], "KeyboardInterrupt"))
def test_a_subtask_that_would_end_its_loop_fails_its_own_job_alone(playground: Playground, kind: str) -> None:
    """Those beside it in the worker go on, and nothing of Taskmaster's is shown."""
    playground.write(
        "mod.py",
        "import asyncio\ndef get_jobs():\n    yield from range(8)\n"
        f"async def inner(job):\n    await asyncio.sleep(0.05)\n    if job == 3:\n        raise {kind}\n"
        "async def handle_job(job):\n    await asyncio.gather(inner(job))\n    await asyncio.sleep(0.05)\n",
    )
    run = playground.run("tm-run", "mod.py", "1", "--concurrency=4", "--retries=0", "--progress=none")

    assert run.process.returncode == 3, run.output
    assert f"1 x {kind}" in run.output
    assert "8 jobs settled, 1 of them failed" in run.output
    assert "has died" not in run.output
    assert "event_loop.py" not in run.output
