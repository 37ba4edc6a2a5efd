"""The slave that tm-run forks before anything else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import children_of, wait_for
from support.playground import Playground


@pytest.mark.quick
def test_a_target_that_cannot_be_loaded_leaves_no_process(playground: Playground) -> None:
    """The slave was there before the target was looked at."""
    ended = playground.run("tm-run", "nothere.py")

    assert ended.process.returncode == 2, ended.output


@pytest.mark.quick
def test_the_master_does_not_load_what_only_the_slave_needs() -> None:
    """The slave loads it meanwhile."""
    code = """
import sys
from taskmaster.runner.prefork import prepare
prepare().discard()
print(sorted(name for name in sys.modules if name.startswith("taskmaster.slave.")))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout == "['taskmaster.slave.config']\n", ended.stdout


@pytest.mark.slow
def test_no_worker_has_the_key_in_its_memory_or_its_command_line(playground: Playground) -> None:
    """A key that was given keeps the slave from being forked: it would have been in the memory that
    is copied.
    """
    playground.write(
        "look.py",
        """
import gc, os, sys
SECRET = "-".join(["a", "very", "secret", "key"])
def get_jobs(): yield 1
def handle_job(job):
    found = [o for o in gc.get_objects() if type(o) is dict and o is not globals() and SECRET in map(str, o.values())]
    print("found", len(found), SECRET in " ".join(sys.orig_argv), os.environ.get("TASKMASTER_KEY"))
""",
    )
    for words, environment in [(["--key=a-very-secret-key"], {}), ([], {"TASKMASTER_KEY": "a-very-secret-key"})]:
        run = playground.run("tm-run", "look.py", "1", "--reset", *words, **environment)

        assert run.process.returncode == 0, run.output
        assert "found 0 False None" in run.output


@pytest.mark.slow
def test_a_forked_slave_that_is_killed_is_replaced(playground: Playground) -> None:
    """By a slave of its own; the run goes on."""
    playground.hold(10)
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", TOTAL="40")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    (slave,) = children_of(run.pid)
    os.kill(slave, signal.SIGKILL)
    playground.let_go()

    assert run.end() == 0, run.output
    assert "it is started again" in run.output
    assert not Path(f"/proc/{slave}").exists()
