"""``Taskmaster(...).start()`` inside a script."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from support.cases import mostly_slow
from support.commands import free_port, wait_for
from support.playground import PREAMBLE, Playground

MAIN = """
from taskmaster import Taskmaster

def get_jobs(last=-1):
    yield from range(last + 1, 300)

def main():
    summary = Taskmaster(handle_job, get_jobs, processes=2, progress="none").start()
    print("SUMMARY", summary.settled, summary.failed, summary.exit_code)
"""


@pytest.mark.quick
@pytest.mark.parametrize("end", ["if __name__ == '__main__':\n    main()\n", "main()\n"], ids=["guard", "no guard"])
def test_the_blogs_script_runs_with_and_without_a_guard(playground: Playground, end: str) -> None:
    """The callback of a script is run, also when a worker is killed and replaced, and nothing of
    the script runs twice.
    """
    playground.write("script.py", PREAMBLE + MAIN + "print('TOP')\n" + end)
    playground.hold(50)
    script = playground.start("python", "script.py")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    os.kill(playground.ledger.lines()[-1][2], signal.SIGKILL)
    playground.let_go()

    assert script.end() == 0, script.output
    assert "SUMMARY 300 0 0" in script.output
    assert script.output.count("TOP") == 1
    assert len(playground.ledger.ended()) == 300
    assert (playground.directory / "script.handle_job.tmstate").exists()


def test_interrupted_and_run_again_a_script_goes_on(playground: Playground) -> None:
    """Ctrl-C ends it with 130, without a traceback."""
    playground.write("script.py", PREAMBLE + MAIN + "if __name__ == '__main__':\n    main()\n")
    playground.hold(50)
    script = playground.start("python", "script.py")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    playground.interrupt(script)

    assert script.end() == 130, script.output
    assert "Traceback" not in script.output
    assert "python script.py" in script.output

    again = playground.run("python", "script.py")

    assert again.process.returncode == 0, again.output
    assert "Resuming at" in again.output
    assert playground.ledger.ended().total() == len(playground.ledger.ended()) == 300


@pytest.mark.slow
def test_a_lambda_and_a_local_function_are_callbacks(playground: Playground) -> None:
    """A lambda without ``state=`` says that it cannot be resumed; a local function can be."""
    playground.write(
        "script.py",
        PREAMBLE
        + "from taskmaster import Taskmaster\n"
        + "def main():\n    offset = 1000\n    def local(n):\n        note(n + offset)\n"
        + "    Taskmaster(lambda n: note(n), range(50), processes=1, progress='none').start()\n"
        + "    Taskmaster(local, range(50), processes=1, progress='none').start()\n"
        + "    Taskmaster(lambda n: note(n + 2000), [1, 2], processes=1, progress='none', state='x.tmstate').start()\n"
        + "main()\n",
    )
    script = playground.run("python", "script.py")

    assert script.process.returncode == 0, script.output
    assert 'state="NAME.tmstate"' in script.output
    assert playground.ledger.ended().total() == 102
    assert len(list(playground.directory.glob("script.local*.tmstate"))) == 1
    assert (playground.directory / "x.tmstate").exists()


def test_jobs_of_a_class_that_the_script_defines_arrive(playground: Playground) -> None:
    """Their class is in ``__main__``, which the workers have too."""
    playground.write(
        "script.py",
        PREAMBLE
        + "from taskmaster import Taskmaster\n"
        + "class Row:\n    def __init__(self, id):\n        self.id = id\n"
        + "def handle(row):\n    note(row.id)\n"
        + "if __name__ == '__main__':\n"
        + "    Taskmaster(handle, [Row(n) for n in range(30)], processes=2, progress='none').start()\n",
    )
    script = playground.run("python", "script.py")

    assert script.process.returncode == 0, script.output
    assert len(playground.ledger.ended()) == 30


@pytest.mark.parametrize("put", ["kept(named.handle)", "functools.lru_cache(named.handle)", "named.handle"])
def test_what_a_script_has_put_in_a_modules_place_is_not_left_out(playground: Playground, put: str) -> None:
    """Workers import the module anew: they ran what is there, and not what the script had given."""
    playground.write("named.py", "import functools\n@functools.lru_cache\ndef handle(n):\n    print('ran', n)\n")
    playground.write(
        "script.py",
        "import functools, named\nfrom taskmaster import Taskmaster\n"
        "def kept(function):\n    return functools.wraps(function)(lambda n: function(n))\n"
        "if __name__ == '__main__':\n"
        f"    named.handle = {put}\n    Taskmaster(named.handle, [1], progress='none').start()\n",
    )
    script = playground.run("python", "script.py")

    assert script.process.returncode == (0 if put == "named.handle" else 2), script.output
    assert put == "named.handle" or "Taskmaster(lambda job: named.handle(job), ...)" in script.output


def test_a_script_with_threads_is_told_what_to_do(playground: Playground) -> None:
    """Forking it would not be safe."""
    playground.write(
        "script.py",
        PREAMBLE
        + "import threading\nfrom taskmaster import Taskmaster\n"
        + "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        + "Taskmaster(lambda n: None, [1], progress='none').start()\n",
    )
    script = playground.run("python", "script.py")

    assert script.process.returncode == 2, script.output
    assert "before anything starts a thread" in script.output


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        ("proceses=2", 2, "taskmaster: there is no option 'proceses'; did you mean 'processes'?"),
        ("limit=0", 2, "taskmaster: limit= is 0: give 1 or more."),
        (
            "state_timeout='x'",
            2,
            "taskmaster: state_timeout= is 'x': give a number of seconds, or a time like 90s, 15m, 2h, 1d or 1h30m.",
        ),
        (
            "failed=True, reset=True",
            2,
            "taskmaster: failed=True runs failed jobs of this run again, and reset=True gives the run up: leave one out.",  # noqa: E501
        ),
        (
            "state='none/x.tmstate'",
            5,
            "taskmaster: There is no directory DIRECTORY/none for the state. Make it, or name another with state=PATH.",
        ),
    ],
)
def test_an_error_that_nobody_catches_is_one_line(
    playground: Playground, options: str, code: int, expected: str
) -> None:
    """In the script's words, with the exit code that a command has."""
    playground.write("script.py", f"from taskmaster import Taskmaster\nTaskmaster(print, [1], {options}).start()\n")
    script = playground.run("python", "script.py")

    assert script.output == expected.replace("DIRECTORY", str(playground.directory.resolve())) + "\n"
    assert script.process.returncode == code


@pytest.mark.slow
def test_the_users_traceback_is_shown_and_ours_with_debug_alone(playground: Playground) -> None:
    """Of a source that raises; an error of the script's own is shown as Python shows it."""
    raises = "from taskmaster import Taskmaster\ndef get_jobs():\n    return 1 / 0\n"
    start = "if __name__ == '__main__':\n    Taskmaster(print, get_jobs, progress='none', DEBUG).start()\n"
    playground.write("script.py", raises + start.replace("DEBUG", ""))
    playground.write("debugged.py", raises + start.replace("DEBUG", "debug=True"))
    late = "from taskmaster import Taskmaster\ntry:\n    Taskmaster(print, [1], limit=0).start()\n"
    playground.write("caught.py", late + "except ValueError:\n    pass\nexcept Exception:\n    1 / 0\n")
    script, debugged, caught = (playground.run("python", name) for name in ("script.py", "debugged.py", "caught.py"))

    assert script.process.returncode == 1, script.output
    assert "return 1 / 0" in script.output
    assert "api.py" not in script.output
    assert "\ntaskmaster: get_jobs raised ZeroDivisionError after 0 jobs" in script.output
    assert debugged.process.returncode == 1, debugged.output
    assert "api.py" in debugged.output
    # The error was caught: what ends the script is another one.
    assert caught.process.returncode == 1, caught.output
    assert caught.output.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "UsageError: limit= is 0" in caught.output


def test_a_program_with_a_hook_of_its_own_keeps_it(playground: Playground) -> None:
    """It may report errors elsewhere."""
    own = "import sys\nsys.excepthook = lambda kind, exc, trace: print('OWN', kind.__name__, exc)\n"
    playground.write("script.py", own + "from taskmaster import Taskmaster\nTaskmaster(print, [1], limit=0).start()\n")
    script = playground.run("python", "script.py")

    assert script.output.strip() == "OWN UsageError limit= is 0: give 1 or more."
    assert script.process.returncode == 1


def test_the_lines_of_a_run_are_in_the_scripts_words(playground: Playground) -> None:
    """Why it stopped, and what can be done about a run that has finished."""
    playground.write(
        "script.py",
        "from taskmaster import Taskmaster\n"
        "def callback(job): pass\n"
        "if __name__ == '__main__':\n"
        "    for limit in (5, None, None):\n"
        "        Taskmaster(callback, range(9), processes=1, progress='none', limit=limit).start()\n",
    )
    script = playground.run("python", "script.py")

    assert script.process.returncode == 0, script.output
    assert "limit= (5 jobs) is reached" in script.output
    assert "there is nothing new after key 8; reset=True runs all again" in script.output
    assert "--" not in script.output


@pytest.mark.slow
def test_a_killed_script_leaves_nothing_running(playground: Playground) -> None:
    """Neither slave nor fork server nor workers."""
    playground.write("script.py", PREAMBLE + MAIN + "main()\n")
    playground.hold(20)
    script = playground.start("python", "script.py")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    script.kill()
    wait_for("every process to end", lambda: not playground.left())


@pytest.mark.slow
def test_slaves_from_elsewhere_may_help_a_script(playground: Playground) -> None:
    """``host=`` serves them too."""
    host = f"127.0.0.1:{free_port()}"
    playground.write("callbacks.py", PREAMBLE)
    playground.write(
        "script.py",
        "from callbacks import handle_job\nfrom taskmaster import Taskmaster\n"
        "if __name__ == '__main__':\n"
        f"    Taskmaster(handle_job, range(600), processes=1, progress='none', host={host!r}).start()\n",
    )
    playground.hold(20)
    script = playground.start("python", "script.py")
    script.wait_for_output("server running")
    slave = playground.start("tm-slave", "callbacks.py", f"--host={host}", "--processes=2")
    wait_for("a job in each worker", lambda: len(playground.held()) == 3)
    playground.let_go()

    assert script.end() == 0, script.output
    assert slave.end() == 0, slave.output
    assert len(playground.ledger.ended()) == 600
    assert len({pid for _, _, pid in playground.ledger.lines()}) == 3


@pytest.mark.quick
def test_a_script_does_not_warn_either(playground: Playground) -> None:
    """A script is forked before it has a thread: Python 3.12 and later would say so if it were
    not.
    """
    playground.write("script.py", PREAMBLE + MAIN + "main()\n")
    script = playground.run("python", "script.py", PYTHONWARNINGS="error")

    assert script.process.returncode == 0, script.output
    assert "Warning" not in script.output


def test_a_callback_beside_the_script_is_found_from_another_directory(playground: Playground) -> None:
    """The workers look where the script looks."""
    (playground.directory / "scripts").mkdir()
    playground.write("scripts/callbacks.py", PREAMBLE)
    playground.write(
        "scripts/script.py",
        "from callbacks import handle_job\nfrom taskmaster import Taskmaster\n"
        "if __name__ == '__main__':\n    Taskmaster(handle_job, range(20), processes=1, progress='none').start()\n",
    )
    script = playground.run("python", "scripts/script.py")

    assert script.process.returncode == 0, script.output
    assert len(playground.ledger.ended()) == 20


SAME = """
import sys
from taskmaster import Taskmaster
WHICH = {which!r} or sys.argv.pop(1)
def handle(job): print("done", WHICH, job)
def get_jobs(last=-1): yield from range(last + 1, 3)
if __name__ == "__main__":
    Taskmaster(handle, get_jobs, processes=1, progress="none").start()
"""
WAYS = {
    "standard input": "{python} - < {which}.py",
    "a pipe": "cat {which}.py | {python} -",
    "a file of the shell's": "{python} <(cat {which}.py)",
    "a word that it takes": "{python} taking.py {which}",
}


@pytest.mark.parametrize("way", mostly_slow(WAYS, "standard input", "a word that it takes"))
def test_one_script_is_not_taken_for_another(playground: Playground, way: str) -> None:
    """Whose run is over; all but what comes from a pipe is known again."""
    for which in ("", "one", "two"):
        playground.write(f"{which or 'taking'}.py", SAME.format(which=which))

    def run(which: str) -> str:
        return playground.run("/bin/bash", "-c", WAYS[way].format(python=sys.executable, which=which)).output

    said = {which: run(which) for which in ("one", "two")}
    again = run("one")

    assert all(f"done {which} {job}" in said[which] for which in said for job in range(3)), said
    assert ("done one" in again) == (way in ("a pipe", "a file of the shell's")), again
