"""The user's files as one archive: the target's own file and what ``--ship`` names.

A file keeps its way from the working directory, so that a module has the same name there. Equal
files give an equal digest, which is the name of the directory there: slaves of one machine share
it, and no other version is ever written into it.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from taskmaster.engine.slave_task import Archive
from taskmaster.errors import UsageError

__all__ = ["MOST_ARCHIVE_BYTES", "name_there", "pack", "unpack"]

MOST_ARCHIVE_BYTES = 64 * 1024 * 1024  # it travels with every slave, through the engine's scheduler
LEFT_OUT = ("__pycache__", ".git", ".venv", "node_modules")
LEFT_OUT_ENDS = (".pyc", ".key")
STATE = ".tmstate"  # and what lies beside it, such as its lock: it differs from run to run
LEFT_OUT_FILES = ("taskmaster.toml",)  # a webhook's address may stand there; a slave reads none
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can hold: equal files give equal bytes


def name_there(path: Path) -> str:
    """Return what a file is called in the archive: its way from the working directory, or its own
    name where it lies elsewhere. A link has its own name, by which it is imported here.
    """
    here = Path.cwd().resolve()
    given = Path(os.path.abspath(path))  # noqa: PTH100  # no link is followed
    for whole in (given, given.parent.resolve() / given.name):
        if whole != here and whole.is_relative_to(here):
            return whole.relative_to(here).as_posix()
    return given.name


def pack(paths: Iterable[Path]) -> Archive:
    """Make the archive.

    Raises:
        UsageError: A path is not there, or it is too much to be sent with every slave.
    """
    files: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"--ship={path}: there is no such file or directory (looked in {Path.cwd()}).")
        found = list(_files(path))
        if not found:
            raise UsageError(_nothing(path))
        for name, file in found:
            if files.setdefault(name, file).resolve() != file.resolve():
                raise UsageError(
                    f"{files[name]} and {file} would both be {name} on the engine's workers: name a directory above "
                    "them that is below the working directory."
                )
    total = sum(file.stat().st_size for file in files.values())
    if total > MOST_ARCHIVE_BYTES:
        raise UsageError(
            f"What is shipped has {total / 1e6:.0f} MB, and at most {MOST_ARCHIVE_BYTES / 1e6:.0f} MB can travel with "
            "each slave: put it on a file system that the engine's workers share, or into their image, and leave out "
            "--ship."
        )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in sorted(files.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = (stat.S_IMODE(file.stat().st_mode) | stat.S_IFREG) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    digest = blake2b(content.getvalue(), digest_size=16).hexdigest()
    return Archive(digest, content.getvalue())


def _nothing(path: Path) -> str:
    if not path.is_dir():
        return f"--ship={path} is neither a file nor a directory, so that it cannot be sent."
    return (
        f"--ship={path}: there is no file in that directory that is sent: keys, states and what Python has compiled "
        "stay here, and a directory without files cannot travel. Have setup() make one that jobs write to."
    )


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield name_there(path), path
        return
    above = "" if path.resolve() == Path.cwd().resolve() else name_there(path)
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = sorted(one for one in folders if one not in LEFT_OUT and not _leads_back(folder, one))
        for name in sorted(names):
            file = Path(folder) / name
            left_out = name in LEFT_OUT_FILES or name.endswith(LEFT_OUT_ENDS) or STATE in name
            if not left_out and file.is_file():
                yield str(PurePosixPath(above) / file.relative_to(path).as_posix()), file


def _leads_back(folder: str, name: str) -> bool:
    """Return whether a folder in another one is a link to that one, or to one above it: the way
    down would have no end.
    """
    here, there = Path(folder).resolve(), Path(folder, name).resolve()
    return here == there or there in here.parents


def unpack(archive: Archive, base: Path) -> Path:
    """Unpack an archive, unless it is there already; return the directory.

    Args:
        archive: Made by ``pack``.
        base: A directory that only this user can write to.
    """
    there = base / f"taskmaster-{archive.digest}"
    with zipfile.ZipFile(io.BytesIO(archive.content)) as content:
        entries = content.infolist()
        # A machine may remove old files of its temporary directory one by one.
        if there.is_dir() and all((there / entry.filename).exists() for entry in entries):
            return there
        new = Path(tempfile.mkdtemp(prefix=f"taskmaster-{archive.digest}.", dir=base))
        try:
            for entry in entries:
                content.extract(entry, new)
                (new / entry.filename).chmod(stat.S_IMODE(entry.external_attr >> 16) | stat.S_IRUSR)
            _put(new, there, [entry.filename for entry in entries])
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return there


def _put(new: Path, there: Path, names: list[str]) -> None:
    """Give a new directory its final path; move missing files into one that is there already."""
    try:
        new.rename(there)
    except OSError:
        if not there.is_dir():  # else another slave of this machine was faster, or files were removed
            raise
        for name in names:
            if not (there / name).exists():
                (there / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).replace(there / name)
