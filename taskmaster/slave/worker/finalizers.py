"""What Python would run of the user's code at the end of a program, and a worker has to run itself:
``__del__`` of what still lives, and ``finally`` blocks of generators that were not read to the end.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import types
from collections.abc import Callable
from typing import Any

from taskmaster.slave.worker.unawaited import is_users_code
from taskmaster.units import show_count

__all__ = ["finalize", "ignored", "ignored_at_end", "unclosed_stacks"]


def finalize(say: Callable[[str, BaseException], None]) -> list[Any]:
    """Run the finalizers of the objects that the garbage collector knows.

    Args:
        say: Called with the name of what has raised, and with the exception.

    Returns:
        What must be kept for as long as this process lives: Python would finalize it once more.
    """
    kept = gc.get_objects()
    known: dict[type, Any] = {}
    for one in kept:
        kind = type(one)
        if kind is types.GeneratorType:
            finalizer = one.close if one.gi_suspended and is_users_code(one.gi_code) else None
            name = one.__qualname__
        else:
            if kind not in known:
                known[kind] = _users_finalizer(kind)
            function = known[kind]
            finalizer = None if function is None else types.MethodType(function, one)
            name = getattr(function, "__qualname__", "")
        if finalizer is not None:
            try:
                finalizer()
            except BaseException as exc:
                say(name, exc)
    return kept


def unclosed_stacks(objects: list[Any]) -> list[str]:
    """Return a sentence for each ``ExitStack`` that a module of the user's has, and that was never
    closed.

    Args:
        objects: Those that the garbage collector knows.
    """
    pending = {
        id(one): len(one._exit_callbacks)  # noqa: SLF001
        for one in objects
        if issubclass(type(one), contextlib._BaseExitStack) and one._exit_callbacks  # noqa: SLF001
    }
    return [
        f"{name}.{variable} was never closed, so that {show_count(pending[id(value)], 'function')} of it did not run: "
        "close it in teardown()"
        for name, module in (list(sys.modules.items()) if pending else ())
        for variable, value in list(getattr(module, "__dict__", {}).items())
        if id(value) in pending
    ]


def _users_finalizer(kind: type) -> Any:
    """Return ``__del__`` of a class if it is the user's."""
    for base in type.mro(kind) if kind is not type else ():
        if (found := vars(base).get("__del__")) is not None:
            return found if is_users_code(getattr(found, "__code__", None)) else None
    return None


def ignored(raised: Any) -> str:
    """Return a sentence for an exception that Python ignores in the user's code; "" if it was in
    another's.

    Args:
        raised: What ``sys.unraisablehook`` is given.
    """
    if not (name := _users_name(raised)):
        return ""
    return (
        f"{raised.exc_type.__qualname__} was raised in {name}, where Python ignores exceptions, so that its job counts "
        "as done: call it, or close it, in the callback"
    )


def ignored_at_end(raised: Any) -> str:
    """Return the same when the jobs are over: ``teardown()`` may have thrown the object away, which
    would have been finalized here, and what that raises is an error.
    """
    name = _users_name(raised)
    return f"{name} raised {raised.exc_type.__qualname__} at the end of a worker" if name else ""


def _users_name(raised: Any) -> str:
    """Return what Python has called, if that is the user's; "" if not."""
    where = raised.object
    code = getattr(where, "__code__", None) or getattr(where, "gi_code", None)
    return str(getattr(where, "__qualname__", "")) if is_users_code(code) else ""
