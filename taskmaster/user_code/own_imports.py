"""Modules of the standard library that Taskmaster and libraries import late, which must not be
somebody else's file.

The target's directory and the working directory come first where modules are looked for, as in
Python itself. Most modules of the library are loaded by then; one that is loaded later, as
``difflib`` is for a hint, would be a user's ``difflib.py`` beside the target, which has nothing of
it. What the user's own code imports is found as Python finds it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType

__all__ = ["LibraryFirst", "put_first"]

IMPORT_SYSTEM = "importlib"  # its frames lie between the statement and a finder
INSTALLED = ("site-packages", "dist-packages")  # in the path of each file of an installed library


class LibraryFirst:
    """A finder for ``sys.meta_path``: see the module.

    Attributes:
        directories: The directories of the user's modules.
        named: Modules that the user has named, whatever else is called so.
    """

    def __init__(self) -> None:
        self.directories: set[str] = set()
        self.named: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of the library outside of the user's directories, if it was not the user's
        code that asked for it.
        """
        if path is not None or name in self.named or name not in sys.stdlib_module_names:
            return None
        if not _is_asked_by_library(sys._getframe(1)):  # noqa: SLF001  # there is no other way to tell
            return None
        return PathFinder.find_spec(
            name, [directory for directory in sys.path if directory not in self.directories], target
        )


_FINDER = LibraryFirst()


def put_first(directories: Sequence[str], module: str) -> None:
    """Let modules be looked for in directories of the user's before all others.

    Args:
        directories: The directories.
        module: The module that the user has named.
    """
    new = [directory for directory in directories if directory not in sys.path]
    sys.path[:0] = new
    _FINDER.directories.update(new)
    _FINDER.named.add(module.partition(".")[0])
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def _is_asked_by_library(frame: FrameType | None) -> bool:
    """Return whether an import is one of Taskmaster's, of the standard library's or of an installed
    library's own.
    """
    while frame is not None:
        root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if root != IMPORT_SYSTEM:
            ours = root == "taskmaster" or root in sys.stdlib_module_names
            return ours or any(folder in frame.f_code.co_filename for folder in INSTALLED)
        frame = frame.f_back
    return False
