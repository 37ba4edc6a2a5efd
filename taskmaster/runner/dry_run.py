"""``--dry-run``: the first jobs of a source, and whether they could be run, without running any.

Opens no port, starts no slave and leaves every state as it is: one that is there already is looked
at in a copy. Jobs go to standard output, one a line; all else to standard error.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from taskmaster import keys
from taskmaster.django_orm import integration
from taskmaster.errors import SourceError, TaskmasterError, UsageError
from taskmaster.master.reading.job_checks import order_warning
from taskmaster.master.reading.key_order import KeyOrder
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.pickling import MAX_JOB_BYTES, pickled
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.stores.default_path import check_directory
from taskmaster.master.summary import Summary
from taskmaster.redaction import clean, clean_message
from taskmaster.runner.state_copy import StateBusyNow, copied_state
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.units import show_count

__all__ = ["preview", "resume_point"]


def preview(source: Source, identity: JobIdentity, count: int, state: str) -> Summary:
    """Look at the first jobs of a source.

    Args:
        source: The source of the jobs.
        identity: Tells them apart.
        count: How many jobs to show.
        state: A sentence about the run's state.

    Raises:
        SourceError: The source raised.
        UsageError: A job has no key that can be stored, or cannot be sent to a slave.
    """
    seen: list[str] = []
    order = KeyOrder()
    advice = ""
    jobs = _jobs(source, count)
    whole = False
    try:
        for job in jobs:
            identity.use(source.job_key)
            text = _key(identity, job)
            if source.resumes_by_key and not source.sure:
                order.breaks([identity.key(job)])
            _check_pickle(identity, job, text)
            seen.append(text)
            advice = advice or integration.advice(keys.payload_of(job))
            sys.stdout.write(f"{clean(keys.show(text))}\t{clean(identity.show(job))}\n")
        whole = len(seen) < count
    finally:
        jobs.close()
        sys.stdout.flush()
        lines = [_of_number(source, len(seen), whole=whole), _of_last(source), *_of_keys(seen), advice, state]
        if order.fault:
            lines.append(f"Warning: {order_warning(source.name, order.fault)}")
        sys.stderr.writelines(f"{clean_message(line)}\n" for line in lines if line)
    sys.stderr.write("Dry run: nothing was run, and no state was touched.\n")
    return Summary(run="", exit_code=0, settled=0, failed=0, settled_here=0, elapsed=0.0, state="")


def resume_point(path: Path, identity: RunIdentity, target: str, *, adopt: bool = False) -> str:
    """Return where a run would begin, as a sentence.

    Args:
        path: The state file, which need not be there.
        identity: What it has to belong to.
        target: Its name in messages.
        adopt: Whether a state of another run would be taken over.

    Raises:
        StateRefused: The run would be refused because of it.
    """
    state = Path(os.path.realpath(path))
    if not state.exists():
        check_directory(state)
        return f"There is no state {state}: a run would begin at the first job."
    try:
        with copied_state(state) as store:
            store.belonging().check(state, identity, target, adopt=adopt)
            record = store.load()
    except StateBusyNow:
        return f"A master may be running: the state {state} cannot be read now, so it is not known where it is."
    if record.finished is not None:
        settled = show_count(record.settled, "job")
        return f"The run whose state is {state} has finished, with {settled} settled; --reset runs all again."
    if record.mark is None and not record.settled:
        return f"The state {state} holds no settled job: a run would begin at the first one."
    reached = f"key {keys.show(record.mark)}" if record.mark is not None else "the beginning"
    settled = f"{show_count(record.settled, 'job')} settled so far"
    if record.parked:
        settled += f", {len(record.parked)} parked ones go first"
    return f"A run would resume at {reached} ({settled}); the state is {state}"


# -- jobs ------------------------------------------------------------------------------------------


def _jobs(source: Source, count: int) -> Generator[Any]:
    """Yield the first jobs; the user's generator runs its ``finally`` blocks when this one is
    closed.
    """
    number = 0
    iterator: Iterator[Any] | None = None
    try:
        iterator = source.iterate()
        for job in islice(iterator, count):
            number += 1
            yield job
    except TaskmasterError:
        raise
    except (Exception, SystemExit) as exc:
        raise SourceError(
            f"{source.name} raised {type(exc).__name__} after {show_count(number, 'job')}."
            f"{integration.explanation(exc)}{source.hint(exc)}",
            user_traceback=users_traceback(exc),
        ) from exc
    finally:
        close = getattr(iterator, "close", None)
        if callable(close):
            close()


def _key(identity: JobIdentity, job: Any) -> str:
    try:
        return identity.check(job)
    except TaskmasterError:
        raise
    except (Exception, SystemExit) as exc:
        raise UsageError(
            f"The key of the job {identity.show(job)} cannot be taken: {type(exc).__name__}.",
            user_traceback=users_traceback(exc),
        ) from exc


def _check_pickle(identity: JobIdentity, job: Any, text: str) -> None:
    """Check that the job could be sent to a slave."""
    which = f"The job {identity.show(job)}, with the key {keys.show(text)},"
    how = "Yield its key or plain values, and let the callback fetch the rest."
    doing = "pickled, as it is sent to slaves"
    try:
        blob = pickled(job)
        doing = "unpickled, as slaves do it"
        pickle.loads(blob)
    except (Exception, SystemExit) as exc:
        shown = users_traceback(exc)
        theirs = shown if __file__ not in shown else None  # else no line of the user's took part in it
        raise UsageError(
            f"{which} cannot be {doing}: {type(exc).__name__}: {exc}. {how}", user_traceback=theirs
        ) from exc
    if len(blob) > MAX_JOB_BYTES:
        raise UsageError(
            f"{which} has {len(blob):,} bytes when it is pickled, and at most {MAX_JOB_BYTES:,} are sent. {how}"
        )


_COMES_BACK = (
    "The key {} comes back after other keys: a run that is resumed there would not know where. Give each job its own "
    "key, with Job(key, payload) or job_key(job)."
)


# -- sentences -------------------------------------------------------------------------------------


def _of_number(source: Source, seen: int, *, whole: bool) -> str:
    if seen == 0:
        return f"{source.name} yielded no job." if whole else f"No job of {source.name} can be shown."
    there = f"the first {seen} jobs of {source.name}" if seen > 1 else f"the first job of {source.name}"
    return f"Above: {there}, with key and content{'; there are no more' if whole else ''}."


def _of_last(source: Source) -> str:
    if source.resumes_by_key:
        return f"{source.name} can go on after a key: a resumed run begins where it was."
    return (
        f"{source.name} takes no `last`: a resumed run reads it again from its beginning, up to the key where it was."
    )


def _of_keys(seen: list[str]) -> list[str]:
    """Return whether the keys tell the jobs apart; equal ones may follow each other, but must not
    come back.
    """
    if len(set(seen)) == len(seen):
        return ["Their keys are distinct."] if len(seen) > 1 else []
    met: set[str] = set()
    former = ""
    for text in seen:
        if text in met and text != former:
            return [_COMES_BACK.format(keys.show(text))]
        met.add(text)
        former = text
    different = show_count(len(met), "different key")
    return [f"They have {different}; jobs with equal keys follow each other, and a run is not cut there."]
