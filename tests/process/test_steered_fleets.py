"""Runs with several slaves that are paused, measured by what their callbacks write down: how soon
nothing begins any more, in each mode of working, with many slaves, and over a master's death.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.commands import Command, free_port, wait_for
from support.playground import PREAMBLE, Playground
from support.steered_runs import COROUTINE, JOBS, LIST, ONE, WRITES, all_once, enough

from taskmaster.control import Run

pytestmark = pytest.mark.slow

BITES_SECONDS = 1.0  # in which a pause has to bite, with jobs of 20 ms
SLACK_SECONDS = 5.0  # that one may take in which the machine did something else
PAUSES = 3
RANGES = """
from taskmaster import postgres
get_jobs = postgres.ranges(os.environ["TEST_DSN"], "comments", rows=5, target=None)

def handle_job(comments):
    write("start", comments.lo)
    time.sleep(seconds())
    write("end", comments.lo)
"""
MODES: dict[str, tuple[str, list[str]]] = {
    "processes": (ONE, ["--processes=2"]),
    "threads": (ONE, ["--processes=1", "--threads=2"]),
    "coroutines": (COROUTINE, ["--processes=1", "--concurrency=3"]),
    "lists": (LIST, ["--processes=2"]),
    "ranges": (RANGES, ["--processes=2"]),
}


@pytest.fixture(autouse=True)
def _home(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the keys of masters where these leave them."""
    monkeypatch.setenv("TASKMASTER_HOME", playground.environment["TASKMASTER_HOME"])


def begun_since(playground: Playground, moment: float) -> list[float]:
    """When jobs have begun after a moment, by the callbacks' own clock."""
    return [at for what, _, _, at in playground.ledger.timed() if what == "start" and at > moment]


def bite(playground: Playground, control: Run) -> float:
    """Pause the run; give the seconds from the command to the last job that began."""
    asked = time.time()
    assert control.pause("deploy")["changed"]
    wait_for("nothing to run", lambda: control.status()["state"] == "paused")
    time.sleep(0.3)  # in which a run that is not held would begin dozens
    return max([at - asked for at in begun_since(playground, asked)], default=0.0)


@contextmanager
def fleet(playground: Playground, words: list[str], **environment: str) -> Iterator[tuple[int, Command, list[Command]]]:
    """A master with three slaves, all of which have ended a job."""
    port = free_port()
    where = f"--host=127.0.0.1:{port}"
    master = playground.start("tm-master", "work.py", where, "--progress=none", **environment)
    slaves = [playground.start("tm-slave", "work.py", where, *words, **environment) for _ in range(3)]
    with_jobs: set[str] = set()

    def all_work() -> bool:
        with Run(f"127.0.0.1:{port}") as control:
            with_jobs.update(row["name"] for row in control.slaves() if row["done"])
        return len(with_jobs) == 3

    wait_for("a key", lambda: "running on" in master.output)
    wait_for("all slaves to work", all_work)
    yield port, master, slaves
    for slave in slaves:
        assert slave.end() == 0, slave.output


@pytest.mark.parametrize("mode", MODES)
def test_a_pause_bites_within_a_second_on_three_slaves(
    playground: Playground, mode: str, request: pytest.FixtureRequest
) -> None:
    """Three times; nothing is lost, run twice, or charged, and all slaves go on."""
    body, words = MODES[mode]
    environment = {}
    if mode == "ranges":
        sql = request.getfixturevalue("sql")
        sql("CREATE TABLE comments (id bigint PRIMARY KEY)")
        sql("INSERT INTO comments SELECT n FROM generate_series(1, %s) n", 5 * JOBS)
        environment = {"TEST_DSN": request.getfixturevalue("database")}
    playground.write("work.py", PREAMBLE + WRITES + body)
    with fleet(playground, words, **environment) as (port, master, _):
        with Run(f"127.0.0.1:{port}") as control:
            bites = []
            for _ in range(PAUSES):
                bites.append(bite(playground, control))
                found = control.status()
                assert found["leased"] == 0
                assert not playground.ledger.running()
                control.resume()
                before = playground.ledger.ended().total()
                wait_for("it to go on", lambda n=before: playground.ledger.ended().total() > n)
            assert sum(found["attempts_failed"].values()) == 0
        enough(playground)
        assert master.end() == 0, master.output

    print(mode, [round(seconds, 3) for seconds in bites])
    assert min(bites) < BITES_SECONDS, bites
    assert max(bites) < SLACK_SECONDS, bites
    ended = playground.ledger.ended()
    assert set(ended.values()) == {1}
    assert len(ended) == JOBS
    assert playground.look("SELECT failures FROM run") == (0,)


def test_a_paused_master_that_is_killed_finds_its_slaves_paused(playground: Playground) -> None:
    """They come back to it and wait; its history and the end of the pause are as before, and what
    they had done is done once but for what no checkpoint had seen.
    """
    playground.write("work.py", PREAMBLE + WRITES + ONE)
    with fleet(playground, ["--processes=2"]) as (port, master, slaves):
        with Run(f"127.0.0.1:{port}") as control:
            row = control.pause("deploy", duration="10m")["trail"]
            until = control.status()["hold"]["until_at"]
            wait_for("it to be written", lambda: control.status()["trail_saved"] >= row)
            wait_for("a row of history in the state", lambda: bool(playground.look("SELECT at FROM history")))
            wait_for("nothing to run", lambda: control.status()["state"] == "paused")
            rows = control.history("6h")["rows"]
        ended = playground.ledger.ended()
        master.kill()
        again = playground.start("tm-master", "work.py", f"--host=127.0.0.1:{port}", "--progress=none")
        again.wait_for_output("tm-ctl resume")
        wait_for("the new key", lambda: "running on" in again.output)
        with Run(f"127.0.0.1:{port}") as control:
            wait_for("all slaves", lambda: control.status()["slaves"] == 3)
            found = control.status()
            assert found["state"] == "paused"
            assert found["hold"]["until_at"] == until
            kept = control.history("6h")["rows"][0]
            assert (kept[0], kept[1:]) == (int(rows[0][0]), rows[0][1:])
            assert playground.ledger.ended() == ended
            assert all(slave.process.poll() is None for slave in slaves)
            control.resume()
        enough(playground)
        assert again.end() == 0, again.output

    done = playground.ledger.ended()
    assert set(done) == set(all_once())
    assert set((done - ended).values()) <= {1}


def test_many_slaves_are_paused_at_once(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many light slaves as ``LIGHT_SLAVES`` says: what they have not begun comes back
    within a second, and each job is run once.
    """
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    light: Any = importlib.import_module("benchmarks.light_slaves")
    number = int(os.environ.get("LIGHT_SLAVES", "100"))
    paused_for, resumed = [0.0], [False]
    with light.started_master(playground.directory, "busy", "k" * 32) as (master, address):
        crowd = light.Crowd(number, address, "k" * 32)
        control = Run(str(address), key="k" * 32)
        assert crowd.run(120, lambda: crowd.welcomed >= number)
        assert crowd.run(120, lambda: crowd.jobs_run() > 2 * number)
        asked = time.monotonic()
        control.pause("deploy")
        checked = [asked]

        def is_paused() -> bool:
            if time.monotonic() - checked[0] < 0.05:
                return False
            checked[0] = time.monotonic()
            return bool(control.status()["leased"] == 0)

        assert crowd.run(60, is_paused)
        paused_for[0] = time.monotonic() - asked
        crowd.run(0.5)
        before = crowd.jobs_run()
        crowd.run(1.0)
        assert crowd.jobs_run() == before
        control.resume()
        resumed[0] = crowd.run(30, lambda: crowd.jobs_run() > before + number)
        crowd.job = light.QUICK
        (playground.directory / "enough").touch()
        assert crowd.run(60, lambda: all(slave.over for slave in crowd.slaves) or master.poll() is not None)
        control.close()
        crowd.close()
        assert master.wait(20) == 0
    ran = [job for jobs in crowd.ledger for job in jobs]
    print(number, "slaves paused after", round(paused_for[0], 3), "s")
    assert resumed[0]
    assert len(ran) == len(set(ran)) == int((playground.directory / "yielded").read_text())
    assert paused_for[0] < SLACK_SECONDS
