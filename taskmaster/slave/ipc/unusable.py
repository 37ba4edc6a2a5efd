"""Why workers cannot run the callback, as a worker says it and as a slave ends with it. Pure."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Cause", "Unusable"]


class Cause(StrEnum):
    """What is at fault."""

    TARGET = "target"
    SETUP = "setup"
    FORK_SERVER = "fork server"


class Unusable(Exception):
    """Workers cannot run the callback, and another attempt would not help.

    Attributes:
        cause: What is at fault.
        traceback: The user's traceback, "" if there is none.
    """

    def __init__(self, cause: Cause, sentence: str, traceback: str = "") -> None:
        super().__init__(sentence)
        self.cause = cause
        self.traceback = traceback
