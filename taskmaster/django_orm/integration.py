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
"""The environment variable of ``--other-databases``; workers have it from their slave."""


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
    """Return a sentence about what a project lacks, if that made the user's code raise an error; ""
    if it has another cause.

    The sentence says more than the traceback, whose end lies in Django.
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
    """Return what the user gave; a queryset or a manager becomes a source that reads it by pages.

    Raises:
        UsageError: the queryset cannot be read by pages, or a model was given.
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
        f"Jobs are instances of {label}, which are as old as the queue when a worker gets them, and large: "
        "keys, .values_list('pk', flat=True), or key ranges, QuerySetRanges(queryset), are better (docs/django.rst)."
    )


def check_start(*, here: bool = False) -> None:
    """See, where a run is started, that the connections that it uses find what those of this
    thread, or of the one that waits for it, have.

    Args:
        here: The jobs run in this process, with this thread's connections.

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
    middle of a sentence; "" if they do not.
    """
    if "django.conf" not in sys.modules:
        return ""
    from taskmaster.django_orm.databases import changed_settings as changed

    return changed()


def with_activated(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function for a thread, in which it activates the time zone and the language that are
    active in this one; the same one where there is no Django.

    The whole context would bring connections to caches, too, which each thread has for itself.
    """
    if not _may_be_connected():
        return call
    from taskmaster.django_orm.databases import with_activated as activating

    return activating(call)


def with_context(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function for a thread that runs the user's code in the place of this one: with the
    context variables of this thread, and with what ``with_activated`` takes over.
    """
    return partial(copy_context().run, with_activated(call))


def project_facts() -> dict[str, Any] | None:
    """Return the settings' module and the databases of this process as plain values, without
    passwords; None if there are none, or if workers may have others (``--other-databases``).
    """
    if "django.db" not in sys.modules or os.environ.get(OTHER_DATABASES):
        return None
    from taskmaster.django_orm.databases import facts

    return facts()


def script_facts() -> dict[str, Any] | None:
    """Return what ``project_facts`` does, in a script's process with what it does beside a save."""
    found = project_facts()
    if found is not None and not is_command() and (hooks := _hooks()) is not None:
        found["script"] = hooks
    return found


def other_project(masters: Any) -> str:
    """Return why this process must not run the jobs of a master whose process has this project; ""
    if it may.

    Args:
        masters: what ``script_facts`` gave there.
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
    """Note what is done beside a save in this worker before ``setup``, which may add to it."""
    global _hooks_at_first  # noqa: PLW0603  # a process is one worker
    _hooks_at_first = _hooks()


_hooks_at_first: dict[str, Any] | None = None


def _hooks() -> dict[str, Any] | None:
    """Return what is done here beside a save; None where the project's models are not loaded."""
    if "django.apps" not in sys.modules or not sys.modules["django.apps"].apps.ready:
        return None
    from taskmaster.django_orm.model_hooks import hooks

    return hooks()


def failing_if_open(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a callback that fails a job which leaves a transaction open, or in which one was
    undone without a word; the same one where there is no Django.

    Args:
        call: the callback; used in this thread alone.
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
        """Return a result whose coroutines, also those in a list, are looked at when they end."""
        if hasattr(type(result), "__await__"):
            return awaited(result)
        if depth and type(result) in (list, tuple):
            kinds = set(map(type, result))
            if kinds & {list, tuple} or any(hasattr(kind, "__await__") for kind in kinds):
                return [seen(one, depth - 1) for one in result]
        return result

    return checked


def run_hook(hook: Callable[[], Any]) -> Any:
    """Call ``setup`` or ``teardown``, and give what it returned.

    Raises:
        JobLeftTransaction: it left a transaction open, which nobody would end.
    """
    return failing_if_open(lambda _: hook())(None)


@contextmanager
def kept_connections() -> Iterator[None]:
    """Leave this thread's connections as they are meanwhile: they are the caller's, who may be
    inside of a transaction, or of a test.
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

    A library may import Django where no project is set up: its settings are not there then, and
    asking for connections would raise.
    """
    return "django.db" in sys.modules and bool(sys.modules["django.conf"].settings.configured)


def refresh_connections() -> None:
    """Close connections that are unusable or too old: before and after a batch, after a job that
    has failed, and around each call of a hook.
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
    """Let go of the parent's connections in a forked child, before it runs any user code."""
    if _may_be_connected():
        from taskmaster.django_orm.connections import drop_after_fork as drop

        drop()
