"""The user's callback and what surrounds it, from a target or from a template that holds it.

Called in worker processes alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskmaster import target as targets

__all__ = ["Callbacks", "is_async", "load"]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a worker calls.

    Attributes:
        handle: called with each job.
        setup: called once before the first job.
        teardown: called once after the last.
    """

    handle: Callable[[Any], Any]
    setup: Callable[[], Any] | None = None
    teardown: Callable[[], Any] | None = None


def load(text: str) -> Callbacks:
    """The callbacks of a target.

    Raises:
        TargetError: it does not import, or has no ``handle_job``.
    """
    parsed = targets.parse(text)
    module = targets.load(parsed)
    return Callbacks(
        targets.find(module, parsed, ["handle_job"]),
        targets.optional(module, "setup"),
        targets.optional(module, "teardown"),
    )


def is_async(handle: Callable[[Any], Any]) -> bool:
    """Whether calling it gives something to await."""
    return inspect.iscoroutinefunction(handle) or inspect.iscoroutinefunction(getattr(handle, "__call__", None))  # noqa: B004
