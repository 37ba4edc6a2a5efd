"""The history of a run: its numbers over time, in three rings, and as rows for the state. Pure.

The state gets one row a minute, one for the beginning and one for the end of a session, and the
last one before something else holds the run. It also has one provisional row, which a newer one
replaces every few seconds: where a session is killed, that one is its end.

The memory is taken once, and does not grow: ten minutes by the second, six hours by ten seconds,
thirty days by five minutes. ``settled``, ``failed`` and ``busy`` are sums since the run began, so
that a row that is left out hides nothing; the other numbers are those of the moment.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from taskmaster.master.records.minute_row import COLUMN_COUNT, HISTORY_COLUMNS, MinuteRow
from taskmaster.view.snapshot import HeldBy

__all__ = ["HELD_NAMES", "History", "HistoryPage", "Ring"]

_BUSY, _P95, _HELD, _LIMIT = (HISTORY_COLUMNS.index(name) for name in ("busy", "p95", "held", "rate_limit"))
HELD_NAMES = ("", *(str(by) for by in HeldBy))
"""What a number in the column ``held`` means: it is the index of one of these; 0: nothing holds the
run. A state keeps the numbers, so that a new one goes to the end.
"""
SPANS = {"10m": (1.0, 600), "6h": (10.0, 2160), "all": (300.0, 8640)}
"""By its name, the seconds between two rows of a ring, and how many rows it has."""
MOST_HISTORY_ROWS_ANSWERED = 500  # in one answer
MINUTE_SECONDS = 60.0
MOMENT_SECONDS = 5  # between two rows of the moment
MOST_CHANGES = 4  # rows that the state gets within a minute, at most: one for each change of what holds the run back
UNKNOWN = -1.0  # a number that is not known, where 0 would be one


class HistoryPage(NamedTuple):
    """A part of the history.

    Attributes:
        rows: Oldest first.
        seq: Number of the last row in it.
        left: How many newer rows there are.
        seconds: Between two rows.
    """

    rows: list[list[float | None]]
    seq: int
    left: int
    seconds: float


class Ring:
    """The newest rows, in memory that was taken at the start.

    Args:
        seconds: Between two rows.
        size: How many rows are kept.

    Attributes:
        seq: Number of the newest row, from 1; 0 if there is none.
    """

    def __init__(self, seconds: float, size: int) -> None:
        self.seconds = seconds
        self.seq = 0
        self._size = size
        self._numbers = array("d", bytes(8 * COLUMN_COUNT * size))
        self._next = 0.0

    def offer(self, row: Sequence[float]) -> None:
        """Take a row, if the one before it is old enough; its first number is the time."""
        at = row[0]
        if at < self._next and self._next - at <= self.seconds:  # else the clock was set back
            return
        self._next = at - at % self.seconds + self.seconds
        self.put(row)

    def put(self, row: Sequence[float]) -> None:
        """Take a row."""
        begin = (self.seq % self._size) * COLUMN_COUNT
        self._numbers[begin : begin + COLUMN_COUNT] = array("d", row)
        self.seq += 1

    def after(self, seq: int, most: int) -> HistoryPage:
        """Return at most ``most`` rows whose number is above ``seq``, the oldest first."""
        first = max(0, seq if seq <= self.seq else 0, self.seq - self._size)
        end = min(self.seq, first + most)
        rows = []
        for number in range(first, end):
            begin = (number % self._size) * COLUMN_COUNT
            rows.append([_shown(value) for value in self._numbers[begin : begin + COLUMN_COUNT]])
        return HistoryPage(rows, end, self.seq - end, self.seconds)


class History:
    """The numbers of a run over time, in three rings.

    Args:
        known: Rows that the state has, oldest first.
    """

    def __init__(self, known: Sequence[MinuteRow] = ()) -> None:
        self._rings = {name: Ring(*shape) for name, shape in SPANS.items()}
        self._minute = known[-1].at // int(MINUTE_SECONDS) if known else -1
        self._changes = 0
        self._latest = list(known[-1].values()) if known else []
        self._unwritten: list[MinuteRow] = []
        self._moment: MinuteRow | None = None  # the newest row, until another one replaces it
        self._over: list[int] = []  # the times of those that the state may have, and that are over
        for row in known:
            values = row.values()
            self._rings["6h"].put(values)  # also those of a session of a few seconds
            self._rings["all"].offer(values)

    @property
    def seq(self) -> int:
        """Number of the newest row in the ring that has a row a second."""
        return self._rings["10m"].seq

    def add(self, row: Sequence[float | None]) -> None:
        """Take the numbers of this second, in the order of ``HISTORY_COLUMNS``."""
        # The state refuses what is no number, and would refuse it at the next start.
        values = [UNKNOWN if value is None or not isfinite(value) else float(value) for value in row]
        for ring in self._rings.values():
            ring.offer(values)
        # A row tells what held the run before it: without the last of the former reason, a stretch
        # of up to a minute would get the next one.
        if self._latest and values[_HELD] != self._latest[_HELD] and self._changes < MOST_CHANGES:
            self._changes += 1
            self._keep(self._latest)
        minute = int(values[0] // MINUTE_SECONDS)
        if minute != self._minute:  # an earlier one, too: the clock may have been set back
            self._minute, self._changes = minute, 0
            self._keep(values)
        elif self._moment is None or values[0] - self._moment.at >= MOMENT_SECONDS:
            self._moment = self._keep(values)
        self._latest = values

    def begin(self, at: float, settled: int, failed: int) -> None:
        """Note where a session begins: what is settled from now on is not of the one before.

        Args:
            at: Seconds since the epoch.
            settled: Jobs of the whole run.
            failed: Those of them that failed.
        """
        values = [at, float(settled), float(failed), *[0.0] * (COLUMN_COUNT - 3)]
        values[_BUSY] = self._latest[_BUSY] if self._latest else 0.0
        values[_P95] = values[_LIMIT] = UNKNOWN
        for name in ("6h", "all"):
            self._rings[name].put(values)
        self._minute, self._latest = int(at // MINUTE_SECONDS), values
        self._keep(values)

    def end(self, at: float, settled: int, failed: int) -> None:
        """Note how the session ends; the arguments are those of ``begin``."""
        if self._latest:
            self._keep([at, float(settled), float(failed), *self._latest[3:]])

    def _keep(self, values: Sequence[float]) -> MinuteRow:
        """Keep a row for the state, instead of that of a former moment; return it."""
        if self._moment is not None:
            self._over.append(self._moment.at)
            self._unwritten = [row for row in self._unwritten if row is not self._moment]
            self._moment = None
        row = MinuteRow.of(values)
        self._unwritten.append(row)
        for rows in (self._unwritten, self._over):
            del rows[: -SPANS["6h"][1]]  # while the state cannot be written
        return row

    def page(self, span: str, since_seq: int) -> HistoryPage:
        """Return rows of a span that come after one.

        Args:
            span: A name of ``SPANS``; any other means the shortest.
            since_seq: Number of the last row that is known already; 0: none is.
        """
        ring = self._rings.get(span) or self._rings["10m"]
        return ring.after(max(0, since_seq), MOST_HISTORY_ROWS_ANSWERED)

    def unwritten(self) -> list[MinuteRow]:
        """Return the rows that the state does not have."""
        return list(self._unwritten)

    def over(self) -> list[int]:
        """Return the times of the rows that the next checkpoint removes from the state, if they are
        there, before it writes the new ones.
        """
        return list(self._over)

    def written(self, rows: Sequence[MinuteRow], over: Sequence[int] = ()) -> None:
        """Note that the state has these rows, and no longer those of the times ``over``."""
        if rows:
            known = set(rows)
            self._unwritten = [row for row in self._unwritten if row not in known]
        if over:
            gone = set(over)
            self._over = [at for at in self._over if at not in gone]


def _shown(value: float) -> float | None:
    if value == UNKNOWN:
        return None
    return int(value) if value == int(value) else round(value, 6)
