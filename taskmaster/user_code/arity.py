"""Whether a function of the user's takes what it will be given, known before the first job."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from taskmaster.errors import TargetError

__all__ = ["check_call", "check_callbacks"]


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
) -> None:
    """Refuse a callback, or what surrounds it, that takes other arguments than it will be given.

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
        check_call(handle, name, "a list of jobs" if name == "handle_jobs" else "a job")
    check_call(setup, "setup")
    check_call(teardown, "teardown")
    check_call(job_key, "job_key", "a job")
