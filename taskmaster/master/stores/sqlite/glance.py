"""What a state file says of its run, read without taking the lock that its owner needs.

The state's lock is not taken: a master that begins just then would find the state in use. So
nothing is promised of what is read; what a master has written meanwhile may be missing.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from taskmaster.master.stores.sqlite.file import inspect
from taskmaster.master.stores.sqlite.lock import address_in, is_held, lock_of
from taskmaster.master.stores.sqlite.owner import check, followed
from taskmaster.master.stores.sqlite.queries import run_ids

__all__ = ["owner_of", "runs_in", "serving_at"]


def runs_in(path: str | Path) -> list[str]:
    """Return the ids of the runs that the file holds, the newest first.

    Raises:
        StateRefused: The file is not the user's own.
        sqlite3.Error: It cannot be read.
    """
    state = followed(path)
    check(state)
    # Immutable: SQLite takes no lock either, and makes no file beside it.
    with closing(sqlite3.connect(f"{state.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        return run_ids(connection)


def owner_of(path: str | Path) -> tuple[bool, str | None]:
    """Return whether a master has the state, and where it serves, None if it has not said so.

    Raises:
        StateRefused: The file is none of the user's own states.
    """
    state = followed(path)
    check(state)
    inspect(state)
    try:
        descriptor = os.open(lock_of(state), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False, None
    try:
        held = is_held(descriptor)
        return held, address_in(os.read(descriptor, 200)) if held else None
    finally:
        os.close(descriptor)


def serving_at(path: str | Path) -> str | None:
    """Return where the master of the state serves, or has served if it was killed; None if it has
    not said so.

    Raises:
        StateRefused: The file is not the user's own.
    """
    state = followed(path)
    check(state)
    try:
        descriptor = os.open(lock_of(state), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return address_in(os.read(descriptor, 200))
    finally:
        os.close(descriptor)
