"""``--job KEY``: one job, run in this process, without touching the run.

For a debugger and for a second look at a job that fails: ``breakpoint()`` in the callback has the
terminal, and the exception is shown as Python shows it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from taskmaster import keys
from taskmaster.django_orm import integration
from taskmaster.errors import SourceError, StateRefused, TargetError, TaskmasterError, UsageError
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import FailedJob, ParkedJob
from taskmaster.master.summary import Summary
from taskmaster.model import FailureKind
from taskmaster.outcomes import Outcome
from taskmaster.redaction import clean, clean_lines, clean_message
from taskmaster.runner.control import pages_of
from taskmaster.runner.left_open import LeftOpen
from taskmaster.runner.loading import LoadedRun
from taskmaster.runner.loop import Loop
from taskmaster.runner.state_copy import StateBusyNow, copied_state
from taskmaster.runtime.exit_guard import exit_guarded
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.slave.worker.callbacks import Callbacks, name_of
from taskmaster.slave.worker.results import NothingRan, Results
from taskmaster.slave.worker.unawaited import Unawaited, count_as_users
from taskmaster.slave.worker.worker import unpickled
from taskmaster.units import show_count

__all__ = ["run_one_job"]

OUTCOME_OF = {
    FailureKind.SKIP: ("is skipped", 0),
    FailureKind.RETRY: ("asks for another attempt", 3),
    FailureKind.ABORT: ("stops the run", 4),
}
"""What a callback says by raising, in words, and the exit code."""


@exit_guarded()
def run_one_job(
    loaded: LoadedRun, callbacks: Callable[[], Callbacks], wanted: str, state: str | None = None, grace: float = 30.0
) -> Summary:
    """Run the job with a key here, with ``setup`` before it and ``teardown`` after it.

    Args:
        loaded: What is run.
        callbacks: Gives what is called.
        wanted: The key, as `tm-ctl failures` shows it or as a person writes it.
        state: The path of the state; None for the default path.
        grace: Seconds that what it has left running has to end.

    Returns:
        How it ended; the exit code is 3 if the job failed or asked for another attempt, 4 if it
        would have stopped the run, 1 if only ``teardown`` raised, or something was left undone at
        the end.

    Raises:
        TargetError: ``setup`` raised.
        UsageError: Neither the state nor the source has such a job.
        SourceError: The source raised.
    """
    kept = _kept(loaded, wanted, loaded.state_path(state))
    if kept is None:
        job = _found(loaded.source, loaded.identity, wanted)
        payload, shown = keys.payload_of(job), loaded.identity.show(job)
    else:
        payload, shown = _unpickled(kept), keys.show(kept.key or "")
    called, loop, left_open = callbacks(), Loop(), LeftOpen()
    count_as_users(called.handle)
    bad_end = 0
    try:
        if called.setup is not None:
            _set_up(called.setup, loop)
        loop.begin_jobs()
        end, code = _end_of(called, payload, loop)
    finally:
        if called.teardown is not None:
            bad_end = int(not _tear_down(called.teardown, loop))
        began = time.monotonic()
        of_loop = loop.close(grace)
        left_open.wait(grace - (time.monotonic() - began))
        bad_end = left_open.tell(of_loop) or bad_end
        integration.close_connections()
    failed = int(code != 0)
    after = "something went wrong after it, see above; " if bad_end else ""
    sys.stderr.write(f"The job {shown} {end}; {after}the run and its state are as they were.\n")
    return Summary("", code or bad_end, settled=0, failed=failed, settled_here=0, elapsed=0.0, state="")


def _end_of(called: Callbacks, payload: Any, loop: Loop) -> tuple[str, int]:
    """Run the callback; return what became of the job, in words, and the exit code."""
    try:
        thrown_away: list[NothingRan] = []
        with Unawaited(thrown_away.append):
            results = Results(name_of(called.handle), loop.awaited)
            results.finish(integration.failing_if_open(called.handle)([payload] if called.together else payload))
        for one in thrown_away[:1]:
            raise one
    except Outcome as exc:
        what, code = OUTCOME_OF[exc.kind]
        reason = clean_message(str(exc))
        return what + (f": {reason}" if reason else ""), code
    except (Exception, SystemExit, GeneratorExit) as exc:
        sys.stderr.write(clean_lines(users_traceback(exc)))
        if type(exc).__module__ != "bdb":
            return "failed", 3
        is_typed = sys.stdin is not None and sys.stdin.isatty()
        return "did not end: the debugger was left" + ("" if is_typed else ", as its input is no terminal"), 3
    return "is done", 0


def _set_up(setup: Callable[[], Any], loop: Loop) -> None:
    try:
        Results("setup()", loop.awaited).finish(integration.run_hook(setup))
    except (Exception, SystemExit, GeneratorExit) as exc:  # sys.exit(0) would look like a job that is done
        raise TargetError(
            f"setup() raised {type(exc).__qualname__}, so that the job was not run.",
            user_traceback=users_traceback(exc),
        ) from exc


def _tear_down(teardown: Callable[[], Any], loop: Loop) -> bool:
    """Call ``teardown``; return False if it raised, which is shown."""
    try:
        Results("teardown()", loop.awaited).finish(integration.run_hook(teardown))
    except (Exception, SystemExit, GeneratorExit) as exc:
        sys.stderr.write(clean_lines(f"teardown() raised {type(exc).__qualname__}:\n{users_traceback(exc)}"))
        return False
    return True


def _kept(loaded: LoadedRun, wanted: str, state_path: Path | None) -> FailedJob | ParkedJob | None:
    """Return a job with that key that the state keeps whole: one that has failed, or is parked. The
    source need not have it any more, as it has no part of a range that was split.
    """
    state_path = None if state_path is None else Path(os.path.realpath(state_path))
    if state_path is None or not state_path.exists():
        return None
    with contextlib.suppress(StateBusyNow, StateRefused), copied_state(state_path) as store:
        store.belonging().check(state_path, loaded.known.identity, loaded.name, adopt=False)
        known: Iterator[FailedJob | ParkedJob] = chain(pages_of(store.failed), store.load().parked)
        for job in known:
            if job.payload is not None and job.key is not None and wanted in keys.spellings(job.key):
                sys.stderr.write(f"The job with the key {wanted} is taken from the state {clean(str(state_path))}.\n")
                return job
    return None


def _unpickled(job: FailedJob | ParkedJob) -> Any:
    try:
        return unpickled(job.payload or b"")
    except Exception as exc:
        raise UsageError(
            f"The job with the key {keys.show(job.key or '')} cannot be unpickled: {type(exc).__name__}.",
            user_traceback=users_traceback(exc),
        ) from exc


def _found(source: Source, identity: JobIdentity, wanted: str) -> Any:
    try:
        # Most keys are numbers, and most sources begin after the key that they are given.
        if wanted.removeprefix("-").isdecimal() and _resumes(source):
            for job in _first(source, int(wanted) - 1):
                if _is(identity, job, wanted):
                    return job
        sys.stderr.write(f"Looking for the job with the key {wanted} in {source.name}.\n")
        read, first = 0, ""
        for job in source.iterate():
            read += 1
            identity.use(source.job_key)
            first = first or identity.text(job) or ""
            if _is(identity, job, wanted):
                return job
    except TaskmasterError:
        raise
    except Exception as exc:
        raise SourceError(
            f"{source.name} raised {type(exc).__name__}.{integration.explanation(exc)}{source.hint(exc)}",
            user_traceback=users_traceback(exc),
        ) from exc
    finally:
        source.close()
    raise UsageError(
        f"No job of {source.name} has the key {wanted} ({show_count(read, 'job')} read)"
        + (f"; the first one has the key {keys.show(first)}" if first else "")
        + ". `tm-run TARGET --dry-run` shows more of them, and `tm-ctl failures` the keys of failed jobs."
    )


def _resumes(source: Source) -> bool:
    source.resolve(0, resume=True)
    return source.resumes_by_key and not source.parks  # ranges go on after a range alone


def _first(source: Source, last: int) -> Iterator[Any]:
    """Yield the first jobs after a key: a source may be one that begins at the key."""
    with contextlib.suppress(StopIteration, TypeError, ValueError):
        jobs = source.iterate(last, resume=True)
        for _ in range(2):
            yield next(jobs)


def _is(identity: JobIdentity, job: Any, wanted: str) -> bool:
    return wanted in keys.spellings(identity.text(job))
