"""Targets: what a person names on the command line, as a module and a function.

Loading one module in several processes has to give the same module name in all of them, or jobs
whose classes it defines could not be unpickled.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from taskmaster.django_orm import integration
from taskmaster.errors import TargetError, TaskmasterError
from taskmaster.records import record
from taskmaster.runtime import working_directory
from taskmaster.runtime.child_process import children_kept_out
from taskmaster.runtime.exit_guard import exit_guarded
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.user_code import own_imports

__all__ = ["Target", "find", "load", "loading", "name", "optional", "parse", "with_function", "without_function"]

_FORMS = "TARGET is pkg.module, pkg.module:function, path/file.py or path/file.py:function"
_depth = 0


@record()
class Target:
    """A parsed target.

    Attributes:
        text: As it was given.
        module: Dotted name, for a file the name under which it is loaded.
        path: The file, None for a module.
        function: As given, None where it was left out.
    """

    text: str
    module: str
    path: Path | None
    function: str | None


def parse(text: str) -> Target:
    """Take a target apart.

    Raises:
        TargetError: It has none of the forms, or the file is not there.
    """
    where, colon, function = text.rpartition(":") if ":" in text else (text, "", "")
    if colon and not function.isidentifier():
        raise TargetError(f"{text!r} names no function after its colon: {_FORMS}.")
    if where.endswith(".py") or os.sep in where:
        path = working_directory.where_typed() / where
        try:
            is_there = path.is_file()
        except OSError as exc:  # its name is too long, or nobody may look there
            raise TargetError(f"{where} cannot be looked at: {exc.strerror}. {_FORMS}.") from None
        if not is_there:
            raise TargetError(_no_file(where, path))
        if path.suffix != ".py":
            raise TargetError(f"{where} is not a Python file: {_FORMS}.")
        return Target(text, _module_name(path.resolve()), path.resolve(), function or None)
    if not where or not all(part.isidentifier() for part in where.split(".")):
        raise TargetError(f"{text!r} is not a target: {_FORMS}.")
    return Target(text, where, None, function or None)


def with_function(text: str, function: str | None) -> Target:
    """Return a target, with a function for one that names none.

    Raises:
        TargetError: As ``parse``.
    """
    parsed = parse(text)
    return parse(f"{text}:{function}") if parsed.function is None and function else parsed


def name(target: Target, default: str) -> str:
    """Return the name of what a target means, however it was written; runs are told apart by it."""
    return target.module if target.function in (None, default) else f"{target.module}.{target.function}"


def without_function(text: str) -> str:
    """Return a target as it was given, without its function: what a slave and its master may both
    be given.
    """
    parsed = parse(text)
    return text[: -len(parsed.function) - 1] if parsed.function else text


def loading() -> bool:
    """Return whether a target is being imported right now."""
    return _depth > 0


def load(target: Target) -> ModuleType:
    """Import a target; in a Django project, after that was set up.

    Raises:
        TargetError: It does not import; with the user's traceback where it is the user's code that
            raised.
    """
    here = working_directory.find()  # a worker that is replaced may be all that is left of it
    directories = [str(one) for one in (here, target.path and target.path.parent) if one is not None]
    own_imports.put_first(directories, target.module)
    try:
        with _importing(), children_kept_out(), exit_guarded(execs=False):
            integration.set_up_project()
            if target.path is None or _is_at(target.module, target.path):
                return importlib.import_module(target.module)
            return _load_file(target.module, target.path)
    except (KeyboardInterrupt, TaskmasterError):
        raise
    except ModuleNotFoundError as exc:
        missing = exc.name or ""
        if target.path is None and (target.module == missing or target.module.startswith(missing + ".")) and missing:
            raise TargetError(_no_module(target, missing)) from None
        raise _raised(target, exc) from exc
    except BaseException as exc:
        raise _raised(target, exc) from exc


def find(module: ModuleType, target: Target, names: Sequence[str]) -> Callable[..., Any]:
    """Return the function that a target names, else the first of ``names`` that the module has.

    Raises:
        TargetError: There is none; says what the module does define.
    """
    return find_named(module, target, names)[1]


def find_named(module: ModuleType, target: Target, names: Sequence[str]) -> tuple[str, Callable[..., Any]]:
    """Return the name by which the module has that function, too. Raises what ``find`` does."""
    wanted = [target.function] if target.function else list(names)
    for candidate in wanted:
        found = integration.as_source(getattr(module, candidate, None))
        if callable(found) or hasattr(found, "iterate"):
            return candidate, found  # an object with iterate() stands for a function here
        if found is not None:
            raise _no_function(candidate, found, _where(target))
    has = sorted(
        key
        for key, value in vars(module).items()
        if callable(value) and not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )
    import difflib

    close = difflib.get_close_matches(wanted[0], has, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise TargetError(
        f"{_where(target)} has no function {' or '.join(wanted)}; it defines: {', '.join(has) or 'none'}.{hint} Name "
        "the function as in "
        f"{target.text.partition(':')[0] if target.path is None else target.path.name}:function."
    )


def optional(module: ModuleType, name: str) -> Callable[..., Any] | None:
    """Return a function that a module may define, None if it does not.

    Raises:
        TargetError: The module has a value of that name that cannot be called: to pass it over
            would be to do without what the user believes to have said.
    """
    found = getattr(module, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    if found is None or isinstance(found, ModuleType):
        return None
    raise _no_function(name, found, getattr(module, "__file__", None) or f"the module {module.__name__}")


@contextmanager
def _importing() -> Iterator[None]:
    global _depth  # noqa: PLW0603  # a target may import another one
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def _module_name(path: Path) -> str:
    """Return the one name of a file: dotted below the working directory or in a package, else its
    stem.
    """
    parts = [path.stem]
    cwd = working_directory.where_typed().resolve()
    parent = path.parent
    if parent != cwd and cwd in parent.parents:
        inner = [*parent.relative_to(cwd).parts, path.stem]
        if all(part.isidentifier() for part in inner):
            parts = inner
    stem = ".".join(parts)
    first = stem.partition(".")[0]
    taken = first in sys.stdlib_module_names or first in ("taskmaster", "__main__")
    if taken and not (path.is_relative_to(Path(__file__).parents[1]) and stem.startswith("taskmaster.")):
        # Under its own name it would be taken for the module that is already there.
        return "target_" + stem.replace(".", "_")
    return (
        stem
        if all(part.isidentifier() for part in parts)
        else "target_" + "".join(char if char.isalnum() else "_" for char in stem)
    )


def _is_at(module: str, path: Path) -> bool:
    """Return whether importing the name would load this very file."""
    if module in sys.modules:
        return Path(getattr(sys.modules[module], "__file__", None) or os.devnull).resolve() == path
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path


def _load_file(module: str, path: Path) -> ModuleType:
    if module in sys.modules and Path(getattr(sys.modules[module], "__file__", None) or os.devnull).resolve() == path:
        return sys.modules[module]
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is not a Python file.")
    loaded = importlib.util.module_from_spec(spec)
    former = sys.modules.get(module)
    sys.modules[module] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        if former is None:
            del sys.modules[module]
        else:
            sys.modules[module] = former
        raise
    return loaded


def _no_function(name: str, found: object, where: str) -> TargetError:
    is_list = isinstance(found, Iterable) and not isinstance(found, (str, bytes))
    cure = f"return it from one, `def {name}(): return ...`" if is_list else f"write `def {name}(...): ...`"
    return TargetError(f"{name} in {where} has the type {type(found).__name__}, and is not a function: {cure}.")


def _where(target: Target) -> str:
    return str(target.path) if target.path is not None else f"the module {target.module}"


def _raised(target: Target, exc: BaseException) -> TargetError:
    why = integration.explanation(exc)
    return TargetError(
        f"{_where(target)} cannot be imported: it raised {type(exc).__name__}.{why or integration.settings_of(exc)}",
        user_traceback=users_traceback(exc),
    )


def _no_file(where: str, path: Path) -> str:
    if path.is_dir():
        return f"{where} is a directory: {_FORMS}."
    here = working_directory.where_typed()
    near = [os.path.relpath(other, here) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
    import difflib

    close = difflib.get_close_matches(where, near, 1)
    return f"There is no file {where} (looked in {here}).{f' Did you mean {close[0]}?' if close else ''}"


def _no_module(target: Target, missing: str) -> str:
    here = Path.cwd()
    known = [path.stem for path in here.glob("*.py")]
    import difflib

    close = difflib.get_close_matches(target.module, known, 1)
    if target.text.endswith(".txt") or ("." in target.text and (here / target.text.partition(":")[0]).is_file()):
        return f"{target.text!r} is a file, but no Python file: {_FORMS}."
    hint = f" Did you mean {close[0]}?" if close else ""
    return (
        f"There is no module {missing!r}, neither in {here} nor among the installed ones.{hint} A file is named with "
        "its path and .py."
    )
