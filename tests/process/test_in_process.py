"""``processes=0``: jobs run one after the other in the process that calls ``start()``."""

from __future__ import annotations

import gzip
import os
import signal
import sys
import time

import pytest
from support.cases import mostly_slow
from support.playground import Playground

HEAD = """
import os, sys, threading, asyncio
from taskmaster import Taskmaster, Retry, Skip
seen = []
def handle(n):
    assert threading.current_thread() is threading.main_thread()
    seen.append(n)
def get_jobs(last=-1):
    assert threading.current_thread() is threading.main_thread()
    yield from range(last + 1, 300)
"""


def script(playground: Playground, text: str, *words: str) -> str:
    """Run a script to its good end; gives what it said."""
    playground.write("script.py", HEAD + text)
    ended = playground.run("python", "script.py", *words)

    assert ended.process.returncode == 0, ended.output
    return ended.output


def test_jobs_and_source_run_in_the_calling_thread(playground: Playground) -> None:
    """In order, each once; no other process is started."""
    said = script(
        playground,
        "summary = Taskmaster(handle, get_jobs, processes=0).start()\n"
        "print('SUMMARY', summary.settled, summary.exit_code, seen == list(range(300)))\n",
    )

    assert "SUMMARY 300 0 True" in said


@pytest.mark.slow
def test_a_limited_run_resumes_with_processes_and_without(playground: Playground) -> None:
    """The state is the same."""
    for words in (["0", "100"], ["1", "100"], ["0", "None"]):
        said = script(
            playground,
            "def main():\n"
            "    processes, limit = map(eval, sys.argv[2:])\n"
            "    summary = Taskmaster(note, get_jobs, processes=processes, limit=limit, state='x.tmstate',\n"
            "                         adopt=True).start()\n"
            "    print('SUMMARY', summary.settled)\n"
            "def get_jobs(last=-1): yield from range(last + 1, 300)\n"
            "def note(n):\n    with open('done.txt', 'a') as file: file.write(f'{n}\\n')\n"
            "main()\n",
            "--",
            *words,
        )
    done = (playground.directory / "done.txt").read_text().split()

    assert "SUMMARY 300" in said
    assert len(done) == len(set(done)) == 300


@pytest.mark.parametrize(
    ("call", "ends"),
    [
        ("Taskmaster(lambda n: n, range(100), processes=0, limit=3).start()", "(3 jobs) is reached"),
        ("Taskmaster(lambda n: 1 / (n - 3), range(9), processes=0, retries=0).start()", "1 x ZeroDivisionError"),
        ("Taskmaster(lambda n: 1 / 0, range(99), processes=0, retries=0).start()", "The run stopped: all of the first"),
    ],
)
def test_a_run_without_a_state_does_not_say_that_it_can_be_resumed(
    playground: Playground, call: str, ends: str
) -> None:
    """Nor how its failures could be listed or run again: it says what would make that possible."""
    playground.write("script.py", f"from taskmaster import Taskmaster\n{call}\n")
    said = playground.run("python", "script.py").output

    assert ends in said
    assert "state= makes it" in said
    for wrong in ("can go on", "Resume it", "resume it", "tm-ctl", "failed=True", "nowhere"):
        assert wrong not in said, wrong


def test_retries_failures_and_rules_are_those_of_any_run(playground: Playground) -> None:
    """And failed jobs can be run again, here as well."""
    said = script(
        playground,
        "tries = {}\n"
        "def handle(n):\n"
        "    tries[n] = tries.get(n, 0) + 1\n"
        "    if n == 3 and tries[n] < 3: raise ValueError('passes')\n"
        "    if n == 5: raise KeyError('never')\n"
        "    if n == 6: raise Skip('left out')\n"
        "    if n == 7: sys.exit('no end of the run')\n"
        "options = dict(processes=0, retries=2, backoff=0.01, state='x.tmstate')\n"
        "summary = Taskmaster(handle, range(20), give_up_on=KeyError, **options).start()\n"
        "print('SUMMARY', summary.settled, summary.failed, summary.exit_code, tries[3], tries[5], tries[7])\n"
        "def handle(n): tries[n] = 0\n"
        "summary = Taskmaster(handle, range(20), failed=True, **options).start()\n"
        "print('SUMMARY', summary.failed, summary.exit_code, tries[5])\n",
    )

    assert "SUMMARY 20 2 3 3 1 3" in said
    assert "SUMMARY 0 0 0" in said


def test_coroutines_lists_setup_and_teardown(playground: Playground) -> None:
    """One loop for all jobs; also where a loop runs already, as in a notebook."""
    said = script(
        playground,
        "loops = set()\n"
        "async def setup(): loops.add(asyncio.get_running_loop())\n"
        "async def each(n):\n    await asyncio.sleep(0)\n    loops.add(asyncio.get_running_loop()); seen.append(n)\n"
        "def handle_jobs(jobs): seen.extend(jobs)\n"
        "def teardown(): print('TORN DOWN', len(loops))\n"
        "options = dict(processes=0, progress='none')\n"
        "Taskmaster(each, range(50), setup=setup, teardown=teardown, state='a.tmstate', **options).start()\n"
        "Taskmaster(handle_jobs, range(50, 90), state='b.tmstate', **options).start()\n"
        "async def notebook():\n    Taskmaster(each, range(90, 99), state='c.tmstate', **options).start()\n"
        "asyncio.run(notebook())\n"
        "print('SEEN', sorted(seen) == list(range(99)))\n",
    )

    assert "TORN DOWN 1" in said
    assert "SEEN True" in said


@pytest.mark.parametrize("second", [False, True])
def test_a_signal_lets_the_running_job_end(playground: Playground, second: bool) -> None:
    """Or a second one ends it at once; the job has not failed, and runs again."""
    playground.write(
        "jobs0.py",
        "import os, time\n"
        "def get_jobs(last=0): yield from range(last + 1, 10)\n"
        "def handle_job(n):\n"
        "    print('began', n, flush=True)\n"
        "    while n == 3 and os.path.exists('wait'):\n        time.sleep(0.01)\n"
        "    print('ended', n, flush=True)\n",
    )
    (playground.directory / "wait").touch()
    run = playground.start("tm-run", "jobs0.py", "--processes=0")
    run.wait_for_output("began 3")
    run.process.send_signal(signal.SIGINT)
    run.wait_for_output("the same signal again ends it at once")
    if second:
        time.sleep(1.1)  # within a second it would count as the same key press
        run.process.send_signal(signal.SIGINT)
        run.wait_for_output("resume it with")
    (playground.directory / "wait").unlink()

    assert run.end() == 130, run.output
    assert ("ended 3" in run.output) is not second
    assert "began 4" not in run.output

    again = playground.run("tm-run", "jobs0.py", "--processes=0")

    assert again.process.returncode == 0, again.output
    assert ("began 3" in again.output) is second
    assert "All done: 9 jobs settled" in again.output


@pytest.mark.parametrize(
    "words", [["--threads=2"], ["--concurrency=2"], ["--job-timeout=5"], ["--host=127.0.0.1:0"], ["--processes=-1"]]
)
def test_what_makes_no_sense_in_one_process_is_refused(playground: Playground, words: list[str]) -> None:
    """With the option."""
    ended = playground.run("tm-run", "jobs.py", "--processes=0", *words)

    assert ended.process.returncode == 2, ended.output
    assert words[0].partition("=")[0] in ended.output


def test_setup_that_raises_ends_the_run(playground: Playground) -> None:
    """With its traceback, and exit code 2, as in a worker."""
    playground.write("jobs0.py", "def get_jobs(): yield 1\ndef handle_job(n): pass\ndef setup(): 1 / 0\n")
    ended = playground.run("tm-run", "jobs0.py", "--processes=0")

    assert ended.process.returncode == 2, ended.output
    assert "ZeroDivisionError" in ended.output


@pytest.mark.slow
def test_one_job_is_run_without_touching_the_run(playground: Playground) -> None:
    """By its key; breakpoint() has the terminal, and what is not there is said."""
    playground.write(
        "jobs0.py",
        "def get_jobs(last=0): yield from range(last + 1, 100)\n"
        "def names(): yield from ('a', 'b', 'c')\n"
        "def setup(): print('SET UP')\n"
        "def handle_job(n):\n    print('did', n)\n    if n == 7: raise ValueError('bad')\n"
        "    if n == 'b': breakpoint()\n",
    )
    done = playground.run("tm-run", "jobs0.py", "--job", "50")

    assert done.process.returncode == 0, done.output
    assert "SET UP\ndid 50\n" in done.output
    failed = playground.run("tm-run", "jobs0.py", "--job=7")
    assert failed.process.returncode == 3, failed.output
    assert "ValueError: bad" in failed.output
    missing = playground.run("tm-run", "jobs0.py", "--job=700")
    assert missing.process.returncode == 2, missing.output
    assert "No job of get_jobs has the key 700 (99 jobs read)" in missing.output
    stopped = playground.run("tm-run", "jobs0.py:names", "--job=b")
    assert "(Pdb)" in stopped.output
    assert "The job 'b' did not end: the debugger was left, as its input is no terminal;" in stopped.output
    assert not list(playground.directory.glob("*.tmstate"))
    assert playground.run("tm-run", "jobs0.py", "--job=7", "--limit=5").process.returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("asks", ["breakpoint()", "input('sure? ')"])
@pytest.mark.parametrize("processes", ["--processes=0", "--processes=1"])
def test_a_callback_that_asks_nobody_is_told_of_one_job(playground: Playground, asks: str, processes: str) -> None:
    """Where the standard input has ended, a debugger and a question are failures with a cure."""
    playground.write("asks.py", f"def get_jobs(): yield 1\ndef handle_job(n):\n    {asks}\n    return n\n")
    run = playground.run("tm-run", "asks.py", processes, "--retries=0")

    assert run.process.returncode == 3, run.output
    assert "`tm-run TARGET --job KEY` runs one job in the foreground" in run.output


@pytest.mark.parametrize(
    ("raised", "said", "code"),
    [
        ("Skip('no longer there')", "is skipped: no longer there", 0),
        ("Retry(after=3)", "asks for another attempt", 3),
        ("Abort('no licence')", "stops the run: no licence", 4),
    ],
)
def test_one_job_says_what_its_callback_decided(playground: Playground, raised: str, said: str, code: int) -> None:
    """To skip a job is no failure, and what teardown() raises hides none of it."""
    playground.write(
        "jobs0.py",
        "from taskmaster import Abort, Retry, Skip\ndef get_jobs(): yield from range(5)\n"
        f"def handle_job(n): raise {raised}\ndef teardown(): raise OSError('no disk')\n",
    )
    one = playground.run("tm-run", "jobs0.py", "--job=3")

    assert one.process.returncode == (code or 1), one.output
    assert f"The job 3 {said};" in one.output
    assert "teardown() raised OSError" in one.output


LEFT = {
    "a thread": ("def handle_job(n):\n    threading.Thread(target=note, args=(n,)).start()\n", True, ""),
    "a thread that raises": (
        "def handle_job(n):\n    threading.Thread(target=bad, args=(n,)).start()\n",
        False,
        "a thread",
    ),
    "a call": ("def handle_job(n):\n    pool.submit(note, n)\n", True, ""),
    "a call that raises": ("def handle_job(n):\n    pool.submit(bad, n)\n", False, "a call that a callback"),
    "a kept call that raises": ("def handle_job(n):\n    kept.append(pool.submit(bad, n))\n", False, "a call that"),
    "a process that fails": (
        "def handle_job(n):\n    fork.Process(target=bad, args=(n,)).start()\n",
        False,
        "the process",
    ),
}
BEGUN = """
import multiprocessing, threading, time
from concurrent.futures import ThreadPoolExecutor
pool, fork, kept = ThreadPoolExecutor(1), multiprocessing.get_context("fork"), []
def get_jobs(last=0): yield from range(last + 1, 4)
def note(n):
    time.sleep(0.05)
    with open("done.txt", "a") as file: file.write(f"{n}\\n")
def bad(n):
    time.sleep(0.05)
    raise OSError("lost")
"""


@pytest.mark.parametrize("words", [["--processes=0", "--retries=0"], ["--job=2"]], ids=["run", "one job"])
@pytest.mark.parametrize("kind", mostly_slow(LEFT, "a thread", "a call that raises"))
def test_what_jobs_have_begun_comes_to_its_end(playground: Playground, kind: str, words: list[str]) -> None:
    """Or the exit code says that it did not: it was "All done", and "is done", with 0."""
    callback, ends_well, said = LEFT[kind]
    playground.write("begun.py", BEGUN + callback)
    run = playground.run("tm-run", "begun.py", *words)
    file = playground.directory / "done.txt"
    done = file.read_text().split() if file.exists() else []

    assert (run.process.returncode == 0) is ends_well, run.output
    assert sorted(done) == ((["2"] if words == ["--job=2"] else ["1", "2", "3"]) if ends_well else [])
    assert said in run.output
    assert ends_well or "All done" not in run.output
    assert ends_well or words[0] != "--job=2" or "something went wrong after it" in run.output


LAST = """
import threading, time
def get_jobs(last=0): yield from range(last + 1, 2)
def write(word):
    with open("done.txt", "a") as file: file.write(word)
def poll():
    while threading.main_thread().is_alive(): time.sleep(0.01)
    write("polled ")
def joins():
    threading.main_thread().join()
    write("joined ")
def handle_job(n):
    threading.Thread(target=poll).start()
    threading.Thread(target=joins).start()
"""


@pytest.mark.parametrize("words", [["--processes=1"], ["--processes=0"], ["--job=1"]], ids=["worker", "run", "one job"])
def test_a_thread_that_waits_for_the_end_of_the_main_thread_comes_to_its_end(
    playground: Playground, words: list[str]
) -> None:
    """In a worker as in the master's process, where the command would wait for it for ever."""
    playground.write("last.py", LAST)
    run = playground.run("tm-run", "last.py", *words)

    assert run.process.returncode == 0, run.output
    assert sorted((playground.directory / "done.txt").read_text().split()) == ["joined", "polled"]


ENDLESS = {
    "a thread": (
        "threading.Thread(target=time.sleep, args=(3600,), name='sleeper').start()",
        r"threads to end (sleeper)",
    ),
    "a process": ("fork.Process(target=time.sleep, args=(3600,)).start()", "processes of multiprocessing"),
    "a pool": ("kept.append(fork.Pool(1)); kept[0].apply_async(time.sleep, (3600,))", "pools of multiprocessing"),
}


@pytest.mark.parametrize("words", [["--processes=0"], ["--job=1"]], ids=["run", "one job"])
@pytest.mark.parametrize("kind", mostly_slow(ENDLESS, "a thread"))
def test_what_never_ends_has_the_time_of_a_worker(playground: Playground, kind: str, words: list[str]) -> None:
    """--grace; the command ends then, with exit code 1, and nothing of it is left."""
    job, said = ENDLESS[kind]
    playground.write("endless.py", f"{BEGUN}def get_jobs(): return [1]\ndef handle_job(n):\n    {job}\n    note(n)\n")
    run = playground.run("tm-run", "endless.py", *words, "--grace=1")

    assert run.process.returncode == 1, run.output
    assert f"could not end well: they still waited for {said} after 1 s (--grace)" in run.output
    assert (playground.directory / "done.txt").read_text() == "1\n"


def test_a_thread_that_is_waited_for_is_named(playground: Playground) -> None:
    """The run stood still without a word: it may be one that ends only when it is told to."""
    playground.write(
        "begun.py",
        "import logging, threading\nsaid = threading.Event()\n"
        "class Hears(logging.Handler):\n    def emit(self, record): said.set()\n"
        "logging.getLogger('taskmaster.runner.left_open').addHandler(Hears())\n"
        "def get_jobs(last=0): yield from range(last + 1, 2)\n"
        "def handle_job(n): threading.Thread(target=said.wait, args=(60.0,), name='poller').start()\n",
    )
    run = playground.run("tm-run", "begun.py", "--processes=0")

    assert run.process.returncode == 0, run.output
    assert "the thread poller is waited for" in run.output


def test_a_script_hears_of_what_its_jobs_have_lost(playground: Playground) -> None:
    """And goes on with the executors that it has; a call that it asks for later is its own."""
    said = script(
        playground,
        "from concurrent.futures import ThreadPoolExecutor, Future\n"
        "import threading\n"
        "threading.excepthook = lambda raised: None\n"
        "start, asked = threading.Thread.start, []\n"
        "def fail(n): raise OSError\n"
        "async def later(n):\n    await asyncio.sleep(0.01)\n    seen.append(n)\n"
        "async def begins(n): asked.append(asyncio.create_task(later(n)))\n"
        "with ThreadPoolExecutor(1) as pool:\n"
        "    ends = [Taskmaster(callback, range(3), processes=0, progress='none').start().exit_code for callback in (\n"
        "        begins, lambda n: asked.append(pool.submit(fail, n)),\n"
        "        lambda n: [pool.submit(fail, n), pool.submit(int).result()][1],\n"
        "        lambda n: pool.submit(seen.append, n).result())]\n"
        "print('ENDS', ends, seen, threading.Thread.start is start, hasattr(Future, '__del__'))\n",
    )

    assert "ENDS [0, 0, 1, 0] [0, 1, 2, 0, 1, 2] True False" in said


def test_one_job_that_ends_the_process_is_not_done(playground: Playground) -> None:
    """``os._exit(0)`` was exit code 0, without a word."""
    playground.write("jobs0.py", "import os\ndef get_jobs(): yield 1\ndef handle_job(n): os._exit(0)\n")
    run = playground.run("tm-run", "jobs0.py", "--job=1")

    assert run.process.returncode == 1, run.output
    assert "called os._exit(0)" in run.output


FROZEN = """
import time
real = time.monotonic, time.perf_counter
def get_jobs(last=-1): yield from range(last + 1, 9)
def handle_job(n):
    if n == 3: time.monotonic = time.perf_counter = lambda: 1.3e9
    if n == 5: time.monotonic, time.perf_counter = real
"""


@pytest.mark.parametrize(("words", "code"), [(["1", "--batch=2"], 0), (["--processes=0", "--batch=2"], 2)])
def test_a_clock_that_a_job_leaves_frozen(playground: Playground, words: list[str], code: int) -> None:
    """It harms no worker; a master in the same process says what stands. It was called a closed
    socket, or an error of Taskmaster's own.
    """
    playground.write("frozen.py", FROZEN)
    run = playground.run("tm-run", "frozen.py", *words)

    assert run.process.returncode == code, run.output
    assert "socket" not in run.output
    assert code == 0 or "time.monotonic() stands still: handle_job()" in run.output


def test_ctrl_c_at_a_prompt_keeps_the_interpreter(playground: Playground) -> None:
    """KeyboardInterrupt ends the call, and the next line is read."""
    playground.write(
        "typed.py",
        "import os, signal\nfrom taskmaster import Taskmaster\n"
        "def handle(n): os.kill(os.getpid(), signal.SIGINT)\n\n"
        "Taskmaster(handle, range(1000), processes=0, batch=1, state='x.tmstate').start()\n"
        "print('STILL', 'HERE')\n",
    )
    playground.write(
        "shell.py", "import subprocess, sys\nsubprocess.run([sys.executable, '-i', '-q'], stdin=open('typed.py'))\n"
    )
    shell = playground.run("python", "shell.py")

    assert "KeyboardInterrupt" in shell.output, shell.output
    assert "STILL HERE" in shell.output
    assert "resume it with: the same call" in shell.output


STAYS = {
    "an error": "Taskmaster(jobs.handle_job, {1, 2})",
    "a signal": "Taskmaster(lambda n: os.kill(os.getpid(), signal.SIGTERM), range(9), processes=0, state='s.tmstate')",
    "a good end": "Taskmaster(jobs.handle_job, range(9), processes=1, state='s.tmstate')",
}


@pytest.mark.parametrize("kind", STAYS)
@pytest.mark.parametrize("how", ["-i", "PYTHONINSPECT"])
def test_a_script_that_stays_at_the_prompt_shows_no_traceback(playground: Playground, kind: str, how: str) -> None:
    """However its run has ended; and the processes of the run do not stay."""
    imports = "import os, signal, jobs\nfrom taskmaster import Taskmaster\n"
    playground.write("script.py", f"{imports}if __name__ == '__main__':\n    {STAYS[kind]}.start()\n")
    words = f"env PYTHONINSPECT=1 {sys.executable}" if how == "PYTHONINSPECT" else f"{sys.executable} -i"
    run = playground.run("/bin/bash", "-c", f"echo 'print(1 + 41)' | {words} script.py")

    assert "Traceback" not in run.output
    assert how == "PYTHONINSPECT" or "42" in run.output  # which comes to a prompt in a terminal alone
    assert "Error" not in run.output


@pytest.mark.slow
def test_a_key_is_not_printed(playground: Playground) -> None:
    """Neither in the command for slaves nor in the one that resumes: both stay in logs."""
    for words in (["--key=a-good-long-key-of-some-length"], ["--key", "a-good-long-key-of-some-length"]):
        options = ["--host=127.0.0.1:0", "--limit=3", "--reset", *words]
        ended = playground.run("tm-run", "jobs.py", "1", *options, TOTAL="50")

        assert ended.process.returncode == 75, ended.output
        assert "a-good-long-key" not in ended.output
        assert "--key" in ended.output


def test_a_module_with_both_callbacks_is_told_which_one_is_called(playground: Playground) -> None:
    """The list one was ignored without a word."""
    playground.write(
        "jobs0.py", "def get_jobs(): yield 1\ndef handle_job(n): print('one')\ndef handle_jobs(jobs): print('list')\n"
    )
    ended = playground.run("tm-run", "jobs0.py", "--processes=0")

    assert "handle_job is called" in ended.output
    assert "one" in ended.output


FORKED = """
import os, sys
seen = set()
def fork(job):
    if job == 40 and job not in seen:
        seen.add(job)
        pid = os.fork()
        if pid == 0:
            {how}
            return True
        os.waitpid(pid, 0)
def note(job):
    with open("done.txt", "a") as file:
        file.write(f"{{job}}\\n")
"""
IN_CALLBACK = """
def get_jobs(last=0): yield from range(last + 1, 201)
def handle_job(job): note(job); fork(job)
"""
IN_LIST = """
def get_jobs(last=0): yield from range(last + 1, 201)
def handle_jobs(jobs):
    for job in jobs:
        note(job)
        if fork(job): return
"""
IN_SOURCE = """
def get_jobs(last=0):
    for job in range(last + 1, 30001):
        if fork(job): break
        yield job
handle_job = note
"""


@pytest.mark.parametrize("how", mostly_slow(["pass", "sys.exit(3)", "raise ValueError('in the child')"], "pass"))
@pytest.mark.parametrize(
    ("where", "processes", "count"),
    [(IN_CALLBACK, "0", 200), (IN_LIST, "0", 200), (IN_SOURCE, "0", 30_000), (IN_SOURCE, "1", 30_000)],
    ids=["callback", "list", "source", "source with workers"],
)
def test_a_forked_child_that_comes_back_is_no_second_run(
    playground: Playground, where: str, processes: str, count: int, how: str
) -> None:
    """However it comes back: each job runs once, and no process is left."""
    playground.write("forked.py", FORKED.format(how=how) + where)
    run = playground.run("tm-run", "forked.py", "--processes", processes, "--progress=none")
    done = (playground.directory / "done.txt").read_text().split()

    assert run.process.returncode == 0, run.output
    assert len(done) == len(set(done)) == count
    assert playground.left() == {}


CASES = """
import unittest
from taskmaster import Taskmaster
def get_jobs(last=0): yield from range(last + 1, 11)
class Sync(unittest.TestCase):
    def setUp(self): self.seen = []
    def note(self, job): self.seen.append(job)
    def run_once(self):
        summary = Taskmaster(self.note, get_jobs, processes=0).start()
        self.assertEqual((summary.settled, self.seen), (10, list(range(1, 11))))
    def test_first(self): self.run_once()
    def test_second(self): self.run_once()
    def test_twice(self):
        self.run_once()
        self.seen.clear()
        self.run_once()
class Async(unittest.IsolatedAsyncioTestCase):
    async def test_coroutines(self):
        seen = []
        async def note(job): seen.append(job)
        self.assertEqual(Taskmaster(note, get_jobs, processes=0).start().settled, 10)
        self.assertEqual(seen, list(range(1, 11)))
if __name__ == "__main__":
    unittest.main()
"""


@pytest.mark.parametrize(
    "words",
    mostly_slow(
        [["test_cases.py"], ["-m", "unittest", "test_cases"], ["-m", "pytest", "-p", "no:xdist", "test_cases.py"]],
        ["-m", "unittest", "test_cases"],
    ),
)
def test_a_test_case_finds_the_same_each_time(playground: Playground, words: list[str]) -> None:
    """Whatever runs it, twice: a state that the first left would be the end of the second."""
    playground.write("test_cases.py", CASES)
    for _ in range(2):
        run = playground.run("python", *words)

        assert run.process.returncode == 0, run.output
        assert list(playground.directory.glob("*.tmstate")) == []


@pytest.mark.parametrize("body", ["yield job", "return map(print, [job])", "sys.exit(0)", "return [lambda: job]"])
def test_one_job_that_runs_nothing_has_failed(playground: Playground, body: str) -> None:
    """With --job as in any run."""
    playground.write(
        "lazy.py", f"import sys\ndef get_jobs(last=0): yield from range(last + 1, 9)\ndef handle_job(job): {body}\n"
    )
    run = playground.run("tm-run", "lazy.py", "--job=3")

    assert run.process.returncode == 3, run.output
    assert "The job 3 failed" in run.output


BACKGROUND = """
import asyncio
kept = []
def get_jobs(last=0): yield from range(last + 1, 3)
async def save(job, seconds=0.2):
    await asyncio.sleep(seconds)
    print("saved", job)
async def fails(job):
    await asyncio.sleep(0.1)
    raise ValueError(job)
async def handle_job(job): BODY
"""
ENDS_OF_BACKGROUND = {
    "kept.append(asyncio.ensure_future(save(job)))": (0, "saved 2"),
    "kept.append(asyncio.ensure_future(fails(job)))": (1, "fails raised ValueError, and nothing awaited it"),
    "kept.append(save(job))": (1, "save() was called and not awaited"),
}


@pytest.mark.parametrize("words", [["--processes=0"], ["--job=2"]])
@pytest.mark.parametrize("body", ENDS_OF_BACKGROUND)
def test_what_jobs_of_this_process_leave_to_the_loop_is_not_forgotten(
    playground: Playground, body: str, words: list[str]
) -> None:
    """A task that nobody awaits is waited for, as in a worker, and one that fails is an exit code;
    so is a coroutine that nobody has awaited.
    """
    playground.write("background.py", BACKGROUND.replace("BODY", body))
    run = playground.run("tm-run", "background.py", *words)

    code, said = ENDS_OF_BACKGROUND[body]
    assert run.process.returncode == code, run.output
    assert said in run.output


def test_one_job_that_throws_a_coroutine_away_has_failed(playground: Playground) -> None:
    """As in any run."""
    playground.write("background.py", BACKGROUND.replace("BODY", "save(job)"))
    run = playground.run("tm-run", "background.py", "--job=2")

    assert run.process.returncode == 3, run.output
    assert "The job 2 failed" in run.output


LEFT_OPEN = """
import atexit, csv, gzip, threading, time
def get_jobs(last=0): yield from range(last + 1, 41)
def setup():
    global rows, zipped
    file = open("rows.csv", "w")
    rows, zipped = csv.writer(file), gzip.open("rows.gz", "wt")
    atexit.register(lambda: file.write("exit\\n"))
def late(job):
    time.sleep(0.05)
    rows.writerow([job])
def handle_job(job):
    zipped.write(f"{job}\\n")
    threading.Thread(target=late, args=(job,)).start()
"""


@pytest.mark.parametrize(("words", "count"), [(["--processes=0"], 40), (["--job=3"], 1)])
def test_what_callbacks_leave_in_open_files_is_written(playground: Playground, words: list[str], count: int) -> None:
    """At the end of the command, as at the end of a worker."""
    playground.write("left.py", LEFT_OPEN)
    run = playground.run("tm-run", "left.py", *words, "--progress=none")
    rows = (playground.directory / "rows.csv").read_text().split()

    assert run.process.returncode == 0, run.output
    assert len(rows) == count + 1
    assert rows[-1] == "exit"
    with gzip.open(playground.directory / "rows.gz", "rt") as file:
        assert len(file.read().split()) == count


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_an_open_file_that_cannot_be_written_is_said(playground: Playground) -> None:
    """And is exit code 1: what the callbacks wrote is not all there."""
    playground.write(
        "full.py",
        "file = open('/dev/full', 'w')\ndef get_jobs(): return range(5)\ndef handle_job(job): file.write('x')\n",
    )
    run = playground.run("tm-run", "full.py", "--processes=0")

    assert run.process.returncode == 1, run.output
    assert "'/dev/full' could not be written" in run.output


WRITES = """
import sqlite3
from contextlib import closing
def opened():
    db = sqlite3.connect("rows.sqlite")
    db.execute("CREATE TABLE IF NOT EXISTS one (job)")
    return db
def write(job):
    db.execute("INSERT INTO one VALUES (?)", (job,))
def get_jobs():
    yield from range(10)
"""
OPENED_IN_SETUP = "def setup():\n    global db\n    db = opened()\n"


@pytest.mark.parametrize("where", [OPENED_IN_SETUP, "db = opened()\n"], ids=["setup", "import"])
def test_a_command_does_not_end_well_with_an_open_transaction(playground: Playground, where: str) -> None:
    """Nobody can commit it any more; what teardown() commits is fine."""
    playground.write("rows.py", f"{WRITES}{where}handle_job = write\n")
    lost = playground.run("tm-run", "rows.py", "--processes=0", "--progress=none")

    assert lost.process.returncode == 1, lost.output
    assert "a connection of sqlite3 has an open transaction" in lost.output
    assert "10 jobs are settled, but workers could not end as they should" in lost.output

    playground.write("rows.py", f"{WRITES}{where}handle_job = write\ndef teardown():\n    db.commit()\n")
    kept = playground.run("tm-run", "rows.py", "--processes=0", "--progress=none", "--reset")

    assert kept.process.returncode == 0, kept.output


def test_a_script_is_told_of_a_transaction_that_its_jobs_have_opened(playground: Playground) -> None:
    """It may commit it itself; of its own connection nothing is said, for it knows of that."""
    ending = "db.commit()\nprint('ROWS', db.execute('SELECT count(*) FROM one').fetchone()[0])\n"
    run = "Taskmaster(write, get_jobs, reset=True, processes=0"
    said = script(
        playground,
        f"{WRITES}{OPENED_IN_SETUP}code = {run}, setup=setup).start().exit_code\n{ending}print('CODE', code)\n",
    )

    assert "unless the script calls it now" in said
    assert "ROWS 10\nCODE 0" in said

    said = script(playground, f"{WRITES}db = opened()\n{run}).start()\n{ending}")

    assert "open transaction" not in said
    assert "ROWS 20" in said


KEEPS = """
import asyncio
left = []
async def save(job):
    print("SAVED", job)
def get_jobs():
    yield from range(3)
def handle_job(job):
    left.append(save(job))
"""


@pytest.mark.parametrize("teardown", ["", "def teardown():\n    asyncio.run(left.pop())\n    left.clear()\n"])
@pytest.mark.parametrize("processes", ["0", "1"])
def test_coroutines_that_were_kept_and_never_run_are_said(
    playground: Playground, teardown: str, processes: str
) -> None:
    """Those that teardown() throws away, too."""
    playground.write("mod.py", KEEPS + teardown)
    run = playground.run("tm-run", "mod.py", f"--processes={processes}", "--progress=none")

    assert run.process.returncode == 1, run.output
    assert "save() was called and not awaited, so that nothing of it was run" in run.output
    assert "All done" not in run.output


def test_a_script_may_await_what_its_jobs_have_kept(playground: Playground) -> None:
    """It is told, and has no bad end; its own coroutines are no matter."""
    said = script(
        playground,
        f"{KEEPS}own = save('own')\ncode = Taskmaster(handle_job, get_jobs, processes=0).start().exit_code\n"
        "print('CODE', code)\nfor one in [own, *left]:\n    asyncio.run(one)\n",
    )

    assert "save() was called and not awaited" in said
    assert "unless the script does" in said
    assert "CODE 0\nSAVED own\nSAVED 0\nSAVED 1\nSAVED 2" in said

    said = script(
        playground, f"{KEEPS}own = save('own')\nTaskmaster(print, get_jobs, processes=0).start()\nown.close()\n"
    )

    assert "not awaited" not in said


@pytest.mark.parametrize("function", ["setup", "teardown"])
@pytest.mark.parametrize("way", ["--processes=0", "--job=1"])
def test_sys_exit_is_no_good_end(playground: Playground, function: str, way: str) -> None:
    """In this very process it would end the command with 0, and no job was done."""
    text = "import sys\ndef get_jobs():\n    yield 1\ndef handle_job(job):\n    raise ValueError('not done')\n"
    playground.write("leaves.py", f"{text}def {function}():\n    sys.exit(0)\n")
    run = playground.run("tm-run", "leaves.py", way, "--retries=0", "--progress=none")

    expected = {("setup", "--job=1"): 2, ("setup", "--processes=0"): 2, ("teardown", "--job=1"): 3}
    assert run.process.returncode == expected.get((function, way), 1), run.output
    assert f"{function}() raised SystemExit" in run.output
