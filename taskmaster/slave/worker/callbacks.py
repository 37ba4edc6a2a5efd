"""The user's callback and what surrounds it, from a target or from the fork server that has it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from taskmaster.errors import TargetError
from taskmaster.model import FailureKind
from taskmaster.outcomes import LONGEST_RETRY_SECONDS, Abort, Retry, Skip
from taskmaster.records import record
from taskmaster.slave.worker.results import NothingRan
from taskmaster.user_code import target as targets
from taskmaster.user_code.arity import TOGETHER, check_callbacks, takes_lists
from taskmaster.user_code.code_version import definition_of

__all__ = ["Callbacks", "Classes", "classes_of", "is_async", "load", "name_of"]


Classes = tuple[type[BaseException], ...]


@record()
class Callbacks:
    """What a worker calls.

    Attributes:
        handle: called with each job, or with a list of them.
        setup: called once before the first job.
        teardown: called once after the last.
        retry_on: exceptions that are worth another attempt; None: all.
        give_up_on: exceptions that are not.
        found_as: what its module calls ``handle``; "" where it was given by a script.
    """

    handle: Callable[[Any], Any]
    setup: Callable[[], Any] | None = None
    teardown: Callable[[], Any] | None = None
    retry_on: Classes | None = None
    give_up_on: Classes = ()
    found_as: str = ""

    @property
    def together(self) -> bool:
        """Whether ``handle`` is called with a list of jobs."""
        return takes_lists(self.handle, self.found_as)

    def kind(self, exc: BaseException) -> tuple[FailureKind, float]:
        """Return what an exception says about its job: kind and seconds to wait, as in
        ``taskmaster.model.Failure``.
        """
        for outcome in (Retry, Skip, Abort):
            if isinstance(exc, outcome):  # a subclass of the user's may call itself anything
                return outcome.kind, _seconds(exc) if outcome is Retry else -1.0
        hopeless = isinstance(exc, (NothingRan, *self.give_up_on))
        if hopeless or (self.retry_on is not None and not isinstance(exc, self.retry_on)):
            return FailureKind.FINAL, -1.0
        return FailureKind.ERROR, -1.0


def _seconds(exc: BaseException) -> float:
    """Return when a ``Retry`` asks to be tried again; -1.0 if that is not a number of seconds, as
    with a subclass that sets it itself.
    """
    try:
        after = float(exc.after)  # type: ignore[attr-defined]
    except Exception:
        return -1.0
    return min(after, LONGEST_RETRY_SECONDS) if 0.0 <= after < math.inf else -1.0


def load(text: str, definition: str = "") -> Callbacks:
    """Return the callbacks of a target.

    Args:
        text: the target.
        definition: where the script that gave the callback has it defined; "": it is not compared.

    Raises:
        TargetError: it does not import, has no ``handle_job``, or one that takes no job, or another
            one than the script; or its rules for exceptions are none.
    """
    parsed = targets.parse(text)
    module = targets.load(parsed)
    where = f" in {module.__name__}"
    found_as, handle = targets.find_named(module, parsed, ["handle_job", TOGETHER])
    if definition and (found := definition_of(handle)) != definition:
        raise TargetError(
            f"The callback {text} that the script has given is not the one that a worker imports by that name: it is "
            f"{definition}, and that is {found}. What a script puts in a module's place is there in its own process "
            "alone: decorate the function where it is defined, or give another one, as in "
            f"Taskmaster(lambda job: {text.replace(':', '.')}(job), ...)."
        )
    setup, teardown = targets.optional(module, "setup"), targets.optional(module, "teardown")
    check_callbacks(handle, setup, teardown, found_as=found_as)
    return Callbacks(
        handle,
        setup,
        teardown,
        classes_of(getattr(module, "retry_on", None), "retry_on", where),
        classes_of(getattr(module, "give_up_on", None), "give_up_on", where) or (),
        found_as,
    )


def name_of(handle: Callable[[Any], Any]) -> str:
    """Return how messages call a callback."""
    return f"{getattr(handle, '__qualname__', type(handle).__name__)}()"


def is_async(handle: Callable[[Any], Any]) -> bool:
    """Return whether calling it gives something to await."""
    return inspect.iscoroutinefunction(handle) or inspect.iscoroutinefunction(getattr(handle, "__call__", None))  # noqa: B004


def classes_of(found: Any, name: str, where: str = "") -> Classes | None:
    """Return exception classes, given as one, or as several, as a tuple; None for None.

    Raises:
        TargetError: they are something else.
    """
    if found is None:
        return None
    classes = tuple(found) if isinstance(found, tuple | list | set | frozenset) else (found,)
    if not all(isinstance(one, type) and issubclass(one, BaseException) for one in classes):
        raise TargetError(
            f"{name}{where} is {found!r}: give an exception class, or a tuple of them, such as "
            f"{name} = (ConnectionError, TimeoutError)."
        )
    return classes
