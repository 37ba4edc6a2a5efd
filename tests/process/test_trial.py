"""``--dry-run`` and ``--sample``: what can be tried before a run is begun, and what they leave as
it was.
"""

from __future__ import annotations

import re

import pytest
from support.commands import free_port
from support.playground import Playground

# They wait for seconds: `make check` runs them.
pytestmark = pytest.mark.slow

RUN = ("tm-run", "jobs.py", "2")


def files(playground: Playground) -> dict[str, tuple[bytes, int]]:
    """All that lies in the directory but the commands' output and what Python compiles: content and
    time of change.
    """
    return {
        str(path.relative_to(playground.directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in playground.directory.rglob("*")
        if path.is_file() and not path.name.startswith("output-") and "__pycache__" not in path.parts
    }


@pytest.mark.quick
@pytest.mark.parametrize("command", [("tm-run", "jobs.py", "2"), ("tm-master", "jobs.py")], ids=["tm-run", "tm-master"])
def test_dry_run_shows_the_first_jobs_and_touches_nothing(playground: Playground, command: tuple[str, ...]) -> None:
    """Key and job in a line each; no state, no job, no key file."""
    before = files(playground)
    ended = playground.run(*command, "--dry-run", "3")

    assert ended.process.returncode == 0, ended.output
    assert [line for line in ended.output.splitlines() if "\t" in line] == ["0\t0", "1\t1", "2\t2"]
    assert "a run would begin at the first job" in ended.output
    assert files(playground) == before


def test_dry_run_says_where_a_run_would_resume(playground: Playground) -> None:
    """And leaves the state as it was, to the byte; a finished one and one in use are told apart."""
    playground.run(*RUN, "--no-progress", "--limit=20", TOTAL="50")
    before = files(playground)
    ended = playground.run(*RUN, "--dry-run", TOTAL="50")

    assert ended.process.returncode == 0, ended.output
    assert "A run would resume at key 19 (20 jobs settled so far)" in ended.output
    assert files(playground) == before

    playground.run(*RUN, "--no-progress", TOTAL="50")

    assert "has finished, with 50 jobs settled" in playground.run(*RUN, "--dry-run", TOTAL="50").output


def test_dry_run_does_not_disturb_a_run(playground: Playground) -> None:
    """It reads no more than it may, and the run goes on."""
    playground.hold(50)
    run = playground.start(*RUN, "--no-progress", TOTAL="300")
    run.wait_for_output("New run")
    ended = playground.run(*RUN, "--dry-run=2")
    playground.let_go()

    assert ended.process.returncode == 0, ended.output
    assert run.end() == 0, run.output
    assert playground.ledger.ended().total() == 300


def test_dry_run_refuses_a_state_that_a_run_would_refuse(playground: Playground) -> None:
    """Exit 5, with the real name of the file, which stays."""
    playground.write("jobs.tmstate", "not a state at all, but somebody's notes")
    before = files(playground)
    ended = playground.run(*RUN, "--dry-run")

    assert ended.process.returncode == 5, ended.output
    assert f"{playground.directory / 'jobs.tmstate'} is not a Taskmaster state" in ended.output
    assert files(playground) == before


@pytest.mark.parametrize(
    ("source", "code", "parts"),
    [
        ("yield 1\n    yield object()", 2, ("has no key", "Job(key, payload)")),
        ("yield Job(1, lambda: 0)", 2, ("cannot be pickled", "with the key 1", "Yield its key")),
        ("yield Job(1, Odd())", 2, ("cannot be unpickled", "ValueError: not again")),
        ("yield Job(7, b'x' * 40_000_000)", 2, ("40,000,", "33,554,432")),
        ("yield 1\n    [][5]", 1, ("1\t1", "get_jobs raised IndexError after 1 job", "[][5]")),
        ("return 5", 1, ("returned an int",)),
    ],
)
def test_dry_run_finds_what_is_wrong_with_a_source(
    playground: Playground, source: str, code: int, parts: tuple[str, ...]
) -> None:
    """With a sentence, the exit code that the run would have, and the user's traceback where it is
    the user's.
    """
    playground.write(
        "wrong.py",
        "from taskmaster import Job\n\ndef fail(): raise ValueError('not again')\n\n"
        "class Odd:\n    def __reduce__(self): return fail, ()\n\n"
        f"def get_jobs():\n    {source}\n\ndef handle_job(job): pass\n",
    )
    ended = playground.run("tm-run", "wrong.py", "--dry-run")

    assert ended.process.returncode == code, ended.output
    for part in parts:
        assert part in ended.output
    assert "taskmaster/preview.py" not in ended.output


def test_dry_run_finds_a_callback_that_is_not_there(playground: Playground) -> None:
    """As the run itself, with exit 2."""
    playground.write("half.py", "def get_jobs():\n    yield 1\n")
    ended = playground.run("tm-run", "half.py", "--dry-run")

    assert ended.process.returncode == 2, ended.output
    assert "no function handle_job" in ended.output


def test_dry_run_of_a_script(playground: Playground) -> None:
    """``Taskmaster(..., dry_run=2).start()`` runs nothing and returns."""
    playground.write(
        "script.py",
        "from taskmaster import Taskmaster\nfrom jobs import get_jobs, handle_job\n\n"
        "if __name__ == '__main__':\n"
        "    print('code', Taskmaster(handle_job, get_jobs, dry_run=2).start().exit_code)\n"
        "    print('code', Taskmaster(lambda job: None, get_jobs, dry_run=2).start().exit_code)\n",
    )
    ended = playground.run("python", "script.py")

    assert ended.process.returncode == 0, ended.output
    assert ended.output.count("code 0") == 2
    assert "would keep no state" in ended.output
    assert not playground.ledger.lines()


def test_sample_runs_the_same_share_each_time_and_touches_no_state(playground: Playground) -> None:
    """The whole source is read; at the end stands what all of it would take."""
    playground.run(*RUN, "--no-progress", "--limit=20", TOTAL="1000", SLEEP="0")
    (playground.directory / "ledger.txt").unlink()
    before = files(playground)
    samples = []
    for _ in range(2):
        ended = playground.run(*RUN, "--no-progress", "--sample=10%", "--reset", TOTAL="1000", SLEEP="0.001")

        assert ended.process.returncode == 0, ended.output
        samples.append(playground.ledger.ended())
        (playground.directory / "ledger.txt").unlink()
        assert files(playground) == before
    number = samples[0].total()

    assert samples[0] == samples[1]
    assert set(samples[0].values()) == {1}
    assert 60 < number < 140
    assert f"Rehearsal: {number} of 1000 jobs were run." in ended.output
    assert re.search(r"All 1000 jobs would take about \S", ended.output)


def test_sample_of_a_master_is_run_by_its_slaves(playground: Playground) -> None:
    """Failed jobs are shown, and the exit code is that of a run with failed jobs."""
    playground.write("bad.py", "from jobs import *\n\ndef handle_job(key):\n    raise ValueError('bad luck')\n")
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "bad.py", host, "--no-progress", "--sample=0.05", "--retries=0", TOTAL="400")
    master.wait_for_output("server running")
    slave = playground.run("tm-slave", "bad.py", host)

    assert slave.process.returncode == 0, slave.output
    assert master.end() == 3, master.output
    found = re.search(r"Rehearsal: (\d+) of 400 jobs were run, (\d+) of them failed", master.output)
    assert found is not None
    assert found[1] == found[2]
    assert "ValueError: bad luck" in master.output
    assert "New run" not in master.output


def test_sample_that_chooses_nothing_says_so(playground: Playground) -> None:
    """Exit 0: nothing went wrong."""
    ended = playground.run(*RUN, "--no-progress", "--sample=0.000001", TOTAL="50")

    assert ended.process.returncode == 0, ended.output
    assert "50 jobs read, and none belongs" in ended.output
    assert not playground.ledger.lines()
