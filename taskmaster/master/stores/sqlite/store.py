"""The state in an SQLite file: the default store.

Write-ahead log, full synchronisation, exclusive locking: a checkpoint that ``write`` has returned
from survives a power cut, and a torn one is never seen. What is in the file is read by ``queries``
and changed by ``checkpoint``; here are the file's life and its transactions.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from taskmaster.errors import StateBusy, StateLocked, StateRefused, StateUnwritable, TaskmasterError
from taskmaster.master.records.job_records import FailedJob
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.master.records.steering_records import News
from taskmaster.master.stores.default_path import check_directory
from taskmaster.master.stores.sqlite.belonging import Belonging, write_owner
from taskmaster.master.stores.sqlite.checkpoint import drop, write, write_steering
from taskmaster.master.stores.sqlite.connection import begin, connect, let_go, looking
from taskmaster.master.stores.sqlite.file import (
    RESTORE,
    Unresumable,
    create,
    has_log,
    inspect,
    put_aside,
    remove_file,
    see_that_it_is_there,
)
from taskmaster.master.stores.sqlite.lock import Lock
from taskmaster.master.stores.sqlite.owner import check, check_opened, followed, warn_of_directory
from taskmaster.master.stores.sqlite.queries import (
    belonging,
    current_run,
    failed_page,
    kinds,
    newest_session,
    run_ids,
    run_record,
)
from taskmaster.master.stores.sqlite.rows import fill, new_run
from taskmaster.runtime.garbage import collector_paused

__all__ = ["SqliteStore"]

# A connection that only reads needs memory shared through a file beside the state, which some
# network shares do not have. An exclusive one, which writes, does not.
NO_MEMORY = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
STORE_CLOSING_SECONDS = 2.0  # longest wait of close() for a write that is under way


class SqliteStore:
    """A state file, opened and locked. Made by ``open`` and ``open_existing``."""

    def __init__(self, path: Path, lock: Lock) -> None:
        self._path = path
        self._lock = lock
        self._connection: sqlite3.Connection | None = None
        self._file: os.stat_result | None = None  # what was opened
        self._run = ""
        self._made = False  # by this process
        self.remark = ""  # what a person should know of how the state was found
        self._session = 0
        self._mutex = threading.RLock()  # checkpoints come from one thread, questions about failed jobs from others

    @classmethod
    def open(
        cls, path: str | Path, identity: RunIdentity, target: str, *, reset: bool = False, adopt: bool = False
    ) -> SqliteStore:
        """Open the state of a run, or make it.

        Args:
            path: the file; links are followed, so that the lock is beside the file itself.
            identity: what the state has to belong to.
            target: its name in messages.
            reset: whether a state that cannot be resumed, because it is of an older version or its
                log is lost, is put aside for a new one.
            adopt: whether to let a state that belongs to something else belong to this run.

        Raises:
            StateLocked: another master has it.
            StateRefused: it cannot be used; it is left as it was.
        """
        state = followed(path)
        check_directory(state)
        check(state)
        warn_of_directory(state)
        store = cls(state, Lock(state))
        try:
            try:
                store._open_or_make(identity)
            except Unresumable as exc:
                if not reset:
                    raise
                put_aside(state, exc.suffix)
                store._open_or_make(identity)
            store._belong_to(identity, target, adopt=adopt)
        except BaseException:
            store._abandon()
            raise
        return store

    @classmethod
    def open_existing(cls, path: str | Path) -> SqliteStore:
        """Open a state file whatever it belongs to.

        Raises:
            StateLocked, StateRefused: as ``open``, also if there is no such file.
        """
        state = followed(path)
        if not state.exists():
            raise StateRefused(f"There is no state {state}. A master says at its start where its state is.")
        check(state)
        store = cls(state, Lock(state))
        try:
            inspect(state)
            store._open()
        except BaseException:
            store._abandon()
            raise
        return store

    @property
    def location(self) -> str:
        """The full path of the file."""
        return str(self._path)

    def belonging(self) -> Belonging:
        """Return what the state belongs to, as it is in the file."""
        with self._reading():
            return belonging(self._connected())

    def tell(self, where: str) -> None:
        """Name the address where the master serves, for the refusal of a second master."""
        self._lock.tell(where)

    def load(self) -> RunRecord:
        """Return the current run.

        Raises:
            StateRefused: it is not what was written.
        """
        with self._reading(), collector_paused():
            return run_record(self._connected(), self._run, resumed=True)

    def reset(self) -> RunRecord | None:
        """Begin a new run; the former is kept as history.

        Raises:
            StateRefused: the former is not what was written.
            StateUnwritable: nothing was changed.
        """
        former = self.load()
        if former.is_blank and former.bound is None:
            return None
        with self._changing() as connection:
            run = new_run(connection)
        self._run, self._session = run, 1
        return former if former.settled or former.mark is not None or former.parked else None

    def runs(self) -> list[RunRecord]:
        """Return all runs of the file, the newest first."""
        with self._reading():
            connection = self._connected()
            return [run_record(connection, run, resumed=run == self._run) for run in run_ids(connection)]

    def restore(self, run: str) -> RunRecord:
        """Make a former run the current one.

        Args:
            run: its id, or the beginning of it.

        Raises:
            StateRefused: none or several runs begin like that.
            StateUnwritable: nothing was changed.
        """
        known = [record.id for record in self.runs()]
        found = [one for one in known if run and one.startswith(run)]
        if len(found) != 1:
            raise StateRefused(f"{run!r} names {len(found)} runs of {self._path}; it has: {', '.join(known)}.")
        with self._changing() as connection:
            connection.execute("UPDATE meta SET value = ? WHERE name = 'current'", (found[0],))
        self._run = found[0]
        return self.load()

    def write(self, checkpoint: Checkpoint | News) -> None:
        """Make a checkpoint durable, or what was steered alone.

        Raises:
            StateUnwritable: it was not; nothing of it is in the file.
        """
        with self._changing() as connection:
            if isinstance(checkpoint, News):
                write_steering(connection, self._run, checkpoint)
            else:
                write(connection, self._run, self._session, checkpoint)

    def failed(
        self, after: int = 0, most: int = 1000, kind: str | None = None, wait: float = -1
    ) -> Sequence[FailedJob]:
        """Return a page of the failed jobs of the current run, by their id.

        Raises:
            StateBusy: no checkpoint came to its end within ``wait`` seconds, or the last one
                could not be written.
            StateRefused: a job is not what was written.
        """
        with self._asking(wait):
            return failed_page(self._connected(), self._run, after, most, kind)

    def drop(self, jobs: Collection[int]) -> None:
        """Forget failed jobs of the current run, by their id: they do not count as failed any more.

        Raises:
            StateUnwritable: none was forgotten.
        """
        with self._changing() as connection:
            drop(connection, self._run, jobs)

    def kinds(self, most: int) -> Sequence[tuple[int, FailedJob]]:
        """Return the most frequent kinds of failure, each with its number and its first example."""
        with self._asking():
            return kinds(self._connected(), self._run, most)

    def close(self, *, keep: bool = True) -> None:
        """Bring everything into the one file, and unlock it.

        Args:
            keep: False: a file that this process has made and that says nothing of a run is
                removed, while it is still locked.
        """
        if not self._mutex.acquire(timeout=STORE_CLOSING_SECONDS):
            return  # a write hangs: to wait for it would hang, too; the end of the process unlocks the file
        blank = False
        with suppress(TaskmasterError):
            blank = not keep and self._made and self.load().is_blank
        self._give_up_transaction()
        if blank and self._file is not None:
            remove_file(self._path, self._file)
        self._lock.release()

    # -- inside ------------------------------------------------------------------------------------

    def _open_or_make(self, identity: RunIdentity) -> None:
        if not inspect(self._path):
            text = identity.as_text(self._path.parent)
            create(self._path, lambda connection: write_owner(fill(connection), identity.former, text))
            self._made = True
        self._open()

    def _belong_to(self, identity: RunIdentity, target: str, *, adopt: bool) -> None:
        """Refuse the state of another run; write down where the run's file is now."""
        found = self.belonging()
        with self._reading():
            self.remark = found.check(self._path, identity, target, adopt=adopt)
        if found.belongs != (text := identity.as_text(self._path.parent)):
            with self._changing() as connection:
                write_owner(connection, identity.former, text)

    def _open(self) -> None:
        check(self._path)
        self._connection = connect(self._path, seen=self._file is None and self._look_first())
        check_opened(self._path)
        self._file = self._file or self._path.stat()
        with self._reading():
            self._run = current_run(self._connection)
            self._session = self._session or newest_session(self._connection, self._run) + 1

    def _look_first(self) -> bool:
        """Refuse a state with a log that is not what was written, before anything brings that log
        into the file.

        Returns:
            Whether it has a log, and could be looked at.
        """
        if not has_log(self._path):
            return False
        try:
            with looking(self._path) as connection, self._reading():
                run_record(connection, current_run(connection), resumed=True)
        except StateRefused as exc:
            why = exc.__cause__
            # Python's own errors, as of a text that is no UTF-8, have no code.
            if isinstance(why, sqlite3.OperationalError) and getattr(why, "sqlite_errorcode", 0) & 0xFF in NO_MEMORY:
                return False
            raise
        return True

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction: all that is done in it is in the file afterwards, or nothing of it.

        Raises:
            StateUnwritable: nothing; the caller may try again.
        """
        with self._mutex:
            see_that_it_is_there(self._path, self._file)
            try:
                self._lock.keep()
                if self._connection is None:
                    self._open()
                begin(self._connected())
                yield self._connected()
                self._connected().execute("COMMIT")
            except (sqlite3.Error, OSError, StateRefused, StateLocked) as exc:
                self._give_up_transaction()
                raise StateUnwritable(f"The state {self._path} cannot be written: {exc}.") from exc

    def _give_up_transaction(self) -> None:
        """Leave nothing half-done; after an error of the disk, a fresh connection sees what is
        really in the file.
        """
        connection, self._connection = self._connection, None
        if connection is not None and self._file is not None:
            let_go(connection, self._path, self._file)
        elif connection is not None:  # refused as soon as it was open
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def _asking(self, wait: float = -1) -> Iterator[None]:
        """Hold checkpoints back while something is asked.

        Raises:
            StateBusy: one takes longer than ``wait`` seconds, or could not be written.
        """
        if not self._mutex.acquire(timeout=wait):
            raise StateBusy(f"A checkpoint is being written to the state {self._path}, and that takes long. Ask again.")
        try:
            if self._connection is None:
                raise StateBusy(f"The state {self._path} could not be written, and is opened again. Ask again.")
            with self._reading():
                yield
        finally:
            self._mutex.release()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say of whatever a damaged file makes SQLite or the decoding of a value raise that the
        state is damaged.
        """
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError) as exc:
            raise StateRefused(f"The state {self._path} is damaged ({exc}). {RESTORE}") from exc

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("the state is not open")
        return self._connection

    def _abandon(self) -> None:
        self._give_up_transaction()
        self._lock.release()
