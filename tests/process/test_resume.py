"""Stopping and going on, over every kind of source and key, with the real commands."""

from __future__ import annotations

import os
import shutil
import socket
from collections import Counter

import pytest
from support.cases import mostly_slow
from support.commands import wait_for
from support.playground import PREAMBLE, Playground

SOURCES = {
    "exclusive": "def get_jobs(last=-1):\n    yield from range(last + 1, N)\n",
    "inclusive, and 0 is a key": "def get_jobs(last=0):\n    yield from range(last, N)\n",
    "equal keys in a row, inclusive": (
        "def get_jobs(last=0):\n    for n in range(N):\n        if n // 7 >= last:\n            yield Job(n // 7, n)\n"
    ),
    "equal keys in a row, exclusive": (
        "def get_jobs(last=-1):\n    for n in range(N):\n        if n // 7 > last:\n            yield Job(n // 7, n)\n"
    ),
    "text, beginning with the empty one": (
        "def get_jobs(last=None):\n    for n in range(N):\n        key = f'k{n:05}' if n else ''\n"
        "        if last is None or key > last:\n            yield key\n"
    ),
    "UUIDs": (
        "def get_jobs(last=None):\n    for n in range(N):\n        key = uuid.UUID(int=n)\n"
        "        if last is None or key > last:\n            yield key\n"
    ),
    "moments": (
        "def get_jobs(last=None):\n    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)\n"
        "    for n in range(N):\n        key = start + datetime.timedelta(microseconds=n)\n"
        "        if last is None or key > last:\n            yield key\n"
    ),
    "tuples": (
        "def get_jobs(last=(0, -1)):\n    for n in range(N):\n        key = (n // 20, n % 20)\n"
        "        if key > last:\n            yield key\n"
    ),
    "dictionaries with an id": (
        "def get_jobs(last=-1):\n    for n in range(last + 1, N):\n        yield {'id': n, 'text': 'x' * n}\n"
        "def handle_job(job):\n    time.sleep(0.005)\n    hold()\n    note(job['id'])\n"
    ),
    "one dictionary again and again": (
        "def get_jobs(last=-1):\n    row = {}\n    for n in range(last + 1, N):\n"
        "        row['id'] = n\n        yield row\n"
        "def handle_job(job):\n    time.sleep(0.005)\n    hold()\n    note(job['id'])\n"
    ),
    "spellings of one key in a row": (
        "import decimal\ndef get_jobs(last=None):\n    for n in range(N):\n"
        "        key = decimal.Decimal(f'{n // 3}.{0:0{n % 3 + 1}}')\n"
        "        if last is None or key > last:\n            yield Job(key, n)\n"
    ),
    "no last": "def get_jobs():\n    yield from range(N)\n",
    "a job_key": (
        "class Row:\n    def __init__(self, n):\n        self.number = n\n"
        "def job_key(row):\n    return row.number\n"
        "def get_jobs(last=-1):\n    for n in range(last + 1, N):\n        yield Row(n)\n"
        "def handle_job(row):\n    time.sleep(0.005)\n    hold()\n    note(row.number)\n"
    ),
}


@pytest.mark.parametrize(
    "kind",
    mostly_slow(
        SOURCES,
        "exclusive",
        "inclusive, and 0 is a key",
        "equal keys in a row, inclusive",
        "one dictionary again and again",
        "spellings of one key in a row",
        "no last",
    ),
)
def test_a_killed_run_goes_on_where_it_was(playground: Playground, kind: str) -> None:
    """Kill -9 in the middle, run again: every job ran, and only those in flight ran twice."""
    playground.write("mod.py", PREAMBLE + SOURCES[kind])
    playground.hold(320)
    run = playground.start("tm-run", "mod.py", "2", "--progress=none")
    wait_for("half of the jobs", lambda: playground.ledger.ended().total() > 200)
    wait_for("a checkpoint", lambda: playground.in_state() > 100)
    run.kill()
    wait_for("every process to end", lambda: not playground.left())
    playground.let_go()
    again = playground.run("tm-run", "mod", "2", "--progress=none")

    assert again.process.returncode == 0, again.output
    assert "Resuming at key" in again.output
    ended = playground.ledger.ended()
    assert len(ended) == 400
    # No more than 321 had ended, and more than 100 were in the state.
    assert ended.total() - 400 <= 220


ROWS = """
def get_jobs(last=None):
    for line in open("rows.txt"):
        key, payload = line.split()
        if last is None or int(key) >= last:
            yield Job(int(key), payload)
"""


@pytest.mark.slow
def test_rows_that_appear_vanish_or_change_between_runs(playground: Playground) -> None:
    """What is new or changed runs, what is gone is not missed, and the rest runs once."""
    playground.write("mod.py", PREAMBLE + ROWS)
    before = [(n, f"a{n}") for n in range(1500)]
    playground.write("rows.txt", "".join(f"{key} {payload}\n" for key, payload in before))
    playground.hold(100)
    run = playground.start("tm-run", "mod", "2", "--progress=none")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    playground.interrupt(run)
    run.end()
    done = {int(key[1:]) for key in playground.ledger.ended()}
    after = []
    for key, payload in before:
        if key == 1450:
            after.append((key, "changed"))
        elif key != 1460:
            after.append((key, payload))
        if key == 1470:
            after.append((key, "new"))
    playground.write("rows.txt", "".join(f"{key} {payload}\n" for key, payload in after))
    again = playground.run("tm-run", "mod", "2", "--progress=none")

    assert again.process.returncode == 0, again.output
    assert max(done) < 1450
    expected = Counter(payload for _, payload in after)
    assert playground.ledger.ended() == expected


def test_a_finished_run_started_again_says_so(playground: Playground) -> None:
    """With the time, the number and the key; what came to the source meanwhile is run."""
    first = playground.run("tm-run", "jobs.py", "2", "--progress=none", TOTAL="50")

    assert first.process.returncode == 0, first.output

    again = playground.run("tm-run", "jobs.py", "2", "--progress=none", TOTAL="50")

    assert again.process.returncode == 0
    assert "finished at" in again.output
    assert "50 jobs" in again.output
    assert "nothing new after key 49" in again.output
    assert "--reset" in again.output

    more = playground.run("tm-run", "jobs.py", "2", "--progress=none", TOTAL="60")

    assert more.process.returncode == 0, more.output
    assert "goes on with what is new after key 49" in more.output
    assert playground.ledger.ended() == Counter(map(str, range(60)))


@pytest.mark.slow
def test_reset_begins_anew_and_can_be_taken_back(playground: Playground) -> None:
    """The message names the key given up, and its command brings the old run back."""
    words = ("tm-run", "jobs.py", "2", "--progress=none")
    playground.hold(50)
    run = playground.start(*words, TOTAL="300")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    playground.interrupt(run)
    run.end()
    playground.hold(playground.ledger.ended().total() + 50)
    anew = playground.start(*words, "--reset", TOTAL="300")
    anew.wait_for_output("tm-ctl restore")
    wait_for("work from the start", lambda: playground.ledger.ended()["0"] == 2)
    playground.interrupt(anew)
    anew.end()

    assert "had reached key" in anew.output

    line = next(line for line in anew.output.splitlines() if "tm-ctl restore" in line)
    restored = playground.run(*line.partition("with: ")[2].split())

    assert restored.process.returncode == 0, restored.output

    last = playground.run(*words, TOTAL="300")

    assert last.process.returncode == 0, last.output
    assert len(playground.ledger.ended()) == 300


def test_a_source_whose_key_never_comes_again_is_refused(playground: Playground) -> None:
    """Exit 5, and the state is as it was."""
    playground.write("mod.py", PREAMBLE + "def get_jobs():\n    yield from open('rows.txt').read().split()\n")
    playground.write("rows.txt", "\n".join(f"a{n}" for n in range(50)))
    playground.run("tm-run", "mod", "2", "--progress=none")
    state = next(playground.directory.glob("*.tmstate"))
    before = state.read_bytes()
    playground.write("rows.txt", "\n".join(f"b{n}" for n in range(50)))
    again = playground.run("tm-run", "mod", "2", "--progress=none")

    assert again.process.returncode == 5, again.output
    assert "'a49'" in again.output
    assert state.read_bytes() == before


@pytest.mark.slow
def test_the_state_can_be_copied_to_another_directory(playground: Playground) -> None:
    """A copy is a state of its own: both go on from where it was taken."""
    playground.hold(50)
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", TOTAL="300")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    playground.interrupt(run)
    run.end()
    done = playground.ledger.ended().total()
    elsewhere = playground.directory / "elsewhere"
    elsewhere.mkdir()
    for name in ("jobs.py", "jobs.tmstate"):
        shutil.copy(playground.directory / name, elsewhere / name)
    playground.directory = elsewhere
    again = playground.run("tm-run", "jobs.py", "2", "--progress=none", TOTAL="300")

    assert again.process.returncode == 0, again.output
    assert "Resuming at" in again.output
    assert playground.ledger.ended().total() == 300 > done


@pytest.mark.slow
def test_a_state_that_is_moved_away_pauses_the_run_until_it_is_back(playground: Playground) -> None:
    """Nothing is handed out meanwhile, and the reason says what to do."""
    place = playground.directory / "states"
    place.mkdir()
    playground.hold(50)
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", "--state=states/x.tmstate", TOTAL="2000")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    place.rename(playground.directory / "away")
    playground.let_go()
    run.wait_for_output("the run is paused: The state")

    assert "x.tmstate was removed" in run.output

    (playground.directory / "away").rename(place)

    assert run.end() == 0, run.output
    assert "the run goes on" in run.output
    assert playground.ledger.ended().total() == len(playground.ledger.ended()) == 2000


@pytest.mark.slow
def test_a_reset_that_cannot_begin_gives_nothing_up(playground: Playground) -> None:
    """The port is taken: the run is as it was."""
    playground.hold(50)
    run = playground.start("tm-run", "jobs.py", "2", "--progress=none", TOTAL="300")
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    playground.interrupt(run)
    run.end()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed = playground.run("tm-master", "jobs.py", "--reset", f"--host=127.0.0.1:{taken.getsockname()[1]}")

    assert failed.process.returncode == 6, failed.output

    again = playground.run("tm-run", "jobs.py", "2", "--progress=none", TOTAL="300")

    assert "Resuming at key" in again.output
    assert playground.ledger.ended().total() == len(playground.ledger.ended()) == 300


ORDERS = {
    "no order": "rows = sorted(range(1, 1001), key=lambda n: n * 7919 % 1009)\n",
    "descending, with > last": "rows = range(1000, 0, -1)\n",
}


@pytest.mark.parametrize("order", mostly_slow(ORDERS, "no order"))
def test_an_order_that_a_resume_loses_is_said_at_once_and_at_the_end(playground: Playground, order: str) -> None:
    """In the dry run, in the run, and with what it means when the run was resumed; and what is
    missing is counted.
    """
    playground.write(
        "mod.py",
        PREAMBLE
        + ORDERS[order]
        + "def get_jobs(last=0):\n    yield from (n for n in rows if n > last)\n"
        + "def count_jobs():\n    return 1000\ndef handle_job(n):\n    pass\n",
    )
    dry = playground.run("tm-run", "mod.py", "--dry-run=20")
    first = playground.run("tm-run", "mod.py", "2", "--progress=none", "--limit=300")
    second = playground.run("tm-run", "mod.py", "2", "--progress=none")

    assert first.process.returncode == 75, first.output
    if order == "no order":
        assert "does not yield its jobs in the order of their keys" in dry.output
        assert "leaves jobs out" in first.output
        assert first.output.count("WARNING") == 1
    else:
        assert "it was asked to go on after" in second.output
    assert second.output.count("WARNING") == 1
    assert "has probably left jobs out" in second.output
    assert second.process.returncode == 1
    assert "All done" not in second.output
    if order != "no order":  # else the jobs that run twice may be as many as those that are left out
        assert "1000 jobs were expected, and" in second.output


UNSEEN_ORDERS = {
    "texts": "def get_jobs(last=None):\n    yield from (key for key in 'badc' if last is None or key > last)\n",
    "a list that is shuffled": (
        "import pathlib\ndef get_jobs():\n    return [4, 3, 2, 1, 5, 6] if pathlib.Path('second').exists() else "
        "[1, 2, 3, 4, 5, 6]\n"
    ),
}


def test_a_row_that_was_removed_where_a_run_goes_on_is_no_loss(playground: Playground) -> None:
    """The source is asked; the rows behind it are done, each once."""
    playground.write(
        "mod.py",
        "import pathlib\ndef get_jobs(last=0):\n    rows = map(int, pathlib.Path('rows').read_text().split())\n"
        "    yield from (row for row in rows if row > last)\n"
        "def handle_job(job):\n    pathlib.Path('done').open('a').write(f'{job} ')\n",
    )
    playground.write("rows", "1 2 3 4 5 6 7")
    command = ("tm-run", "mod.py", "1", "--progress=none")
    first = playground.run(*command, "--limit=3")
    playground.write("rows", "1 2 3 5 6 7")
    second = playground.run(*command)

    assert first.process.returncode == 75, first.output
    assert second.process.returncode == 0, second.output
    assert "WARNING" not in second.output
    assert playground.directory.joinpath("done").read_text().split() == ["1", "2", "3", "5", "6", "7"]


KILLED = """
import time
def handle_job(job):
    pathlib.Path(f"at-{job}").touch()
    while job == 5 and not pathlib.Path("go").exists():
        time.sleep(0.01)
"""


@pytest.mark.parametrize("order", UNSEEN_ORDERS)
def test_a_resumed_run_that_leaves_jobs_out_does_not_end_well(playground: Playground, order: str) -> None:
    """Nor does a session that goes on after the one that has found it; a new run does."""
    playground.write("mod.py", UNSEEN_ORDERS[order] + "def handle_job(job):\n    pass\n")
    command = ("tm-run", "mod.py", "1", "--progress=none")
    first = playground.run(*command, "--limit=2" if "list" in order else "--limit=1")
    playground.write("second", "")
    stopped = playground.run(*command, "--limit=1")
    ended, again = playground.run(*command), playground.run(*command)
    anew = playground.run(*command, "--reset")

    assert [run.process.returncode for run in (first, stopped, ended, again, anew)] == [75, 75, 1, 1, 0], ended.output
    assert "this run leaves jobs out" in ended.output
    assert "Finished, but jobs are probably left out (see above; --reset runs all again): " in ended.output
    assert "All done" not in ended.output + again.output
    assert "this run leaves jobs out" in again.output
    assert "All done" in anew.output


def test_a_run_that_leaves_jobs_out_knows_it_also_when_its_master_is_killed(playground: Playground) -> None:
    """What it has noticed is in the state before the jobs that come instead are done."""
    playground.write("mod.py", PREAMBLE + UNSEEN_ORDERS["a list that is shuffled"] + KILLED)
    command = ("tm-run", "mod.py", "1", "--progress=none")
    first = playground.run(*command, "--limit=2")
    playground.write("second", "")
    killed = playground.start(*command)
    wait_for("a job that came instead", lambda: playground.directory.joinpath("at-5").exists())
    wait_for("a checkpoint", lambda: playground.in_state() > 2)
    killed.kill()
    killed.end()
    playground.write("go", "")
    again = playground.run(*command)

    assert first.process.returncode == 75, first.output
    assert "does not go on where it was" in killed.output
    assert again.process.returncode == 1, again.output
    assert "this run leaves jobs out" in again.output


KILLED_ORDERS = {
    "texts": (
        'KEYS = [f\'{n % 2 and "A" or "a"}{n:04}\' for n in range(2000)]\n'
        "def get_jobs(last=None):\n    yield from (key for key in KEYS if last is None or key > last)\n"
    ),
    "a list that is shuffled": (
        "import random\ndef get_jobs():\n    yield from random.sample([f'{n}' for n in range(2000)], 2000)\n"
    ),
    "in order": "def get_jobs(last=-1):\n    yield from range(last + 1, 2000)\n",
}


@pytest.mark.parametrize("order", mostly_slow(KILLED_ORDERS, "texts"))
def test_a_run_that_was_killed_does_not_end_well_either_if_it_leaves_jobs_out(
    playground: Playground, order: str
) -> None:
    """Nobody could say anything at its end."""
    handle = "def handle_job(job):\n    hold()\n    note(str(job))\n"
    playground.write("mod.py", PREAMBLE + KILLED_ORDERS[order] + handle)
    playground.hold(200)
    first = playground.start("tm-run", "mod.py", "2", "--progress=none", "--batch=10")
    wait_for("a key", lambda: (playground.look("SELECT mark FROM run") or [None])[0])
    first.kill()
    wait_for("every process to end", lambda: not playground.left())
    playground.let_go()
    second = playground.run("tm-run", "mod.py", "8", "--progress=none", "--batch=100")

    assert second.process.returncode == (0 if order == "in order" else 1), second.output
    assert ("this run leaves jobs out" in second.output) == (order != "in order")


def test_a_callback_that_removes_its_rows_raises_no_doubt_when_it_is_killed_again_and_again(
    playground: Playground,
) -> None:
    """Both the job at the watermark and the one behind it are gone then."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs(last=''):\n    yield from (name for name in sorted(os.listdir('rows')) if name > last)\n"
        + "def handle_job(job):\n    hold()\n    os.path.exists(f'rows/{job}') and os.remove(f'rows/{job}')\n"
        + "    note(job)\n",
    )
    rows = playground.directory / "rows"
    rows.mkdir()
    for number in range(2000):
        (rows / f"{number:04}").touch()
    for after in (200, 600):
        playground.hold(after)
        before = playground.look("SELECT mark FROM run")
        run = playground.start("tm-run", "mod.py", "2", "--progress=none", "--batch=10")
        wait_for("a key", lambda old=before: playground.look("SELECT mark FROM run") not in (old, None, (None,)))
        run.kill()
        wait_for("every process to end", lambda: not playground.left())
    playground.let_go()
    last = playground.run("tm-run", "mod.py", "8", "--progress=none", "--batch=100")

    assert last.process.returncode == 0, last.output
    assert "WARNING" not in last.output
    assert not os.listdir(rows)


def test_fewer_jobs_than_expected_are_no_error_and_not_all(playground: Playground) -> None:
    """Rows may have been removed meanwhile."""
    playground.write("mod.py", "def get_jobs():\n    yield from range(3)\ndef handle_job(job):\n    pass\n")
    run = playground.run("tm-run", "mod.py", "1", "--progress=none", "--total=5")

    assert run.process.returncode == 0, run.output
    assert "All that came is done: 3 jobs settled, and 5 were expected (see above); this session took" in run.output
    assert "All done" not in run.output


def test_a_source_that_ignores_last_is_named(playground: Playground) -> None:
    """It would run everything again at each start of a finished run."""
    playground.write("mod.py", "def get_jobs(last=None):\n    yield from range(50)\ndef handle_job(n):\n    pass\n")
    playground.run("tm-run", "mod.py", "1", "--progress=none")
    again = playground.run("tm-run", "mod.py", "1", "--progress=none")

    assert "asked to go on after 49" in again.output


def test_a_job_without_a_key_is_refused_each_time_and_never_run(playground: Playground) -> None:
    """Among others that have one; the nested dict is named as the reason."""
    playground.write(
        "mod.py",
        PREAMBLE
        + "def get_jobs():\n    yield from [(1, None), (2, {'a': 1}), (3, None)]\n"
        + "def handle_job(job):\n    note(job[0])\n",
    )
    for _ in range(3):
        run = playground.run("tm-run", "mod.py", "1", "--progress=none")
        assert run.process.returncode == 2, run.output
        assert "if it did not hold a dict" in run.output
        assert not {"2", "3"} & set(playground.ledger.ended())


def test_a_slow_source_is_named(playground: Playground) -> None:
    """The line says that the workers wait for get_jobs, and for how long."""
    playground.write(
        "mod.py",
        "import os, time\n"
        "def get_jobs():\n    yield 0\n    while not os.path.exists('go'):\n        time.sleep(0.05)\n    yield 1\n"
        "def handle_job(n):\n    pass\n",
    )
    run = playground.start("tm-run", "mod.py", "1", "--progress=lines")
    run.wait_for_output("waiting for get_jobs, for")
    playground.write("go", "")

    assert run.end() == 0


@pytest.mark.parametrize(
    ("processes", "nothing_new"),
    [("1", "The source has ended: there is nothing new"), ("--processes=0", "10 jobs; there is nothing new")],
)
def test_a_source_that_takes_long_to_say_that_it_has_nothing_is_not_said_to_be_done(
    playground: Playground, processes: str, nothing_new: str
) -> None:
    """It is waited for at the start for a second; what has come since is said after that, too."""
    playground.write(
        "mod.py",
        "import os, time\nclass Late:\n"
        "    def iterate(self, last):\n"
        "        if last is not None:\n            time.sleep(1.5)\n"
        "        yield from range(1 if last is None else last + 1, 11)\n"
        "    def later(self):\n        return os.path.exists('came')\n"
        "get_jobs = Late()\n"
        "def handle_job(n):\n    pass\n",
    )
    command = ("tm-run", "mod.py", processes, "--progress=none")
    assert "All done: 10 jobs" in playground.run(*command).output
    nothing = playground.run(*command)
    playground.write("came", "")
    came = playground.run(*command)

    assert nothing.process.returncode == came.process.returncode == 0
    assert f"{nothing_new} after key 10" in nothing.output
    assert "Rows with higher keys have come since" in came.output
    assert "All done" not in nothing.output + came.output


def test_a_range_that_is_only_parked_was_not_reached(playground: Playground) -> None:
    """Ranges are in the state before they are handed out; those that are settled count."""
    playground.write(
        "mod.py",
        "import os, time\nfrom taskmaster import Abort, Job\nclass Ranges:\n    parked = True\n"
        "    def iterate(self, last):\n"
        "        yield from (Job((n, n + 1), n) for n in range(0 if last is None else last[1], 4))\n"
        "        open('read', 'w').close()\n"
        "def get_jobs():\n    return Ranges()\n"
        "def handle_job(n):\n"
        "    while not os.path.exists('read'):\n        time.sleep(0.02)\n"
        "    if n >= int(os.environ['WELL']):\n        raise Abort('enough')\n",
    )
    command = ("tm-run", "mod.py", "1", "--progress=none", "--batch=1")
    playground.run(*command, WELL="0")
    assert "(3, 4)" not in playground.run("tm-ctl", "runs", "mod.py").output
    assert "(0 jobs settled so far, 4 parked ones go first)" in playground.run("tm-run", "mod.py", "--dry-run").output

    (playground.directory / "read").unlink()
    anew = playground.run(*command, "--reset", WELL="2")
    assert "it had reached no key (0 jobs settled)" in anew.output
    assert "(3, 4), but for 2 parked jobs" in playground.run("tm-ctl", "runs", "mod.py").output
