"""The bridge from the rest of Taskmaster to a Django project; without Django it does nothing.

The parts of the core that import, fork, run or read the user's code call these functions. Django is
imported here only if its settings are named; everything else happens only where the user's code has
imported Django already.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from taskmaster.runtime.invocation import is_command

__all__ = [
    "SETTINGS_VARIABLE",
    "advice",
    "as_source",
    "changed_settings",
    "check_start",
    "close_before_fork",
    "close_connections",
    "drop_after_fork",
    "explanation",
    "failing_if_open",
    "kept_connections",
    "note_hooks",
    "other_project",
    "project_facts",
    "refresh_connections",
    "run_hook",
    "script_facts",
    "set_up_project",
    "settings_of",
    "with_activated",
    "with_context",
]

SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"
"""The environment variable that names a project's settings."""

OTHER_DATABASES = "TASKMASTER_OTHER_DATABASES"
"""The environment variable of ``--other-databases``; workers inherit it from their slave."""


_KEPT = threading.local()


def set_up_project() -> None:
    """Set up the project whose settings the environment names; to be called before a target is
    imported.

    Raises:
        TargetError: the project cannot be set up.
    """
    settings = os.environ.get(SETTINGS_VARIABLE)
    if settings:
        from taskmaster.django_orm.project import set_up

        set_up(settings)


def explanation(exc: BaseException) -> str:
    """Return a sentence about what a project lacks, if that is why the user's code raised an error;
    "" if the error has another cause.

    The sentence says more than the traceback, which ends inside Django.
    """
    if "django" not in sys.modules:
        return ""
    from taskmaster.django_orm.project import explain

    return explain(exc)


def settings_of(exc: BaseException) -> str:
    """Return a sentence that names the settings, for the message about a target that raised an
    error; "" if the error does not look as if it came from them.
    """
    settings = os.environ.get(SETTINGS_VARIABLE)
    theirs = any(kind.__module__.partition(".")[0] == "django" for kind in type(exc).__mro__)
    if not settings or not (theirs or "INSTALLED_APPS" in str(exc)):
        return ""
    return f" Django's settings are {settings} (--django-settings, or {SETTINGS_VARIABLE})."


def as_source(jobs: Any) -> Any:
    """Return a source that reads a queryset or a manager in pages; any other value unchanged.

    Raises:
        UsageError: the queryset cannot be read in pages, or a model was given.
    """
    models = sys.modules.get("django.db.models")
    kinds = tuple(getattr(models, name) for name in ("QuerySet", "Manager") if hasattr(models, name))
    if not (isinstance(jobs, kinds) or (isinstance(jobs, type) and issubclass(jobs, getattr(models, "Model", ())))):
        return jobs
    from taskmaster.django_orm import RangeQuerySetWrapper

    return RangeQuerySetWrapper(jobs)


def advice(job: Any) -> str:
    """Return a sentence of advice about a job; "" if it is no model instance."""
    model = getattr(sys.modules.get("django.db.models"), "Model", None)
    if model is None or not isinstance(job, model):
        return ""
    label = type(job)._meta.label  # Django has no other name for it
    return (
        f"Jobs are instances of {label}, which are large, and may be out of date when a worker gets them: keys, "
        ".values_list('pk', flat=True), or key ranges, QuerySetRanges(queryset), are better (docs/django.rst)."
    )


def check_start(*, here: bool = False) -> None:
    """Check, at the start of a run, that its connections will see the same rows as those of this
    thread, and of a thread that waits for this one.

    Args:
        here: whether the jobs run in this process, with this thread's connections.

    Raises:
        UsageError: they would not, as inside of a transaction.
    """
    if "django.db" in sys.modules:
        from taskmaster.django_orm.start_check import check, check_threads

        check_threads(here=here)
        if not here:
            check()


def changed_settings() -> str:
    """Return how Django's settings here differ from those that a new process would load, as the
    rest of a sentence that begins with "Django's settings"; "" if they do not.
    """
    if "django.conf" not in sys.modules:
        return ""
    from taskmaster.django_orm.databases import changed_settings as changed

    return changed()


def with_activated(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function for another thread that activates this thread's time zone and language, and
    then calls ``call``; ``call`` itself where there is no Django.

    The whole context is not copied: it has connections to caches, which belong to one thread.
    """
    if not _may_be_connected():
        return call
    from taskmaster.django_orm.databases import with_activated as activating

    return activating(call)


def with_context(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function for another thread that calls ``call`` with this thread's context
    variables, time zone and language: that thread runs the user's code instead of this one.
    """
    return partial(copy_context().run, with_activated(call))


def project_facts() -> dict[str, Any] | None:
    """Return the settings module and the databases of this process as plain values, without
    passwords; None without Django, or if workers may have others (``--other-databases``).
    """
    if "django.db" not in sys.modules or os.environ.get(OTHER_DATABASES):
        return None
    from taskmaster.django_orm.databases import facts

    return facts()


def script_facts() -> dict[str, Any] | None:
    """Return ``project_facts``; in the process of a script, with its model hooks as ``script``."""
    found = project_facts()
    if found is not None and not is_command() and (hooks := _hooks()) is not None:
        found["script"] = hooks
    return found


def other_project(masters: Any) -> str:
    """Return why this process must not run the jobs of a master, by comparing their projects; "" if
    it may.

    Args:
        masters: the result of ``script_facts`` in the master's process.
    """
    own = project_facts() if isinstance(masters, dict) else None
    if own is None:
        return ""
    from taskmaster.django_orm.databases import difference

    if why := difference(masters, own, theirs="the master's process", ours="the workers'"):
        return (
            f"{why} Start both with the same settings and environment; --other-databases, on both sides or on one, if "
            "this is the same database under another name."
        )
    if (scripts := masters.get("script")) is None or (hooks := _hooks()) is None:
        return ""
    from taskmaster.django_orm.model_hooks import changed_hooks

    return changed_hooks(scripts, hooks, _hooks_at_first or hooks)


def note_hooks() -> None:
    """Note the model hooks of this worker before ``setup``, which may add some."""
    global _hooks_at_first  # noqa: PLW0603  # a process is one worker
    _hooks_at_first = _hooks()


_hooks_at_first: dict[str, Any] | None = None


def _hooks() -> dict[str, Any] | None:
    """Return this process's model hooks; None where the project's models are not loaded."""
    if "django.apps" not in sys.modules or not sys.modules["django.apps"].apps.ready:
        return None
    from taskmaster.django_orm.model_hooks import hooks

    return hooks()


def failing_if_open(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a callback that raises if a job leaves a transaction open, or if one was rolled back
    in it without an exception; ``call`` itself where there is no Django.

    Args:
        call: the callback; it is called in this thread only.
    """
    if "django.db" not in sys.modules:
        return call
    if not _may_be_connected():
        return lambda job: failing_if_open(call)(job) if _may_be_connected() else call(job)
    from taskmaster.django_orm.connections import CoroutineCheck, JobLeftTransaction, TransactionCheck
    from taskmaster.django_orm.undone import looked_at

    check = TransactionCheck(surrounded=_are_kept()).check
    awaited = CoroutineCheck(surrounded=_are_kept()).awaited

    def checked(job: Any) -> Any:
        try:
            with looked_at():
                result = call(job)
        except BaseException:
            with suppress(JobLeftTransaction):
                check()
            raise
        check()
        return seen(result)

    def seen(result: Any, depth: int = 3) -> Any:
        """Return the result with its coroutines, also those in lists, replaced by checked ones."""
        if hasattr(type(result), "__await__"):
            return awaited(result)
        if depth and type(result) in (list, tuple):
            kinds = set(map(type, result))
            if kinds & {list, tuple} or any(hasattr(kind, "__await__") for kind in kinds):
                return [seen(one, depth - 1) for one in result]
        return result

    return checked


def run_hook(hook: Callable[[], Any]) -> Any:
    """Call ``setup`` or ``teardown``, and return its result.

    Raises:
        JobLeftTransaction: it left a transaction open.
    """
    return failing_if_open(lambda _: hook())(None)


@contextmanager
def kept_connections() -> Iterator[None]:
    """Keep this thread's connections open during the block: they belong to the caller, which may be
    inside of a transaction or a test.
    """
    _KEPT.depth = getattr(_KEPT, "depth", 0) + 1
    try:
        yield
    finally:
        _KEPT.depth -= 1


def _are_kept() -> bool:
    return getattr(_KEPT, "depth", 0) > 0


def _may_be_connected() -> bool:
    """Return whether this process may have connections of Django's.

    A library may import Django where no project is set up: there are no settings then, and a look
    at the connections would raise.
    """
    return "django.db" in sys.modules and bool(sys.modules["django.conf"].settings.configured)


def refresh_connections() -> None:
    """Close connections that are unusable or too old.

    Called before and after a batch, after a job that has failed, and around each call of a hook.
    """
    if _may_be_connected() and not _are_kept():
        from taskmaster.django_orm.connections import refresh

        refresh()


def close_connections() -> None:
    """Close the connections of a thread that ran the user's code and ends."""
    if _may_be_connected():
        from taskmaster.django_orm.connections import close

        close()


def close_before_fork() -> None:
    """Close connections in a process that is about to fork."""
    if _may_be_connected():
        from taskmaster.django_orm.connections import close_before_fork as close

        close()


def drop_after_fork() -> None:
    """Give up the parent's connections in a forked child, before it runs any user code."""
    if _may_be_connected():
        from taskmaster.django_orm.connections import drop_after_fork as drop

        drop()
