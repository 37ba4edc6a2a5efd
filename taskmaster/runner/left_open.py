"""What jobs in the master's own process leave undone: ``--processes 0``.

A script still has the connections that it has opened, and the coroutines that its callback has
kept: it may commit and await them when the run is over. After a command, nobody can.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from types import CoroutineType
from typing import Any

from taskmaster.runtime.invocation import is_command
from taskmaster.runtime.log import clean_logger
from taskmaster.slave.worker.open_transactions import OpenTransactions, connections
from taskmaster.slave.worker.unawaited import never_awaited

__all__ = ["LeftOpen"]

logger = clean_logger(__name__)


class LeftOpen:
    """Made before ``setup``: what a script has by then is the script's own."""

    def __init__(self) -> None:
        self._transactions = OpenTransactions(() if is_command() else connections())
        self._others = weakref.WeakSet[Any](() if is_command() else _coroutines())
        self._known = set(never_awaited(()))  # of an earlier run

    def tell(self, of_loop: Sequence[str] = ()) -> int:
        """Say which transactions are open, and which coroutines were not awaited; return 1 if what
        they are for is lost, else 0.

        Args:
            of_loop: A sentence for each task of the event loop that has not ended well.
        """
        thrown_away = set(never_awaited(())) - self._known
        kept = set(never_awaited(one for one in _coroutines() if one not in self._others)) - thrown_away - self._known
        calls, awaits = ("", "") if is_command() else (", unless the script calls it now", ", unless the script does")
        left = [f"{one}{calls}" for one in self._transactions.sentences()] + [f"{one}{awaits}" for one in sorted(kept)]
        for sentence in (*of_loop, *sorted(thrown_away), *left):
            logger.warning("the jobs in this process could not end well: %s", sentence)
        return 1 if of_loop or thrown_away or (left and is_command()) else 0


def _coroutines() -> list[Any]:
    return [one for one in gc.get_objects() if type(one) is CoroutineType]
