"""Workers that are replaced: after a number of jobs, above an amount of memory, when exhausted."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from support.cases import mostly_slow
from support.playground import PREAMBLE, Playground, failed_jobs

JOBS = """
def get_jobs(last=-1):
    yield from range(last + 1, int(os.environ.get("TOTAL", "60")))
"""
HANDLERS = {
    "one by one": ((), "def handle_job(n):\n    note(n)\n"),
    "threads": (("--threads=4",), "def handle_job(n):\n    note(n)\n"),
    "coroutines": (("--concurrency=4",), "async def handle_job(n):\n    note(n)\n"),
    "together": (("--batch=7",), "def handle_jobs(ns):\n    for n in ns:\n        note(n)\n"),
}


@pytest.mark.parametrize("kind", mostly_slow(HANDLERS, "one by one", "threads"))
def test_no_worker_runs_more_jobs_than_it_may(playground: Playground, kind: str) -> None:
    """Each is torn down well, each job runs once, and nothing is charged."""
    options, handler = HANDLERS[kind]
    playground.write("mod.py", PREAMBLE + JOBS + handler + "def teardown():\n    note('teardown')\n")
    run = playground.run("tm-run", "mod", "2", *options, "--jobs-per-worker=10", "--progress=none")

    assert run.process.returncode == 0, run.output
    ended = playground.ledger.ended()
    workers = Counter(pid for _, what, pid in playground.ledger.lines() if what != "teardown")
    torn_down = Counter(pid for _, what, pid in playground.ledger.lines() if what == "teardown")

    assert set(workers) <= set(torn_down)
    assert max(torn_down.values()) == 1
    assert ended.pop("teardown") == len(torn_down)
    assert ended == Counter(map(str, range(60)))
    assert max(workers.values()) <= 10
    assert "has died" not in run.output


@pytest.mark.slow
def test_one_job_a_worker_in_a_script(playground: Playground) -> None:
    """Also where the callback was forked with its script, and nothing is left behind."""
    playground.write(
        "script.py",
        PREAMBLE
        + "from taskmaster import Taskmaster\n"
        + "if __name__ == '__main__':\n"
        + "    Taskmaster(lambda n: note(n), range(12), processes=2, jobs_per_worker=1, state='s.tmstate',\n"
        + "               progress='none').start()\n",
    )
    run = playground.run("python", "script.py")

    assert run.process.returncode == 0, run.output
    assert len({pid for _, _, pid in playground.ledger.lines()}) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how large a process is")
@pytest.mark.slow
def test_a_worker_that_grows_is_replaced_between_two_jobs(playground: Playground) -> None:
    """A leak of 8 MB a job: no job is lost or charged, and no worker gets far beyond the limit."""
    playground.write(
        "mod.py",
        PREAMBLE + JOBS + "kept = []\ndef handle_job(n):\n    kept.append(b'x' * 8_000_000)\n    time.sleep(0.05)\n"
        "    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "2", "--memory-per-worker=100M", "--progress=none", "--log-level=info")

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(map(str, range(60)))
    assert "is replaced: it takes 1" in run.output
    assert len({pid for _, _, pid in playground.ledger.lines()}) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(["one by one", "threads", "coroutines"], "one by one"))
def test_an_exhausted_worker_is_replaced(playground: Playground, kind: str) -> None:
    """A leak that ends in MemoryError costs attempts of jobs in which it was raised, no others."""
    options, handler = HANDLERS[kind]
    leak = (
        "import resource\nkept = []\n"
        "def setup():\n    resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000))\n"
    )
    handler = handler.replace("note(n)", "kept.append(b'x' * 20_000_000)\n    note(n)")
    playground.write("mod.py", PREAMBLE + JOBS + leak + handler)
    run = playground.run("tm-run", "mod", "2", *options, "--backoff=0.05", "--progress=none", TOTAL="120")

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(map(str, range(120)))
    assert "is replaced: a job has raised MemoryError" in run.output
    assert failed_jobs(playground) == []


def test_a_worker_without_a_descriptor_left_is_replaced(playground: Playground) -> None:
    """A leak of open files is of the same kind."""
    playground.write(
        "mod.py",
        PREAMBLE + JOBS + "import resource\nkept = []\n"
        "def setup():\n    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "def handle_job(n):\n    kept.append(open('/dev/null'))\n    note(n)\n",
    )
    run = playground.run("tm-run", "mod", "1", "--backoff=0.05", "--progress=none", TOTAL="100")

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(map(str, range(100)))
    assert "Too many open files" in run.output


NUMPY = """
state = int.from_bytes(__import__("os").urandom(4), "big")

def seed(value=None):
    global state
    state = int.from_bytes(__import__("os").urandom(4), "big") if value is None else value

def random():
    global state
    state = (1103515245 * state + 12345) % 2**31
    return state
"""


def test_forked_workers_draw_different_numbers(playground: Playground) -> None:
    """Numpy's global generator, played by a module with its interface, and Python's."""
    package = playground.directory / "numpy"
    package.mkdir()
    Path(package / "__init__.py").write_text("from numpy import random\n")
    Path(package / "random.py").write_text(NUMPY)
    playground.write(
        "script.py",
        PREAMBLE
        + "import random, numpy\nfrom taskmaster import Taskmaster\n"
        # Each worker has a job, however long the last one takes to begin.
        + "def draw(n):\n    open(f'at-{os.getpid()}', 'w').close()\n"
        + "    while sum(name.startswith('at-') for name in os.listdir()) < 4:\n        time.sleep(0.02)\n"
        + "    note(f'numpy={numpy.random.random()}')\n    note(f'random={random.random()}')\n"
        + "if __name__ == '__main__':\n"
        + "    Taskmaster(draw, range(40), setup=lambda: None, processes=4, batch=1, state='s.tmstate',\n"
        + "               progress='none').start()\n",
    )
    run = playground.run("python", "script.py")

    assert run.process.returncode == 0, run.output
    assert len({pid for _, _, pid in playground.ledger.lines()}) == 4
    assert len(playground.ledger.ended()) == 80
