"""Bad input: one clear sentence with the cure, the documented exit code, nothing lost."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support.cases import mostly_slow
from support.commands import free_port, wait_for
from support.playground import Playground

RUN = ("tm-run", "jobs.py", "2", "--progress=none")


def clear(output: str) -> bool:
    """No traceback of Taskmaster's own."""
    return "Traceback" not in output


def test_a_target_that_does_not_import_shows_the_users_traceback(playground: Playground) -> None:
    """With the user's line, and none of Taskmaster's."""
    playground.write("broken.py", "def get_jobs():\n    pass\n\nimport no_such_module_anywhere\n")
    for command in (("tm-master", "broken.py"), ("tm-slave", "broken.py"), ("tm-run", "broken", "2")):
        ended = playground.run(*command)

        assert ended.process.returncode == 2, ended.output
        assert "import no_such_module_anywhere" in ended.output
        assert "ModuleNotFoundError" in ended.output
        assert "taskmaster/target.py" not in ended.output


def test_a_variable_that_nothing_knows_is_said_once(playground: Playground) -> None:
    """By the command; its slave and its workers inherit it. The run is as it would be."""
    playground.write("jobs.py", "def get_jobs():\n    return [1]\n\ndef handle_job(job):\n    pass\n")
    run = playground.run("tm-run", "jobs.py", "2", "--progress=none", TASKMASTER_RETRYS="0")

    assert run.process.returncode == 0, run.output
    assert run.output.count("TASKMASTER_RETRYS") == run.output.count("did you mean TASKMASTER_RETRIES?") == 1


@pytest.mark.parametrize(
    "target",
    mostly_slow(
        ["nowhere.py", "nowhere", "jobs.py:handle_jab", "jobs:get_jibs", "jobs.txt", ""], "nowhere", "jobs:get_jibs", ""
    ),
)
def test_a_target_that_is_not_there_is_named(playground: Playground, target: str) -> None:
    """Exit 2, and where a function is missing, what the module does define."""
    ended = playground.run("tm-run", target, "2")

    assert ended.process.returncode == 2, ended.output
    assert clear(ended.output)
    if target.startswith("jobs:"):
        assert "get_jobs" in ended.output
        assert "handle_job" in ended.output


def test_a_module_without_the_functions_says_what_it_has(playground: Playground) -> None:
    """For the source and for the callback."""
    playground.write("half.py", "def get_jobs():\n    yield 1\n\ndef handle_jbo(job):\n    pass\n")
    ended = playground.run("tm-run", "half.py", "2")

    assert ended.process.returncode == 2, ended.output
    assert "handle_job" in ended.output
    assert "handle_jbo" in ended.output
    assert clear(ended.output)


def test_a_key_that_cannot_be_stored_is_refused_in_the_first_second(playground: Playground) -> None:
    """Before anything runs, with the way to give a key."""
    playground.write("mod.py", "def get_jobs():\n    yield object()\n\ndef handle_job(job):\n    pass\n")
    ended = playground.run("tm-run", "mod", "2")

    assert ended.process.returncode == 2, ended.output
    assert "Job(key, payload)" in ended.output
    assert clear(ended.output)


def test_a_key_that_cannot_be_stored_later_on_stops_the_run_where_it_can_go_on(playground: Playground) -> None:
    """What can be resumed is kept."""
    playground.write(
        "mod.py",
        "def get_jobs(last=0):\n    yield from range(last + 1, 50)\n    yield object()\n\ndef handle_job(job):\n    "
        "pass\n",
    )
    ended = playground.run("tm-run", "mod", "2", "--progress=none")

    assert ended.process.returncode in (1, 2), ended.output
    assert "Job(key, payload)" in ended.output
    assert clear(ended.output)


def test_a_port_in_use_is_named(playground: Playground) -> None:
    """Exit 6, with the address and the option."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = playground.run("tm-master", "jobs.py", f"--host=127.0.0.1:{port}")

    assert ended.process.returncode == 6, ended.output
    assert str(port) in ended.output
    assert "--host" in ended.output
    assert clear(ended.output)


def test_off_loopback_a_key_is_demanded(playground: Playground) -> None:
    """Exit 2, with the command that makes one."""
    ended = playground.run("tm-master", "jobs.py", f"--host=0.0.0.0:{free_port()}")

    assert ended.process.returncode == 2, ended.output
    assert "tm-ctl keygen" in ended.output


def test_a_wrong_key_is_refused(playground: Playground) -> None:
    """Exit 6 at the slave; the master does not mind."""
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "jobs.py", host, "--key=a-good-long-key-of-some-length", TOTAL="20")
    master.wait_for_output("server running")
    slave = playground.run("tm-slave", "jobs.py", host, "--key=quite-another-key-altogether")

    assert slave.process.returncode == 6, slave.output
    assert "key" in slave.output
    assert clear(slave.output)

    honest = playground.run("tm-slave", "jobs.py", host)

    assert honest.process.returncode == 0, honest.output
    assert master.end() == 0, master.output


def test_without_a_key_for_another_machine_the_slave_says_what_to_copy(playground: Playground) -> None:
    """Not on a terminal, so it cannot ask: exit 6."""
    ended = playground.run("tm-slave", "jobs.py", "--host=192.0.2.1:5050")

    assert ended.process.returncode == 6, ended.output
    assert "--key-file" in ended.output


def test_an_unreachable_master_is_waited_for_as_long_as_asked(playground: Playground) -> None:
    """``--wait 0`` is not at all; exit 6."""
    host = f"--host=127.0.0.1:{free_port()}"
    at_once = playground.run("tm-slave", "jobs.py", host, "--wait=0")

    assert at_once.process.returncode == 6, at_once.output
    assert "No master of yours is running on" in at_once.output  # not only that no key was found
    assert clear(at_once.output)

    soon = playground.run("tm-slave", "jobs.py", host, "--wait=1")

    assert soon.process.returncode == 6, soon.output


def test_two_masters_on_one_state_are_one_too_many(playground: Playground) -> None:
    """Exit 5, naming the process that has it; also through a link to the file."""
    first = playground.start("tm-master", "jobs.py", f"--host=127.0.0.1:{free_port()}")
    first.wait_for_output("server running")
    second = playground.run("tm-master", "jobs.py", f"--host=127.0.0.1:{free_port()}")

    assert second.process.returncode == 5, second.output
    assert str(first.pid) in second.output

    elsewhere = playground.directory / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(playground.directory / "jobs.py", elsewhere)
    os.link(playground.directory / "jobs.tmstate", elsewhere / "hard.tmstate")
    os.symlink(playground.directory / "jobs.tmstate", elsewhere / "soft.tmstate")
    for link in ("hard.tmstate", "soft.tmstate"):
        third = playground.run("tm-master", "jobs.py", f"--state={elsewhere / link}", f"--host=127.0.0.1:{free_port()}")

        assert third.process.returncode == 5, third.output
        assert clear(third.output)
    first.kill()


def finished_state(playground: Playground) -> Path:
    """The state file of a short run."""
    ended = playground.run(*RUN, TOTAL="30")
    assert ended.process.returncode == 0, ended.output
    return playground.directory / "jobs.tmstate"


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cake (slice)")


def newer(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:64] = (9999).to_bytes(4, "big")
    path.write_bytes(content)


def older(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:64] = (1).to_bytes(4, "big")
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"this is no state\n" * 100),
    "cut in the middle": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut in the header": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "overwritten in the middle": lambda path: path.write_bytes(
        path.read_bytes()[:4096] + b"\xaa" * (path.stat().st_size - 4096)
    ),
    "foreign": foreign,
    "newer": newer,
    "older": older,
    "a directory": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", mostly_slow(DAMAGES, "empty", "cut in the middle", "newer"))
def test_a_state_that_is_not_whole_is_refused_and_left_alone(playground: Playground, damage: str) -> None:
    """Exit 5, naming the file and the cure; never silently from zero."""
    path = finished_state(playground)
    DAMAGES[damage](path)
    before = path.read_bytes() if path.is_file() else None
    ran = playground.ledger.ended().total()
    ended = playground.run(*RUN, TOTAL="30")

    assert ended.process.returncode == 5, ended.output
    assert str(path) in ended.output
    assert clear(ended.output)
    assert playground.ledger.ended().total() == ran
    if before is not None:
        assert path.read_bytes() == before


def test_a_reset_keeps_a_state_of_an_older_version(playground: Playground) -> None:
    """Under another name, which is said; the new run runs all jobs."""
    path = finished_state(playground)
    older(path)
    before = path.read_bytes()
    ended = playground.run(*RUN, "--reset", TOTAL="30")

    assert ended.process.returncode == 0, ended.output
    assert "jobs.tmstate.format1" in ended.output
    assert path.with_name("jobs.tmstate.format1").read_bytes() == before
    assert playground.ledger.ended().total() == 60


@pytest.mark.skipif(os.geteuid() != 0, reason="drops from root to another user")
def test_a_directory_that_cannot_be_written_is_named(playground: Playground) -> None:
    """Exit 5, naming it and ``--state``."""
    ended = playground.run("tm-run", "jobs.py", "2", "--state=/proc/no.tmstate")

    assert ended.process.returncode == 5, ended.output
    assert "--state" in ended.output
    assert clear(ended.output)


def test_a_state_of_another_target_is_refused(playground: Playground) -> None:
    """Exit 5, naming both."""
    path = finished_state(playground)
    shutil.copy(playground.directory / "jobs.py", playground.directory / "other.py")
    ended = playground.run("tm-run", "other.py", "2", f"--state={path}")

    assert ended.process.returncode == 5, ended.output
    assert "jobs" in ended.output
    assert "other" in ended.output


def test_a_script_without_a_main_guard_used_as_target_is_told_so(playground: Playground) -> None:
    """A run must not start a run in each worker."""
    playground.write(
        "script.py",
        "from taskmaster import Taskmaster\n\ndef get_jobs():\n    yield 1\n\ndef handle_job(job):\n    pass\n\n"
        "Taskmaster(handle_job, get_jobs).start()\n",
    )
    ended = playground.run("tm-run", "script.py", "2")

    assert ended.process.returncode == 2, ended.output
    assert '__name__ == "__main__"' in ended.output


LONG = "n" * 300  # longer than the name of a file can be


@pytest.mark.parametrize(
    "words",
    [
        ("tm-run", "jobs.py", "0"),
        ("tm-run", "jobs.py", "two"),
        ("tm-run", "jobs.py", "2", "limit"),
        ("tm-run", "jobs.py", "2", "no_such=1"),
        ("tm-run", "jobs.py", "2", "--size=0"),
        ("tm-run", "jobs.py", "2", "--no-such-option"),
        ("tm-master", "jobs.py", "--host=nonsense:port"),
        ("tm-master", "jobs.py", "last=5"),
        ("tm-spawn", "jobs.py"),
        ("tm-run", f"{LONG}.py"),
        ("tm-run", f"{LONG}.csv"),
        ("tm-slave", f"{LONG}.py"),
        ("tm-run", "jobs.py", f"--metrics-file={LONG}"),
        ("tm-ctl", "status", LONG),
        ("tm-ctl", "runs", LONG),
        ("tm-web", LONG),
    ],
)
def test_wrong_usage_is_exit_2(playground: Playground, words: tuple[str, ...]) -> None:
    """With a sentence, not a traceback."""
    ended = playground.run(*words)

    assert ended.process.returncode == 2, ended.output
    assert clear(ended.output)
    assert "unexpected" not in ended.output
    assert len(ended.output) > 20


def test_debug_shows_taskmasters_own_traceback(playground: Playground) -> None:
    """For those who want to mend Taskmaster."""
    ended = playground.run("tm-run", "nowhere.py", "2", "--debug")

    assert ended.process.returncode == 2
    assert "Traceback" in ended.output


@pytest.mark.slow
def test_a_full_disk_pauses_the_run_and_space_lets_it_go_on(playground: Playground) -> None:
    """Nothing is lost, nothing is handed out meanwhile, and the reason is in the progress line."""
    if os.geteuid() != 0:
        pytest.skip("a small file system can be mounted by root only")
    small = playground.directory / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=True)
    try:
        playground.hold(50)
        run = playground.start(
            "tm-run", "jobs.py", "2", "--progress=lines", f"--state={small / 'x.tmstate'}", TOTAL="3000", SLEEP="0.002"
        )
        wait_for("jobs in hand", lambda: len(playground.held()) == 2)
        with (small / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"\0" * 4096)
                    filler.flush()
            except OSError:
                pass
        playground.let_go()
        run.wait_for_output("paused")
        (small / "filler").unlink()

        assert run.end(60) == 0, run.output
        assert len(playground.ledger.ended()) == playground.ledger.ended().total() == 3000
    finally:
        playground.close()
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.slow
def test_a_disk_that_stays_full_ends_the_run_where_it_can_go_on(playground: Playground) -> None:
    """After --state-timeout: exit 5, with an older state; when there is room again, the same
    command resumes.
    """
    if os.geteuid() != 0:
        pytest.skip("a small file system can be mounted by root only")
    small = playground.directory / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=True)
    words = ("tm-run", "jobs.py", "2", "--progress=none", f"--state={small / 'x.tmstate'}", "--state-timeout=2")
    try:
        playground.hold(50)
        run = playground.start(*words, TOTAL="3000", SLEEP="0.002")
        wait_for("jobs in hand", lambda: len(playground.held()) == 2)
        with (small / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"\0" * 4096)
        playground.let_go()

        assert run.end() == 5, run.output
        assert "--state-timeout" in run.output
        assert "resume it with: tm-run jobs.py 2" in run.output
        assert playground.ledger.ended().total() < 3000

        (small / "filler").unlink()
        again = playground.start(*words, TOTAL="3000", SLEEP="0.002")

        assert again.end(60) == 0, again.output
        assert len(playground.ledger.ended()) == 3000
    finally:
        playground.close()
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.slow
def test_a_home_that_cannot_be_written_only_matters_without_a_key(playground: Playground) -> None:
    """Slaves on this machine find a key that nobody has given there; one that was given is known to
    them.
    """
    host = f"--host=127.0.0.1:{free_port()}"
    without = playground.run("tm-master", "jobs.py", host, TASKMASTER_HOME="/proc/nowhere")

    assert without.process.returncode == 2, without.output
    assert "TASKMASTER_HOME" in without.output

    given = playground.start(
        "tm-master", "jobs.py", host, TASKMASTER_HOME="/proc/nowhere", TASKMASTER_KEY="a-key-of-some-length", TOTAL="9"
    )
    slave = playground.run("tm-slave", "jobs.py", host, TASKMASTER_KEY="a-key-of-some-length")

    assert slave.process.returncode == 0, slave.output
    assert given.end() == 0, given.output


LEAVES = {
    "in get_jobs": (
        "import os\ndef get_jobs(last=0):\n    for i in range(last + 1, 101):\n"
        "        if i == 50:\n            os._exit(0)\n        yield i\ndef handle_job(i):\n    pass\n"
    ),
    "while a job is pickled": (
        "import os\nfrom taskmaster import Job\nclass Bad:\n    def __reduce__(self):\n        os._exit(0)\n"
        "def get_jobs(last=0):\n    for i in range(last + 1, 101):\n        yield Job(i, Bad() if i == 50 else i)\n"
        "def handle_job(i):\n    pass\n"
    ),
    "in job_key": (
        "import os\ndef job_key(i):\n    return i if i != 50 else os._exit(0)\n"
        "def get_jobs(last=0):\n    yield from range(last + 1, 101)\ndef handle_job(i):\n    pass\n"
    ),
}


@pytest.mark.parametrize("where", mostly_slow(LEAVES, "in get_jobs"))
def test_a_run_that_the_users_code_ends_has_not_succeeded(playground: Playground, where: str) -> None:
    """``os._exit(0)`` in the middle would be taken for all done by the script that started it."""
    playground.write("mod.py", LEAVES[where])
    ended = playground.run("tm-run", "mod.py", "2", "--progress=none")

    assert ended.process.returncode == 1, ended.output
    assert "called os._exit(0) before the run was over" in ended.output


@pytest.mark.parametrize("exits", ["os._exit, 0", "lambda: os._exit(0)"])
def test_an_exit_function_does_not_make_a_success_of_a_run(playground: Playground, exits: str) -> None:
    """It runs when the exit code is known: 3, for a job has failed."""
    playground.write(
        "mod.py",
        f"import atexit, os\ndef get_jobs():\n    atexit.register({exits})\n    yield 1\n"
        "def handle_job(i):\n    raise ValueError(i)\n",
    )
    ended = playground.run("tm-run", "mod.py", "1", "--progress=none", "--retries=0")

    assert ended.process.returncode == 3, ended.output


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        "return None",
        "raise ValueError('no')",
        "__import__('time').sleep(1.2); raise ValueError('no'); yield 1",
        "yield object()",
        "yield from range(3)\ndef setup(): raise ValueError('no')",
    ],
)
def test_what_fails_at_its_start_leaves_no_state(playground: Playground, body: str) -> None:
    """There is nothing in it that a run could go on with, and nobody knows later what it is."""
    playground.write("fails.py", f"def get_jobs(last=0):\n    {body}\ndef handle_job(n): pass\n")
    ended = playground.run("tm-run", "fails.py", "1")

    assert ended.process.returncode in (1, 2), ended.output
    assert "fails.tmstate" in ended.output
    assert not list(playground.directory.glob("fails.tmstate*"))


@pytest.mark.slow
def test_what_failed_after_its_first_job_keeps_its_state(playground: Playground) -> None:
    """That job is not run again."""
    playground.write(
        "fails.py",
        "def get_jobs(last=0):\n    yield 1\n    raise ValueError('no')\ndef handle_job(n): pass\n",
    )

    assert playground.run("tm-run", "fails.py", "1").process.returncode == 1
    assert (playground.directory / "fails.tmstate").exists()
