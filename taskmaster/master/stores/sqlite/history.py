"""The table of the history in a state file: a row a minute of the last day, and one in five minutes
of thirty days before.

A state of format 3 or 4 has no such table: it gets one with its first change.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmaster.master.records.minute_row import MINUTE_BYTES, MinuteRow
from taskmaster.master.records.run_record import Checkpoint
from taskmaster.master.records.steering_records import News
from taskmaster.master.stores.sqlite.rows import Tally, sealed
from taskmaster.master.stores.sqlite.validation import check_history

__all__ = ["HISTORY", "HISTORY_STATEMENTS", "rows", "write"]

TABLE = """
CREATE TABLE history (
    run TEXT NOT NULL, at INTEGER NOT NULL, numbers BLOB NOT NULL, seal BLOB NOT NULL, PRIMARY KEY (run, at))
"""
HISTORY_STATEMENTS = [TABLE.strip()]
DAY_SECONDS, MONTH_SECONDS = 86_400, 30 * 86_400
# A day by the minute and a month by five minutes are fewer rows.
HISTORY = (
    "SELECT run, at, numbers, seal FROM (SELECT * FROM history WHERE run = ? ORDER BY at DESC LIMIT 12000) ORDER BY at"
)


def write(tally: Tally, run: str, news: Checkpoint | News) -> None:
    """Add the rows that are new, and thin out what is old.

    Args:
        tally: Changes the rows of the run, in a transaction.
        run: The id of the run.
        news: What is new.
    """
    for at in news.history_over:
        tally.remove("history", "run = ? AND at = ?", run, at)
    if not news.history:
        return
    tally.put("history", [sealed(run, row.at, row.numbers) for row in news.history])
    last = news.history[-1].at
    old = last - DAY_SECONDS
    # Only what has become old since the rows before were written: the rest is not looked at.
    since = old - 2 * (last - news.history[0].at) - DAY_SECONDS
    tally.remove("history", "run = ? AND at > ? AND at < ? AND at / 60 % 5 <> 0", run, since, old)
    tally.remove("history", "run = ? AND at < ?", run, last - MONTH_SECONDS)


def rows(found: Sequence[tuple[object, ...]]) -> list[MinuteRow]:
    """Return rows of ``HISTORY``, without their checksums, as values.

    Raises:
        ValueError: One cannot be right.
    """
    for row in found:
        check_history(row, MINUTE_BYTES)
    return [MinuteRow(*row[1:]) for row in found]  # type: ignore[arg-type]  # as ``write`` has written them
