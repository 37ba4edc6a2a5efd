"""``tm-run`` with a state that is never written: what W9 is compared with. Called like ``tm-run``.

Everything else is as there: the checkpoints are made, and given to a store that drops them.
"""

from __future__ import annotations

from unittest import mock

from taskmaster import api
from taskmaster.cli.run import main
from taskmaster.master.stores import Checkpoint
from taskmaster.master.stores.sqlite import SqliteStore


class NullStore(SqliteStore):
    """Opens a state and leaves it as it was."""

    def write(self, checkpoint: Checkpoint) -> None:
        """Drop a checkpoint."""


if __name__ == "__main__":
    with mock.patch.object(api, "SqliteStore", NullStore):
        main()
