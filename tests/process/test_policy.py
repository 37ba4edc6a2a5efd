"""What a run does about jobs that fail, hang or ask for something, with the real commands and the
ledger.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from support.commands import free_port, wait_for
from support.playground import PREAMBLE, Playground, failed_jobs

FIFTY = "def get_jobs(last=-1):\n    yield from range(last + 1, 50)\n"
FLAG = """
def first_time(n):
    try:
        os.close(os.open(f"flag-{n}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

"""


def rows(playground: Playground, query: str) -> list[tuple]:
    state = next(Path(playground.directory).glob("*.tmstate"))
    with closing(sqlite3.connect(f"{state.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def test_what_fails_once_is_tried_again(playground: Playground) -> None:
    """On the other worker, and the run is a success."""
    playground.write(
        "mod.py",
        PREAMBLE
        + FLAG
        + FIFTY
        + "def setup():\n    open(f'up-{os.getpid()}', 'w').close()\n"
        # Two workers, from the first job on.
        + "def handle_job(n):\n    while sum(name.startswith('up-') for name in os.listdir()) < 2:\n"
        + "        time.sleep(0.02)\n    note(n)\n"
        + "    if n % 10 == 3 and first_time(n):\n        raise OSError('later')\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--backoff=0.5")

    assert run.process.returncode == 0, run.output
    ended = playground.ledger.ended()
    assert {key: count for key, count in ended.items() if count > 1} == dict.fromkeys(["3", "13", "23", "33", "43"], 2)
    # The other worker is preferred, if it can take a batch at that moment.
    workers = {key: {pid for _, of, pid in playground.ledger.lines() if of == key} for key in ended if ended[key] > 1}
    assert max(map(len, workers.values())) == 2


@pytest.mark.parametrize(
    ("rule", "tries"), [("retry_on = OSError", 1), ("give_up_on = (KeyError, TypeError)", 1), ("", 3)]
)
def test_rules_say_which_exceptions_are_worth_another_attempt(playground: Playground, rule: str, tries: int) -> None:
    """``retry_on`` and ``give_up_on`` of the module; without them, all are."""
    playground.write(
        "mod.py", PREAMBLE + FIFTY + f"{rule}\ndef handle_job(n):\n    note(n)\n    if n == 7:\n        {{}}[n]\n"
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--backoff=0.1", "--retries=2")

    assert run.process.returncode == 3, run.output
    assert playground.ledger.ended()["7"] == tries
    ((key, kind, _, _, attempts),) = failed_jobs(playground)
    assert (key, kind, attempts) == ("7", "KeyError", tries)


def test_the_callback_can_ask_to_retry_and_to_skip(playground: Playground) -> None:
    """``Retry(after=...)`` and ``Skip``; neither is a failure in the end."""
    playground.write(
        "mod.py",
        "import taskmaster\n"
        + PREAMBLE
        + FLAG
        + FIFTY
        + "def handle_job(n):\n    if n == 7 and first_time(n):\n        raise taskmaster.Retry('busy', after=0.5)\n"
        + "    if n % 2:\n        raise taskmaster.Skip('odd')\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=json")

    assert run.process.returncode == 0, run.output
    last = [json.loads(line) for line in run.output.splitlines() if line.startswith('{"event": "progress"')][-1]
    assert (last["settled"], last["skipped"], last["failed"], last["waiting"]) == (50, 25, 0, 0)
    assert rows(playground, "SELECT settled, skipped, failures FROM run") == [(50, 25, 0)]
    assert set(playground.ledger.ended()) == {str(n) for n in range(0, 50, 2)}


def test_abort_stops_the_run_where_it_can_go_on(playground: Playground) -> None:
    """Exit 4, with the reason; run again, it goes on with that very job."""
    playground.write(
        "mod.py",
        "import taskmaster\n"
        + PREAMBLE
        + FLAG
        + FIFTY
        + "def handle_job(n):\n    if n == 20 and first_time(n):\n        raise taskmaster.Abort('wrong schema')\n"
        + "    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none")

    assert run.process.returncode == 4, run.output
    assert "wrong schema" in run.output
    assert "Resume it with: tm-run mod 2" in run.output

    again = playground.run("tm-run", "mod", "2", "--progress=none")

    assert again.process.returncode == 0, again.output
    assert set(playground.ledger.ended()) == set(map(str, range(50)))


@pytest.mark.parametrize("options", [["--retries=3"], ["--retries=0"]], ids=" ".join)
def test_a_cause_that_hits_every_job_stops_the_run_early(playground: Playground, options: list[str]) -> None:
    """After a few tens of 100,000 jobs, exit 4, with the user's traceback; mended, the run does
    them all.
    """
    text = PREAMBLE + "def get_jobs(last=-1):\n    yield from range(last + 1, 100_000)\n"
    playground.write("mod.py", text + "def handle_job(n):\n    raise ConnectionError('wrong password')\n")
    run = playground.run("tm-run", "mod", "2", "--progress=none", *options)

    assert run.process.returncode == 4, run.output
    assert "ConnectionError: wrong password" in run.output
    assert "raise ConnectionError" in run.output
    assert len(failed_jobs(playground)) <= 300
    assert rows(playground, "SELECT finished FROM run") == [(None,)]


def test_the_budget_stops_a_run(playground: Playground) -> None:
    """``--max-failures``: exit 4, resumable; what failed is written down."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 100_000)\n"
        + "def handle_job(n):\n    if n % 3 == 0:\n        raise ValueError(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--retries=0", "--max-failures=100")

    assert run.process.returncode == 4, run.output
    assert "--max-failures allows 100" in run.output
    assert "List them with: tm-ctl failures " in run.output
    ((settled, failures, finished),) = rows(playground, "SELECT settled, failures, finished FROM run")
    assert 100 < failures <= settled < 100_000
    assert len(failed_jobs(playground)) == failures
    assert finished is None


@pytest.mark.parametrize(
    ("define", "options"),
    [
        ("def handle_job(n):\n    if n == 7:\n        time.sleep(60)\n    note(n)\n", []),
        ("def handle_job(n):\n    if n == 7:\n        time.sleep(60)\n    note(n)\n", ["--threads=4"]),
        pytest.param(
            "import asyncio\nasync def handle_job(n):\n    if n == 7:\n        await asyncio.sleep(60)\n    note(n)\n",
            ["--concurrency=4"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (
                "del handle_job\ndef handle_jobs(jobs):\n    if 7 in jobs:\n        time.sleep(60)\n"
                "    for n in jobs:\n        note(n)\n"
            ),
            ["--batch=4"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["one by one", "threads", "coroutines", "calls"],
)
def test_a_job_that_hangs_is_ended_and_its_neighbours_are_not(
    playground: Playground, define: str, options: list[str]
) -> None:
    """It is charged as a crash; all others are done, once unless they shared its process."""
    playground.write("mod.py", PREAMBLE + FIFTY + define)
    run = playground.run(
        "tm-run", "mod", "2", "--progress=none", "--job-timeout=1.5", "--crashes=2", "--backoff=0.1", *options
    )

    assert run.process.returncode == 3, run.output
    ((key, kind, message, _, attempts),) = failed_jobs(playground)
    assert (key, kind, attempts) == ("7", "TimedOut", 2)
    assert "--job-timeout" in message
    assert set(playground.ledger.ended()) == set(map(str, range(50))) - {"7"}
    if "--threads=4" not in options:
        assert playground.ledger.ended().total() == 49


def test_a_call_that_fails_is_halved_until_the_bad_job_is_alone(playground: Playground) -> None:
    """handle_jobs: the good jobs are done, the bad one has its attempts alone."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 2000)\n"
        + "del handle_job\n"
        + "def handle_jobs(jobs):\n    if 1234 in jobs:\n        raise ValueError(f'one of {len(jobs)}')\n"
        + "    for n in jobs:\n        note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--backoff=0.1", "--batch=200")

    assert run.process.returncode == 3, run.output
    ((key, _, message, _, attempts),) = failed_jobs(playground)
    assert (key, message, attempts) == ("1234", "one of 1", 4)
    ended = playground.ledger.ended()
    assert len(ended) == ended.total() == 1999


def test_a_deadly_job_in_a_call_is_found(playground: Playground) -> None:
    """The whole call dies; only the job that dies alone is charged."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 400)\n"
        + "del handle_job\ndef handle_jobs(jobs):\n    if 123 in jobs:\n        os.kill(os.getpid(), 11)\n"
        + "    for n in jobs:\n        note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--backoff=0.1", "--batch=100")

    assert run.process.returncode == 3, run.output
    ((key, kind, message, _, attempts),) = failed_jobs(playground)
    assert (key, kind, attempts) == ("123", "WorkerDied", 3)
    assert "SIGSEGV" in message
    assert set(playground.ledger.ended()) == set(map(str, range(400))) - {"123"}


def test_jobs_that_wait_for_a_retry_survive_a_restart_with_their_attempts(playground: Playground) -> None:
    """Killed with -9 while a job waits: the watermark has passed it, and it comes back with what
    was tried.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 2000)\n"
        + "def handle_job(n):\n    if n == 7:\n        raise ValueError('never')\n    hold()\n    note(n)\n",
    )
    playground.hold(1000)
    run = playground.start("tm-run", "mod", "2", "--progress=none", "--backoff=600")
    wait_for("the watermark", lambda: int((playground.look("SELECT mark FROM run") or "0")[0] or 0) > 7)
    run.kill()
    wait_for("every process to end", lambda: not playground.left())
    playground.let_go()
    ((key, attempts),) = rows(playground, "SELECT key, attempts FROM parked")

    assert (key, len(json.loads(attempts))) == ("7", 1)
    assert int(rows(playground, "SELECT mark FROM run")[0][0]) > 7

    again = playground.run("tm-run", "mod", "2", "--progress=none", "--backoff=0.1", "--retries=1")

    assert again.process.returncode == 3, again.output
    ((key, _, _, _, attempts),) = failed_jobs(playground)
    assert (key, attempts) == ("7", 2)
    assert set(playground.ledger.ended()) == set(map(str, range(2000))) - {"7"}


@pytest.mark.parametrize("victim", ["master", "slave"])
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_standstill_of_twice_the_lease_blames_nobody(playground: Playground, victim: str) -> None:
    """SIGSTOP of the master's or the slave's processes, with a job-timeout shorter than that: all
    jobs are done.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        # Until the test has seen enough: a job that is held would take longer than it may.
        + "def get_jobs(last=-1):\n    n = last + 1\n"
        + "    while not os.path.exists('enough'):\n        yield n\n        n += 1\n"
        + "    open('jobs.txt', 'w').write(str(n))\n"
        + "def handle_job(n):\n    time.sleep(0.05)\n    note(n)\n",
    )
    where = f"--host=127.0.0.1:{free_port()}"
    words = ("--progress=none", "--size=100", "--lease=2", "--job-timeout=1.5")
    master = playground.start("tm-master", "mod", where, *words)
    slave = playground.start("tm-slave", "mod", where, "--processes=2")
    wait_for("some work", lambda: playground.ledger.ended().total() > 20)
    stopped = [master.pid] if victim == "master" else [slave.pid, *_below(slave.pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4.5)  # more than twice the lease of 2 seconds
    for pid in reversed(stopped):
        os.kill(pid, signal.SIGCONT)
    before = playground.ledger.ended().total()
    wait_for("work after that", lambda: playground.ledger.ended().total() > before + 50)
    playground.write("enough", "")

    assert master.end(60) == 0, master.output
    assert slave.end() == 0, slave.output
    jobs = int((playground.directory / "jobs.txt").read_text())
    assert set(playground.ledger.ended()) == set(map(str, range(jobs)))
    assert failed_jobs(playground) == []
    assert "is ended" not in slave.output


def _below(pid: int) -> list[int]:
    from support.commands import children_of

    found = children_of(pid)
    return found + [other for child in found for other in _below(child)]


@pytest.mark.slow
def test_a_script_says_which_exceptions_are_worth_another_attempt(playground: Playground) -> None:
    """With keywords of Taskmaster; what is no exception class is refused before anything starts."""
    text = (
        PREAMBLE
        + "from taskmaster import Taskmaster\n"
        + "def handle(n):\n    note(n)\n    if n == 7:\n        {}[n]\n"
        + "if __name__ == '__main__':\n"
        + "    Taskmaster(handle, range(20), processes=1, progress='none', backoff=0.1, RULE).start()\n"
    )
    for rule, tries in (("retry_on=OSError", 1), ("give_up_on=(LookupError,)", 1), ("retries=1", 2)):
        playground.ledger.path.unlink(missing_ok=True)
        playground.write("script.py", text.replace("RULE", f"{rule}, reset=True"))
        run = playground.run("python", "script.py")

        assert run.process.returncode == 0, run.output
        assert playground.ledger.ended()["7"] == tries, rule

    playground.write("script.py", text.replace("RULE", "retry_on='OSError'"))
    refused = playground.run("python", "script.py")

    assert refused.process.returncode == 2
    assert "retry_on is 'OSError'" in refused.output


@pytest.mark.parametrize(("way", "code"), [("os.kill(os.getpid(), signal.SIGKILL)", 0), ("pass", 1)])
def test_what_a_callback_has_started_ends_with_its_worker(playground: Playground, way: str, code: int) -> None:
    """A dead worker's at once, so that it does not go on beside the job's next execution; the
    others' at the end, after a time, and it is said that they were not done.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + FLAG
        + "import signal, subprocess, time\n"
        + "def alive(pid):\n"
        # One that was killed takes its time to be gone; it runs nothing any more.
        + "    for look in range(100):\n"
        + "        try:\n"
        + "            if open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[0] in 'ZX':\n"
        + "                return False\n"
        + "        except (FileNotFoundError, ProcessLookupError):\n            return False\n"
        + "        time.sleep(0.1)\n"
        + "    return True\n"
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 3)\n"
        + "def handle_job(n):\n"
        + "    if n == 1 and first_time(n):\n"
        + "        child = subprocess.Popen(['sleep', '600'])\n"
        + "        open('child', 'w').write(str(child.pid))\n"
        + f"        {way}\n"
        + "    elif n == 1 and alive(open('child').read()):\n        raise SystemExit('it still runs')\n"
        + "    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "1", "--progress=none", "--backoff=0", "--retries=0", "--grace=1")

    assert run.process.returncode == code, run.output
    assert ("programs that callbacks have started and not waited for" in run.output) is bool(code)
    assert playground.ledger.ended().total() == 3
    wait_for("the callback's process to end", lambda: not playground.left())
