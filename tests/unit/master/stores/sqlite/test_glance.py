"""What is offered of states takes nothing from a master that begins."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import click
import pytest

from taskmaster.cli.completing import of_run
from taskmaster.master.run_identity import RunIdentity
from taskmaster.master.stores.sqlite.glance import runs_in, serving_at
from taskmaster.master.stores.sqlite.store import SqliteStore


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
