"""``--job KEY``: one job, run in this process, without touching the run.

For a debugger and for a second look at a job that fails: ``breakpoint()`` in the callback has the
terminal, and the exception is shown as Python shows it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from taskmaster import keys
from taskmaster.django_orm import integration
from taskmaster.errors import SourceError, TaskmasterError, UsageError
from taskmaster.master.job_identity import JobIdentity
from taskmaster.master.reading.source import Source
from taskmaster.master.summary import Summary
from taskmaster.runner.loading import LoadedRun
from taskmaster.runner.loop import Loop
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.slave.worker.callbacks import Callbacks, name_of
from taskmaster.slave.worker.results import Results

__all__ = ["run_one_job"]


def run_one_job(loaded: LoadedRun, callbacks: Callable[[], Callbacks], wanted: str) -> Summary:
    """Run the job with a key here, with ``setup`` before it and ``teardown`` after it.

    Args:
        loaded: What is run.
        callbacks: Gives what is called.
        wanted: The key, as `tm-ctl failures` shows it or as a person writes it.

    Returns:
        How it ended; the exit code is 3 if the job failed.

    Raises:
        UsageError: The source has no such job.
        SourceError: The source raised.
    """
    job = _found(loaded.source, loaded.identity, wanted)
    called, loop = callbacks(), Loop()
    failed = 0
    try:
        if called.setup is not None:
            Results("setup()", loop.awaited).finish(called.setup())
        payload = keys.payload_of(job)
        results = Results(name_of(called.handle), loop.awaited)
        results.finish(called.handle([payload] if called.together else payload))
    except (Exception, SystemExit, GeneratorExit) as exc:
        failed = 1
        sys.stderr.write(users_traceback(exc))
    finally:
        if called.teardown is not None:
            Results("teardown()", loop.awaited).finish(called.teardown())
        loop.close()
        integration.close_connections()
    end = "failed" if failed else "is done"
    sys.stderr.write(f"The job {loaded.identity.show(job)} {end}; the run and its state are as they were.\n")
    return Summary("", 3 if failed else 0, settled=0, failed=failed, settled_here=0, elapsed=0.0, state="")


def _found(source: Source, identity: JobIdentity, wanted: str) -> Any:
    try:
        # Most keys are numbers, and most sources begin after the key that they are given.
        if wanted.removeprefix("-").isdecimal() and _resumes(source):
            for job in _first(source, int(wanted) - 1):
                if _is(identity, job, wanted):
                    return job
        sys.stderr.write(f"Looking for the job with the key {wanted} in {source.name}.\n")
        read = 0
        for job in source.iterate():
            read += 1
            identity.use(source.job_key)
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
    raise UsageError(f"None of the {read} jobs of {source.name} has the key {wanted}: see `tm-run TARGET --dry-run`.")


def _resumes(source: Source) -> bool:
    source.resolve(0, resume=True)
    return source.resumes_by_key


def _first(source: Source, last: int) -> Iterator[Any]:
    """Yield the first jobs after a key: a source may be one that begins at the key."""
    with contextlib.suppress(StopIteration, TypeError, ValueError):
        jobs = source.iterate(last, resume=True)
        for _ in range(2):
            yield next(jobs)


def _is(identity: JobIdentity, job: Any, wanted: str) -> bool:
    return wanted in keys.spellings(identity.text(job))
