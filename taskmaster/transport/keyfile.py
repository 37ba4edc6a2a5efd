"""The key: where it comes from, and the file that a master leaves for slaves of the same user on
its machine.

The key that a person gives belongs to the run; the file that is left belongs to the port.
Guarantees: no file with a key is ever readable by anybody else, not even for a moment.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import os
import pwd
import secrets
import select
import socket
import stat
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import NamedTuple

from taskmaster.errors import UsageError
from taskmaster.runtime.exhaustion import cure_of
from taskmaster.runtime.ownership import for_its_owner
from taskmaster.runtime.tracebacks import reason

__all__ = [
    "GivenKey",
    "as_bytes",
    "directory",
    "find",
    "generate",
    "keep_private",
    "leave",
    "read",
    "remove",
    "resolve",
    "weak",
    "write_new",
]

MAX_KEY_BYTES = 65_536  # bytes that are read of a key file: /dev/zero is none
WAIT_FOR_PIPE_SECONDS = 5.0
WEAK_CHARACTERS = 16  # a peer that a slave connects to can try keys for as long as it likes


def generate() -> str:
    """Return a new key: 32 random bytes as text."""
    return secrets.token_urlsafe(32)


def as_bytes(key: str) -> bytes:
    """Return a key as the transport wants it."""
    return key.encode("utf-8", "surrogateescape")


def weak(key: str) -> bool:
    """Return whether the key is short enough to be guessed."""
    return len(key) < WEAK_CHARACTERS


def write_new(path: str | Path) -> Path:
    """Make a key file that only its owner can read.

    Raises:
        UsageError: it exists, or cannot be written.
    """
    try:
        descriptor = for_its_owner(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as exc:
        raise UsageError(
            f"{path} exists, and a key is not overwritten: slaves may be using it. Name another file."
        ) from exc
    except OSError as exc:
        raise UsageError(f"The key file {path} cannot be written: {exc.strerror}.") from exc
    with os.fdopen(descriptor, "w") as file:
        file.write(generate() + "\n")
    return Path(path).resolve()


def read(path: str | Path) -> str:
    """Return the key in a file.

    Raises:
        UsageError: there is no such file, it is empty, or others can read it.
    """
    return _read(Path(path))


def _read(path: Path, *, of_another_user: bool = True) -> str:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            about = os.fstat(file.fileno())
            os.set_blocking(file.fileno(), True)
            is_pipe = stat.S_ISFIFO(about.st_mode)
            seconds = WAIT_FOR_PIPE_SECONDS if of_another_user else 0.0
            content = _from_pipe(file.fileno(), seconds) if is_pipe else file.read(MAX_KEY_BYTES)
            text = content.decode("utf-8", "surrogateescape").strip()
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"The key file {path} cannot be read: {reason(exc)}. `tm-ctl keygen {path}` makes one; slaves need a "
            "copy of the master's."
        ) from exc
    if not of_another_user and is_pipe:
        raise UsageError(f"The key file {path} is a pipe.")
    if not of_another_user and about.st_uid != os.geteuid():
        raise UsageError(f"The key file {path} belongs to another user.")
    if _reached_by_others(about, os.geteuid()):
        raise UsageError(f"The key file {path} can be read by others than its owner: chmod 600 {path}")
    if not text:
        raise UsageError(f"The key file {path} is empty. `tm-ctl keygen` makes one with a key in it.")
    return text


def _from_pipe(pipe: int, seconds: float) -> bytes:
    """Return what somebody has written into a pipe, as ``--key-file <(command)`` does. It is not
    waited for without end: a command would stand still without a word.

    Raises:
        OSError: Nobody has written anything.
    """
    if not select.select([pipe], [], [], seconds)[0]:
        raise TimeoutError(errno.ETIMEDOUT, "it is a pipe that nobody has written a key into")
    return os.read(pipe, MAX_KEY_BYTES)


def _reached_by_others(about: os.stat_result, user: int) -> bool:
    """Return whether a key file is open to more than those who are meant to have it.

    A file that root gives to a group is one of a container or a service: Kubernetes (``fsGroup``)
    and systemd (``LoadCredential=``) have no other way to give it to a process that is not root,
    and it could not change the mode. PostgreSQL has the same rule for its private keys.
    """
    given_by_root = about.st_uid == 0 and user != 0
    allowed = stat.S_IRGRP if given_by_root else 0
    return bool(about.st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~allowed)


class GivenKey(NamedTuple):
    """The key that was given.

    Attributes:
        text: The key itself; None if none was given.
        file: The file that has it; None if it comes from elsewhere.
    """

    text: str | None = None
    file: str | None = None


def resolve(
    key: str | None, key_file: str | None, environ: MutableMapping[str, str], source: str = "command line"
) -> GivenKey:
    """Return the key that was given: as an option, in the environment, or in a file of options.

    ``TASKMASTER_KEY`` is taken out of the environment, so that no callback sees it.

    Args:
        key: The option.
        key_file: The file that has it.
        environ: The environment.
        source: Where the name of the file comes from: "command line", "environment" or "file".

    Raises:
        UsageError: an empty key, a file that is no key file, or two keys of which neither goes
            before the other.
    """
    variable = environ.pop("TASKMASTER_KEY", None)
    if key_file is not None and variable is not None and not variable.strip():
        variable = None  # it did not expand, and there is a key all the same
    by_option = key_file is not None and source not in ("environment", "file")
    if key is not None and by_option:
        _refuse_two("--key", key, "--key-file", key_file)
    elif key is None and variable is not None and source == "environment":
        _refuse_two("TASKMASTER_KEY", variable, "TASKMASTER_KEY_FILE", key_file)
    if key is None and key_file is not None and (by_option or variable is None or source == "environment"):
        return GivenKey(read(key_file), key_file)
    given = variable if key is None else key
    if given is not None and not given.strip():
        raise UsageError("The key is empty. `tm-ctl keygen tm.key` makes one for --key-file=tm.key.")
    # A key file ends with a newline; so may a variable that was filled from it.
    return GivenKey(None if given is None else given.strip())


def _refuse_two(name: str, key: str, of_file: str, path: str | None) -> None:
    """Refuse a key and a file that has another one."""
    if path is not None and not hmac.compare_digest(as_bytes(read(path)), as_bytes(key.strip())):
        raise UsageError(f"{name} is another key than that in {path}, which {of_file} names: leave one of them out.")


def leave(port: int, key: str) -> Path:
    """Leave the key for slaves of the same user on this machine; replaces what another master left
    for the port.

    Raises:
        UsageError: there is no directory that belongs to the user alone, or it cannot be written.
    """
    return keep_private(
        lambda folder: _path(folder, port),
        as_bytes(key) + b"\n",
        cannot="The key for slaves on this machine cannot be left",
        nothing="no key is left there",
    )


def keep_private(where: Callable[[Path], Path], content: bytes, *, cannot: str, nothing: str) -> Path:
    """Keep something in the directory that belongs to the user alone; return the file.

    Args:
        where: gives the file, in that directory.
        content: what to keep.
        cannot: how messages begin when it cannot be kept.
        nothing: what messages say of a directory that others can write.

    Raises:
        UsageError: there is no such directory, or it cannot be written.
    """
    folder = directory()
    if folder is None:
        raise UsageError(f"{cannot}: you have no home. Set TASKMASTER_HOME.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
        if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UsageError(
                f"{folder} is not yours alone, so that {nothing}: chmod 700 {folder}, or set TASKMASTER_HOME."
            )
        path = where(folder)
        # A name that nobody can know, and no link.
        scratch = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(for_its_owner(os.open(scratch, flags, 0o600)), "wb") as file:
                file.write(content)
            return scratch.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                scratch.unlink()
            raise
    except (OSError, ValueError) as exc:
        cure = cure_of(exc, "Set TASKMASTER_HOME to a directory of yours.")
        raise UsageError(f"{cannot} in {folder}: {reason(exc)}. {cure}") from exc


def remove(port: int, key: str) -> None:
    """Take the key back, unless another master has left its own meanwhile."""
    left, folder = find(port), directory()
    if left is not None and folder is not None and hmac.compare_digest(as_bytes(left), as_bytes(key)):
        with contextlib.suppress(OSError):  # a directory that became read-only is no reason to end a run badly
            _path(folder, port).unlink(missing_ok=True)


def find(port: int) -> str | None:
    """Return the key that a master of the same user on this machine has left for its port, None if
    there is none that can be read.
    """
    folder = directory()
    if folder is None:
        return None
    try:
        return _read(_path(folder, port), of_another_user=False)
    except UsageError:
        return None


def directory() -> Path | None:
    """Return the directory in which keys are left; None if this user has no home."""
    named = os.environ.get("TASKMASTER_HOME")
    if named:
        return Path(named)
    home = os.environ.get("HOME")
    if not home:
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            return None  # a container under a user that has no name
    return Path(home) / ".taskmaster"


def _path(folder: Path, port: int) -> Path:
    # A home directory may be shared by several machines.
    return folder / f"{socket.gethostname()}-{port}.key"
