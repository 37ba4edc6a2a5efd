"""Who may have written to a state: the owner and the permissions of its files, and of their
directory.

Checked before a state is locked and read, and once more when SQLite has opened it. Workers unpickle
what a state holds, so that everybody who can write to a state can run code as the user of the run.
Guarantees: a file that another user owns or may write to is never used as a part of a state, nor is
a link that stands for one; root counts as trusted, as everywhere.
"""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from taskmaster.errors import StateRefused
from taskmaster.runtime.log import clean_logger
from taskmaster.runtime.ownership import (
    OTHERS_WRITE,
    for_its_owner,
    is_group_of_container,
    is_trusted,
    others_write,
    user,
)

__all__ = ["check", "check_lock", "check_made", "check_opened", "followed", "reserve", "warn_of_directory"]

logger = clean_logger(__name__)

BESIDE = ("-wal", "-shm", "-journal", ".lock")
"""What SQLite and we keep beside a state. A journal that somebody else has put there would be
played into the state.
"""

MOST_LINKS = 40  # as the kernel has it
MOST_BYTES = 255  # of a name, as all common file systems have it
ELSEWHERE = "Or give this run a state of its own with --state=PATH."


def followed(path: str | Path) -> Path:
    """Return the full path of a state, its links followed.

    The lock lies beside the file itself, not beside a link to it.

    Raises:
        StateRefused: another user has made a link on the way, who could lead this run to any file;
            or a name is too long for a file, or for one beside it.
    """
    at = Path(path)
    _check_names(at)
    for _ in range(MOST_LINKS):
        at = Path(os.path.realpath(at.parent), at.name)
        try:
            about = at.lstat()
            if not stat.S_ISLNK(about.st_mode):
                break
            target = at.readlink()
        except OSError:
            break  # what is wrong is said when it is opened
        if not is_trusted(about.st_uid):
            raise StateRefused(
                f"The state {at} is a link that {user(about.st_uid)} has made, so that it is not followed. Name the "
                f"file itself with --state={shlex.quote(os.path.realpath(at))}, if it is yours."
            )
        at = at.parent / target
    return Path(os.path.normpath(at))


def check(state: Path) -> None:
    """Refuse a state whose files, as far as there are any, are not the user's own.

    Raises:
        StateRefused: another user owns a file or may write to it, or it is a link.
    """
    with suppress(OSError):
        about = state.lstat()
        _check(state, state, about)
        _check_root(state, about)
    for end in BESIDE:
        part = state.with_name(state.name + end)
        with suppress(OSError):
            about = part.lstat()
            # A link or the like at the name of the shared memory does no harm, unless a stranger
            # has put it there: SQLite follows no link of that name, and can do without that memory.
            if end != "-shm" or stat.S_ISREG(about.st_mode) or not is_trusted(about.st_uid):
                _check(state, part, about, beside=True)


def check_opened(state: Path) -> None:
    """Check the files of a state that SQLite has just opened, so that nobody can have exchanged
    them meanwhile.

    Raises:
        StateRefused: as ``check``, or another file was opened than the one that is there now.
    """
    check(state)
    opened = _open_files()
    for part in (state, state.with_name(state.name + "-wal")):
        with suppress(FileNotFoundError):
            about = part.lstat()
            if opened is not None and (about.st_dev, about.st_ino) not in opened:
                raise StateRefused(
                    f"The state {state} was replaced by another file while it was opened. See who can write to "
                    f"{state.parent}."
                )


def check_lock(state: Path, path: Path, descriptor: int, *, made: bool) -> None:
    """Check a lock file that was opened, before anything is written to it.

    Args:
        state: the state that it locks.
        path: its name.
        descriptor: the descriptor of the open file.
        made: whether this process has made it.

    Raises:
        StateRefused: it is not the user's own, or has another name too, or is no lock.
    """
    about = os.fstat(descriptor)
    if made:
        check_made(state, about)
        return
    _check(state, path, about, beside=True)
    if about.st_nlink > 1:
        raise StateRefused(
            f"The lock {path} of the state is another file's second name, which would be overwritten. Remove that "
            f"name. {ELSEWHERE}"
        )
    if about.st_size and not os.pread(descriptor, 8, 0).startswith(b"process "):
        raise StateRefused(
            f"{path} is not the lock of a state but another file, which would be overwritten. Move it away. {ELSEWHERE}"
        )


def check_made(state: Path, about: os.stat_result) -> None:
    """Check that the file system keeps owners and permissions, by a file that this process has just
    made beside a state.

    Raises:
        StateRefused: it does not keep them.
    """
    where = f"The state {state} cannot be kept there: the file system of {state.parent}"
    if not is_trusted(about.st_uid):
        raise StateRefused(
            f"{where} gives what {user(os.geteuid())} makes to {user(about.st_uid)} (it maps users), so that nothing "
            f"shows who has written a file. Name a path elsewhere with --state=PATH, or run this as a user whose "
            "files it keeps."
        )
    if about.st_mode & OTHERS_WRITE:
        raise StateRefused(
            f"{where} keeps no permissions: other users could write to it, and what is in a state is run as you. Name "
            "a path elsewhere with --state=PATH, such as your home."
        )


def reserve(state: Path) -> list[Path]:
    """Make the files that SQLite may look for beside a state, empty, where others could put their
    own there in the last moment.

    Returns:
        Those that were made; they are to be removed if they are still empty in the end.
    """
    made: list[Path] = []
    if not others_write(state.parent.stat()):
        return made
    for end in ("-wal", "-journal"):
        part = state.with_name(state.name + end)
        with suppress(OSError):  # one that is there was checked; where none can be made, SQLite says so
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(for_its_owner(os.open(part, flags, 0o600)))
            made.append(part)
    return made


def warn_of_directory(state: Path) -> None:
    """Warn of a directory in which other users can replace the state between two sessions."""
    directory = state.parent
    try:
        about = directory.stat()
    except OSError:
        return
    if not is_trusted(about.st_uid):
        who = f"belongs to {user(about.st_uid)}"
        cure = "keep the state in a directory of your own, with --state=PATH"
    elif others_write(about) and not about.st_mode & stat.S_ISVTX:
        who = "can be written to by other users"
        cure = f"`chmod go-w {shlex.quote(str(directory))}`, or keep the state elsewhere, with --state=PATH"
    else:
        return
    logger.warning(
        "the directory %s of the state %s: a user who replaces the state there decides what this run does; %s.",
        directory,
        who,
        cure,
    )


def _check_names(state: Path) -> None:
    """Refuse a name that no file can have: SQLite does not say why it cannot make one."""
    longest_beside = f"{state.name}-journal"
    for name in (*state.parent.parts, longest_beside):
        if (length := len(os.fsencode(name))) > MOST_BYTES:
            raise StateRefused(
                f"The state {state} cannot be kept there: a name can have {MOST_BYTES} bytes, and {name} has "
                f"{length:,}. Give it a shorter one with --state=PATH."
            )


def _check(state: Path, part: Path, about: os.stat_result, *, beside: bool = False) -> None:
    what = f"The state {part}" if part == state else f"The file {part}, which belongs to the state {state.name},"
    word = shlex.quote(str(part))
    if beside and not stat.S_ISREG(about.st_mode):
        kind = "a link" if stat.S_ISLNK(about.st_mode) else "no file"
        raise StateRefused(f"{what} is {kind}: it is not used. Remove it, if no run is at work there. {ELSEWHERE}")
    me = user(os.geteuid())
    if not is_trusted(about.st_uid):
        owner = user(about.st_uid)
        raise StateRefused(
            f"{what} belongs to {owner}, and this is run by {me}: what is in a state is run as you, so that another "
            f"user's is not used. Run this as {owner}; or, if you trust what is in it, make it yours with `chown {me} "
            f"{word}` (as root), or use a copy of your own. {ELSEWHERE}"
        )
    if beside and about.st_nlink > 1 and not part.name.endswith(".lock"):
        raise StateRefused(
            f"{what} is another file's second name, which would be written over. Give it a file of its own: cp -p "
            f"{word} {word}.new && mv {word}.new {word}. {ELSEWHERE}"
        )
    if not stat.S_ISREG(about.st_mode) and not beside:
        # Never opened, not even to look: a pipe would be waited for.
        raise StateRefused(f"{part} is not a regular file, so it cannot be a state. Name another with --state=PATH.")
    others = stat.S_IWOTH if is_group_of_container(about.st_gid) else OTHERS_WRITE
    if stat.S_ISREG(about.st_mode) and about.st_mode & others:
        raise StateRefused(
            f"{what} can be written to by other users (mode {stat.S_IMODE(about.st_mode):04o}): what is in a state is "
            f"run as you. If you trust what is in it, take that from them with `chmod go-w {word}`. {ELSEWHERE}"
        )


def _check_root(state: Path, about: os.stat_result) -> None:
    """Say of a state of root's that cannot be written what has most likely happened."""
    if about.st_uid == os.geteuid() or os.access(state, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        return
    me = user(os.geteuid())
    raise StateRefused(
        f"The state {state} belongs to {user(about.st_uid)}, and this is run by {me}, who may not write to it: an "
        f"earlier session was started as {user(about.st_uid)}. Make it yours with `sudo chown {me} "
        f"{shlex.quote(str(state))}*`, or start this one as before. {ELSEWHERE}"
    )


def _open_files() -> set[tuple[int, int]] | None:
    """Return device and inode of each file that this process has open, None where that cannot be
    found out.
    """
    try:
        numbers = [int(path.name) for path in Path("/dev/fd").iterdir()]
    except OSError:
        return None
    found = set()
    for number in numbers:
        with suppress(OSError):  # the one that the list was read from
            about = os.fstat(number)
            found.add((about.st_dev, about.st_ino))
    return found
