"""Slaves with another version of the callback's file, and slaves of another release."""

from __future__ import annotations

import pytest
from support.commands import free_port, wait_for
from support.playground import Playground

# They wait for seconds: `make check` runs them.
pytestmark = pytest.mark.slow


def changed(playground: Playground) -> str:
    """Change the module, as on a machine that has another version of it."""
    with (playground.directory / "jobs.py").open("a") as file:
        file.write("\n# a change\n")
    return "jobs.py"


def test_another_version_of_the_callback_is_warned_of_on_both_sides(playground: Playground) -> None:
    """The log names both slaves, the newcomer is told on its own terminal, and both work on."""
    host = f"--host=127.0.0.1:{free_port()}"
    playground.hold(5)
    master = playground.start("tm-master", "jobs.py", host, "--no-progress", TOTAL="500")
    first = playground.start("tm-slave", "jobs", host, "--processes=1")
    wait_for("some work", lambda: playground.ledger.ended().total() >= 5)
    same = playground.start("tm-slave", "jobs.py:handle_job", host, "--processes=1")
    wait_for("the second slave", lambda: len(playground.held()) == 2)
    other = playground.start("tm-slave", changed(playground), host, "--processes=1")
    other.wait_for_output("warning: the file with the callback is not the one")
    playground.let_go()

    assert master.end() == 0, master.output
    for slave in (first, same, other):
        assert slave.end() == 0, slave.output
    assert "warning" not in first.output + same.output
    assert f":{other.pid} and the master " in master.output
    assert "have different versions of the file with the callback" in master.output


def test_strict_code_refuses_the_newcomer(playground: Playground) -> None:
    """Exit 6, with the reason; the others do all of the work."""
    host = f"--host=127.0.0.1:{free_port()}"
    playground.hold(5)
    master = playground.start("tm-master", "jobs.py", host, "--no-progress", "--strict-code", TOTAL="500")
    first = playground.start("tm-slave", "jobs.py", host, "--processes=1")
    wait_for("some work", lambda: playground.ledger.ended().total() >= 5)
    other = playground.run("tm-slave", changed(playground), host, "--processes=1")
    playground.let_go()

    assert other.process.returncode == 6, other.output
    assert "the one that the master has, and the master was started with --strict-code" in other.output
    assert master.end() == 0, master.output
    assert first.end() == 0, first.output
    assert playground.ledger.ended().total() == 500


def test_a_slave_of_another_run_is_refused(playground: Playground) -> None:
    """Exit 6, with the cure; its callback sees no job. Who names the function is let in."""
    playground.write("others.py", "from jobs import *\ndef handle_job(key):\n    note('other', key)\n")
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "jobs.py", host, "--no-progress", TOTAL="20")
    other = playground.run("tm-slave", "others.py", host, "--processes=1")

    assert other.process.returncode == 6, other.output
    assert "It was started with others.py, and the jobs here are those of jobs.py" in other.output
    assert playground.ledger.lines() == []

    meant = playground.run("tm-slave", "others.py:handle_job", host, "--processes=1")

    assert meant.process.returncode == 0, meant.output
    assert master.end() == 0, master.output
    assert {what for what, _, _ in playground.ledger.lines()} == {"other"}


@pytest.mark.parametrize("kind", ["importable", "of the script"])
def test_slaves_from_elsewhere_are_compared_with_the_local_one(playground: Playground, kind: str) -> None:
    """Also where its callback is a function of the script, which is forked and never imported."""
    port = free_port()
    handle = "from jobs import handle_job\n" if kind == "importable" else "from jobs import hold, note\n"
    playground.write(
        "script.py",
        "from taskmaster import Taskmaster\nfrom jobs import get_jobs\n"
        + handle
        + "import time\n"
        + ("" if kind == "importable" else "def handle_job(key):\n    hold()\n    note('end', key)\n")
        + "if __name__ == '__main__':\n"
        f"    Taskmaster(handle_job, get_jobs, processes=1, host='127.0.0.1:{port}', strict_code=True).start()\n",
    )
    playground.hold(5)
    script = playground.start("python", "script.py", TOTAL="300")
    wait_for("some work", lambda: playground.ledger.ended().total() >= 5)
    own = "jobs.py" if kind == "importable" else "script.py"
    same = playground.start("tm-slave", own, f"--host=127.0.0.1:{port}", "--processes=1")
    wait_for("the second slave", lambda: len(playground.held()) == 2)
    other = playground.run("tm-slave", changed(playground), f"--host=127.0.0.1:{port}", "--processes=1")

    assert other.process.returncode == 6, other.output
    expected = "the one that the master has" if kind == "importable" else "the jobs here are those of script.py"
    assert expected in other.output
    playground.let_go()
    assert script.end() == 0, script.output
    assert same.end() == 0, same.output


def test_a_slave_of_another_protocol_is_told_what_to_install(playground: Playground) -> None:
    """Exit 6, with both versions; the master does not mind."""
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "jobs.py", host, "--no-progress", TOTAL="20")
    master.wait_for_output("server running")
    playground.write(
        "old.py",
        "import sys, taskmaster, taskmaster.model\n"
        "taskmaster.__version__, taskmaster.model.PROTOCOL = '0.9.9', 0\n"
        "from taskmaster.cli.slave import main\nmain(sys.argv[1:])\n",
    )
    old = playground.run("python", "old.py", "jobs.py", host, "--processes=1")

    assert old.process.returncode == 6, old.output
    for part in ("refused this slave: It runs Taskmaster 0.9.9,", "Install Taskmaster "):
        assert part in old.output

    assert playground.run("tm-slave", "jobs.py", host).process.returncode == 0
    assert master.end() == 0, master.output
