"""The state in an SQLite file: the default store.

Called by ``taskmaster.master`` and ``tm-ctl``. Write-ahead log, full synchronisation, exclusive
locking: a checkpoint that ``write`` has returned from survives a power cut, and a torn one is never
seen.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskmaster.errors import StateBusy, StateLocked, StateRefused, StateUnwritable
from taskmaster.master.job_records import FailedJob, ParkedJob
from taskmaster.master.run_identity import RunIdentity
from taskmaster.master.run_record import Checkpoint, RunRecord
from taskmaster.master.stores.sqlite.belonging import Belonging, write_owner
from taskmaster.master.stores.sqlite.checkpoint import drop, write
from taskmaster.master.stores.sqlite.connection import begin, connect, let_go, looking
from taskmaster.master.stores.sqlite.file import Unresumable, create, has_log, inspect, put_aside, see_that_it_is_there
from taskmaster.master.stores.sqlite.lock import Lock
from taskmaster.master.stores.sqlite.owner import check, check_opened, followed, warn_of_directory
from taskmaster.master.stores.sqlite.rows import (
    BROKEN,
    FAILED,
    RUN,
    attempts_of,
    failed_job,
    fill,
    new_run,
    sealed,
)

__all__ = ["SqliteStore"]

# Who only reads needs memory shared through a file beside the state, which some network shares do
# not have. Who has the state for himself, as the one that writes, does not.
NO_MEMORY = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
CLOSING = 2.0  # seconds that closing waits for a write that is under way


class SqliteStore:
    """A state file, opened and locked. Made by ``open`` and ``open_existing``."""

    def __init__(self, path: Path, lock: Lock) -> None:
        self._path = path
        self._lock = lock
        self._connection: sqlite3.Connection | None = None
        self._file: os.stat_result | None = None  # what was opened
        self._run = ""
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
            target: how messages call that.
            reset: a state that cannot be resumed, because it is of an older version or its log is
                lost, is put aside for a new one.
            adopt: let a state that belongs to something else belong to this run.

        Raises:
            StateLocked: another master has it.
            StateRefused: it cannot be used; it is left as it was.
        """
        place = followed(path)
        if not place.parent.is_dir():
            raise StateRefused(
                f"There is no directory {place.parent} for the state. Make it, or name another with --state=PATH."
            )
        check(place)
        warn_of_directory(place)
        store = cls(place, Lock(place))
        try:
            try:
                store._open_or_make(identity)
            except Unresumable as exc:
                if not reset:
                    raise
                put_aside(place, exc.suffix)
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
        place = followed(path)
        if not place.exists():
            raise StateRefused(f"There is no state {place}. A master says at its start where its state is.")
        check(place)
        store = cls(place, Lock(place))
        try:
            inspect(place)
            store._open()
        except BaseException:
            store._abandon()
            raise
        return store

    @property
    def place(self) -> str:
        """The full path of the file."""
        return str(self._path)

    def belonging(self) -> Belonging:
        """What the state belongs to, as it is in the file."""
        with self._reading():
            return Belonging(self._meta("identity"), self._meta("belongs"))

    def tell(self, where: str) -> None:
        """Say to whoever finds the state locked where its master serves."""
        self._lock.tell(where)

    def load(self) -> RunRecord:
        """The current run.

        Raises:
            StateRefused: it is not what was written.
        """
        with self._reading():
            return self._record(self._run, resumed=True)

    def reset(self) -> RunRecord | None:
        """Begin a new run; the former is kept as history.

        Raises:
            StateRefused: the former is not what was written.
            StateUnwritable: nothing was changed.
        """
        former = self.load()
        if former.mark is None and not former.settled and not former.parked:
            return None
        with self._changing() as connection:
            run = new_run(connection)
        self._run, self._session = run, 1
        return former

    def runs(self) -> list[RunRecord]:
        """All runs of the file, the newest first."""
        with self._reading():
            ids = self._execute("SELECT id FROM run ORDER BY started DESC").fetchall()
            return [self._record(run, resumed=run == self._run) for (run,) in ids]

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

    def write(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint durable.

        Raises:
            StateUnwritable: it was not; nothing of it is in the file.
        """
        with self._changing() as connection:
            write(connection, self._run, self._session, checkpoint)

    def failed(
        self, after: int = 0, most: int = 1000, kind: str | None = None, patience: float = -1
    ) -> Sequence[FailedJob]:
        """A page of the failed jobs of the current run, by their id.

        Raises:
            StateBusy: no checkpoint came to its end within ``patience`` seconds, or the last one
                could not be written.
            StateRefused: a job is not what was written.
        """
        only = "" if kind is None else " AND type = ?"
        values = (self._run, after) if kind is None else (self._run, after, kind)
        page = f"{FAILED} WHERE run = ? AND id > ?{only} ORDER BY id LIMIT ?"
        with self._asking(patience):
            return [failed_job(*self._checked(row)) for row in self._rows(page, *values, most)]

    def drop(self, jobs: Collection[int]) -> None:
        """Forget failed jobs of the current run, by their id: they do not count as failed any more.

        Raises:
            StateUnwritable: none was forgotten.
        """
        with self._changing() as connection:
            drop(connection, self._run, jobs)

    def kinds(self, most: int) -> Sequence[tuple[int, FailedJob]]:
        """The most frequent kinds of failure, each with their number and their first example."""
        grouped = (
            "SELECT count(*) AS number, min(id) FROM failed WHERE run = ? GROUP BY type ORDER BY number DESC, 2 LIMIT ?"
        )
        example = f"{FAILED} WHERE run = ? AND id = ?"
        with self._asking():
            counted = self._execute(grouped, self._run, most).fetchall()
            return [
                (n, failed_job(*self._checked(self._execute(example, self._run, first).fetchone())))
                for n, first in counted
            ]

    def close(self) -> None:
        """Bring everything into the one file, and unlock it."""
        if not self._mutex.acquire(timeout=CLOSING):
            return  # a write hangs: to wait for it would hang, too; the end of the process unlocks the file
        self._abandon()

    # -- inside ------------------------------------------------------------------------------------

    def _open_or_make(self, identity: RunIdentity) -> None:
        if not inspect(self._path):
            text = identity.as_text(self._path.parent)
            create(self._path, lambda connection: write_owner(fill(connection), identity.former, text))
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
            self._run = str(self._meta("current"))
            newest = self._execute("SELECT max(session) FROM piece WHERE run = ?", self._run).fetchone()[0]
            self._session = self._session or (newest or 0) + 1

    def _look_first(self) -> bool:
        """Refuse a state with a log that is not what was written, before anything brings that log
        into the file.

        Returns:
            Whether it has a log, and could be looked at.
        """
        if not has_log(self._path):
            return False
        try:
            with looking(self._path) as connection:
                self._connection = connection
                with self._reading():
                    self._record(str(self._meta("current")), resumed=True)
        except StateRefused as exc:
            why = exc.__cause__
            if isinstance(why, sqlite3.OperationalError) and why.sqlite_errorcode & 0xFF in NO_MEMORY:
                return False
            raise
        finally:
            self._connection = None
        return True

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all that is done in it is in the file afterwards, or nothing of it.

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
                self._execute("COMMIT")
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

    def _record(self, run: str, *, resumed: bool) -> RunRecord:
        row = self._checked(self._execute(RUN, run).fetchone())
        _, started, finished, mark, bound, edge, waiting, settled, failures, skipped, seconds, _ = row
        pieces = self._rows(
            'SELECT run, session, first, "end", prints, seal FROM piece WHERE run = ? ORDER BY session, first', run
        )
        remembered = waiting + b"".join(self._checked(piece)[4] for piece in pieces)
        known = self._rows(
            "SELECT run, id, key, payload, print, attempts, seal FROM parked WHERE run = ? ORDER BY id", run
        )
        parked = [self._checked(job)[1:] for job in known]
        last = self._execute("SELECT max(id) FROM failed WHERE run = ?", run).fetchone()[0]
        return RunRecord(
            id=run,
            resumed=resumed,
            mark=mark,
            bound=bound,
            edge=edge,
            remembered=remembered,
            parked=[
                ParkedJob(n, key, payload, print_, attempts_of(tried)) for n, key, payload, print_, tried in parked
            ],
            settled=settled,
            failures=failures,
            skipped=skipped,
            next_failed=(last or 0) + 1,
            seconds=seconds,
            started=started,
            finished=finished,
        )

    @contextmanager
    def _asking(self, patience: float = -1) -> Iterator[None]:
        """Between two checkpoints."""
        if not self._mutex.acquire(timeout=patience):
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
        """Whatever a damaged file makes SQLite or the decoding of a value raise is said as what it
        is.
        """
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError) as exc:
            raise StateRefused(f"The state {self._path} is damaged ({exc}). {BROKEN}") from exc

    def _checked(self, row: Sequence[Any] | None) -> tuple[Any, ...]:
        """A row without its checksum, if that is right.

        Raises:
            StateRefused: it is not, or the row is gone.
        """
        if row is None or sealed(*row[:-1]) != tuple(row):
            raise StateRefused(f"The state {self._path} is damaged: what is in it is not what was written. {BROKEN}")
        return tuple(row[:-1])

    def _meta(self, name: str) -> Any:
        row = self._execute("SELECT value FROM meta WHERE name = ?", name).fetchone()
        return row[0] if row else None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("the state is not open")
        return self._connection

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._connected().execute(statement, values)

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows at once: a statement that is left in its middle, where a row is refused, keeps
        the file locked.
        """
        return self._execute(statement, *values).fetchall()

    def _abandon(self) -> None:
        self._give_up_transaction()
        self._lock.release()
