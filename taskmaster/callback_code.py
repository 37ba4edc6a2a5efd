"""Which version of the callback's file a slave runs, as a digest that two slaves can compare.

Called by ``taskmaster.api`` for a slave's hello. Nothing is imported for it: the supervisor runs none of the user's
code, and to import ``a.b`` would run ``a``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from taskmaster import target as targets
from taskmaster.errors import TaskmasterError

__all__ = ["code_of", "code_of_file"]


def code_of(target: str) -> str:
    """The digest of the file that a worker would load for a target; "" if there is none, or none that can be found."""
    try:
        parsed = targets.parse(target)
        path = parsed.path or _search([str(Path.cwd()), *sys.path], parsed.module.split(".")) or _hooked(parsed.module)
    except (TaskmasterError, OSError, ValueError):
        return ""
    return code_of_file(path)


def code_of_file(path: str | Path | None) -> str:
    """The digest of a file's content; "" if it cannot be read."""
    try:
        return "" if path is None else blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
    except (OSError, ValueError):
        return ""


def _search(places: Sequence[str | Path], parts: Sequence[str]) -> Path | None:
    """Where a module's source is, as Python looks for it: package, module, then a directory without ``__init__.py``."""
    first, rest = parts[0], parts[1:]
    portions = []
    for place in places:
        folder = Path(place) / first
        package, module = folder / "__init__.py", Path(place) / f"{first}.py"
        if package.is_file():
            return _search([folder], rest) if rest else package
        if module.is_file():
            return None if rest else module
        if folder.is_dir():
            portions.append(folder)
    return _search(portions, rest) if rest and portions else None


def _hooked(module: str) -> Path | None:
    """The same for a package that only a hook finds, as one may be that was installed with ``pip install -e``."""
    first, *rest = module.split(".")
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(first, None)
        except Exception:  # noqa: S112  # somebody else's hook; the worker says what is wrong when it imports
            continue
        if spec is not None and rest and spec.submodule_search_locations:
            return _search(list(spec.submodule_search_locations), rest)
        if spec is not None and not rest and spec.origin and spec.origin.endswith(".py"):
            return Path(spec.origin)
    return None
