"""What ``throttle`` of a module or a script may be: functions and guards that are asked whether the
run has to wait.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from taskmaster.errors import UsageError

__all__ = ["hooks_of"]


def hooks_of(given: Any, where: str) -> tuple[Callable[[], Any], ...]:
    """Return what ``throttle`` names, each to be asked whether the run has to wait.

    Args:
        given: A function, a guard, or a list of them; None if there is none.
        where: For the message, such as "throttle in backfill.py".

    Raises:
        UsageError: It is something else, or cannot be called without arguments.
    """
    if given is None or isinstance(given, ModuleType):
        return ()
    hooks = tuple(given) if isinstance(given, list | tuple) else (given,)
    for hook in hooks:
        if not callable(hook) or isinstance(hook, type):
            why = f"names {hook!r:.80}, which is not a function"
        elif inspect.iscoroutinefunction(hook) or inspect.isgeneratorfunction(hook):
            why = f"names {hook.__name__}, which gives a coroutine or a generator when it is called, and no answer"
        elif not _needs_nothing(hook):
            why = f"names {getattr(hook, '__name__', type(hook).__name__)}, which cannot be called without arguments"
        else:
            continue
        raise UsageError(
            f"{where} {why}: give a function without arguments that returns why to wait, or an empty text to go on; a "
            "guard; or a list of these."
        )
    return hooks


def _needs_nothing(hook: Callable[..., Any]) -> bool:
    try:
        inspect.signature(hook).bind()
    except TypeError:
        return False
    except ValueError:
        pass  # written in C, and says nothing of its arguments
    return True
