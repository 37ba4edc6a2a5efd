"""Which callback a slave runs, and which version of its file, in a form that two slaves can
compare.

Nothing is imported for it: the supervisor runs none of the user's code, and to import ``a.b`` would
run ``a``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from taskmaster.django_orm import integration
from taskmaster.errors import TaskmasterError
from taskmaster.user_code import target as targets

__all__ = [
    "callback_in_memory",
    "callback_of",
    "code_in_memory",
    "code_of",
    "code_of_file",
    "definition_of",
    "file_of",
    "importable",
    "real_path_in_memory",
    "real_path_of",
]


MOST_LAYERS = 20  # functions around functions


def callback_of(target: str) -> str:
    """Return what a target's module is called wherever it lies, and the function if one was named;
    "" for what is not a target.

    Not the name that it is imported by: a file has one that depends on the directory, and a
    package's is another one than that of its ``__init__.py``.
    """
    try:
        parsed = targets.parse(target)
    except (TaskmasterError, OSError):
        return ""
    names = [*parsed.path.parts[:-1], parsed.path.stem] if parsed.path else parsed.module.split(".")
    module = next((name for name in reversed(names) if name not in ("__init__", "__main__")), "")
    return f"{module}:{parsed.function}" if parsed.function else module


def callback_in_memory(callback: Callable[[Any], Any]) -> str:
    """Return the same for a function of a script; "" where slaves cannot import it."""
    module = str(getattr(callback, "__module__", None) or "") if hasattr(callback, "__qualname__") else ""
    if module == "__main__":
        return callback_of(sys.argv[0]) if sys.argv[0].endswith(".py") else ""
    return module.rpartition(".")[2]


def code_of(target: str) -> str:
    """Return the digest of the file that a worker would load for a target; "" if there is none, or
    none that can be found.
    """
    try:
        return code_of_file(file_of(targets.parse(target)))
    except (TaskmasterError, OSError, ValueError):
        return ""


def file_of(parsed: targets.Target) -> Path | None:
    """Return the file that is loaded for a target, as it is found, links not followed; None if
    there is none, or none that can be found.
    """
    if parsed.path is not None:
        return parsed.path
    parts = parsed.module.split(".")
    return _search([str(Path.cwd()), *sys.path], parts) or _hooked(parsed.module)


def real_path_of(target: str) -> str:
    """Return the real path of that file; "" if there is none, or none that can be found."""
    try:
        path = file_of(targets.parse(target))
    except (TaskmasterError, OSError, ValueError):
        return ""
    return "" if path is None else os.path.realpath(path)


def code_of_file(path: str | Path | None) -> str:
    """Return the digest of a file's content; "" if it cannot be read."""
    try:
        return "" if path is None else blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
    except (OSError, ValueError):
        return ""


def importable(callback: Callable[[Any], Any]) -> str | None:
    """Return the target by which a worker can import the callback, None if it cannot; or must not,
    because it would load other settings of Django's than this process has.
    """
    module, name = getattr(callback, "__module__", None), getattr(callback, "__qualname__", "")
    if module in (None, "__main__") or not name.isidentifier() or integration.changed_settings():
        return None
    if getattr(sys.modules.get(str(module)), name, None) is not callback:
        return None
    return f"{module}:{name}"


def definition_of(callback: Callable[[Any], Any]) -> str:
    """Return where a function is defined, with the functions that it wraps, in a form that two
    processes can compare. A script that puts another function under its name, as by a decorator,
    does so in its own process alone.
    """
    layers: list[str] = []
    function: Any = callback
    while function is not None and len(layers) < MOST_LAYERS:
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        kind = type(function).__qualname__
        layers.append(kind if code is None else f"{code.co_qualname}:{code.co_firstlineno}")
        function = getattr(function, "__wrapped__", None)
    return " around ".join(layers)


def code_in_memory(callback: Callable[[Any], Any]) -> str:
    """Return the digest of the file that a function was defined in: the script, most often."""
    return code_of_file(real_path_in_memory(callback) or None)


def real_path_in_memory(callback: Callable[[Any], Any]) -> str:
    """Return the real path of that file; "" if there is none."""
    module = sys.modules.get(str(getattr(callback, "__module__", None))) if hasattr(callback, "__qualname__") else None
    file = getattr(module, "__file__", None)
    return os.path.realpath(file) if file else ""


def _search(directories: Sequence[str | Path], parts: Sequence[str]) -> Path | None:
    """Return where a module's source is, as Python looks for it: package, module, then a directory
    without ``__init__.py``.
    """
    first, rest = parts[0], parts[1:]
    portions = []
    for directory in directories:
        folder = Path(directory) / first
        package, module = folder / "__init__.py", Path(directory) / f"{first}.py"
        if package.is_file():
            return _search([folder], rest) if rest else package
        if module.is_file():
            return None if rest else module
        if folder.is_dir():
            portions.append(folder)
    return _search(portions, rest) if rest and portions else None


def _hooked(module: str) -> Path | None:
    """Return the same for a package that only a hook finds, as one may be that was installed with
    ``pip install -e``.
    """
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
