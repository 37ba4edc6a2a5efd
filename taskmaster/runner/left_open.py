"""Transactions that jobs in the master's own process leave open: ``--processes 0``.

A script still has the connections that it has opened, and may commit when the run is over. After a
command, nobody can.
"""

from __future__ import annotations

from taskmaster.runtime.invocation import is_command
from taskmaster.runtime.log import clean_logger
from taskmaster.slave.worker.open_transactions import OpenTransactions, connections

__all__ = ["LeftOpen"]

logger = clean_logger(__name__)


class LeftOpen:
    """Made before ``setup``: the connections that a script has by then are the script's own."""

    def __init__(self) -> None:
        self._transactions = OpenTransactions(() if is_command() else connections())

    def tell(self) -> int:
        """Say which transactions are open; return 1 if what was written in one is lost, else 0."""
        left = self._transactions.sentences()
        unless = "" if is_command() else ", unless the script calls it now"
        for sentence in left:
            logger.warning("the jobs in this process could not end well: %s%s", sentence, unless)
        return 1 if left and is_command() else 0
