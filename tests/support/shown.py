"""A view for tests of views that show a run in another one."""

from __future__ import annotations

from taskmaster.view.snapshot import Snapshot

__all__ = ["Shown"]


class Shown:
    """A view that remembers what it was shown."""

    def __init__(self) -> None:
        self.what: list[str] = []

    def update(self, snapshot: Snapshot) -> None:
        """Remember that the run was shown."""
        self.what.append("update")

    def close(self, snapshot: Snapshot) -> None:
        """Remember that its end was shown."""
        self.what.append("close")

    def say(self, line: str) -> None:
        """Remember a line."""
        self.what.append(line)
