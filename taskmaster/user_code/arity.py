"""What a function of the user's is called with, and whether it takes that, known before the first
job.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from taskmaster.errors import TargetError

__all__ = ["TOGETHER", "check_call", "check_callbacks", "name_in_script", "takes_lists"]

TOGETHER = "handle_jobs"
"""A callback of this name is called with a list of jobs."""


def takes_lists(handle: Callable[..., Any], found_as: str = "") -> bool:
    """Return whether a callback is called with lists of jobs.

    A module's name for it counts as well as its own, which is another one where it is a lambda, a
    partial, what a decorator has made, or imported under this name. Called with single jobs, it
    would take the letters of a text for them.

    Args:
        handle: The callback.
        found_as: What its module calls it; "" where it was not found by a name.
    """
    while isinstance(handle, functools.partial):
        handle = handle.func
    return TOGETHER in (found_as, getattr(handle, "__name__", ""))


def name_in_script(handle: Callable[..., Any]) -> str:
    """Return ``TOGETHER`` if the script, or the module that a callback is from, calls it so; else
    "".
    """
    modules = [sys.modules.get(name) for name in ("__main__", getattr(handle, "__module__", None) or "")]
    return TOGETHER if any(getattr(module, TOGETHER, None) is handle for module in modules) else ""


def check_call(function: Callable[..., Any] | None, name: str, what: str = "") -> None:
    """Refuse a function that cannot be called as it will be.

    A decorator's wrapper is asked itself, not what it wraps: it may add arguments or take some
    away. Where the parameters cannot be known, nothing is refused.

    Args:
        function: The function; None if there is none.
        name: What messages call it.
        what: What its one argument is; "" if it is called without any.

    Raises:
        TargetError: It takes other arguments.
    """
    if function is None:
        return
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return
    given = [object()] if what else []
    try:
        signature.bind(*given)
    except TypeError as exc:
        called = f"with {what} alone" if what else "without arguments"
        raise TargetError(f"{name} is called {called}, but its parameters are {signature}: {exc}.") from None


def check_callbacks(
    handle: Callable[..., Any] | None,
    setup: Callable[..., Any] | None = None,
    teardown: Callable[..., Any] | None = None,
    job_key: Callable[..., Any] | None = None,
    *,
    found_as: str = "",
) -> None:
    """Refuse a callback, or what surrounds it, that takes other arguments than it will be given.

    Args:
        handle: The callback; None if there is none.
        setup: What is called before its first job, if there is that.
        teardown: What is called after its last one.
        job_key: What gives the key of a job.
        found_as: What the module of the callback calls it.

    Raises:
        TargetError: One of them does, or the callback is a class.
    """
    if handle is not None:
        name = getattr(handle, "__name__", type(handle).__name__)
        # Each job would make an object that nobody looks at, and all would be done.
        if inspect.isclass(handle):
            can_be_called = any("__call__" in vars(kind) for kind in handle.__mro__)
            cure = f"an object of it, {name}(...)" if can_be_called else "a function"
            raise TargetError(f"The callback {name} is a class: to call it only makes an object. Give {cure}.")
        check_call(handle, name, "a list of jobs" if takes_lists(handle, found_as) else "a job")
    check_call(setup, "setup")
    check_call(teardown, "teardown")
    check_call(job_key, "job_key", "a job")
