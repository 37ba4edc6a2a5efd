"""The commands as process 1, as they run in a container without an ``init``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
from support.cases import mostly_slow
from support.commands import BIN, Command, children_of, free_port, wait_for
from support.playground import Playground
from support.processes import zombies_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a first process in each container")

# Each job leaves a process of its own behind, as a callback may that starts a daemon.
ORPHANS = """
from jobs import *

def handle_job(key):
    note("start", key)
    child = os.fork()
    if not child:
        if not os.fork():
            time.sleep(0.01)
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.02)
    note("end", key)
"""


@pytest.fixture(scope="module")
def unshare() -> list[str]:
    """The command that begins a process namespace; where it may not be used, in CI that is a
    failure.
    """
    found = shutil.which("unshare")
    for mapped in ([], ["--user", "--map-root-user"]):
        words = [str(found), *mapped, "--pid", "--fork", "--mount-proc", "--kill-child"]
        if found and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    why = "no process namespace can be made here: that takes root, or user namespaces, and unshare of util-linux"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def begin(playground: Playground, unshare: list[str], *words: str, **environment: str) -> tuple[Command, int]:
    """Start a command as process 1; gives its process id outside."""
    command = playground.start(*unshare, str(BIN / words[0]), *words[1:], **environment)
    (first,) = wait_for("the first process", lambda: children_of(command.pid))  # type: ignore[misc]
    return command, int(first)


@pytest.mark.parametrize(("number", "code"), mostly_slow([(signal.SIGTERM, 143), (signal.SIGINT, 130)], signal.SIGTERM))
def test_a_local_run_ends_in_good_order(playground: Playground, unshare: list[str], number: int, code: int) -> None:
    """The signal reaches it, orphans do not pile up, and nothing is left."""
    playground.write("orphans.py", ORPHANS)
    run, first = begin(playground, unshare, "tm-run", "orphans.py", "2", "--no-progress")
    wait_for("many orphans", lambda: playground.ledger.ended().total() >= 50)
    wait_for("an end of the zombies", lambda: not zombies_of(first))
    os.kill(first, number)

    assert run.end() == code, run.output
    assert "resume it with" in run.output
    assert not playground.ledger.running()


@pytest.mark.slow
def test_a_master_and_a_slave_end_in_good_order(playground: Playground, unshare: list[str]) -> None:
    """Each of them as the first process of a container of its own."""
    playground.write("orphans.py", ORPHANS)
    host = f"--host=127.0.0.1:{free_port()}"
    master, first_of_master = begin(playground, unshare, "tm-master", "orphans.py", host, "--no-progress")
    slave, first_of_slave = begin(playground, unshare, "tm-slave", "orphans.py", host, "--processes=2")
    wait_for("many orphans", lambda: playground.ledger.ended().total() >= 50)
    wait_for("an end of the zombies", lambda: not zombies_of(first_of_slave))
    os.kill(first_of_slave, signal.SIGTERM)

    assert slave.end() == 143, slave.output

    os.kill(first_of_master, signal.SIGTERM)

    assert master.end() == 143, master.output
    assert not playground.ledger.running()


@pytest.mark.slow
def test_the_exit_code_is_the_command_s(playground: Playground, unshare: list[str]) -> None:
    """Of a run that finishes, of wrong usage, and of one that is killed."""
    run, _ = begin(playground, unshare, "tm-run", "jobs.py", "2", "--no-progress", TOTAL="20")

    assert run.end() == 0, run.output
    assert playground.ledger.ended().total() == 20

    wrong, _ = begin(playground, unshare, "tm-run", "nowhere.py")

    assert wrong.end() == 2, wrong.output

    killed, first = begin(playground, unshare, "tm-run", "jobs.py", "2", "--reset", "--no-progress", SLEEP="0.1")
    killed.wait_for_output("New run")
    (command,) = children_of(first)
    os.kill(command, signal.SIGKILL)

    assert killed.end() == 137, killed.output
