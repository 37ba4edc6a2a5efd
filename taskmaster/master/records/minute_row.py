"""A row of a run's history as the state keeps it. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["COLUMN_COUNT", "HISTORY_COLUMNS", "MINUTE_BYTES", "MinuteRow"]

HISTORY_COLUMNS = (
    "at", "settled", "failed", "queued", "leased", "waiting", "parked", "workers", "busy", "p95", "held", "rate_limit",
)  # fmt: skip
COLUMN_COUNT = len(HISTORY_COLUMNS)
NUMBERS = struct.Struct(f"<{COLUMN_COUNT - 1}d")
MINUTE_BYTES = NUMBERS.size


class MinuteRow(NamedTuple):
    """A row of the history as the state keeps it.

    Attributes:
        at: Seconds since the epoch.
        numbers: The columns after ``at``, as doubles.
    """

    at: int
    numbers: bytes

    @classmethod
    def of(cls, values: Sequence[float]) -> MinuteRow:
        """Return the row of these columns."""
        return cls(int(values[0]), NUMBERS.pack(*values[1:]))

    def values(self) -> tuple[float, ...]:
        """Return all columns."""
        return (float(self.at), *NUMBERS.unpack(self.numbers))
