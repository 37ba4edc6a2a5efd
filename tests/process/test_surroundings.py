"""Odd surroundings: closed standard streams, systems that refuse anonymous memory, limits."""

from __future__ import annotations

import itertools
import os
import pty
import stat
import subprocess
from collections import Counter

import pytest
from support.cases import mostly_slow
from support.commands import BIN, free_port
from support.playground import Playground

SCRIPT = """
import jobs
from taskmaster import Taskmaster

if __name__ == "__main__":
    Taskmaster(lambda job: jobs.handle_job(job), range(20), processes=2, state="state.tmstate").start()
"""
CLOSED = ["".join(numbers) for length in (1, 2, 3) for numbers in itertools.combinations("012", length)]


def without(closed: str, *words: str) -> tuple[str, ...]:
    """Give the words that run a command with these descriptors closed."""
    redirections = " ".join(f"{number}>&-" for number in closed)
    return "/bin/sh", "-c", f'exec "$0" "$@" {redirections}', str(BIN / words[0]), *words[1:]


@pytest.mark.parametrize("closed", mostly_slow(CLOSED, "0", "012"))
@pytest.mark.parametrize("kind", ["tm-run", "script", "tm-slave"])
def test_any_of_the_standard_streams_may_be_closed(playground: Playground, kind: str, closed: str) -> None:
    """As some supervisors of processes leave them: every job runs, and the exit code is 0."""
    if kind == "tm-slave":
        host = f"--host=127.0.0.1:{free_port()}"
        master = playground.start(*without(closed, "tm-master", "jobs.py", host, "--progress=none"), TOTAL="20")
        slave = playground.run(*without(closed, "tm-slave", "jobs.py", host, "--processes=2"))

        assert master.end() == 0, master.output
        assert slave.process.returncode == 0, slave.output
    else:
        playground.write("script.py", SCRIPT)
        words = ("tm-run", "jobs.py", "2") if kind == "tm-run" else ("python", "script.py")
        run = playground.run(*without(closed, *words), TOTAL="20")

        assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(map(str, range(20)))


# Runs a command under a seccomp filter that answers memfd_create with an error; x86-64 only.
REFUSING = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 319), (0x06, 0, 0, 0x00050000 | int(sys.argv[1])), (0x06, 0, 0, 0x7FFF0000)]
program = b"".join(struct.pack("HBBI", *rule) for rule in rules)
kept = ctypes.create_string_buffer(program)

class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("rules", ctypes.c_void_p)]

chosen = Filter(len(rules), ctypes.cast(kept, ctypes.c_void_p))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(chosen), 0, 0):
    sys.exit(f"no filter: {ctypes.get_errno()}")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the filter knows this machine's numbers only")
@pytest.mark.parametrize("number", mostly_slow([38, 13, 1], 38), ids=["ENOSYS", "EACCES", "EPERM"])
def test_a_system_without_anonymous_memory_runs_all(playground: Playground, number: int) -> None:
    """Old kernels, gVisor, vm.memfd_noexec=2: a temporary file takes its place."""
    refusing = playground.write("refusing.py", REFUSING)
    run = playground.run("python", str(refusing), str(number), str(BIN / "tm-run"), "jobs.py", "2", TOTAL="30")

    assert run.process.returncode == 0, run.output
    assert "Traceback" not in run.output
    assert playground.ledger.ended() == Counter(map(str, range(30)))


@pytest.mark.parametrize("blocks", [128, 2000])
def test_a_limit_on_the_size_of_files_leaves_fewer_buffers_or_none(playground: Playground, blocks: int) -> None:
    """Batches go through the workers' sockets then, also those that are larger than the limit."""
    playground.write(
        "wide.py",
        "from jobs import handle_job as handle\n"
        "def get_jobs(last=-1):\n"
        "    for n in range(last + 1, 40):\n"
        "        yield {'id': n, 'text': 'x' * 20_000}\n"
        "def handle_job(job):\n"
        "    assert len(job['text']) == 20_000\n"
        "    handle(job['id'])\n",
    )
    words = (str(BIN / "tm-run"), "wide.py", "3", "--progress=none", "--state=none")
    run = playground.run("/bin/bash", "-c", f'ulimit -f {blocks}; exec "$0" "$@"', *words)

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(map(str, range(40)))


def test_a_state_that_the_limit_of_files_does_not_allow_is_refused_with_the_cure(playground: Playground) -> None:
    """SQLite only says that there was an error."""
    playground.write("mod.py", "def get_jobs():\n    yield 1\ndef handle_job(job):\n    pass\n")
    words = [str(BIN / "tm-run"), "mod.py", "1", "--progress=none"]
    run = playground.run("/bin/bash", "-c", 'ulimit -f 1; exec "$0" "$@" 2>&1 | cat', *words)

    assert "cannot be made: disk I/O error (no file of this process may have more than" in run.output
    assert "raise `ulimit -f`" in run.output


def test_a_umask_that_takes_all_leaves_the_state_to_its_owner(playground: Playground) -> None:
    """The next session could not open it, unless it is root's."""
    playground.write("mod.py", "def get_jobs():\n    yield 1\ndef handle_job(job):\n    pass\n")
    words = [str(BIN / "tm-run"), "mod.py", "1", "--progress=none"]
    run = playground.run("/bin/bash", "-c", 'umask 0777; exec "$0" "$@"', *words)

    assert run.process.returncode == 0, run.output
    assert stat.S_IMODE((playground.directory / "mod.tmstate").stat().st_mode) == 0o600


def test_a_limit_that_leaves_no_memory_is_said_in_a_sentence(playground: Playground) -> None:
    """With the command that cures it, and without a traceback.

    The slave is not counted by `make check`: coverage.py cannot write under this limit what it has
    counted, and says so with a traceback of its own.
    """
    words = (str(BIN / "tm-slave"), "jobs.py", f"--host=127.0.0.1:{free_port()}", "--processes=1")
    uncounted = 'unset COVERAGE_PROCESS_CONFIG; ulimit -f 1; exec "$0" "$@" 2>&1 | cat'
    slave = playground.run("/bin/bash", "-c", uncounted, *words)

    assert "raise the limit of `ulimit -f`" in slave.output
    assert "Traceback" not in slave.output


FEW_FILES = [("tm-run", 12), ("tm-run", 16), ("script", 14), ("script", 18)]


@pytest.mark.parametrize(("kind", "limit"), mostly_slow(FEW_FILES, ("tm-run", 16), ("script", 14)))
def test_a_limit_of_open_files_is_said_in_a_sentence(playground: Playground, kind: str, limit: int) -> None:
    """Wherever the start of a run meets it: in the master, in its slave, or between the two."""
    playground.write("script.py", SCRIPT)
    words = ("tm-run", "jobs.py", "1") if kind == "tm-run" else ("python", "script.py")
    run = playground.run(
        "/bin/bash", "-c", f'ulimit -n {limit}; exec "$0" "$@"', str(BIN / words[0]), *words[1:], TOTAL="20"
    )

    assert run.process.returncode != 0, run.output
    assert "Too many open files" in run.output
    assert "ulimit" in run.output
    assert "Traceback" not in run.output


LOWERED = """
import os, resource, sys
from jobs import handle_job
from taskmaster import Taskmaster

if __name__ == "__main__":
    os.dup2(2, 900)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    Taskmaster(lambda job: handle_job(job), range(20), processes=2, state="state.tmstate").start()
"""


def test_a_file_above_a_limit_that_was_lowered_later_is_no_obstacle(playground: Playground) -> None:
    """Workers let go of what their script has open, whatever its number is."""
    playground.write("script.py", LOWERED)
    run = playground.run("/bin/bash", "-c", 'ulimit -S -n 1024; exec "$0" script.py', str(BIN / "python"))

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(map(str, range(20)))


PATCHING = """
import _thread
from jobs import get_jobs, handle_job as handle
def patch_all(start=_thread.start_new_thread):
    def start_new_thread(*given):
        return start(*given)
    start_new_thread.__module__ = "gevent.thread"
    _thread.start_new_thread = start_new_thread
def handle_job(job):
    handle(job)
"""


def test_a_module_that_patches_threads_is_refused_by_the_master(playground: Playground) -> None:
    """At once and in a sentence: a master would hang for ever."""
    playground.write("patching.py", PATCHING + "patch_all()\n")
    for words in (["tm-run", "patching.py", "2"], ["tm-master", "patching.py"], ["tm-run", "patching.py", "--dry-run"]):
        run = playground.run(*words)

        assert run.process.returncode == 2, run.output
        assert "patching.py replaces the threads or sockets" in run.output
        assert "setup()" in run.output
    assert not playground.ledger.ended()


def test_a_worker_that_patches_threads_runs_one_job_at_a_time(playground: Playground) -> None:
    """In setup, as the master's message says; with --threads it is refused."""
    playground.write("patching.py", PATCHING + "setup = patch_all\n")
    refused = playground.run("tm-run", "patching.py", "2", "--threads=3", "--progress=none", TOTAL="20")
    run = playground.run("tm-run", "patching.py", "2", "--progress=none", TOTAL="20")

    assert refused.process.returncode == 2, refused.output
    assert "one job at a time only" in refused.output
    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == Counter(map(str, range(20)))


@pytest.mark.slow
@pytest.mark.parametrize("encoding", mostly_slow(["ascii", "latin-1"], "ascii"))
def test_standard_output_that_cannot_show_a_key_shows_an_escape(playground: Playground, encoding: str) -> None:
    """In the dry run and in each form of the list of failed jobs, whatever the encoding."""
    playground.write(
        "texts.py",
        "def get_jobs():\n"
        "    yield from ['a', '\\u65e5\\u672c', 'e\\u0301', '\\udcff']\n"
        "def handle_job(job):\n"
        "    print('job', job)\n"
        "    raise ValueError(job)\n",
    )
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    preview = playground.run("tm-run", "texts.py", "--dry-run", **environment)
    run = playground.run("tm-run", "texts.py", "1", "--retries=0", **environment)

    assert preview.process.returncode == 0, preview.output
    assert "\\u65e5\\u672c" in preview.output
    assert run.process.returncode == 3, run.output
    for style in ([], ["--json"], ["--csv"], ["--tracebacks"]):
        listed = playground.run("tm-ctl", "failures", "texts.py", *style, **environment)

        assert listed.process.returncode == 0, listed.output
        # click writes UTF-8 to what says that it is ASCII.
        by_click = encoding == "ascii" and style in ([], ["--tracebacks"])
        assert ("日本" if by_click else r"\u65e5\u672c") in listed.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("tm-run", "jobs.py", "2", "--limit=5"), 75),
        (("tm-run", "nowhere.py"), 2),
        (("tm-run", "jobs.py", "--no-such-option"), 2),
        (("tm-slave", "jobs.py", "--host=127.0.0.1:1", "--wait=0"), 6),
        (("python", "-c", "import taskmaster; taskmaster.Taskmaster(print, {1, 2}).start()"), 2),
    ],
)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_a_full_disk_behind_standard_error_changes_no_exit_code(
    playground: Playground, words: tuple[str, ...], code: int
) -> None:
    """What cannot be said is at least not said wrong."""
    called = (str(BIN / words[0]), *words[1:])
    run = playground.run("/bin/sh", "-c", 'exec "$0" "$@" 2>/dev/full', *called, TOTAL="20")

    assert run.process.returncode == code


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
@pytest.mark.parametrize("words", [("tm-ctl", "runs"), ("tm-run", "jobs.py", "--dry-run"), ("tm-run", "--help")])
def test_what_cannot_be_printed_is_no_success(playground: Playground, words: tuple[str, ...]) -> None:
    """A list that a full disk has cut is not taken for the whole one."""
    playground.run("tm-run", "jobs.py", "1", "--progress=none", TOTAL="5")
    run = playground.run("/bin/sh", "-c", 'exec "$0" "$@" >/dev/full', str(BIN / words[0]), *words[1:])

    assert run.process.returncode == 1
    assert "what was to be printed cannot be written" in run.output


PRINTS = "def get_jobs():\n    yield from range(5)\ndef handle_job(n):\n    print('line', n)\n"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_lines_of_callbacks_that_a_full_disk_does_not_take_are_no_success(playground: Playground) -> None:
    """Whoever prints them, one is told at once and at the end, and it is not "All done"."""
    playground.write("prints.py", PRINTS)
    script = playground.write(
        "s.py", "import taskmaster, sys, prints\nsys.exit(taskmaster.Taskmaster(print, [1, 2]).start().exit_code)\n"
    )
    full, missing = 'exec "$0" "$@" >/dev/full', "could not all be written to standard output: No space left on device"
    for words in (
        ("tm-run", "prints.py", "2"),
        ("python", str(script)),
        ("tm-run", "prints.py", "1", "--progress=json", "--reset"),
    ):
        run = playground.run("/bin/sh", "-c", full, str(BIN / words[0]), *words[1:])
        # Python itself makes 120 of it where a script's own output has lines left at its exit.
        assert run.process.returncode in ((1, 120) if words[0] == "python" else (1,)), run.output
        assert missing in run.output
        assert "All done" not in run.output

    where = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "prints.py", where, "--reset")
    slave = playground.run("/bin/sh", "-c", full, str(BIN / "tm-slave"), "prints.py", where, "--processes=1")
    assert master.end() == 1, master.output
    assert slave.process.returncode == 1, slave.output
    assert missing in slave.output
    assert missing in master.output


REMOVED = 'mkdir gone && cd gone && rmdir "$PWD" && exec "$0" "$@"'


@pytest.mark.parametrize("words", [("tm-run", "JOBS", "2"), ("tm-ctl", "runs"), ("tm-slave", "JOBS"), ("python", "S")])
def test_a_working_directory_that_was_removed_is_said(playground: Playground, words: tuple[str, ...]) -> None:
    """With what to do, whichever command it is."""
    script = playground.write("script.py", SCRIPT)
    places = {"JOBS": str(playground.directory / "jobs.py"), "S": str(script)}
    run = playground.run(
        "/bin/sh", "-c", REMOVED, str(BIN / words[0]), *(places.get(word, word) for word in words[1:]),
    )  # fmt: skip

    assert run.process.returncode == 2, run.output
    assert "The working directory is not there any more" in run.output
    assert "Traceback" not in run.output


@pytest.mark.parametrize(
    ("words", "code"), [(("jobs.py", "1"), 0), (("jobs.py", "1", "--limit=3"), 75), (("no.py",), 2)]
)
def test_a_command_ends_with_its_code_where_python_is_to_stay_at_a_prompt(
    playground: Playground, words: tuple[str, ...], code: int
) -> None:
    """``PYTHONINSPECT`` is meant for scripts: in a terminal, nobody would end the command's prompt;
    and elsewhere, its end was a traceback, and 1.
    """
    for kind in ("nobody", "a terminal"):
        standard_input, other = pty.openpty()[::-1] if kind == "a terminal" else os.pipe()
        try:
            run = subprocess.run(
                [BIN / "tm-run", *words, "--reset", "--progress=none"],
                stdin=standard_input,
                capture_output=True,
                cwd=playground.directory,
                env={**os.environ, **playground.environment, "TOTAL": "20", "PYTHONINSPECT": "1"},
                timeout=60,
                check=False,
                start_new_session=True,
            )
        finally:
            os.close(standard_input)
            os.close(other)

        assert run.returncode == code, run.stderr
        assert b"Traceback" not in run.stderr
    assert playground.left() == {}


REPLACED = {
    "time.monotonic = lambda: 5.0": "time.monotonic() stands still",
    "time.sleep = lambda seconds: None": "time.sleep() does not wait",
}


@pytest.mark.parametrize("replaced", REPLACED)
def test_a_module_that_stops_the_clock_is_refused(playground: Playground, replaced: str) -> None:
    """No retry would ever be due."""
    playground.write(
        "mod.py", f"import time\n{replaced}\ndef get_jobs():\n    yield 1\ndef handle_job(job):\n    raise ValueError\n"
    )
    run = playground.run("tm-run", "mod.py", "1", "--progress=none")

    assert run.process.returncode == 2, run.output
    assert REPLACED[replaced] in run.output


def test_a_worker_ends_well_whose_callback_has_replaced_sleep(playground: Playground) -> None:
    """It waits all the same."""
    playground.write(
        "mod.py",
        "import atexit, threading, time\ndef setup():\n    time.sleep = lambda seconds: None\n"
        "    atexit.register(threading.Event().wait, 0.5)\n"
        "def get_jobs():\n    yield 1\ndef handle_job(job):\n    pass\n",
    )
    run = playground.run("tm-run", "mod.py", "1", "--progress=none")

    assert run.process.returncode == 0, run.output
    assert "waits for" not in run.output
