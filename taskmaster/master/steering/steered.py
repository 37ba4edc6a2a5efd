"""What is steered beside the broker, as steering sees it. Pure: contracts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["ChangeableSettings", "Steered"]


class ChangeableSettings(Protocol):
    """What can be set in a run while it goes on."""

    def start_value(self, name: str) -> str:
        """Return what a setting was at the start, as text.

        Raises:
            UsageError: There is no such setting; names the nearest.
        """

    def change(self, values: Mapping[str, str]) -> None:
        """Let these differ from what they were at the start, and nothing else.

        Raises:
            UsageError: One of them cannot be that; nothing was changed.
        """


class Steered(Protocol):
    """What is steered beside the broker and the settings."""

    def set_rate(self, rate: float | None, because: str) -> None:
        """Hand out at most ``rate`` jobs a second; None: as many as the slaves can take."""

    def also_holds(self) -> str:
        """Return what else holds the run back, as a sentence; "" if nothing does."""

    def stop(self, by: str, *, at_once: bool) -> None:
        """End the run where it can go on."""

    def own_slave(self) -> str:
        """Return the name of the slave that belongs to the run; "" if it has none."""

    @property
    def engine(self) -> str:
        """How the run's own engine stands, for people; "" if it has none."""
