"""Callbacks that only make work, change their list, or fork."""

from __future__ import annotations

import pytest
from support.cases import mostly_slow
from support.ledger import MODULE
from support.playground import Playground

KINDS = {
    "async behind a plain function": "async def real(job): run(job)\ndef handle_job(job): return real(job)",
    "a future": (
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\n"
        "def handle_job(job): return pool.submit(run, job)"
    ),
    "a list of coroutines": "async def real(job): run(job)\ndef handle_jobs(jobs): return [real(job) for job in jobs]",
    "async setup": (
        "import asyncio\nasync def setup():\n    global loop\n    loop = asyncio.get_running_loop()\n"
        "async def handle_job(job):\n    assert loop is asyncio.get_running_loop()\n    run(job)\n"
        "async def teardown():\n    assert loop is asyncio.get_running_loop()\n"
    ),
    "async setup, plain function": (
        "import asyncio\nasync def setup():\n    global loop\n    loop = asyncio.get_running_loop()\n"
        "async def real(job):\n    assert loop is asyncio.get_running_loop()\n    run(job)\n"
        "def handle_job(job): return real(job)\n"
    ),
}
RUN = """
def get_jobs(): yield from range(30)
def run(job):
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"end {job} {os.getpid()}\\n".encode())
    os.close(fd)
"""
HOW = {"one by one": (), "threads": ("--threads=3",), "coroutines": ("--concurrency=3",)}


@pytest.mark.parametrize("how", mostly_slow(HOW, "one by one"))
@pytest.mark.parametrize(
    "kind", mostly_slow(KINDS, "async behind a plain function", "a list of coroutines", "async setup")
)
def test_what_a_callback_returns_is_awaited(playground: Playground, kind: str, how: str) -> None:
    """In one loop for all that a worker awaits."""
    playground.write("lazy.py", MODULE[: MODULE.index("def get_jobs")] + RUN + KINDS[kind])
    run = playground.run("tm-run", "lazy.py", "2", "--progress=none", *HOW[how])

    assert run.process.returncode == 0, run.output
    assert len(playground.ledger.ended()) == 30


LAZY = {
    "a generator": "def handle_job(job): yield job",
    "an async generator": "async def handle_job(job): yield job",
    "a map object": "def handle_job(job): return map(print, [job])",
    "the function": "def handle_job(job): return print",
}


@pytest.mark.parametrize("kind", LAZY)
def test_a_callback_that_ran_nothing_fails_its_job(playground: Playground, kind: str) -> None:
    """At once, for another attempt would be the same; the sentence says why."""
    playground.write("lazy.py", f"def get_jobs(): yield from range(5)\n{LAZY[kind]}")
    run = playground.run("tm-run", "lazy.py", "1", "--progress=none")

    assert run.process.returncode == 3, run.output
    assert f"returned {kind}" in run.output
    assert "5 x NothingRan" in run.output


@pytest.mark.parametrize("name", ["setup", "teardown"])
def test_a_setup_or_teardown_that_ran_nothing_is_refused(playground: Playground, name: str) -> None:
    """A setup before the first job."""
    playground.write("lazy.py", f"def get_jobs(): yield 1\ndef handle_job(job): pass\ndef {name}(): yield")
    run = playground.run("tm-run", "lazy.py", "1", "--progress=none")

    assert run.process.returncode == (2 if name == "setup" else 1), run.output
    assert f"{name}() returned a generator" in run.output


DECORATED = """
def plain(function):
    def wrapper(jobs): return function(jobs)
    return wrapper
@plain
def handle_jobs(jobs): run_all(jobs)
"""
CALLED_SO = {
    "a lambda": "handle_jobs = lambda jobs: run_all(jobs)",
    "a partial": "from functools import partial\nhandle_jobs = partial(run_all)",
    "a decorator without wraps": DECORATED,
    "an import": "from library import insert as handle_jobs",
}
SCRIPT = """
from taskmaster import Taskmaster
if __name__ == "__main__":
    Taskmaster(handle_jobs, get_jobs, processes=2, progress="none").start()
"""


@pytest.mark.parametrize("way", ["tm-run", "script", "processes=0"])
@pytest.mark.parametrize("kind", mostly_slow(CALLED_SO, "a lambda", "an import"))
def test_what_a_module_calls_handle_jobs_gets_lists(playground: Playground, kind: str, way: str) -> None:
    """Given a text, it would take each letter for a job."""
    functions = MODULE[: MODULE.index("def get_jobs")]
    functions += "def run_all(jobs):\n    for job in jobs: note('end', job)\ninsert = run_all\n"
    jobs = "def get_jobs(): yield from [f'ab{number}' for number in range(30)]\n"
    playground.write("library.py", functions)
    playground.write("lists.py", functions + jobs + CALLED_SO[kind] + (SCRIPT if way == "script" else ""))
    words = {
        "tm-run": ("tm-run", "lists.py", "2", "--progress=none"),
        "script": ("python", "lists.py"),
        "processes=0": ("tm-run", "lists.py", "--processes=0", "--progress=none"),
    }
    run = playground.run(*words[way])

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == {f"ab{number}": 1 for number in range(30)}


CHANGED = """
def get_jobs(): yield from range(30)
def handle_jobs(jobs):
    handled = list(jobs)
    {change}
    if {bad} in handled:
        raise ValueError("bad")
    for job in handled:
        note("end", job)
"""


@pytest.mark.parametrize(
    "change",
    mostly_slow(
        ["jobs.clear()", "del jobs[1:]", "jobs[:] = jobs[-1:]", "jobs.append(jobs[0])", "jobs.sort(reverse=True)"],
        "del jobs[1:]",
        "jobs.sort(reverse=True)",
    ),
)
@pytest.mark.parametrize("bad", mostly_slow([0, 17, 29], 17))
def test_a_list_that_a_callback_changes_says_nothing_of_what_is_done(
    playground: Playground, change: str, bad: int
) -> None:
    """One bad job fails; every other one is run to its end."""
    playground.write("changed.py", MODULE[: MODULE.index("def get_jobs")] + CHANGED.format(change=change, bad=bad))
    run = playground.run("tm-run", "changed.py", "2", "--batch=10", "--retries=0", "--progress=none")

    assert run.process.returncode == 3, run.output
    assert "1 of them failed" in run.output
    assert {int(job) for job in playground.ledger.ended()} == set(range(30)) - {bad}


FORKS = """
import sys
from multiprocessing import get_context
def get_jobs(): yield from range(400)
def first(job):
    try:
        os.close(os.open(f"forked-{job}", os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False
def fork(job):
    if job % 20 == 0 and first(job):
        MODE
def run(job):
    fork(job)
    note("end", job)
"""
MODES = {
    "sys.exit": "os.fork() or sys.exit(0)",
    "an exception": "if os.fork() == 0: raise ValueError('in the child')",
    "a return": "os.fork()",
    "an exec that fails": "os.fork() or os.execvp('no-such-program', ['no-such-program'])",
    "a child of its child": "os.fork() or os.fork() or sys.exit(0)",
    "waited for": "pid = os.fork()\n        if pid == 0: return\n        os.waitpid(pid, 0)",
    "multiprocessing": "child = get_context('fork').Process(target=sys.exit); child.start(); child.join()",
}
ALL_AT_ONCE = {
    "one by one": "def handle_job(job): run(job)",
    "threads": "def handle_job(job): run(job)",
    "coroutines": "async def handle_job(job):\n    run(job)\n    await asyncio.sleep(0)",
    "together": "def handle_jobs(jobs):\n    for job in jobs: run(job)",
}


@pytest.mark.parametrize("how", mostly_slow(ALL_AT_ONCE, "one by one", "threads"))
@pytest.mark.parametrize("mode", mostly_slow(MODES, "a return", "multiprocessing"))
def test_a_child_that_comes_back_never_speaks_as_the_worker(playground: Playground, mode: str, how: str) -> None:
    """Every job is run by a worker, no process goes on, and no more than twenty are ever forked."""
    text = "import asyncio\n" + MODULE[: MODULE.index("def get_jobs")] + FORKS.replace("MODE", MODES[mode])
    playground.write("forks.py", text + ALL_AT_ONCE[how])
    run = playground.run("tm-run", "forks.py", "2", "--progress=none", *HOW.get(how, ()))

    assert run.process.returncode == 0, run.output
    assert "All done: 400 jobs" in run.output
    assert len(playground.ledger.ended()) == 400
    assert playground.left() == {}


def test_a_child_that_python_knows_nothing_of_does_not_speak_either(playground: Playground) -> None:
    """As when an extension forks, without Python's hooks: the scoreboard is not in its memory."""
    text = MODULE[: MODULE.index("def get_jobs")] + FORKS.replace("MODE", "import ctypes; ctypes.PyDLL(None).fork()")
    playground.write("forks.py", text + ALL_AT_ONCE["one by one"])
    run = playground.run("tm-run", "forks.py", "2", "--progress=none")

    assert run.process.returncode == 0, run.output
    assert len(playground.ledger.ended()) == 400
    assert playground.left() == {}
