"""Failed jobs: listed, run again, forgotten; on a stopped run and on a running one."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.commands import free_port, wait_for
from support.playground import PREAMBLE, Playground, failed_jobs

BAD = (
    PREAMBLE
    + "def get_jobs(last=-1):\n    yield from range(last + 1, 200)\n"
    + "def handle_job(n):\n    if n % 40 == 7 and not os.path.exists('mended'):\n        raise KeyError(f'row {n}')\n"
    + "    if n == 50:\n        raise ValueError('always')\n    hold()\n    note(n)\n"
)
KEYS = ["7", "47", "87", "127", "167"]


def the_run(playground: Playground) -> tuple:
    """Mark, settled, failures and whether it is finished, of the one run."""
    state = next(Path(playground.directory).glob("*.tmstate"))
    # Read only: else SQLite would bring the log of a run that was killed into the file, and remove
    # it.
    with closing(sqlite3.connect(f"{state.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT mark, settled, failures, finished IS NOT NULL FROM run").fetchone()


def test_failed_jobs_are_run_again_and_nothing_else(playground: Playground) -> None:
    """What goes well is cleared, what fails again keeps all of its attempts; the watermark stays,
    exit 3, then 0.
    """
    playground.write("mod.py", BAD)
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--retries=0")

    assert run.process.returncode == 3, run.output
    assert (
        "Run them again, when the cause is mended, with: tm-run mod 2 --progress=none --retries=0 --failed"
        in run.output
    )
    assert "tm-ctl failures" in run.output
    assert the_run(playground) == ("199", 200, 6, 1)

    same = playground.run("tm-run", "mod", "2", "--progress=none")

    assert same.process.returncode == 3, same.output
    assert "5 x KeyError" in same.output
    assert "--failed" in same.output

    asked = playground.run("tm-ctl", "retry", "mod", "--all")
    assert asked.process.returncode == 2, asked.output
    assert "is finished. `tm-run mod 2 --progress=none --retries=0 --failed` runs its 6 failed jobs" in asked.output
    why = playground.run("tm-ctl", "why", "mod")
    assert why.process.returncode == 6, why.output  # 2 would be a run that a guard holds

    before = playground.ledger.ended()
    playground.write("mended", "")
    again = playground.run("tm-run", "mod", "2", "--progress=none", "--failed", "--retries=0")

    assert again.process.returncode == 3, again.output
    assert the_run(playground) == ("199", 200, 1, 1)
    ((key, kind, _, _, attempts),) = failed_jobs(playground)
    assert (key, kind, attempts) == ("50", "ValueError", 2)
    assert playground.ledger.ended() - before == dict.fromkeys(KEYS, 1)

    playground.write("mod.py", BAD.replace("n == 50", "n == -1"))
    last = playground.run("tm-run", "mod", "2", "--progress=none", "--failed")

    assert last.process.returncode == 0, last.output
    assert the_run(playground) == ("199", 200, 0, 1)
    none = playground.run("tm-run", "mod", "2", "--progress=none", "--failed")
    assert none.process.returncode == 0, none.output
    assert "nothing to run again" in none.output


def test_where_no_run_has_been_failed_is_refused(playground: Playground) -> None:
    """In another directory than the run's, "nothing to run again" and exit 0 were not true; a blank
    state was left there, too.
    """
    playground.write("mod.py", BAD)
    run = playground.run("tm-run", "mod", "2", "--progress=none", "--failed")

    assert run.process.returncode == 5, run.output
    assert "There is no state" in run.output
    assert "the directory in which that run was begun" in run.output
    assert not list(Path(playground.directory).glob("*.tmstate*"))


@pytest.mark.slow
def test_an_unfinished_run_stays_so(playground: Playground) -> None:
    """--failed on a run that was killed half-way: neither its place nor what is parked is lost."""
    playground.write("mod.py", BAD.replace("    hold()\n", "    time.sleep(0.01)\n    hold()\n"))
    playground.hold(120)
    run = playground.start("tm-run", "mod", "2", "--progress=none", "--retries=0")
    wait_for("half of the jobs in the state", lambda: playground.in_state() > 100)
    run.kill()
    wait_for("every process to end", lambda: not playground.left())
    playground.let_go()
    before = the_run(playground)
    playground.write("mended", "")
    again = playground.run("tm-run", "mod", "2", "--progress=none", "--failed", "--retries=0")

    assert again.process.returncode == 75, again.output
    assert "The run itself has not come to its end" in again.output
    assert "All done" not in again.output
    assert "Resume it with: tm-run mod 2 --progress=none --retries=0" in again.output
    assert the_run(playground) == (before[0], before[1], 1, 0)

    rest = playground.run("tm-run", "mod", "2", "--progress=none", "--retries=0")

    assert rest.process.returncode == 3, rest.output
    assert the_run(playground) == ("199", 200, 1, 1)
    assert set(playground.ledger.ended()) == set(map(str, range(200))) - {"50"}


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(playground: Playground) -> None:
    """What succeeded stays cleared, the rest stays failed."""
    text = PREAMBLE + "def get_jobs(last=-1):\n    yield from range(last + 1, 100)\n"
    playground.write("mod.py", text + "def handle_job(n):\n    raise ValueError(n)\n")
    playground.run("tm-run", "mod", "2", "--progress=none", "--retries=0", "--max-failures=1000")

    assert the_run(playground) == ("99", 100, 100, 1)

    playground.write("mod.py", text + "def handle_job(n):\n    time.sleep(0.01)\n    hold()\n    note(n)\n")
    playground.hold(40)
    again = playground.start("tm-run", "mod", "2", "--progress=none", "--failed")
    wait_for("some jobs in the state", lambda: (playground.look("SELECT failures FROM run") or (100,))[0] < 80)
    again.kill()
    wait_for("every process to end", lambda: not playground.left())
    playground.let_go()
    left = the_run(playground)[2]

    assert 0 < left < 100
    assert len(failed_jobs(playground)) == left

    rest = playground.run("tm-run", "mod", "2", "--progress=none", "--failed")

    assert rest.process.returncode == 0, rest.output
    assert the_run(playground) == ("99", 100, 0, 1)
    assert set(playground.ledger.ended()) == set(map(str, range(100)))


@pytest.mark.slow
def test_failures_of_a_stopped_run_are_listed_and_dropped(playground: Playground) -> None:
    """For people, as JSON, as CSV, by kind, by key; a key that is not there changes nothing."""
    playground.write("mod.py", BAD)
    playground.run("tm-run", "mod", "2", "--progress=none", "--retries=0")
    listed = playground.run("tm-ctl", "failures", "mod")

    assert listed.process.returncode == 0, listed.output
    assert "5 x KeyError" in listed.output
    assert "1 x ValueError, for example the job with the key 50: always" in listed.output
    assert "Traceback" not in listed.output

    as_json = playground.run("tm-ctl", "failures", "mod.tmstate", "--json", "--type", "KeyError")
    found = [json.loads(line) for line in as_json.output.splitlines()]
    assert sorted(row["key"] for row in found) == sorted(KEYS)
    assert all("raise KeyError" in row["traceback"] and len(row["attempts"]) == 1 for row in found)

    as_csv = playground.run("tm-ctl", "failures", "mod", "--csv")
    rows = list(csv.DictReader(io.StringIO(as_csv.output)))
    assert len(rows) == 6
    assert {row["type"] for row in rows} == {"KeyError", "ValueError"}

    one = playground.run("tm-ctl", "failures", "mod", "--job", "50")
    assert "raise ValueError('always')" in one.output
    assert "KeyError" not in one.output

    wrong = playground.run("tm-ctl", "failures", "mod", "--drop", "50", "--drop", "48")
    assert wrong.process.returncode == 2
    assert "No failed job has the key 48" in wrong.output
    assert len(failed_jobs(playground)) == 6

    dropped = playground.run("tm-ctl", "failures", "mod", "--drop", "50", "--drop", "47")
    assert dropped.process.returncode == 0, dropped.output
    assert the_run(playground) == ("199", 200, 4, 1)
    assert sorted(key for key, *_ in failed_jobs(playground)) == sorted(set(KEYS) - {"47"})


@pytest.mark.slow
def test_failures_of_a_running_run_are_asked_of_its_master(playground: Playground) -> None:
    """With --host, or by the state file that it has locked."""
    playground.write("mod.py", BAD)
    playground.hold(150)
    port = free_port()
    master = playground.start("tm-master", "mod", f"--host=127.0.0.1:{port}", "--progress=none", "--retries=0")
    slave = playground.start("tm-slave", "mod", f"--host=127.0.0.1:{port}", "--processes=2")
    wait_for(
        "two kinds of failed jobs",
        lambda: "1 x ValueError" in playground.run("tm-ctl", "failures", f"--host=127.0.0.1:{port}").output,
    )
    for words in (["mod"], [f"--host=127.0.0.1:{port}"]):
        listed = playground.run("tm-ctl", "failures", *words)

        assert listed.process.returncode == 0, listed.output
        assert "KeyError: 'row 7'" in listed.output
        assert "1 x ValueError" in listed.output

    refused = playground.run("tm-ctl", "failures", "mod", "--drop", "7")

    assert refused.process.returncode == 5, refused.output
    playground.let_go()
    assert master.end() == 3, master.output
    assert slave.end() == 0, slave.output


@pytest.mark.slow
def test_the_script_says_how_to_run_failed_jobs_again(playground: Playground) -> None:
    """As a keyword of Taskmaster. A word behind the script would make it another run, without a
    failed job: that one said "nothing to run again", with 0.
    """
    playground.write(
        "script.py",
        "import os\nfrom taskmaster import Taskmaster\n"
        "def handle(n):\n    if n == 3 and not os.path.exists('mended'):\n        raise KeyError(n)\n"
        "if __name__ == '__main__':\n"
        "    options = {'processes': 1, 'retries': 0, 'progress': 'none', 'failed': os.path.exists('mended')}\n"
        "    print(Taskmaster(handle, range(9), **options).start().failed)\n",
    )
    first = playground.run("python", "script.py")

    assert "with Taskmaster(..., failed=True)" in first.output
    assert first.output.rstrip().endswith("1")

    playground.write("mended", "")
    again = playground.run("python", "script.py")

    assert "The failed job is run again" in again.output
    assert again.output.rstrip().endswith("0"), again.output
    other = playground.run("python", "script.py", "word")
    assert other.process.returncode == 5, other.output
    assert "with the same arguments" in other.output


@pytest.mark.slow
def test_text_keys_are_named_as_a_shell_leaves_them(playground: Playground) -> None:
    """Without their quotes; a number is not taken for a text that looks like it."""
    playground.write(
        "mod.py",
        PREAMBLE + "def get_jobs():\n    return [1, '1', '2', 'a b']\ndef handle_job(n):\n    raise ValueError(n)\n",
    )
    playground.run("tm-run", "mod", "1", "--progress=none", "--retries=0", "--max-failures=9")
    one = playground.run("tm-ctl", "failures", "mod", "--job", "a b")

    assert one.process.returncode == 0, one.output
    assert "Traceback" in one.output

    dropped = playground.run("tm-ctl", "failures", "mod", "--drop", "1", "--drop", "2", "--drop", "a b")

    assert dropped.process.returncode == 0, dropped.output
    assert [key for key, *_ in failed_jobs(playground)] == ['"1"']

    none = playground.run("tm-ctl", "failures", "mod", "--job", "3")

    assert none.process.returncode == 2
    assert "No failed job has the key 3" in none.output


@pytest.mark.slow
def test_the_master_of_a_local_run_is_found_by_its_target(playground: Playground) -> None:
    """Its port is any; when it is over, that is said."""
    playground.hold(10)
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none")
    wait_for("some work", lambda: playground.ledger.ended().total() >= 10)
    status = playground.run("tm-ctl", "status", "jobs.py")

    assert status.process.returncode == 0, status.output
    assert "Target:    jobs.py" in status.output

    playground.interrupt(run)
    run.end()
    over = playground.run("tm-ctl", "status", "jobs")

    assert over.process.returncode == 6
    assert "No master is at work on " in over.output
