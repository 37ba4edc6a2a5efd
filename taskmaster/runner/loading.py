"""From a TARGET, or from what a script gives, to one value that says what is run.

``tm-master``, ``tm-run`` and ``Taskmaster`` each make a ``LoadedRun``, and hand it to one session.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from taskmaster.errors import StateRefused
from taskmaster.guards import hooks_of
from taskmaster.guards.pace import Pace, pace_of
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.skew import Skew
from taskmaster.records import record
from taskmaster.runner.identities import KnownRun, find_state, of_script, of_target, under_test
from taskmaster.runtime import green_threads, replaced_clock, replaced_functions, working_directory
from taskmaster.runtime.invocation import is_piped
from taskmaster.user_code import target as targets
from taskmaster.user_code.arguments import converted, texts_of
from taskmaster.user_code.arity import TOGETHER, check_callbacks, takes_lists
from taskmaster.user_code.code_version import (
    callback_in_memory,
    callback_of,
    code_in_memory,
    code_of,
    definition_of,
    importable,
    real_path_in_memory,
    real_path_of,
)

__all__ = ["LoadedRun", "load_script", "load_target"]

logger = logging.getLogger(__name__)

NAMELESS = (
    "This callback has no name to call the state after, so that the run cannot be resumed; "
    'state="NAME.tmstate" makes it resumable.'
)
PIPED = (
    "This script comes from a pipe and has no name to call the state after, so that the run cannot be resumed; "
    'state="NAME.tmstate" makes it resumable.'
)
IN_TEST = (
    "This is a test, which has to find the same each time: no state is kept, so that the run cannot be resumed; "
    'state="NAME.tmstate" keeps one.'
)


@record(slots=False)
class LoadedRun:
    """What is run.

    Attributes:
        source: The source of the jobs.
        identity: Tells jobs apart.
        hooks: What the user has named as ``throttle``.
        name: The name of the run in messages.
        known: What the state has to belong to, and where it is by default.
        stateless: Why no state is kept if nobody names one, as a sentence; "" if one is.
        given: The objects that a script gave, callback and jobs; empty for a command.
        told_slaves: What slaves are to be started with, for a message.
        slave_target: What slaves are started with; None if they cannot be started elsewhere.
        callback: Module of the callback that belongs to the jobs; "" if none does.
        code: Digest of the file with that callback; "" if that is not known.
        definition: Where the callback is defined that a script has given and workers import; "" if
            there is none.
        callback_file: Real path of that file; "" if there is none, or if it is not compared.
        pace: What the user has named as ``pace``; None if nothing is.
        typed_in: Where a command was typed, and its state is, wherever the module goes when it is
            imported; None for a script.
    """

    source: Source
    identity: JobIdentity
    hooks: tuple[Callable[[], Any], ...]
    name: str
    known: KnownRun
    slave_target: str | None
    told_slaves: str
    stateless: str = ""
    given: tuple[Any, ...] = ()
    callback: str = ""
    code: str = ""
    definition: str = ""
    callback_file: str = ""
    pace: Pace | None = None
    typed_in: Path | None = None

    def state_path(self, state: str | None, *, existing: bool = False) -> Path | None:
        """Return where the run's state is; None if there is to be none.

        Args:
            state: Where the user wants it; None or "" for the default path.
            existing: Whether the state has to exist, as for ``--failed``.

        Raises:
            StateRefused: None has been there.
        """
        if self.stateless and not state:
            return None
        state_path = Path(state) if state else find_state(self.known)
        if state and self.typed_in is not None and not state_path.exists():
            state_path = self.typed_in / state
        if existing and not state_path.exists():
            raise StateRefused(
                f"There is no state {state_path.absolute()}, and no run of which --failed could run failed jobs again. "
                "Call this in the directory in which that run was begun, with the same arguments, or name its state "
                "with --state=PATH."
            )
        return state_path

    def skew(self, *, strict: bool) -> Skew:
        """Return what compares the run's slaves with what is run.

        Args:
            strict: Whether slaves with another callback are refused.
        """
        file = self.callback_file
        return Skew(strict=strict, code=self.code, callback=self.callback, target=self.told_slaves, file=file)


def load_target(
    target: str, arguments: Mapping[str, str], get_jobs: str | None, handle_job: str | None = None, *, local: bool
) -> LoadedRun:
    """Load what a command's target names.

    Args:
        target: What the user named, see ``taskmaster.user_code.target``.
        arguments: The arguments of the function that yields jobs.
        get_jobs: Name of that function, if the target names none.
        handle_job: Name of the callback, if it is not the usual one.
        local: Whether workers of this machine are started, so that there has to be a callback.

    Raises:
        TargetError: It cannot be loaded, lacks a function, or has one that takes other arguments.
    """
    parsed = targets.with_function(target, get_jobs)
    module = targets.load(parsed)
    where = targets.without_function(target)
    green_threads.check_master(where, workers=local)
    replaced_clock.check(where)
    replaced_functions.check(where)
    source = _source_of(module, parsed, arguments)
    slave_target = where + (f":{handle_job}" if handle_job else "")
    has_callback = _check_callback(module, slave_target, handle_job, local=local)
    usual = handle_job in (None, "handle_job", TOGETHER)
    known = of_target(parsed, arguments, "" if usual or handle_job is None else handle_job)
    if source.identity is not None:
        # One file may read another database tomorrow: --django-settings says which.
        known = replace(known, identity=known.identity.reading(source.identity()))
    return LoadedRun(
        source=source,
        identity=JobIdentity(targets.optional(module, "job_key")),
        hooks=hooks_of(getattr(module, "throttle", None), f"throttle in {where}"),
        name=target,
        known=known,
        slave_target=slave_target,
        told_slaves=slave_target if has_callback else "",
        callback=callback_of(slave_target) if has_callback else "",
        code=code_of(slave_target) if has_callback else "",
        callback_file=real_path_of(slave_target) if has_callback else "",
        pace=pace_of(getattr(module, "pace", None), where),
        typed_in=working_directory.where_typed(),
    )


def _source_of(module: ModuleType, parsed: targets.Target, arguments: Mapping[str, str]) -> Source:
    """Return the source that a module's function makes of its arguments."""
    jobs = targets.find(module, parsed, ["get_jobs"])
    typed = converted(jobs, arguments)
    name = getattr(jobs, "__name__", "get_jobs")
    return Source(jobs, typed, targets.optional(module, "count_jobs"), name, texts_of(jobs, typed))


def _check_callback(module: ModuleType, slave_target: str, handle_job: str | None, *, local: bool) -> bool:
    """Check the callback, and what is called around it; return whether there is a callback here.

    Args:
        module: The user's module.
        slave_target: What slaves are started with.
        handle_job: The name of the callback, if it is not the usual one.
        local: Whether workers of this machine are started, so that there has to be one.
    """
    callbacks = [name for name in ("handle_job", TOGETHER) if callable(getattr(module, name, None))]
    handle: Callable[..., Any] | None
    if local:
        called = targets.parse(slave_target)
        found_as, handle = targets.find_named(targets.load(called), called, ["handle_job", TOGETHER])
    else:
        found_as = "handle_job" if targets.optional(module, "handle_job") else TOGETHER
        handle = targets.optional(module, found_as) if handle_job is None else None
    around = (targets.optional(module, name) for name in ("setup", "teardown", "job_key"))
    check_callbacks(handle, *around, found_as=found_as)
    if len(callbacks) > 1 and handle is not None and handle_job is None and not takes_lists(handle, found_as):
        logger.warning(
            "%s defines handle_job and handle_jobs; handle_job is called, with each job. "
            "--handle-job-callback=handle_jobs calls the other one, with lists of jobs",
            slave_target,
        )
    return local or bool(callbacks)


def load_script(
    callback: Callable[[Any], Any],
    jobs: Any,
    source: Source,
    identity: JobIdentity,
    hooks: tuple[Callable[[], Any], ...],
    *,
    plain: bool,
) -> LoadedRun:
    """Say what a script runs.

    Args:
        callback: Called with each job.
        jobs: What the script gave.
        source: Made of that.
        identity: Tells jobs apart.
        hooks: What holds the run back.
        plain: Whether there is nothing but the callback, so that a worker can import it by its
            name.
    """
    slave_target = importable(callback) if plain else None
    stateless = ""
    if getattr(callback, "__name__", "<lambda>") == "<lambda>":
        stateless = NAMELESS
    elif is_piped():
        stateless = PIPED
    elif under_test():
        stateless = IN_TEST
    return LoadedRun(
        source=source,
        identity=identity,
        hooks=hooks,
        name=getattr(callback, "__qualname__", type(callback).__name__),
        known=of_script(callback, jobs, source),
        slave_target=slave_target,
        told_slaves=slave_target or sys.argv[0],
        stateless=stateless,
        given=(callback, jobs),
        callback=callback_of(slave_target) if slave_target else callback_in_memory(callback),
        code=code_of(slave_target) if slave_target else code_in_memory(callback),
        definition=definition_of(callback) if slave_target else "",
        callback_file=real_path_of(slave_target) if slave_target else real_path_in_memory(callback),
    )
