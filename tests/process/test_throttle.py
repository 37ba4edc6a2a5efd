"""What holds a run back, with the real commands: its rate, hooks that say wait or hang, guards of a
real server.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from support.cases import mostly_slow
from support.commands import Command, free_port, wait_for
from support.playground import PREAMBLE, Playground
from support.postgres_server import Server

FIFTY = "def get_jobs(last=-1):\n    yield from range(last + 1, 50)\ndef handle_job(n):\n    note(n)\n"
GATE = "def throttle():\n    if os.path.exists('go'):\n        return ''\n    return 'the gate is shut'\n"
HANGS = "def throttle():\n    open('asked', 'w').close()\n    time.sleep(600)\n"


def status(playground: Playground, port: int) -> dict:
    """What the master says of itself."""
    asked = playground.run("tm-ctl", "status", f"--host=127.0.0.1:{port}", "--json")
    return json.loads(asked.output) if asked.process.returncode == 0 else {}


def settled(run: Command) -> list[dict]:
    """The objects of --progress=json."""
    return [json.loads(line) for line in run.output.splitlines() if line.startswith('{"event": "progress"')]


@pytest.mark.parametrize(
    "options",
    mostly_slow([["--rate=100"], ["--rate=6000/m", "--batch=40", "--threads=4"]], ["--rate=100"]),
    ids=" ".join,
)
def test_a_rate_is_kept(playground: Playground, options: list[str]) -> None:
    """At no moment have more jobs been begun than were allowed since the command was given."""
    given = time.time()
    run = playground.run("tm-run", "jobs.py", "2", "--progress=none", *options, TOTAL="150", SLEEP="0")

    assert run.process.returncode == 0, run.output
    times = sorted(at for what, _, _, at in playground.ledger.timed() if what == "start")
    assert len(times) == 150
    for count, at in enumerate(times, 1):
        assert count <= 100 * (at - given) + 1


@pytest.mark.parametrize("processes", [0, 2])
def test_workers_rest_in_proportion_to_their_work(playground: Playground, processes: int) -> None:
    """Between the ends of two jobs of a process lie one job and twice the time of another."""
    options = [f"--processes={processes}", "--batch=1", "--nice=2", "--progress=none"]
    run = playground.run("tm-run", "jobs.py", *options, TOTAL="12", SLEEP="0.05")

    assert run.process.returncode == 0, run.output
    ends: dict[int, float] = {}
    rests = []
    for what, _, pid, at in playground.ledger.timed():
        if what == "end":
            if pid in ends:
                rests.append(at - ends[pid])
            ends[pid] = at
    assert len(rests) >= 10
    assert min(rests) >= 0.15


@pytest.mark.slow
def test_hours_hold_a_run_until_they_come(playground: Playground) -> None:
    """Outside of them nothing is handed out, and the reason says when it is; within them all is."""
    playground.write("mod.py", PREAMBLE + FIFTY)
    now = datetime.now(UTC)
    later = f"{now + timedelta(hours=2):%H:00}-{now + timedelta(hours=3):%H:00} UTC"
    run = playground.start("tm-run", "mod", "2", "--progress=lines", f"--hours={later}")
    run.wait_for_output(f"throttled: outside of the hours {later}; jobs go on")
    playground.interrupt(run)
    run.end()

    assert playground.ledger.lines() == []
    assert run.process.returncode == 130

    near = f"{now - timedelta(hours=1):%H:00}-{now + timedelta(hours=2):%H:00} UTC"
    assert playground.run("tm-run", "mod", "2", "--progress=none", f"--hours={near}").process.returncode == 0
    assert len(playground.ledger.ended()) == 50


def test_a_hook_says_why_the_run_waits_and_it_goes_on(playground: Playground) -> None:
    """The reason is in the progress and in the status; nothing runs meanwhile; then all of it
    does.
    """
    port = free_port()
    playground.write("mod.py", PREAMBLE + FIFTY + GATE)
    run = playground.start("tm-run", "mod", "2", "--progress=lines", f"--host=127.0.0.1:{port}")
    run.wait_for_output("throttled: the gate is shut")
    found = status(playground, port)

    assert (found["state"], found["reason"], found["settled"]) == ("throttled", "the gate is shut", 0)
    assert "throttled: the gate is shut" in playground.run("tm-ctl", "status", f"--host=127.0.0.1:{port}").output
    assert playground.ledger.lines() == []
    assert run.process.poll() is None
    playground.write("go", "")
    assert run.end() == 0, run.output
    assert len(playground.ledger.ended()) == 50


@pytest.mark.slow
def test_while_a_run_is_throttled_what_runs_is_reported_and_keeps_its_lease(playground: Playground) -> None:
    """Longer than a lease without a renewal would last; the run ends at once when nothing is left
    to hand out.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=-1):\n    yield from range(last + 1, 2)\n"
        + "def handle_job(n):\n    open(f'running-{n}', 'w').close()\n    time.sleep(6)\n    note(n)\n"
        # Both have begun: else one would be kept back until the other has ended, which leaves the
        # gate shut.
        + "def throttle():\n    return all(map(os.path.exists, ['running-0', 'running-1'])) and 'the gate is shut'\n",
    )
    run = playground.run("tm-run", "mod", "2", "--progress=json", "--lease=3", "--batch=1")

    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == {"0": 1, "1": 1}
    assert "throttled" in {one["state"] for one in settled(run)}
    assert "lost the slave" not in run.output


@pytest.mark.parametrize("number", mostly_slow([signal.SIGINT, signal.SIGTERM], signal.SIGTERM))
def test_a_hook_that_hangs_does_not_hinder_an_interruption(playground: Playground, number: int) -> None:
    """The run says that it waits for it, and ends long before the hook does."""
    playground.write("mod.py", PREAMBLE + FIFTY + HANGS)
    run = playground.start("tm-run", "mod", "2", "--progress=lines")
    run.wait_for_output("throttled: throttle() is not known yet")
    wait_for("the hook to be called", (playground.directory / "asked").exists)
    run.process.send_signal(number)

    assert run.end() == 128 + number, run.output
    assert "resume it with" in run.output
    assert playground.ledger.lines() == []


@pytest.mark.slow
def test_a_hook_that_raises_is_shown_once_and_makes_the_run_wait(playground: Playground) -> None:
    """With the user's line; mended, the run goes on."""
    raises = (
        "def throttle():\n    note('asked')\n"
        "    if not os.path.exists('go'):\n        raise LookupError('no such table')\n"
    )
    playground.write("mod.py", PREAMBLE + FIFTY + raises)
    run = playground.start("tm-run", "mod", "2", "--progress=lines")
    run.wait_for_output("throttled: throttle() is not known: it raised LookupError: no such table")
    wait_for("it to be asked again", lambda: playground.ledger.ended()["asked"] > 2)
    playground.write("go", "")

    assert run.end() == 0, run.output
    assert run.output.count("raise LookupError('no such table')") == 1
    assert len(playground.ledger.ended() - Counter(asked=10**6)) == 50


@pytest.mark.slow
def test_throttle_of_a_script(playground: Playground) -> None:
    """``throttle=`` takes a list, and ``rate=`` what the command line takes."""
    playground.write(
        "script.py",
        "import os\nfrom taskmaster import Taskmaster\nfrom taskmaster.guards import Guard\n"
        "def gate():\n    return '' if os.path.exists('go') else 'the gate is shut'\n"
        "if __name__ == '__main__':\n"
        "    done = Taskmaster(lambda n: None, range(20), processes=1, progress='lines', state='s.tmstate',\n"
        "        rate='6000/m', throttle=[gate, Guard(lambda: 1, 2, 'load')]).start()\n"
        "    print(done.settled, 'settled')\n",
    )
    run = playground.start("python", "script.py")
    run.wait_for_output("throttled: the gate is shut")
    playground.write("go", "")

    assert run.end() == 0, run.output
    assert "20 settled" in run.output


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("throttle = 5\n", [], "throttle in mod names 5, which is not a function"),
        ("", ["--rate=fast"], "--rate is 'fast'"),
        ("", ["--guard=lag=5s@postgresql://me:s3cret@h/b"], "There are replication_lag=LIMIT@DSN, active_connections"),
    ],
)
def test_what_cannot_throttle_is_wrong_usage(playground: Playground, text: str, options: list[str], said: str) -> None:
    """Exit 2, before anything is begun, and no password is shown."""
    playground.write("mod.py", PREAMBLE + FIFTY + text)
    run = playground.run("tm-run", "mod", "2", *options)

    assert run.process.returncode == 2, run.output
    assert said in run.output
    assert "s3cret" not in run.output
    assert not list(playground.directory.glob("*.tmstate"))


@pytest.mark.slow
def test_guards_of_the_command_line_hold_a_run_back(playground: Playground, postgres: Server) -> None:
    """A long transaction and the module's own guard, both have to allow it; no password is shown
    anywhere.
    """
    dsn = f"postgresql://postgres:s3cret@127.0.0.1:{postgres.port}/postgres"
    own = (
        "from taskmaster.postgres.guards import query\n"
        f"throttle = [query('SELECT 1', below=2, dsn={postgres.dsn()!r})]\n"
    )
    playground.write("mod.py", PREAMBLE + FIFTY + own)
    with closing(psycopg2.connect(postgres.dsn())) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        time.sleep(0.2)
        words = ["--rate=1000", f"--guard=long_transactions=0.1s@{dsn}", f"--guard=locks_waiting=1000@{dsn}"]
        run = playground.start("tm-run", "mod", "2", "--progress=lines", *words)
        run.wait_for_output("throttled: oldest transaction ")
        assert ", above 0.1 s" in run.output
        run.process.send_signal(signal.SIGINT)
        assert run.end() == 130
        assert "resume it with: tm-run mod 2" in run.output
        connection.rollback()
    again = playground.run("tm-run", "mod", "2", "--progress=lines", "--log-level=debug", *words)

    assert again.process.returncode == 0, again.output
    assert len(playground.ledger.ended()) == 50
    assert "s3cret" not in run.output + again.output


def test_a_guard_that_can_never_look_ends_the_command(playground: Playground, postgres: Server) -> None:
    """Of the command line and of the module: exit 2 before a job is handed out, and no password."""
    named = (
        f"from taskmaster.postgres import guards\nthrottle = [guards.dead_tuples(9, 'nopost', {postgres.dsn()!r})]\n"
    )
    playground.write("mod.py", PREAMBLE + FIFTY)
    playground.write("guarded.py", PREAMBLE + FIFTY + named)
    for words, why in (
        (("mod", f"--guard=locks_waiting=0@{postgres.dsn()} dbname=nope password=sesame1"), '"nope" does not exist.'),
        (
            ("guarded",),
            "The guard of dead rows of nopost cannot look, and the run would wait for ever: there is no such",
        ),
    ):
        refused = playground.run("tm-run", *words)

        assert refused.process.returncode == 2, refused.output
        assert why in refused.output
        assert "sesame1" not in refused.output
    assert playground.ledger.lines() == []
