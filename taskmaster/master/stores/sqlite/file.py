"""The state file while SQLite does not have it: before it is opened, when it was closed, and how a
new one comes to be.

SQLite takes an empty file for a new database and a foreign one for its own; a state that is not
whole has to be refused by looking at the bytes, and left as it is. Also, a file whose write-ahead
log is lost is an older state to SQLite, or a new one; so its header says while it is in use that
there has to be a log.
"""

from __future__ import annotations

import errno
import os
import resource
import secrets
import shlex
import sqlite3
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from taskmaster.errors import StateRefused, StateUnwritable
from taskmaster.master.stores.sqlite.owner import check_made
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.ownership import for_its_owner
from taskmaster.runtime.tracebacks import reason
from taskmaster.units import show_count

__all__ = [
    "APPLICATION",
    "IN_USE",
    "RESTORE",
    "SCHEMA_VERSION",
    "Unresumable",
    "create",
    "has_log",
    "inspect",
    "mark_whole",
    "put_aside",
    "remove_file",
    "see_that_it_is_there",
    "wal_of",
]

logger = clean_logger(__name__)

APPLICATION = 0x746D7374  # "tmst", in the header of every state file
SCHEMA_VERSION = 5
OLDEST_VERSION = 3  # that is taken over: it only lacks the tables of steering and history
IN_USE = 0x10000  # beside the version: the file is not whole without its write-ahead log
_VERSION_AT = 60  # where SQLite keeps the user version, in four bytes
_FRAME = 24  # bytes of the header of each page in the log
_MAGIC = b"SQLite format 3\0"
RESTORE = "Restore it from a copy, or begin from zero with another file: --state=PATH (or move this one away)."


class Unresumable(StateRefused):
    """A state that no run of this version can go on with; ``--reset`` puts it aside and begins a
    new one.

    Args:
        message: why.
        path: the state.
        suffix: what is then added to its name.
    """

    def __init__(self, message: str, path: Path, suffix: str) -> None:
        super().__init__(
            f"{message} Or begin a new run with --reset, which keeps this one as {path.name}.{suffix}, or with another "
            "state: --state=PATH."
        )
        self.suffix = suffix


def inspect(path: Path) -> bool:
    """Look at a state file.

    Returns:
        False if there is none.

    Raises:
        Unresumable: it is of an older version.
        StateRefused: there is something else that cannot be used.
    """
    wal = wal_of(path)
    try:
        about = path.stat()
    except FileNotFoundError:
        if wal.exists() and wal.stat().st_size:
            raise StateRefused(
                f"The state {path} is gone, but a part of it is left in {wal}. Restore the file, or remove what is "
                "left of it."
            ) from None
        return False
    except OSError as exc:
        raise StateRefused(f"The state {path} cannot be read: {exc.strerror}. Name another with --state=PATH.") from exc
    if not stat.S_ISREG(about.st_mode):
        raise StateRefused(f"{path} is not a regular file, so it cannot be a state. Name another with --state=PATH.")
    if about.st_size == 0:
        raise StateRefused(f"The state {path} is empty: what was in it is lost. {RESTORE}")
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as exc:
        raise StateRefused(f"The state {path} cannot be read: {exc.strerror}. Name another with --state=PATH.") from exc
    _check_header(path, header, about.st_size)
    in_use = bool(int.from_bytes(header[_VERSION_AT : _VERSION_AT + 4]) & IN_USE)
    if in_use and has_log(path) and not _log_begins(path):
        whole = shlex.join(["sqlite3", str(path), f"PRAGMA user_version = {SCHEMA_VERSION}"])
        raise Unresumable(
            f"The log {wal.name} of the state {path}, which holds the last checkpoints, is damaged at its beginning, "
            "so that nothing can be read from it. Restore both from a copy. To go on from what the state is without "
            f"it, which may be its very beginning, remove the log and say so with: {whole}.",
            path,
            "damaged-log",
        )
    size = int.from_bytes(header[16:18]) or 65536
    pages = int.from_bytes(header[28:32])
    if (about.st_size % (1 if wal.exists() else size) or about.st_size < pages * size) and not has_log(path):
        raise StateRefused(
            f"The state {path} is damaged: it has {show_count(about.st_size, 'byte')} where {pages * size} are "
            f"expected. {RESTORE}"
        )
    return True


def _check_header(path: Path, header: bytes, size: int) -> None:
    if not header.startswith(_MAGIC[: len(header)]) or len(header) < 16:
        raise StateRefused(f"{path} is not a Taskmaster state but another file. Name another with --state=PATH.")
    if len(header) < 100:
        raise StateRefused(f"The state {path} is damaged: it ends after {show_count(size, 'byte')}. {RESTORE}")
    if int.from_bytes(header[68:72]) != APPLICATION:
        raise StateRefused(
            f"{path} is a SQLite database of another program, not a Taskmaster state. Name another with --state=PATH."
        )
    _check_version(path, int.from_bytes(header[_VERSION_AT : _VERSION_AT + 4]) & ~IN_USE)
    if header[18] not in (1, 2):
        # SQLite reads such a file, but never writes to it: the run would wait for a disk on which
        # nothing is wrong.
        raise StateRefused(f"The state {path} is damaged: byte 18 of its header is {header[18]}, not 1 or 2. {RESTORE}")


def _check_version(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise StateRefused(
            f"The state {path} was written by a newer Taskmaster (format {version}; this one knows "
            f"{SCHEMA_VERSION}). Use that version, or another state with --state=PATH."
        )
    if version < OLDEST_VERSION:
        raise Unresumable(
            f"The state {path} was written by an older Taskmaster (format {version}; this one knows "
            f"{SCHEMA_VERSION}). Finish the run with that version.",
            path,
            f"format{version}",
        )


def put_aside(path: Path, suffix: str) -> None:
    """Give a state another name, with all that belongs to it, and say so; nothing that is there
    already is replaced.

    Args:
        path: the state, which no process has open.
        suffix: what is added to its name.

    Raises:
        StateRefused: it cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.{suffix}")
    number = 1
    while aside.exists() or wal_of(aside).exists():
        number += 1
        aside = path.with_name(f"{path.name}.{suffix}.{number}")
    try:
        for end in ("", "-wal", "-shm"):
            part = path.with_name(path.name + end)
            if part.exists():
                part.rename(aside.with_name(aside.name + end))
        _sync(path.parent)
    except OSError as exc:
        raise StateRefused(
            f"The state {path} cannot be kept as {aside.name}: {exc.strerror}. Name another with --state=PATH."
        ) from exc
    logger.warning("the state %s cannot be resumed; it is kept as %s, and a new one is begun.", path, aside.name)


def remove_file(path: Path, opened: os.stat_result) -> None:
    """Remove a state that was closed, if it is the file that was opened and no log of it is
    left.
    """
    with suppress(OSError):
        if os.path.samestat(path.lstat(), opened) and not wal_of(path).exists():
            path.unlink()


def see_that_it_is_there(path: Path, opened: os.stat_result | None) -> None:
    """Refuse to write to a file that has no name any more: it is lost with this process.

    Args:
        path: the path that the file had.
        opened: what was opened there; None if nothing was.

    Raises:
        StateUnwritable: another file is there, or none. The connection stays as it is, because a
            file that was moved may be moved back.
    """
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        there = None
    except OSError as exc:
        raise StateUnwritable(f"The state {path} cannot be reached: {exc.strerror}.") from exc
    if opened is None or (there is not None and os.path.samestat(there, opened)):
        return
    what = "removed" if there is None else "replaced by another file"
    raise StateUnwritable(
        f"The state {path} was {what} while this run has it: what is written now would be lost. If it was "
        "moved, move it back, and the run goes on. Else end the run, put a copy of the state there, and start it "
        "again; it goes on from that copy."
    )


def mark_whole(path: Path, opened: os.stat_result) -> None:
    """Write into the header of a state that SQLite has closed that nothing of it is in a log, if
    that is gone: then all that was in the log is in the file.

    Normally SQLite itself has written that; on a disk that has no room left, it cannot, but closes
    the file all the same.

    Args:
        path: the file.
        opened: what was there when it was opened; another file is left alone.
    """
    if wal_of(path).exists():
        return
    with path.open("r+b") as file:
        if not os.path.samestat(os.fstat(file.fileno()), opened):
            return
        file.seek(_VERSION_AT)
        version = int.from_bytes(file.read(4))
        if version & IN_USE:
            file.seek(_VERSION_AT)
            file.write((version & ~IN_USE).to_bytes(4))
            file.flush()
            os.fsync(file.fileno())


def wal_of(path: Path) -> Path:
    """Return the path of the write-ahead log of a state file."""
    return path.with_name(path.name + "-wal")


def has_log(path: Path) -> bool:
    """Return whether there is a log whose pages may make up for those that the file lacks."""
    try:
        about = wal_of(path).stat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_size > 32


def _log_begins(path: Path) -> bool:
    """Return whether SQLite can read the beginning of a write-ahead log; if not, it takes the log
    for an empty one.

    A file is in use only after its log was written to, and then the header is replaced as a whole.
    A first transaction that is not whole is one that was never finished, unless another one comes
    after it, which was begun only when the first was on the disk. For the format see
    https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
    """
    try:
        with wal_of(path).open("rb") as file:
            header = file.read(32)
            order = {0x377F0682: "<", 0x377F0683: ">"}.get(int.from_bytes(header[:4]))
            if order is None or _sums(order, header[:24], (0, 0)) != struct.unpack(">2I", header[24:32]):
                return False
            return _first_is_whole(file, order, header) or _commits(file, header) < 2
    except OSError as exc:
        raise StateRefused(f"The log {wal_of(path)} of the state cannot be read: {exc.strerror}.") from exc


def _sums(order: str, data: bytes, sums: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the checksum of a log up to here, from that of what comes before."""
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


def _first_is_whole(file: BinaryIO, order: str, header: bytes) -> bool:
    """Return whether the first transaction of a log is there up to its commit. The file is behind
    the header.
    """
    size, sums = int.from_bytes(header[8:12]), struct.unpack(">2I", header[24:32])
    while len(frame := file.read(_FRAME + size)) == _FRAME + size:
        sums = _sums(order, frame[:8] + frame[_FRAME:], sums)
        if frame[8:16] != header[16:24] or sums != struct.unpack(">2I", frame[16:24]):
            return False
        if any(frame[4:8]):
            return True
    return False


def _commits(file: BinaryIO, header: bytes) -> int:
    """Return how many transactions of a log seem to have been finished since its header was
    written.
    """
    found, at, size = 0, 32, int.from_bytes(header[8:12])
    while file.seek(at) and len(frame := file.read(_FRAME)) == _FRAME:
        found += frame[8:16] == header[16:24] and any(frame[4:8])
        at += _FRAME + size
    return found


def create(path: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Make a state file that appears under its name only when it is whole.

    Args:
        path: its name.
        fill: writes schema and first rows, in one transaction.

    Raises:
        StateRefused: the directory is not there or cannot be written, or the file has appeared
            meanwhile.
    """
    scratch = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    descriptor = -1
    try:
        # A name that nobody can know, and no link: otherwise the state would be written into a file
        # that somebody else has put there.
        descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        check_made(path, os.fstat(for_its_owner(descriptor)))
        _write_new(scratch, fill)
        if not os.path.samestat(os.fstat(descriptor), scratch.lstat()):
            raise FileExistsError(errno.EEXIST, "it was replaced while it was written", str(scratch))
        os.fsync(descriptor)
        _publish(scratch, path)
        _sync(path.parent)
    except (OSError, sqlite3.Error) as exc:
        raise StateRefused(
            f"The state {path} cannot be made: {reason(exc)}{_limit_of_files()}. Name a path that can be written with "
            "--state=PATH."
        ) from exc
    finally:
        if descriptor >= 0:
            os.close(descriptor)
            with suppress(OSError):  # why the state cannot be made matters, not that this remains
                scratch.unlink()


def _limit_of_files() -> str:
    """Return what may be behind an error of which SQLite says no more: ``ulimit -f``."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if most == resource.RLIM_INFINITY:
        return ""
    return f" (no file of this process may have more than {show_count(most, 'byte')}: raise `ulimit -f`)"


def _write_new(scratch: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    connection = sqlite3.connect(scratch, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")  # others could guess the name of a journal file
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("BEGIN IMMEDIATE")
        fill(connection)
        connection.execute("COMMIT")
    finally:
        connection.close()


def _publish(scratch: Path, path: Path) -> None:
    """Give a new file its name, if nothing has it."""
    try:
        os.link(scratch, path)
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # exFAT and some network shares have no hard links. Other masters are kept out by the lock;
        # what is not a master does not make such a file between these two lines.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from exc
        scratch.rename(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
