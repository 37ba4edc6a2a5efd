"""``tm-run`` with a state that is never written: what W9 is compared with. Called like ``tm-run``.

Everything else is as there, also the order in which things are imported and forked: the checkpoints
are made, and given to a store that drops them.
"""

from __future__ import annotations

from taskmaster.cli import run


def exchange() -> None:
    """Called by ``tm-run`` when all of it is imported; the state is opened later."""
    from taskmaster.cli.command import loaded
    from taskmaster.master.records.run_record import Checkpoint
    from taskmaster.master.stores.sqlite.store import SqliteStore

    def write(self: SqliteStore, checkpoint: Checkpoint) -> None:
        """Drop a checkpoint."""

    SqliteStore.write = write  # type: ignore[method-assign]
    loaded()


if __name__ == "__main__":
    if "loaded" not in vars(run):
        raise SystemExit("tm-run has changed: it does not say any more when it is imported.")
    vars(run)["loaded"] = exchange
    run.main()
