"""Files that a run leaves for others: checked before it begins, and never seen half-written."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from taskmaster.errors import UsageError
from taskmaster.runtime.ownership import user

__all__ = ["check_output", "write_whole"]


def check_output(option: str, path: str, example: str) -> None:
    """Refuse a file that cannot be written, before the run begins.

    Args:
        option: Name of the option that was given, for the message.
        path: The file.
        example: A name for it.

    Raises:
        UsageError: It cannot be written.
    """
    file = Path(path)
    if not path.strip():
        raise UsageError(f"{option} is empty: name a file, such as {example}.")
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # a new file, or what follows says what is wrong
    except OSError as exc:
        raise UsageError(
            f"{option} is {path!r}, where nothing can be written: {exc.strerror}. Name another file, such as {example}."
        ) from None
    if not file.parent.is_dir():
        raise UsageError(f"{option} is {path!r}, but there is no directory {file.parent}: make it.")
    if file.is_dir():
        raise UsageError(f"{option} is {path!r}, which is a directory: name a file in it, such as {example}.")
    if file.exists() and not file.is_file():
        # A new file would replace it: /dev/null, for example, for everybody on this machine.
        raise UsageError(f"{option} is {path!r}, which is no file: name one, such as {example}.")
    if os.path.lexists(file):  # a link that leads nowhere cannot be replaced either
        owner, above = file.lstat().st_uid, file.parent.stat()
        if above.st_mode & stat.S_ISVTX and os.geteuid() not in (0, owner, above.st_uid):
            raise UsageError(
                f"{option} is {path!r}, which belongs to {user(owner)} and cannot be replaced in {file.parent}: name "
                "another."
            )
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{option} is {path!r}, but nothing can be written in {file.parent}: let it be, or name another."
        )


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Write a file under another name first, so that nobody reads half of it.

    Args:
        path: The path; an existing file is replaced.
        content: What is in it.
        mode: Its permissions, whatever the umask is.

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    # A name that nobody can know, and no file that somebody else has put there.
    new = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(number, "wb") as file:
            os.fchmod(number, mode)
            file.write(content)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
