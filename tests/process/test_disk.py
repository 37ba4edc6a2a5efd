"""A disk that fills up and empties again, several times in one run."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import proof
import pytest
from commands import wait_for
from conftest import Playground
from ledger import MODULE

CYCLES = proof.size(3, 20)
JOBS = proof.size(15_000, 500_000)  # each cycle takes longer: a larger state has more room inside
# What fails is written down, so that the state grows all the time: a log that is only used again needs no room.
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


@pytest.mark.proof
@pytest.mark.timeout(proof.size(120, 1200))
def test_a_run_outlives_a_disk_that_fills_up_again_and_again(playground: Playground) -> None:
    """Each time it pauses with the reason, keeps what its slaves hold, and goes on; nothing is lost."""
    playground.write("jobs.py", FAILING)
    small = playground.directory / "small"
    small.mkdir()
    room = f"size={20 * CYCLES}m"
    # Whoever is not root cannot mount, and this proof fails: it is not to be taken for one that has passed.
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
            wait_for(said, lambda n=cycle: run.output.count("the run is paused") >= n or run.process.poll() is not None)

            assert run.process.poll() is None, run.output

            (small / "filler").unlink()
            # Before that, a disk that is full again would be the same pause.
            wait_for(f"{cycle} ends of a pause", lambda n=cycle: run.output.count("the run goes on") >= n)

        assert run.end(120) == 3, run.output
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
