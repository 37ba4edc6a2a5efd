"""A look into a state that may be in use: at a copy, so that no run finds it locked meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskmaster.errors import StateLocked, StateRefused
from taskmaster.master.stores.sqlite.store import SqliteStore

__all__ = ["StateBusyNow", "copied_state"]


class StateBusyNow(Exception):  # no error: it says how things are
    """A master may just be writing to the state, so that a copy of it cannot be read."""


@contextmanager
def copied_state(state: Path) -> Iterator[SqliteStore]:
    """Open a copy of a state file; it is as old as the last checkpoint.

    Args:
        state: The file, links resolved.

    Raises:
        StateBusyNow: A master has it, and what was copied is not whole.
        StateRefused: It cannot be used.
    """
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="taskmaster-") as directory:
        copy = Path(os.path.realpath(directory)) / state.name
        try:
            for suffix in ("", "-wal"):
                if (part := state.with_name(state.name + suffix)).exists():
                    shutil.copyfile(part, copy.with_name(copy.name + suffix))
            store = SqliteStore.open_existing(copy)
        except (OSError, StateRefused, StateLocked) as exc:
            if state.with_name(state.name + ".lock").exists():
                raise StateBusyNow from exc
            raise StateRefused(str(exc).replace(str(copy), str(state))) from exc
        try:
            yield store
        finally:
            store.close()
