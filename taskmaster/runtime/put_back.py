"""Puts functions back that Taskmaster has replaced for a time, in Python's own modules.

Somebody else may have replaced them on top of that meanwhile: their function stays, and calls ours,
which does from then on what the former one did.
"""

from __future__ import annotations

from typing import Any

__all__ = ["put_back"]


def put_back(owner: Any, name: str, ours: object, former: object) -> None:
    """Put an attribute back, if it is still ours.

    Args:
        owner: The module or class that has it.
        name: What it is called there.
        ours: What stands there, if nobody else has replaced it.
        former: What stood there before; None: nothing.
    """
    if vars(owner).get(name) is not ours:
        return
    if former is None:
        delattr(owner, name)
    else:
        setattr(owner, name, former)
