"""``Taskmaster(...).start()`` inside a script."""

from __future__ import annotations

import os
import signal

import pytest
from commands import free_port, wait_for
from conftest import Playground
from test_resume import PREAMBLE

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
    """The callback of a script is run, also when a worker is killed and replaced, and nothing of the script runs
    twice.
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
    assert (playground.directory / "script.local.tmstate").exists()
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

    assert script.process.returncode == 1, script.output
    assert "before anything starts a thread" in script.output


def test_an_unknown_option_names_the_nearest(playground: Playground) -> None:
    """As a TypeError, where it is made."""
    playground.write("script.py", "from taskmaster import Taskmaster\nTaskmaster(print, [1], proceses=2)\n")
    script = playground.run("python", "script.py")

    assert script.process.returncode == 1
    assert "TypeError" in script.output
    assert "processes" in script.output


def test_a_killed_script_leaves_nothing_running(playground: Playground) -> None:
    """Neither slave nor template nor workers."""
    playground.write("script.py", PREAMBLE + MAIN + "main()\n")
    playground.hold(20)
    script = playground.start("python", "script.py")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    script.kill()
    wait_for("every process to end", lambda: not playground.left())


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
    """A script is forked before it has a thread: Python 3.12 and later would say so if it were not."""
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
