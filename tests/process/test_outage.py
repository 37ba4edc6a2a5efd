"""An outage in the middle of a run: what all jobs need is away for a while."""

from __future__ import annotations

import json

import pytest
from support.commands import free_port, wait_for
from support.playground import PREAMBLE, Playground, failed_jobs

N = 3_000
# The later jobs wait, so that the run is certainly going on when the outage begins.
MODULE = f"""
def get_jobs(last=0):
    yield from range(last + 1, {N} + 1)
"""
ONE = """
def handle_job(n):
    time.sleep(0.0005)
    while n > 1000 and not os.path.exists("begun"):
        time.sleep(0.02)
    if os.path.exists("down"):
        raise ConnectionRefusedError("could not connect to server")
"""
LISTS = """
del handle_job
def handle_jobs(jobs):
    for n in jobs:
        one(n)
"""


@pytest.mark.parametrize(
    "callback",
    [
        pytest.param(ONE, id="jobs"),
        pytest.param(ONE.replace("def handle_job(", "def one(") + LISTS, id="lists", marks=pytest.mark.slow),
    ],
)
def test_a_run_waits_until_the_outage_is_over(playground: Playground, callback: str) -> None:
    """It holds back, says why, and goes on by itself: every job is done, none has failed."""
    port = free_port()
    playground.write("mod.py", PREAMBLE + MODULE + callback)
    run = playground.start("tm-run", "mod", "2", "--progress=lines", f"--host=127.0.0.1:{port}")
    wait_for("some have gone well", playground.in_state)
    playground.write("down", "")
    playground.write("begun", "")
    run.wait_for_output("failed alike (ConnectionRefusedError: could not connect to server)")
    found = json.loads(playground.run("tm-ctl", "status", "--json", f"--host=127.0.0.1:{port}").output)

    assert found["state"] == "throttled"
    assert "one job is tried now and then" in found["reason"]
    assert found["failed"] == 0

    (playground.directory / "down").unlink()

    assert run.end() == 0, run.output
    assert "goes on: a job has gone well again" in run.output
    assert f"All done: {N} jobs settled" in run.output
    assert failed_jobs(playground) == []


@pytest.mark.slow
def test_an_outage_that_lasts_stops_the_run_where_it_can_go_on(playground: Playground) -> None:
    """With exit code 4, the error, and the option; the same command finishes it later."""
    playground.write("mod.py", PREAMBLE + MODULE + ONE)
    run = playground.start("tm-run", "mod", "2", "--progress=lines", "--outage=2", "--grace=5")
    wait_for("some have gone well", playground.in_state)
    playground.write("down", "")
    playground.write("begun", "")

    assert run.end() == 4, run.output
    assert "--outage allows no more" in run.output
    assert "could not connect to server" in run.output

    (playground.directory / "down").unlink()
    again = playground.run("tm-run", "mod", "2", "--progress=none")

    assert again.process.returncode == 0, again.output
    assert f"All done: {N} jobs settled" in again.output
