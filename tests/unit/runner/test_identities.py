"""Which run a target or a script means, and which state is its own."""

from __future__ import annotations

import functools
import os
import sqlite3
import sys
import unittest
from contextlib import closing
from pathlib import Path

import pytest

from taskmaster.errors import StateRefused
from taskmaster.master.reading.source import Source
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.runner.identities import KnownRun, find_state, of_script, of_target, state_of, under_test
from taskmaster.user_code import target as targets


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a few modules."""
    here = tmp_path / "work"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in (
        "mod.py", "mod/orders.py", "service-a/backfill.py", "service-b/backfill.py", "service_a/backfill.py",
        "v1.0/x.py", "v1.1/x.py", "my-job.py", "my job.py", "my.job.py", "-c.py", "../x1/backfill.py",
        "../x2/backfill.py", "json.py", "backfill.py",
    ):  # fmt: skip
        path = here / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {name}\n")
    return here


def known(target: str, callback: str = "", **arguments: str) -> KnownRun:
    """Give the run of a target."""
    return of_target(targets.parse(target), arguments, callback)


def test_runs_that_differ_have_different_states() -> None:
    """Each name is readable, none begins with a dash, and each run refuses the state of each
    other.
    """
    runs = [
        known("mod.py"), known("mod.py:orders"), known("mod/orders.py"), known("mod.py", shard="1"),
        known("mod.py", shard="2"), known("mod.py", callback="handle_order"), known("service-a/backfill.py"),
        known("service-b/backfill.py"), known("service_a/backfill.py"), known("v1.0/x.py"), known("v1.1/x.py"),
        known("my-job.py"), known("my job.py"), known("my.job.py"), known("./-c.py"), known("../x1/backfill.py"),
        known("../x2/backfill.py"), known("json.py"), known("json"), known("backfill.py"),
    ]  # fmt: skip
    runs.remove(runs[-2])  # `json` is this directory's file as well, as Python would import it
    places = [find_state(run) for run in runs]
    here = Path.cwd()

    assert len(set(places)) == len(runs)
    assert all(place.name[0].isalnum() for place in places)
    for one in runs:
        for other in runs:
            refused = other.identity.compare(one.identity.as_text(here), here).refusal
            assert bool(refused) == (one is not other), (one, other)


def test_one_run_has_one_state_however_it_is_named(directory: Path) -> None:
    """Module, file, full path, with and without its function, through a link; and its old name."""
    (directory / "link.py").symlink_to("mod.py")
    for form in ("mod", "mod:get_jobs", "mod.py", "./mod.py:get_jobs", str(directory / "mod.py"), "link.py"):
        run = known(form)
        assert find_state(run) == directory / "mod.tmstate", form
        assert known("mod.py").identity.compare(run.identity.as_text(directory), directory).refusal == ""
    assert find_state(known("service_a/backfill.py")).name == "service_a.backfill.tmstate"
    assert find_state(known("taskmaster.example")).name == "taskmaster.example.tmstate"


def test_a_link_to_releases_keeps_its_state(directory: Path, tmp_path: Path) -> None:
    """A deployment turns the link to another folder."""
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "x1")
    before = known(str(current / "backfill.py"))
    current.unlink()
    current.symlink_to(tmp_path / "x2")
    after = known(str(current / "backfill.py"))

    assert find_state(before) == find_state(after)
    assert after.identity.compare(before.identity.as_text(directory), directory).refusal == ""


def old_state(place: Path, name: str) -> Path:
    """Make a state as releases before 1.0 did: it says no more than a name."""
    SqliteStore.open(place, RunIdentity.named(name), name).close()
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'belongs'")
        connection.commit()
    return place


def test_a_state_of_old_is_taken_over(directory: Path) -> None:
    """It says so once, and belongs to the file from then on."""
    place = old_state(directory / "mod.tmstate", "mod")
    store = SqliteStore.open(find_state(known("mod.py")), known("mod.py").identity, "mod.py")

    assert store.location == str(place)
    assert "earlier release" in store.remark
    store.write(Checkpoint(mark="7", settled=8))
    store.close()
    store = SqliteStore.open(find_state(known("mod")), known("mod").identity, "mod")
    assert store.remark == ""
    assert store.load().mark == "7"
    store.close()


def test_a_state_of_old_under_a_name_of_old_is_found_again(directory: Path) -> None:
    """The name of a state was another one then; it stays as it is."""
    place = old_state(directory / "mod.orders.tmstate", "mod.orders")
    run = known("mod.py:orders")

    assert find_state(run) == place
    SqliteStore.open(place, run.identity, "mod.py:orders").close()
    assert find_state(run) == place
    assert find_state(known("mod/orders.py")) == place  # which is refused there
    with pytest.raises(StateRefused, match=r"mod\.py:orders"):
        SqliteStore.open(place, known("mod/orders.py").identity, "mod/orders.py")


def test_a_state_of_old_that_several_runs_may_have_had_is_refused(directory: Path) -> None:
    """Nobody knows whether it is that of service-a or of service-b; --adopt says it."""
    place = old_state(directory / "backfill.tmstate", "backfill")
    run = known("service-b/backfill.py")

    assert find_state(run) == place
    with pytest.raises(StateRefused, match="--adopt"):
        SqliteStore.open(place, run.identity, "service-b/backfill.py")
    SqliteStore.open(place, run.identity, "service-b/backfill.py", adopt=True).close()
    assert find_state(run) == place
    assert find_state(known("service-a/backfill.py")) != place


def test_a_state_of_another_run_names_both_and_the_cure(directory: Path) -> None:
    """--state for another run, --adopt for the same one."""
    place = directory / "x.tmstate"
    SqliteStore.open(place, known("service-a/backfill.py").identity, "service-a/backfill.py").close()
    with pytest.raises(StateRefused) as refused:
        SqliteStore.open(place, known("service-b/backfill.py").identity, "service-b/backfill.py")

    for part in ("service-a/backfill.py:get_jobs", "service-b/backfill.py:get_jobs", "--state=PATH", "--adopt"):
        assert part in str(refused.value)


def test_the_state_of_a_target_is_found_for_tm_ctl(directory: Path) -> None:
    """A file that is there is itself, whatever it is called."""
    (directory / "notes").touch()

    assert state_of("mod.py", {}, None) == directory / "mod.tmstate"
    assert state_of("x.tmstate", {}, None) == Path("x.tmstate")
    assert state_of("notes", {}, None) == Path("notes")
    assert state_of("mod.py", {}, "orders").name == "mod-orders.tmstate"


# -- scripts ---------------------------------------------------------------------------------------


def get_jobs():
    """Stand for a source."""


def get_orders():
    """Stand for another one."""


def handle(job):
    """Stand for a callback."""


class Query:
    """Stand for a queryset's source, which can say what it reads."""

    def __init__(self, text: str) -> None:
        self.text = text

    def iterate(self, last):
        """Nothing is read here."""

    def identity(self) -> str:
        """What is read."""
        return self.text


def scripted(monkeypatch, words: list[str], jobs=get_jobs, callback=handle) -> KnownRun:
    """Give the run of a script that was started with a command line."""
    monkeypatch.setattr(sys, "argv", words)
    return of_script(callback, jobs, Source(jobs))


def test_runs_of_scripts_that_differ_have_different_states(monkeypatch, directory: Path) -> None:
    """Script, words, callback, source, query and management command each make another run."""
    for name in ("manage.py", "a/grown.py", "b/grown.py"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).touch()
    runs = [
        scripted(monkeypatch, ["a/grown.py"]), scripted(monkeypatch, ["b/grown.py"]),
        scripted(monkeypatch, ["mod.py"]), scripted(monkeypatch, ["mod.py", "orders"]),
        scripted(monkeypatch, ["mod.py", "--table", "orders"]),
        scripted(monkeypatch, ["mod.py"], get_orders), scripted(monkeypatch, ["mod.py"], callback=get_orders),
        scripted(monkeypatch, ["mod.py"], Query("users")), scripted(monkeypatch, ["mod.py"], Query("orders")),
        scripted(monkeypatch, ["mod.py"], functools.partial(get_jobs, "a")),
        scripted(monkeypatch, ["mod.py"], functools.partial(get_jobs, "b")),
        scripted(monkeypatch, ["mod.py"], [1, 2]), scripted(monkeypatch, ["mod.py"], range(2)),
        scripted(monkeypatch, ["manage.py", "backfill_small"]), scripted(monkeypatch, ["manage.py", "backfill_soft"]),
        scripted(monkeypatch, ["-c"]), scripted(monkeypatch, ["-"]), scripted(monkeypatch, ["ipython"]),
    ]  # fmt: skip
    places = [find_state(run) for run in runs]

    assert len(set(places)) == len(runs)
    assert all(place.name[0].isalnum() for place in places)
    for one in runs:
        for other in runs:
            refused = other.identity.compare(one.identity.as_text(directory), directory).refusal
            assert bool(refused) == (one is not other), (one, other)


@pytest.mark.parametrize(
    "words",
    [["--processes", "8"], ["--processes=8"], ["--reset"], ["-v", "2"], ["--failed", "--limit=5"], ["--verbose"]],
)
def test_words_that_say_how_and_not_what_make_no_other_run(monkeypatch, words: list[str]) -> None:
    """Or a run that was begun with --limit could not be resumed without it."""
    assert scripted(monkeypatch, ["mod.py", *words]) == scripted(monkeypatch, ["mod.py"])


def test_the_state_of_a_simple_script_has_a_simple_name(monkeypatch, directory: Path) -> None:
    """A function of the script over its get_jobs."""
    monkeypatch.setattr(handle, "__module__", "__main__")
    monkeypatch.setattr(get_jobs, "__module__", "__main__")

    assert find_state(scripted(monkeypatch, ["mod.py"])) == directory / "mod.handle.tmstate"


def test_tests_are_known(monkeypatch) -> None:
    """A state that a test leaves would be the end of its next run."""
    assert under_test()
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    for words, found in [
        (["manage.py", "test", "app"], True), (["manage.py", "migrate"], False), (["mod.py", "test"], False),
        ([os.path.join("unittest", "__main__.py")], True),
    ]:  # fmt: skip
        monkeypatch.setattr(sys, "argv", words)
        assert under_test() is found, words


def test_a_test_case_is_known_whatever_runs_it(monkeypatch) -> None:
    """As ``unittest.main()`` of a file, or the runner of an editor."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr(sys, "argv", ["test_jobs.py"])
    found = []

    class Case(unittest.TestCase):
        @classmethod
        def setUpClass(cls) -> None:
            found.append(under_test())

        def runTest(self) -> None:  # noqa: N802  # unittest's name
            found.append(under_test())

    result = unittest.TestResult()
    unittest.TestSuite([Case()]).run(result)

    assert found == [True, True], result.errors
    assert not under_test()
