"""What a forked child must let go of at once: its copies of the parent's locks and sockets.

A child's copy would hold a lock, keep a port or keep a connection open to nobody after the parent
has ended.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import Protocol

__all__ = ["forget_in_children"]


class _Forgettable(Protocol):
    def forget(self) -> None:
        """Close this process's copy only."""


_ours: weakref.WeakSet[_Forgettable] = weakref.WeakSet()


def forget_in_children(thing: _Forgettable) -> None:
    """Call ``thing.forget()`` in every child that this process forks from now on."""
    _ours.add(thing)


def _forget_all() -> None:
    for thing in list(_ours):
        with suppress(OSError):  # one that somebody has closed keeps none of the others
            thing.forget()


os.register_at_fork(after_in_child=_forget_all)
