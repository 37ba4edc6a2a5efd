"""What becomes of a run whose workers could not end well: it is said, and the state has it, however
the run has ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from support.cases import mostly_slow
from support.commands import children_of, free_port, wait_for
from support.playground import Playground

# Jobs that go on until there is a file "last"; there are none where there is a file "over". Workers
# end well where there is a file "fine".
BAD = """
import os, time
from taskmaster import Abort

def get_jobs(last=0):
    while not os.path.exists("over"):
        last += 1
        yield last
        if os.path.exists("last"):
            break
    if os.path.exists("raises"):
        raise OSError("the source is away")

def handle_job(job):
    time.sleep(0.02)
    open("begun", "a").close()
    if os.path.exists("aborts"):
        raise Abort("that is enough")

def teardown():
    open("ending", "a").close()
    while os.path.exists("slow"):
        time.sleep(0.02)
    if not os.path.exists("fine"):
        raise OSError("the server is away")
"""
STATE = ("--progress=none", "--state=s.tmstate", "--size=20")
COULD_NOT = "workers could not end as they should"


def touch(playground: Playground, *names: str) -> None:
    """Make files for which the jobs look."""
    for name in names:
        (playground.directory / name).touch()


def bad_rows(playground: Playground) -> list[str]:
    """The rows of the trail that say that workers ended badly."""
    trail = playground.run("tm-ctl", "trail", "s.tmstate").output
    return [row for row in trail.splitlines() if "ended-badly" in row]


STOPS = {
    "Ctrl-C": (signal.SIGINT, [], 130),
    "SIGTERM": (signal.SIGTERM, [], 143),
    "Abort": (None, ["aborts"], 4),
    "get_jobs raises": (None, ["raises", "last"], 1),
}


@pytest.mark.parametrize("processes", ["1", "0"])
@pytest.mark.parametrize("stop", mostly_slow(STOPS, "Ctrl-C"))
def test_what_a_run_that_is_stopped_may_have_lost_is_kept(playground: Playground, stop: str, processes: str) -> None:
    """Once, with the exit code of its stop; the session that ends the run ends with 1."""
    number, files, code = STOPS[stop]
    playground.write("bad.py", BAD)
    words = ("tm-run", "bad.py", *STATE)
    run = playground.start(*words, f"--processes={processes}")
    wait_for("a job", (playground.directory / "begun").exists)
    touch(playground, *files)
    if number:
        run.process.send_signal(number)

    assert run.end() == code, run.output
    assert run.output.count(COULD_NOT) == 1
    assert "tm-ctl note --fine 'nothing is lost'" in run.output
    assert "During handling of the above" not in run.output
    assert len(bad_rows(playground)) == 1

    (playground.directory / (files or ["begun"])[0]).unlink()
    touch(playground, "fine", "last")
    again = playground.run(*words)
    assert again.process.returncode == 1, again.output
    assert "did not end well" in again.output
    assert playground.run("tm-ctl", "note", "--fine", "all is there", "s.tmstate").process.returncode == 0
    assert playground.run(*words).process.returncode == 0


@pytest.mark.slow
def test_a_signal_to_the_slave_too_loses_no_word_of_a_bad_end(playground: Playground) -> None:
    """As a service manager sends it; the master has had its last word before the workers end."""
    playground.write("bad.py", BAD)
    touch(playground, "slow")
    run = playground.start("tm-run", "bad.py", "1", *STATE)
    wait_for("a job", (playground.directory / "begun").exists)
    slave = next(pid for pid in children_of(run.pid) if Path(f"/proc/{pid}/comm").read_text() == "tm-slave\n")
    for pid in (slave, run.pid):
        os.kill(pid, signal.SIGTERM)
    run.wait_for_output("nothing more is handed out")
    wait_for("the teardown", (playground.directory / "ending").exists)
    wait_for("the master's last word", lambda: playground.look("SELECT 1 FROM trail WHERE command = 'stopped'"))
    (playground.directory / "slow").unlink()

    assert run.end() == 143, run.output
    assert COULD_NOT in run.output
    assert len(bad_rows(playground)) == 1


@pytest.mark.slow
def test_a_second_signal_while_workers_end_is_no_good_end(playground: Playground) -> None:
    """They are ended, and it is kept."""
    playground.write("bad.py", BAD)
    touch(playground, "slow", "fine")
    run = playground.start("tm-run", "bad.py", "1", *STATE)
    wait_for("a job", (playground.directory / "begun").exists)
    run.process.send_signal(signal.SIGINT)
    wait_for("the teardown", (playground.directory / "ending").exists)
    time.sleep(1.5)  # two signals within a second are one
    run.process.send_signal(signal.SIGINT)

    assert run.end() == 130, run.output
    assert COULD_NOT in run.output
    assert len(bad_rows(playground)) == 1


KILLS = {
    "tm-run": (None, "1", "finished"),
    "in the process": (None, "0", "finished"),
    "Ctrl-C": (signal.SIGINT, "1", "stopped"),
    "a slave elsewhere": (None, "", "finished"),
}


@pytest.mark.parametrize("kill", mostly_slow(KILLS, "tm-run", "in the process"))
def test_a_master_that_is_killed_before_it_knows_how_workers_ended_may_have_lost_something(
    playground: Playground, kill: str
) -> None:
    """The next start says so, however often, until somebody has looked; exit code 1."""
    number, processes, command = KILLS[kill]
    playground.write("bad.py", BAD)
    touch(playground, "slow", "fine", *([] if number else ["last"]))
    host = f"--host=127.0.0.1:{free_port()}"
    words = ("tm-run", "bad.py", *STATE, f"--processes={processes}")
    if not processes:
        words = ("tm-master", "bad.py", *STATE, host)
    run, slave = playground.start(*words), None
    if not processes:
        run.wait_for_output("server running")
        slave = playground.start("tm-slave", "bad.py", host, "--processes=1", "--wait=0")
    if number:
        wait_for("a job", (playground.directory / "begun").exists)
        run.process.send_signal(number)
    wait_for("the teardown", (playground.directory / "ending").exists)
    wait_for("its last word", lambda: playground.look(f"SELECT 1 FROM trail WHERE command = '{command}'"))
    run.kill()
    touch(playground, "last" if number else "over")
    (playground.directory / "slow").unlink()
    if slave is not None:
        slave.end()

    said = "was killed, or its machine went down, before it was known how 1 worker ended"
    for _ in range(2):
        again = playground.run(*words)
        assert again.process.returncode == 1, again.output
        assert said in again.output
        assert again.output.count("tm-ctl note --fine 'nothing is lost'") == 1
    assert playground.run("tm-ctl", "note", "--fine", "all is there", "s.tmstate").process.returncode == 0
    assert playground.run(*words).process.returncode == 0


@pytest.mark.parametrize("processes", ["1", "0"])
def test_a_good_end_is_known(playground: Playground, processes: str) -> None:
    """The state has no word of ends that are not known, and the next start neither."""
    playground.write("bad.py", BAD)
    touch(playground, "fine", "last")
    words = ("tm-run", "bad.py", f"--processes={processes}", *STATE)
    assert playground.run(*words).process.returncode == 0

    assert playground.look("SELECT after FROM trail WHERE command = 'finished'") == ("",)
    touch(playground, "over")
    again = playground.run(*words)
    assert again.process.returncode == 0, again.output
    assert "there is nothing new" in again.output
    assert "known how" not in again.output


FULL = """
import sys
import time
from pathlib import Path
from taskmaster.cli.run import main
from taskmaster.errors import StateUnwritable
from taskmaster.master.stores.sqlite.store import SqliteStore

write = SqliteStore.write

def full(self, checkpoint):
    if Path("full").exists():
        raise StateUnwritable("No space left on device.")
    write(self, checkpoint)

SqliteStore.write = full
main(sys.argv[1:])
"""


def test_a_bad_end_that_cannot_be_kept_is_said_to_be_known_to_nobody(playground: Playground) -> None:
    """As on a full disk, which ends the run with 5."""
    playground.write("bad.py", BAD)
    playground.write("full.py", FULL)
    run = playground.start(sys.executable, "full.py", "bad.py", "1", *STATE, "--state-timeout=1")
    wait_for("a job", (playground.directory / "begun").exists)
    touch(playground, "full")

    assert run.end() == 5, run.output
    assert COULD_NOT in run.output
    said = "so that the next start will not know of it: No space left on device."
    assert said in run.output


def test_a_bad_end_is_one_row_of_the_trail(playground: Playground) -> None:
    """The slave says what it was, and the run that it was one."""
    playground.write("bad.py", BAD)
    touch(playground, "last")
    run = playground.run("tm-run", "bad.py", "1", *STATE)

    assert run.process.returncode == 1, run.output
    (row,) = bad_rows(playground)
    assert row.endswith(": teardown() raised OSError")


def test_a_master_waits_for_workers_that_take_long_to_end(playground: Playground) -> None:
    """It says for which slaves, and hears what they could not do."""
    playground.write("bad.py", BAD)
    host = f"--host=127.0.0.1:{free_port()}"
    touch(playground, "slow", "last")
    master = playground.start("tm-master", "bad.py", host, *STATE)
    slave = playground.start("tm-slave", "bad.py", host, "--processes=1")
    master.wait_for_output("workers of 1 slave still have to end: ")
    (playground.directory / "slow").unlink()

    assert slave.end() == 1, slave.output
    assert master.end() == 1, master.output
    assert "but workers could not end as they should: " in master.output
    assert len(bad_rows(playground)) == 1


@pytest.mark.parametrize("end", mostly_slow(["killed", "Ctrl-C"], "killed"))
def test_slaves_that_say_no_goodbye_are_named(playground: Playground, end: str) -> None:
    """Nobody knows how their workers ended: that is a warning, and a row of the trail."""
    playground.write("bad.py", BAD)
    host = f"--host=127.0.0.1:{free_port()}"
    touch(playground, "slow", "last", "fine")
    words = ("tm-master", "bad.py", host, "--progress=none", "--log-json", "--state=s.tmstate")
    master = playground.start(*words)
    slave = playground.start("tm-slave", "bad.py", host, "--processes=1")
    wait_for("the teardown", (playground.directory / "ending").exists)
    if end == "killed":
        slave.kill()
    else:
        master.wait_for_output("still have to end")
        master.process.send_signal(signal.SIGINT)

    assert master.end() == 0, master.output
    said = "1 slave has not said that its workers ended well: "
    assert said in master.output
    assert f":{slave.pid}. Something that jobs wrote there may be lost" in master.output
    assert said in playground.run("tm-ctl", "trail", "s.tmstate").output
    (playground.directory / "slow").unlink()
    assert slave.end() in (0, -signal.SIGKILL)


def test_a_note_in_the_middle_of_a_run_says_that_a_bad_end_was_fine(playground: Playground) -> None:
    """Of those before it alone: the next one is as bad."""
    playground.write("bad.py", BAD)
    host = f"--host=127.0.0.1:{free_port()}"
    words = ("tm-master", "bad.py", host, *STATE)
    fine = ("tm-ctl", "note", "--fine", "all is there", "s.tmstate")
    master = playground.start(*words)

    def bad_slave() -> None:
        """A slave that leaves, and whose workers cannot end well."""
        slave = playground.start("tm-slave", "bad.py", host, "--processes=1")
        slave.wait_for_output("connected to the master")
        wait_for("a job", (playground.directory / "begun").exists)
        slave.process.send_signal(signal.SIGTERM)
        assert slave.end() == 143, slave.output
        (playground.directory / "begun").unlink()

    master.wait_for_output("server running")
    too_early = playground.run(*fine)
    assert "No session of this run has ended badly" in too_early.output
    bad_slave()
    noted = playground.run(*fine)
    assert noted.process.returncode == 0, noted.output
    touch(playground, "last", "fine")
    slave = playground.run("tm-slave", "bad.py", host, "--processes=1")
    assert slave.process.returncode == 0, slave.output
    assert master.end() == 0, master.output
    assert "All done" in master.output
    touch(playground, "over")
    assert playground.run(*words).process.returncode == 0

    for name in ("over", "last", "fine"):
        (playground.directory / name).unlink()
    master = playground.start(*words)
    bad_slave()
    assert playground.run(*fine).process.returncode == 0
    bad_slave()
    touch(playground, "last", "fine")
    assert playground.run("tm-slave", "bad.py", host, "--processes=1").process.returncode == 0
    assert master.end() == 1, master.output
    assert COULD_NOT in master.output
