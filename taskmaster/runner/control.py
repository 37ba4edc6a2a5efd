"""What ``tm-ctl`` finds out about a run: from the master where one is running, else from the state
file.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from taskmaster import keys
from taskmaster.errors import ConnectError, NoMaster, StateBusy, StateError, StateLocked, UsageError
from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.stores.default_path import SUFFIX
from taskmaster.master.stores.sqlite.glance import owner_of, runs_in, serving_at
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.records import record
from taskmaster.runner.answer_shapes import readable
from taskmaster.transport import client, keyfile
from taskmaster.transport.address import Address, is_this_machine, parse

__all__ = [
    "StateLine",
    "connect",
    "drop_all_failures",
    "drop_failures",
    "failures",
    "failures_of",
    "find_master",
    "left_key",
    "master_of",
    "no_such_key",
    "pages_of",
    "restore",
    "runs_in",
    "runs_of",
    "serving_at",
    "states_in",
    "trail_of",
]

BUSY_PAUSE_SECONDS = 0.5  # after which a master that was busy is asked again
MOST_IN_MEMORY_BYTES = 64 * 1024 * 1024  # of failed jobs that are listed; more are kept in a file meanwhile
MOST_STATES_EXAMINED, MOST_NAMED = (
    200,
    3,
)  # states of a directory: that are searched for a running master, and that a message names
MOST_BUSY_PAUSES = 20  # pauses after which a master that stays busy is given up


def connect(host: str, key: str | None, key_file: str | None) -> client.MasterConnection:
    """Return a connection to a running master.

    Raises:
        ConnectError: There is none, or it has another key.
    """
    address = parse(host)
    text = _given_key(key, key_file) or left_key(address)
    if text is None:
        here = _at_work_here()
        known = (
            f"At work in this directory is the master of {' and that of '.join(here)}: name its state, as in `tm-ctl "
            f"status {shlex.quote(here[0])}`. Or give"
            if here
            else "Is it running? Name its state or its TARGET, if it runs on this machine; or give"
        )
        raise ConnectError(
            f"No master of yours has left a key for {address} on this machine. {known} another address with --host, "
            "or the master's key with --key-file or --key."
        )
    return client.connect(address.host, address.port, keyfile.as_bytes(text))


def _at_work_here() -> list[str]:
    """Return the first states of the working directory that a master of this machine is at."""
    found: list[str] = []
    for path in sorted(Path().glob(f"*{SUFFIX}"))[:MOST_STATES_EXAMINED]:
        with contextlib.suppress(StateError):  # it is none of the user's own
            if owner_of(path)[1] is not None:
                found.append(path.name)
    return found[:MOST_NAMED]


def _given_key(key: str | None, key_file: str | None) -> str | None:
    """Return the key that was given. That of the environment is taken out of it at the first
    connection, and kept for those that follow: one may break, or a command need two.
    """
    named = key_file is not None and key_file == os.environ.get("TASKMASTER_KEY_FILE")
    text = keyfile.resolve(key, key_file, os.environ, "environment" if named else "command line").text
    if key is not None or key_file is not None:
        return text
    if text is not None:
        _of_environment[:] = [text]
    return _of_environment[0] if _of_environment else None


_of_environment: list[str] = []  # the key, once it was taken
os.register_at_fork(after_in_child=_of_environment.clear)


def left_key(address: Address) -> str | None:
    """Return the key that a master of this user has left for its port on this machine, None if
    there is none.
    """
    return keyfile.find(address.port) if is_this_machine(address.host) else None


def failures(path: str, kind: str | None = None) -> Iterator[FailedJob]:
    """Yield the failed jobs of a state file's current run, oldest first, without their payloads; if
    a master of this machine is at it, it is asked.

    They are read before the first one is given: somebody who looks through them in a pager must not
    keep a master from the state.

    Args:
        path: The state file.
        kind: Only those that failed with this class of exception at last.
    """
    try:
        store = SqliteStore.open_existing(path)
    except StateLocked as exc:
        if exc.address is None:
            raise
        yield from failures_of(exc.address, None, None, kind)
        return
    with tempfile.SpooledTemporaryFile(MOST_IN_MEMORY_BYTES, "w+", encoding="ascii") as kept:
        try:
            for job in pages_of(lambda after: store.failed(after, kind=kind)):
                kept.write(json.dumps([job.id, job.key, job.job, job.attempts]) + "\n")
        finally:
            store.close()
        kept.seek(0)
        yield from (_without_payload(*json.loads(line)) for line in kept)


def _without_payload(number: int, key: str | None, job: str, attempts: Sequence[Sequence[Any]]) -> FailedJob:
    return FailedJob(number, key, job, None, tuple(Attempt(*one[:6]) for one in attempts))


def failures_of(
    host: str, key: str | None, key_file: str | None, kind: str | None = None
) -> Generator[FailedJob, None, None]:
    """Yield the failed jobs of a running master's run, oldest first.

    Raises:
        StateBusy: The master has not come to the end of a checkpoint for some seconds.
    """
    connection = connect(host, key, key_file)

    def page(after: int) -> list[FailedJob]:
        waits = 0
        while (answer := connection.call("failures", after, kind)) is None:
            if waits == MOST_BUSY_PAUSES:
                raise StateBusy(
                    f"The master at {host} has not been able to write a checkpoint for "
                    f"{waits * BUSY_PAUSE_SECONDS:.0f} s, and its failed jobs cannot be read meanwhile. "
                    "`tm-ctl status` says how the run is; ask again later."
                )
            waits += 1
            time.sleep(BUSY_PAUSE_SECONDS)
        found = [_without_payload(*one[:4]) for one in readable("failures", answer, host)]
        if found and found[-1].id <= after:
            raise ConnectError(f"The master at {host} gives the same failed jobs again and again: check --host.")
        return found

    try:
        yield from pages_of(page)
    finally:
        connection.close()


@record()
class StateLine:
    """A line of the list of state files.

    Attributes:
        path: The file.
        belongs: What it belongs to; "" if that is not known.
        run: Its current run; None if it cannot be read now.
        remark: Why it cannot be read, or that a run is going on; "" for nothing.
    """

    path: Path
    belongs: str
    run: RunRecord | None
    remark: str = ""


def states_in(directory: Path) -> Iterator[StateLine]:
    """Yield the state files of a directory, by their names."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            store = SqliteStore.open_existing(path)
        except StateLocked as exc:
            yield StateLine(path, "", None, f"a run is going on{f', ask {exc.address}' if exc.address else ''}")
            continue
        except StateError as exc:
            yield StateLine(path, "", None, str(exc).partition(". ")[0])
            continue
        try:
            yield StateLine(path, store.belonging().describe(), store.load())
        except (StateError, ValueError) as exc:
            yield StateLine(path, "", None, str(exc).partition(". ")[0])
        finally:
            store.close()


def runs_of(path: str) -> list[RunRecord]:
    """Return all runs that a state file holds, the newest first.

    Raises:
        StateLocked: A run is going on; says how to ask its master.
    """
    store = _at_rest(path, "its runs can be listed")
    try:
        return list(store.runs())
    finally:
        store.close()


def restore(path: str, run: str) -> RunRecord:
    """Make a former run of a state file the current one again; returns it.

    Raises:
        StateLocked: A run is going on.
    """
    store = _at_rest(path, "a former one can be taken back")
    try:
        return store.restore(run)
    finally:
        store.close()


def trail_of(path: str) -> list[dict[str, Any]] | None:
    """Return the trail of a state file's current run, oldest first; None if a master is at it,
    which knows more.
    """
    try:
        store = SqliteStore.open_existing(path)
    except StateLocked:
        return None
    try:
        return [row._asdict() for row in store.load().trail]
    finally:
        store.close()


def _at_rest(path: str, what: str) -> SqliteStore:
    """Open a state that no master has."""
    try:
        return SqliteStore.open_existing(path)
    except StateLocked as exc:
        raise StateLocked(
            f"A run is going on with the state {path}: {what} when it has ended. `tm-ctl status {shlex.quote(path)}` "
            "says how it stands.",
            exc.address,
        ) from exc


def drop_failures(path: str, wanted: Sequence[str], kind: str | None = None) -> dict[str, int]:
    """Forget the failed jobs with these keys; gives how many there were of each.

    Args:
        path: The state file of a run that is not going on.
        wanted: Keys as they are shown, or as they are stored.
        kind: Only those that failed with this class of exception at last.

    Raises:
        UsageError: No failed job has one of the keys; nothing was changed.
        StateLocked: A run is going on.
    """
    store = _at_rest(path, "its failed jobs can be forgotten")
    try:
        found: dict[str, list[list[int]]] = {key: [[], [], []] for key in wanted}  # by how exact the spelling is
        shown: list[str] = []
        for job in pages_of(lambda after: store.failed(after, kind=kind)):
            names = keys.spellings(job.key)
            shown += names[:1]
            for exactness, name in enumerate(names):
                if name in found:
                    found[name][exactness].append(job.id)
        # The key 1 is not the key "1", unless there is no other.
        chosen = {key: next(filter(None, jobs), []) for key, jobs in found.items()}
        for key, jobs in chosen.items():
            if not jobs:
                raise no_such_key(key, shown)
        store.drop({number for jobs in chosen.values() for number in jobs})
        return {key: len(jobs) for key, jobs in chosen.items()}
    finally:
        store.close()


def drop_all_failures(path: str, kind: str | None = None) -> int:
    """Forget all failed jobs; gives how many there were.

    Args:
        path: The state file of a run that is not going on.
        kind: Only those that failed with this class of exception at last.

    Raises:
        StateLocked: A run is going on.
    """
    store = _at_rest(path, "its failed jobs can be forgotten")
    try:
        found = [job.id for job in pages_of(lambda after: store.failed(after, kind=kind))]
        store.drop(found)
        return len(found)
    finally:
        store.close()


def no_such_key(key: str, shown: Sequence[str] = ()) -> UsageError:
    """Return the error that no failed job has a key; its message names keys that look like it."""
    near = difflib.get_close_matches(key, shown, 3)
    return UsageError(
        f"No failed job has the key {key or repr(key)}"
        + (f"; there are: {', '.join(near)}." if near else ".")
        + " `tm-ctl failures` lists them."
    )


def master_of(path: str) -> str:
    """Return where the master of a state file's run is asked, ``HOST:PORT``.

    Raises:
        NoMaster: No master of this machine is at it.
    """
    found = find_master(path)
    if found is not None:
        return found
    raise NoMaster(
        f"No master is at work on {path} at the moment. `tm-ctl runs {path}` says how far the run has come; a master "
        "elsewhere is asked with --host."
    )


def find_master(path: str) -> str | None:
    """Return where the master of a state file's run is asked; None if none of this machine is at
    it.

    A state that no process holds is not opened for it, nor locked: a master that begins just then
    would find it in use.
    """
    held, where = owner_of(path)
    if where is not None:
        return where
    if not held and Path(path).exists():
        return None
    try:
        SqliteStore.open_existing(path).close()  # it says what is wrong
    except StateLocked as exc:
        if exc.address is None:
            raise
        return exc.address
    return None


def pages_of(page: Callable[[int], Sequence[FailedJob]]) -> Iterator[FailedJob]:
    """Yield all failed jobs.

    Args:
        page: Gives some of those behind an id.
    """
    after = 0
    while jobs := page(after):
        yield from jobs
        after = jobs[-1].id
