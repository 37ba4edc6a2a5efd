"""What a checkpoint changes in the tables of a state file, inside a transaction of the store's."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection

from taskmaster.master.records.run_record import Checkpoint
from taskmaster.master.records.steering_records import News
from taskmaster.master.stores.sqlite import history, steering
from taskmaster.master.stores.sqlite.rows import Tally, as_text, printable, seal_run, sealed

__all__ = ["drop", "write", "write_steering"]


def write(connection: sqlite3.Connection, run: str, session: int, checkpoint: Checkpoint) -> None:
    """Bring a run to where the checkpoint says that it is.

    Args:
        connection: in a transaction.
        run: its id.
        session: the session that counts the positions of the settled rows.
        checkpoint: what is new.
    """
    tally = Tally(connection, run)
    if checkpoint.waiting is not None:
        tally.remove("piece", "run = ? AND session <> ?", run, session)
        connection.execute("UPDATE run SET waiting = ? WHERE id = ?", (checkpoint.waiting, run))
    tally.put("piece", [sealed(run, session, row.first, row.end, row.fingerprints) for row in checkpoint.add])
    # A settled row that ends there begins before it: the table is in that order, and the rest of it
    # is not read.
    cut = checkpoint.forget_below
    tally.remove("piece", 'run = ? AND session = ? AND first < ? AND "end" <= ?', run, session, cut, cut)
    tally.put(
        "parked",
        [sealed(run, job.id, job.key, job.payload, job.fingerprint, as_text(job.attempts)) for job in checkpoint.park],
    )
    tally.put(
        "failed",
        [
            sealed(run, job.id, job.key, printable(job.job), job.payload, printable(job.type), as_text(job.attempts))
            for job in checkpoint.failed
        ],
    )
    # Last: a job may have failed and, when it was run again, gone well since the last checkpoint.
    for table, gone in (("parked", checkpoint.unpark), ("failed", checkpoint.cleared)):
        for number in gone:
            tally.remove(table, "run = ? AND id = ?", run, number)
    steering.write(tally, run, checkpoint)
    history.write(tally, run, checkpoint)
    tally.save()
    _move(connection, run, checkpoint)
    seal_run(connection, run)


def write_steering(connection: sqlite3.Connection, run: str, news: News) -> None:
    """Write what was steered in a run; it stays where it is."""
    tally = Tally(connection, run)
    steering.write(tally, run, news)
    history.write(tally, run, news)
    tally.save()
    seal_run(connection, run)


def drop(connection: sqlite3.Connection, run: str, jobs: Collection[int]) -> None:
    """Forget failed jobs of a run, by their id."""
    tally = Tally(connection, run)
    found = sum(tally.remove("failed", "run = ? AND id = ?", run, number) for number in jobs)
    tally.save()
    connection.execute("UPDATE run SET failures = failures - ? WHERE id = ?", (found, run))
    seal_run(connection, run)


def _move(connection: sqlite3.Connection, run: str, checkpoint: Checkpoint) -> None:
    """Write the watermark and the counters."""
    connection.execute(
        "UPDATE run SET mark = ?, bound = ?, edge = ?, settled = ?, failures = ?, skipped = ?, seconds = ?, "
        "finished = CASE WHEN ? THEN coalesce(finished, ?) END WHERE id = ?",
        (
            checkpoint.mark,
            checkpoint.bound,
            checkpoint.edge,
            checkpoint.settled,
            checkpoint.failures,
            checkpoint.skipped,
            checkpoint.seconds,
            checkpoint.finished,
            time.time(),
            run,
        ),
    )
