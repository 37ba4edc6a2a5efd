"""A run is what it runs: no run resumes another one, reports its numbers, or runs its jobs."""

from __future__ import annotations

import pytest
from support.commands import free_port
from support.playground import Playground

SERVICE = """
import os
def get_jobs(last=0): yield from range(last + 1, 101)
def handle_job(job):
    with open(os.environ["DONE"] + "/{name}.done", "a") as file:
        file.write(f"{{job}}\\n")
"""


def services(playground: Playground) -> None:
    """Write two modules of one name in two folders."""
    for name in ("service-a", "service-b"):
        (playground.directory / name).mkdir()
        playground.write(f"{name}/backfill.py", SERVICE.format(name=name))
    playground.environment["DONE"] = str(playground.directory)


def done(playground: Playground, name: str) -> int:
    """How many jobs a service has done; each once."""
    path = playground.directory / f"{name}.done"
    lines = path.read_text().split() if path.exists() else []
    assert len(lines) == len(set(lines))
    return len(lines)


@pytest.mark.slow
def test_two_files_of_one_name_are_two_runs(playground: Playground) -> None:
    """Stopped half-way or finished, the first leaves the second alone, and goes on itself."""
    services(playground)
    first = playground.run("tm-run", "service-a/backfill.py", "1", "--progress=none", "--limit=50")
    second = playground.run("tm-run", "service-b/backfill.py", "1", "--progress=none")

    assert (first.process.returncode, second.process.returncode) == (75, 0), first.output + second.output
    assert (done(playground, "service-a"), done(playground, "service-b")) == (50, 100)

    again = playground.run("tm-run", "service-a/backfill.py", "1", "--progress=none")

    assert again.process.returncode == 0, again.output
    assert done(playground, "service-a") == 100


def test_the_state_of_another_file_is_refused(playground: Playground) -> None:
    """With exit 5 and both names, also by tm-master; --adopt is the cure where it was renamed."""
    services(playground)
    state = "--state=x.tmstate"
    playground.run("tm-run", "service-a/backfill.py", "1", "--progress=none", "--limit=50", state)
    port = free_port()
    for words in (
        ("tm-run", "service-b/backfill.py", "1", state),
        ("tm-run", "service-b/backfill.py", "1", state, "--dry-run"),
        ("tm-master", "service-b/backfill.py", f"--host=127.0.0.1:{port}", state),
        ("tm-run", "service-a/backfill.py", "1", state, "--handle-job-callback=get_jobs"),
    ):
        refused = playground.run(*words)

        assert refused.process.returncode == 5, refused.output
        for part in ("service-a/backfill.py:get_jobs", words[1], "--state=PATH", "--adopt"):
            assert part in refused.output
    assert (done(playground, "service-a"), done(playground, "service-b")) == (50, 0)

    (playground.directory / "service-a").rename(playground.directory / "service-c")
    moved = playground.run("tm-run", "service-c/backfill.py", "1", "--progress=none", state, "--adopt")

    assert moved.process.returncode == 0, moved.output
    assert "from now on it belongs to" in moved.output
    assert done(playground, "service-a") == 100


def test_a_folder_that_is_moved_goes_on(playground: Playground) -> None:
    """Target and state together; it says so."""
    services(playground)
    directory = playground.directory
    playground.directory = directory / "service-a"
    playground.run("tm-run", "backfill.py", "1", "--progress=none", "--limit=50")
    playground.directory.rename(directory / "elsewhere")
    playground.directory = directory / "elsewhere"
    again = playground.run("tm-run", "backfill", "1", "--progress=none")
    playground.directory = directory

    assert again.process.returncode == 0, again.output
    assert "was moved or copied together with its file" in again.output
    assert done(playground, "service-a") == 100


def test_a_slave_of_another_file_is_refused(playground: Playground) -> None:
    """Of the same name, from another folder of this machine; who names the function means it."""
    services(playground)
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "service-a/backfill.py", host, "--no-progress")
    other = playground.run("tm-slave", "service-b/backfill.py", host, "--processes=1")

    assert other.process.returncode == 6, other.output
    assert "It was started with service-b/backfill.py, and the jobs here are those of service-a/backfill.py" in (
        other.output
    )

    meant = playground.run("tm-slave", "service-b/backfill.py:handle_job", host, "--processes=1")

    assert meant.process.returncode == 0, meant.output
    assert master.end() == 0, master.output
    assert (done(playground, "service-a"), done(playground, "service-b")) == (0, 100)


LOOP = """
from taskmaster import Taskmaster
def ids(table, last): yield from range(last + 1, 51)
def main():
    for table in {tables}:
        def get_jobs(last=0): return ids(table, last)
        def handle(key): print("did", table)
        summary = Taskmaster(handle, get_jobs, processes=1, progress="none"{options}).start()
        print("SUMMARY", table, summary.settled, summary.exit_code)
if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["", ", limit=20"])
def test_a_loop_that_defines_its_functions_anew_is_refused(playground: Playground, limit: str) -> None:
    """The second of two runs that are called alike is neither skipped nor resumed as the first;
    with states of their own both are run, and so are those that hold other texts.
    """
    playground.write("script.py", LOOP.format(tables=(1, 2), options=limit))
    script = playground.run("python", "script.py")

    assert script.process.returncode == 5, script.output
    assert "SUMMARY 1" in script.output
    assert "SUMMARY 2" not in script.output
    assert "did 2" not in script.output
    assert "state='NAME.tmstate'" in script.output

    jobs = 20 if limit else 50
    for tables, options in (((1, 2), ', state=f"{table}.tmstate"'), (("users", "orders"), "")):
        playground.write("script.py", LOOP.format(tables=tables, options=limit + options))
        script = playground.run("python", "script.py")

        assert script.process.returncode == 0, script.output
        assert [script.output.count(f"did {table}") for table in tables] == [jobs, jobs]


@pytest.mark.slow
def test_one_script_runs_several_sources_and_callbacks(playground: Playground) -> None:
    """Each has a state of its own; a call that does nothing reports nothing."""
    playground.write(
        "script.py",
        "import sys\nfrom taskmaster import Taskmaster\n"
        "def users(last=0): yield from range(last + 1, 11)\n"
        "def orders(last=0): yield from range(last + 1, 21)\n"
        "def handle(key): pass\ndef audit(key): pass\n"
        "if __name__ == '__main__':\n"
        "    for callback, jobs in ((handle, users), (handle, orders), (audit, users), (handle, users)):\n"
        "        summary = Taskmaster(callback, jobs, processes=1, progress='none').start()\n"
        "        print('SUMMARY', summary.settled, summary.settled_here, summary.exit_code)\n",
    )
    script = playground.run("python", "script.py")

    assert script.process.returncode == 0, script.output
    said = [line for line in script.output.splitlines() if line.startswith("SUMMARY")]
    assert said == ["SUMMARY 10 10 0", "SUMMARY 20 20 0", "SUMMARY 10 10 0", "SUMMARY 0 0 0"]
    assert len(list(playground.directory.glob("*.tmstate"))) == 3

    other = playground.run("python", "script.py", "another", "word")

    assert "SUMMARY 20 20 0" in other.output


@pytest.mark.slow
def test_a_test_keeps_no_state(playground: Playground) -> None:
    """It runs its callback each time."""
    playground.write(
        "test_mine.py",
        "from taskmaster import Taskmaster\n"
        "def handle(key): print('did', key)\n"
        "def test_it():\n"
        "    assert Taskmaster(handle, [1, 2], processes=1, progress='none').start().settled == 2\n",
    )
    for _ in range(2):
        ended = playground.run("python", "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_mine.py")

        assert ended.process.returncode == 0, ended.output
        assert "did 2" in ended.output
    assert not list(playground.directory.glob("*.tmstate"))


@pytest.mark.slow
def test_code_of_the_command_line_and_of_standard_input_has_states(playground: Playground) -> None:
    """Their names can be given to tm-ctl."""
    text = (
        "from taskmaster import Taskmaster\ndef handle(key): print('did', key)\n"
        "Taskmaster(handle, [{jobs}], processes=1, progress='none').start()\n"
    )
    for jobs in ("1", "2"):
        ended = playground.run("python", "-c", text.format(jobs=jobs))

        assert ended.process.returncode == 0, ended.output
        assert f"did {jobs}" in ended.output
    states = sorted(path.name for path in playground.directory.glob("*.tmstate"))

    assert len(states) == 2
    for state in states:
        listed = playground.run("tm-ctl", "runs", state)
        assert listed.process.returncode == 0, listed.output


@pytest.mark.slow
def test_an_unfinished_run_that_was_perhaps_meant_is_named(playground: Playground) -> None:
    """Beside the file, if the command is given in another directory; and of a script with other
    words.
    """
    services(playground)
    directory = playground.directory
    playground.directory = directory / "service-a"
    playground.run("tm-run", "backfill.py", "1", "--progress=none", "--limit=50")
    playground.directory = directory
    other = playground.run("tm-run", "service-a/backfill.py", "1", "--progress=none")

    assert other.process.returncode == 0, other.output
    assert "There is an unfinished run of" in other.output
    assert str(directory / "service-a" / "backfill.tmstate") in other.output

    playground.write(
        "script.py",
        "from taskmaster import Taskmaster\ndef get_jobs(last=0): yield from range(last + 1, 50)\n"
        "def handle(key): pass\n"
        "Taskmaster(handle, get_jobs, processes=0, limit=20).start()\n",
    )
    playground.run("python", "script.py", "users")
    again = playground.run("python", "script.py", "orders")

    assert "There is an unfinished run of" in again.output
    assert "script.py users" in again.output


@pytest.mark.slow
def test_states_are_listed_with_what_they_belong_to(playground: Playground) -> None:
    """With their arguments, and one that is missing is told from those that are there; a run that
    goes on is said to.
    """
    playground.write(
        "shards.py",
        "import time, os\ndef get_jobs(shard: int, last=0): yield from range(last + 1, 100)\n"
        "def handle_job(n):\n    if n > 95: raise (ValueError if n == 96 else KeyError)(n)\n"
        "    while os.path.exists('wait'): time.sleep(0.01)\n",
    )
    run = ("tm-run", "shards.py", "1", "--progress=none", "--retries=0")
    playground.run(*run, "shard=1")
    (playground.directory / "wait").touch()
    going_on = playground.start(*run, "shard=2")
    going_on.wait_for_output("New run")
    listed = playground.run("tm-ctl", "runs")

    assert listed.process.returncode == 0, listed.output
    assert "shards.py:get_jobs with shard=1" in listed.output
    assert "a run is going on, ask 127.0.0.1:" in listed.output

    for words in (("runs",), ("failures", "--drop", "5"), ("restore", "5")):
        refused = playground.run("tm-ctl", words[0], *words[1:], "shards.py", "shard=2")
        assert refused.process.returncode == 5, refused.output
        assert "A run is going on with the state" in refused.output
        assert "tm-ctl status" in refused.output
    missing = playground.run("tm-ctl", "status", "shards.py")

    assert missing.process.returncode == 5, missing.output
    assert "Give the same arguments" in missing.output

    dropped = playground.run("tm-ctl", "failures", "shards.py", "shard=1", "--type", "KeyError", "--drop-all")

    assert "3 failed jobs forgotten" in dropped.output
    assert "1 x ValueError" in playground.run("tm-ctl", "failures", "shards.py", "shard=1").output
    (playground.directory / "wait").unlink()
    assert going_on.end() == 3, going_on.output
    playground.run(*run, "shard=1", "--reset")
    former = [line.split()[0] for line in playground.run("tm-ctl", "runs", "shards.py", "shard=1").output.splitlines()]
    restored = playground.run("tm-ctl", "restore", former[-1], "shards.py", "shard=1")

    assert restored.process.returncode == 0, restored.output


def test_a_state_that_is_beside_the_target_is_named_from_elsewhere(playground: Playground) -> None:
    """The state is where the run was started, and not where somebody asks for it."""
    for name in ("mod.py", "inner/other.py"):
        (playground.directory / name).parent.mkdir(exist_ok=True)
        playground.write(name, "def get_jobs():\n    yield 1\ndef handle_job(job):\n    pass\n")
        assert playground.run("tm-run", name, "1", "--progress=none").process.returncode == 0
    directory = playground.directory / "elsewhere"
    directory.mkdir()
    elsewhere = Playground(directory)
    for target, state in (("../mod.py", "mod.tmstate"), ("../inner/other.py", "inner.other.tmstate")):
        for command in ("report", "runs", "failures"):
            asked = elsewhere.run("tm-ctl", command, target)

            assert asked.process.returncode == 5, asked.output
            assert f"There is {playground.directory / state}. Name it instead of the target" in asked.output
    elsewhere.close()


@pytest.mark.parametrize("state", [[], ["--state=mine.tmstate"]], ids=["usual", "named"])
def test_a_module_that_changes_to_its_own_folder_is_found(playground: Playground, state: list[str]) -> None:
    """Also by a relative path, and its state is where the command was typed; it was said that there
    was no such file.
    """
    (playground.directory / "inner").mkdir()
    playground.write(
        "inner/moves.py",
        "import os\nos.chdir(os.path.dirname(os.path.abspath(__file__)))\n"
        "def get_jobs(last=0): yield from range(last + 1, 10)\n"
        "def handle_job(n):\n    with open('done.txt', 'a') as file: file.write(f'{n}\\n')\n",
    )
    for words in (["2", "--limit=3"], ["--processes=0", "--limit=3"], ["1"]):
        run = playground.run("tm-run", "inner/moves.py", *words, *state)
        assert run.process.returncode == (0 if words == ["1"] else 75), run.output
    done = (playground.directory / "inner" / "done.txt").read_text().split()

    assert sorted(map(int, done)) == list(range(1, 10))
    assert (playground.directory / (state[0].partition("=")[2] if state else "inner.moves.tmstate")).exists()
    if not state:
        assert "no state" not in playground.run("tm-ctl", "status", "inner/moves.py").output
