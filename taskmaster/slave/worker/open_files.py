"""The files that this process has open for writing, as the garbage collector knows them.

A worker ends without Python's own clean-up, for it was forked from the middle of somebody else's
program. So what its callbacks have left in a buffer is looked for and written here.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import io
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["close_all", "flush_all", "shared_descriptors"]

_FILE_TYPE = io.IOBase.__mro__[1]  # the class in C below it: a real base of every file, without ABCMeta's hooks
_IN_MEMORY = (io.BytesIO, io.StringIO)
_IN_C = {io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.BufferedRWPair, io.FileIO}
# Objects that are no files and write their last bytes when they are closed.
_ARCHIVES = {"zipfile": "ZipFile", "tarfile": "TarFile", "shelve": "Shelf", "tempfile": "_TemporaryFileWrapper"}


def flush_all() -> None:
    """Write out what is buffered, before a fork: the child would write it once more."""
    for file in _writers():
        if issubclass(type(file), _FILE_TYPE):
            try:
                file.flush()
            except Exception:  # noqa: S112  # the script hears of it when it closes the file
                continue


def shared_descriptors() -> set[int]:
    """Return the descriptors of the files that several processes can write to beside each other.

    These are plain regular files that are only written to, or only appended to, by Python's own
    file objects: processes that were forked share the position. Lines of such a text file are
    written whole from here on, each with one system call. A compressed file, an archive, or a
    database has a state in each process, and would be destroyed.
    """
    writers = _writers()
    inside = {id(inner) for one in writers if not _is_plain(one) for inner in _inner(one)}
    inside |= {id(inner) for one in writers if id(one) in inside for inner in _inner(one)}
    found = set()
    for file in writers:
        if _is_plain(file) and id(file) not in inside:
            descriptor = _descriptor(file)
            if descriptor > 2 and _is_shared(descriptor):
                found.add(descriptor)
                if type(file) is io.TextIOWrapper:
                    file.reconfigure(line_buffering=True)
    return found


class Inherited:
    """Compressed files and archives that were there before the fork.

    Those that nobody has written to since are left alone: closing one writes its last bytes, which
    is the script's business. A plain file has nothing to write when nothing was written to it.

    Attributes:
        hdf5: The numbers of what the script has open in HDF5 files.
    """

    def __init__(self) -> None:
        self._files = {id(file): (file, _written(file)) for file in _writers() if not _is_plain(file)}
        self.hdf5 = {one.id for one in _open_in_hdf5()}

    def untouched(self, file: Any) -> bool:
        """Tell whether a file was inherited and has not been written to."""
        known = self._files.get(id(file))
        return known is not None and known[0] is file and known[1] == _written(file)


def close_all(inherited: Inherited | None = None, *, frozen: bool = True) -> list[str]:
    """Close what is open for writing, the outermost first.

    A compressed file writes its last bytes to the file that it wraps, so that this one has to be
    open still.

    Args:
        inherited: The files that are left alone if nothing was written to them.
        frozen: Whether to look among the objects that ``gc.freeze()`` has set aside, too.

    Returns:
        A sentence for each file that could not be written.
    """
    if frozen:
        gc.unfreeze()
    problems = _close_hdf5(set() if inherited is None else inherited.hdf5)
    left = {id(file): file for file in _writers() if inherited is None or not inherited.untouched(file)}
    inner = {key: ({id(one) for one in _inner(file)} & left.keys()) - {key} for key, file in left.items()}
    while left:
        wrapped: set[int] = set().union(*(inner[key] for key in left))
        outermost = [key for key in left if key not in wrapped] or list(left)  # all, in a circle
        key = min(outermost, key=lambda key: _depth(left[key]))
        file = left.pop(key)
        name = _name(file)
        try:
            file.close()
        except Exception as exc:
            problems.setdefault(name, f"{name} could not be written: {type(exc).__name__}: {exc}")
    return list(problems.values())


def _close_hdf5(others: set[int]) -> dict[str, str]:
    """Close the files that h5py has open, but for others: the library writes most of a file when it
    is closed, and ends with the process otherwise, which a worker does not do. They may lie in a
    file of Python's, so that they come first.

    Returns:
        A sentence for each that could not be written, by its name.
    """
    problems = {}
    library: Any = sys.modules.get("h5py")
    for one in _open_in_hdf5():
        if one.valid and one.id not in others:
            name = "an HDF5 file"
            try:
                file = library.File(library.h5i.get_file_id(one))
                name = repr(file.filename)
                file.close()
            except Exception as exc:
                problems[name] = f"{name} could not be written: {type(exc).__name__}: {exc}"
    return problems


def _open_in_hdf5() -> list[Any]:
    """Return the files that h5py has open, with their groups and the like: each keeps its file open
    by itself.
    """
    library: Any = sys.modules.get("h5py")
    try:
        kinds = library.h5f.OBJ_FILE | library.h5f.OBJ_GROUP | library.h5f.OBJ_DATASET | library.h5f.OBJ_ATTR
        return list(library.h5f.get_obj_ids(types=kinds))
    except Exception:  # it is not there, or still being imported
        return []


def _writers() -> list[Any]:
    """Return what is open for writing, but for the standard streams."""
    return [file for file in _candidates() if _is_open_writer(file)]


def _candidates() -> Iterator[Any]:
    loaded = ((sys.modules.get(module), name) for module, name in _ARCHIVES.items())
    containers = tuple(getattr(module, name) for module, name in loaded if module)
    for one in gc.get_objects():
        # Only the type is asked: a proxy may run anything when it is asked for its class.
        kind = type(one)
        if issubclass(kind, _FILE_TYPE) or issubclass(kind, containers):
            yield one


def _is_open_writer(file: Any) -> bool:
    try:
        if not issubclass(type(file), _FILE_TYPE):
            return _is_open_container(file)
        if issubclass(type(file), _IN_MEMORY) or file.closed or not file.writable():
            return False
        return _descriptor(file) not in (0, 1, 2)
    except Exception:
        return False


def _is_open_container(one: Any) -> bool:
    """Tell whether an archive or the like is open for writing."""
    if hasattr(one, "fileobj"):  # a TarFile
        return not one.closed and one.mode != "r"
    if hasattr(one, "fp"):  # a ZipFile
        return one.fp is not None and one.mode != "r"
    if hasattr(one, "writeback"):  # a Shelf
        return type(one.dict).__name__ != "_ClosedDict"
    return not one.closed


def _inner(file: Any) -> list[Any]:
    """Return what a file refers to, directly or by an attribute."""
    found = gc.get_referents(file)
    return found + [inner for one in found if type(one) is dict for inner in gc.get_referents(one)]


def _depth(file: Any) -> int:
    """Order those that refer to each other: what formats before what buffers before what writes."""
    kind = type(file)
    if not issubclass(kind, _FILE_TYPE):
        return 0
    order = (io.TextIOWrapper, io.BufferedIOBase, io.RawIOBase)
    layer = [issubclass(kind, base) for base in order].index(True) if issubclass(kind, order) else 0
    return 1 + 2 * layer + (kind in _IN_C)


def _descriptor(file: Any) -> int:
    try:
        return int(file.fileno())
    except Exception:
        return -1


def _is_shared(descriptor: int) -> bool:
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False
    return regular and (flags & os.O_ACCMODE == os.O_WRONLY or bool(flags & os.O_APPEND))


def _is_plain(file: Any) -> bool:
    """Tell whether a file is Python's own in all its layers."""
    inside = file.buffer if type(file) is io.TextIOWrapper else file
    return type(file) in _IN_C and type(inside) in _IN_C


def _written(file: Any) -> Any:
    """Return something that changes when a file is written to that is not plain."""
    if type(file) is io.TextIOWrapper:
        with contextlib.suppress(Exception):
            file.flush()
        file = file.buffer
    try:
        if hasattr(file, "infolist"):
            return len(file.infolist())
        return file.offset if hasattr(file, "offset") else file.tell()
    except Exception:
        return None


def _name(file: Any) -> str:
    try:
        name = getattr(file, "name", None) or getattr(file, "filename", None)
    except Exception:
        name = None
    return f"{name!r}" if name is not None else f"a {type(file).__name__}"
