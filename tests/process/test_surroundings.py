"""Odd surroundings: closed standard streams, systems that refuse anonymous memory, limits."""

from __future__ import annotations

import itertools
import os
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


def test_a_limit_that_leaves_no_memory_is_said_in_a_sentence(playground: Playground) -> None:
    """With the command that cures it, and without a traceback."""
    words = (str(BIN / "tm-slave"), "jobs.py", f"--host=127.0.0.1:{free_port()}", "--processes=1")
    slave = playground.run("/bin/bash", "-c", 'ulimit -f 1; exec "$0" "$@" 2>&1 | cat', *words)

    assert "raise the limit of `ulimit -f`" in slave.output
    assert "Traceback" not in slave.output
