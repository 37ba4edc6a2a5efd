"""The state of a run that fails at its very start: it says nothing, and is removed again.

A source that returns None, a ``setup`` that raises, an address that is in use: each would leave a
file of which nobody knows later what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskmaster.errors import Interrupted, Stopped, TaskmasterError
from taskmaster.master.stores.contract import Store
from taskmaster.master.stores.sqlite.store import SqliteStore

__all__ = ["taken_back_if_blank"]


@contextmanager
def taken_back_if_blank(store: Store, has_handed_out: Callable[[], bool]) -> Iterator[None]:
    """Close and remove a state that this process has made, where an error ends what is done inside
    and nothing has come of it.

    Args:
        store: The run's state; it may be closed a second time.
        has_handed_out: Returns whether a slave has been given a job.
    """
    try:
        yield
    except (Interrupted, Stopped):
        raise  # somebody has been told the command that goes on
    except TaskmasterError:
        if isinstance(store, SqliteStore) and not has_handed_out():
            store.close(keep=False)
        raise
