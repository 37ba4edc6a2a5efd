"""What is offered of states takes nothing from a master that begins."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import click
import pytest

from taskmaster.cli.completing import of_run
from taskmaster.errors import StateLocked, StateRefused
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.stores.sqlite import lock
from taskmaster.master.stores.sqlite.glance import owner_of, runs_in, serving_at
from taskmaster.master.stores.sqlite.lock import Lock, lock_of
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.runner.control import find_master


def test_runs_are_offered_without_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a state at rest, and of one that a master has; and no file is made or changed."""
    path = tmp_path / "x.tmstate"
    store = SqliteStore.open(path, RunIdentity.named("mod"), "mod.py")
    run = store.load().id
    monkeypatch.chdir(tmp_path)
    context, parameter = click.Context(click.Command("restore")), click.Argument(["run"])

    def locked(*args: Any) -> None:
        raise AssertionError("the lock is taken")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", locked)
        assert runs_in(path) == of_run(context, parameter, run[:2]) == [run]
    store.close()
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", locked)
        assert runs_in(path) == of_run(context, parameter, run[:2]) == [run]
        assert serving_at(path) is None

    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before == {path.name: before[path.name]}


def test_a_master_is_found_without_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it has written beside its state."""
    path = tmp_path / "x.tmstate"
    store = SqliteStore.open(path, RunIdentity.named("mod"), "mod.py")
    assert serving_at(path) is None
    store.tell("127.0.0.1:5050")
    monkeypatch.setattr(fcntl, "flock", None)

    assert serving_at(path) == "127.0.0.1:5050"
    store.close()


def test_looking_for_a_master_takes_no_state_from_one_that_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that looks each second for a master to come back must not keep it from coming."""
    path = tmp_path / "x.tmstate"
    SqliteStore.open(path, RunIdentity.named("mod"), "mod.py").close()
    descriptor = os.open(lock_of(path), os.O_RDWR | os.O_CREAT, 0o600)  # as a master leaves it that was killed
    os.write(descriptor, b"process 1 on nowhere, serving 127.0.0.1:1")
    monkeypatch.setattr(SqliteStore, "open_existing", None)

    assert owner_of(path) == (False, None)
    assert find_master(str(path)) is None
    Lock(path).release()  # nobody has it after the look

    store = SqliteStore.open(path, RunIdentity.named("mod"), "mod.py")
    assert owner_of(path) == (True, None)
    store.tell("127.0.0.1:5050")
    assert find_master(str(path)) == "127.0.0.1:5050"
    store.close()
    os.close(descriptor)


def test_what_is_no_state_is_refused_when_its_master_is_looked_for(tmp_path: Path) -> None:
    """Also where nobody has it: there is nothing to be steered."""
    (tmp_path / "empty").touch()
    for name in ("empty", "nothing"):
        with pytest.raises(StateRefused):
            find_master(str(tmp_path / name))


def test_who_begins_waits_a_moment_for_who_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look takes the lock for an instant; a master has it for good, and is not waited for."""
    path = tmp_path / "x.tmstate"
    looking = os.open(lock_of(path), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(lock.time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
    held = Lock(path)
    with pytest.raises(StateLocked):
        Lock(path)

    held.release()
    os.close(looking)
