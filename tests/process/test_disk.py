"""A disk that fills up and empties again, several times in one run."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress

import pytest
from support import proof
from support.commands import BIN, wait_for
from support.ledger import MODULE
from support.playground import Playground

CYCLES = proof.size(3, 20)
JOBS = proof.size(15_000, 500_000)  # each cycle takes longer: a larger state has more room inside
# What fails is written down, so that the state grows all the time: a log that is only used again
# needs no room.
FAILING = (
    MODULE
    + """
succeed = handle_job

def handle_job(key):
    if key % 3 == 0:
        raise ValueError("x" * 1000)
    succeed(key)
"""
)


HANGING = """
import sys, time
from pathlib import Path
from taskmaster.cli.run import main
from taskmaster.master.stores.sqlite.store import SqliteStore

write = SqliteStore.write

def hang(self, checkpoint):
    if Path("hang").exists():
        time.sleep(600)
    write(self, checkpoint)

SqliteStore.write = hang
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_disk_that_hangs_does_not_keep_an_ending_run_alive(playground: Playground) -> None:
    """What the state may be waited for holds at the end, too: the run gives up, with exit 5, and
    the state is whole.
    """
    playground.write("hanging.py", HANGING)
    words = ["hanging.py", "jobs.py", "2", "--state-timeout=2", "--grace=1", "--state=x.tmstate"]
    run = playground.start(sys.executable, *words, TOTAL="1000000", SLEEP="0.01")
    wait_for("a checkpoint", playground.in_state)
    (playground.directory / "hang").touch()
    run.process.send_signal(signal.SIGINT)

    assert run.end() == 5, run.output
    assert "gives up after" in run.output

    (playground.directory / "hang").unlink()
    again = playground.start(sys.executable, *words, "--limit=10", TOTAL="1000000", SLEEP="0")

    assert again.end() == 75, again.output


def waiting_in(pipe: int) -> int:
    """How many bytes of a pipe nobody has read yet; it takes 64 kB."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.slow
def test_a_second_signal_ends_a_run_whose_output_nobody_reads(playground: Playground) -> None:
    """A pager that was left open: whatever the process waits for, it does not wait for ever."""
    playground.write(
        "talks.py", "def get_jobs():\n    yield from range(10**6)\ndef handle_job(n):\n    print('x' * 200)\n"
    )
    out, into = os.pipe()
    try:
        run = subprocess.Popen(
            [BIN / "tm-run", "talks.py", "2", "--state=y.tmstate", "--progress=lines", "--grace=1"],
            cwd=playground.directory,
            stdout=into,
            stderr=into,
        )
        os.close(into)
        wait_for("a full pipe", lambda: waiting_in(out) > 60_000)
        run.send_signal(signal.SIGINT)
        time.sleep(2)  # two within a second count as one

        def again() -> bool:
            run.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                run.wait(8)
            return run.poll() is not None

        # Of two within a second only one counts, and a process that stood still may hear of both at
        # once.
        wait_for("an end", again)
        assert run.returncode == 130
    finally:
        run.kill()
        os.close(out)


@pytest.mark.proof
@pytest.mark.timeout(proof.size(120, 2 * 3600))
def test_a_run_outlives_a_disk_that_fills_up_again_and_again(playground: Playground) -> None:
    """Each time it pauses with the reason, keeps what its slaves hold, and goes on; nothing is
    lost.
    """
    playground.write("jobs.py", FAILING)
    small = playground.directory / "small"
    small.mkdir()
    room = proof.size("size=60m", "size=1200m")  # for the whole state with every failed job in the end
    # Whoever is not root cannot mount, and this proof fails: it is not to be taken for one that has
    # passed.
    subprocess.run(["mount", "-t", "tmpfs", "-o", room, "tmpfs", str(small)], check=True)
    words = ["--progress=lines", f"--state={small / 'x.tmstate'}", "--retries=0", "--max-failures=100%"]
    try:
        run = playground.start("tm-run", "jobs.py", "2", *words, TOTAL=str(JOBS), SLEEP="0.003")
        for cycle in range(1, CYCLES + 1):
            before = playground.ledger.ended().total()
            wait_for("some work", lambda n=before: playground.ledger.ended().total() > n + 50)
            with (small / "filler").open("wb", buffering=0) as filler, suppress(OSError):
                while True:
                    filler.write(b"\0" * 4096)
            said = f"{cycle} pauses"
            # A state has room inside, the more the larger it is, before it needs any of the disk.
            wait_for(
                said,
                lambda n=cycle: run.output.count("the run is paused") >= n or run.process.poll() is not None,
                proof.size(40, 600),
            )

            assert run.process.poll() is None, run.output

            (small / "filler").unlink()
            # Before that, a disk that is full again would be the same pause.
            wait_for(f"{cycle} ends of a pause", lambda n=cycle: run.output.count("the run goes on") >= n)

        assert run.end(proof.size(120, 3600)) == 3, run.output
        good = {str(key) for key in range(JOBS) if key % 3}
        ended = playground.ledger.ended()
        assert set(ended) == good
        assert f"{JOBS - len(good)} x ValueError" in run.output
        proof.record(
            f"disk full and empty again during a run of {JOBS:,} jobs, a third of which fail",
            tried=CYCLES,
            survived=CYCLES,
            repeated=ended.total() - len(good),
            bound=0,
        )
        assert ended.total() == len(good)
    finally:
        playground.close()
        subprocess.run(["umount", "-l", str(small)], check=True)
