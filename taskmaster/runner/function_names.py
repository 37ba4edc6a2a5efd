"""What a script's callback and jobs are called in the identity of its run.

A name alone would give one state to runs that read and do other things: methods of two objects, two
functions behind one decorator, a generator of another table. So the texts that tell them apart are
part of the name: what an object or a function around the other holds, and what a generator was
called with. Numbers that an object or a function holds are left out, for they are counters and
limits as a rule, and change between two sessions of one run. Nothing of the user's is called.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path, PurePath
from types import FunctionType, MethodType
from typing import Any

from taskmaster.redaction import without_passwords_in

__all__ = ["described", "name_of_function"]

NAMED_VALUES = (str, int, float, bool, bytes, type(None))
TEXT_TYPES = (str, bytes, PurePath)
ARGUMENTS = (str, bytes, PurePath, int)
NAMED_LEVELS = 3  # of functions in functions
MOST_SHOWN = 100  # characters of one text; a longer one is told by its beginning and a digest


def name_of_function(function: Any, depth: int = NAMED_LEVELS) -> str:
    """Return a function's module and name, and what tells it from others of that name; of one of
    the script, without the module.
    """
    if isinstance(function, functools.partial):
        given = [repr(value) for value in function.args if isinstance(value, NAMED_VALUES)]
        given += [f"{name}={value!r}" for name, value in function.keywords.items() if isinstance(value, NAMED_VALUES)]
        return f"{name_of_function(function.func)}({', '.join(given)})"
    if isinstance(function, MethodType) and not isinstance(function.__self__, type):
        return _qualified(function) + _of_object(function.__self__)
    name = getattr(function, "__qualname__", None)
    if name is None:
        return _qualified(type(function)) + _of_object(function)
    return _qualified(function) + (_of_closure(function, depth) if isinstance(function, FunctionType) else "")


def described(jobs: Any, source: Any) -> str:
    """Return what is read, as far as it can be told without reading it.

    Args:
        jobs: What the script gave.
        source: What that was made into.
    """
    identity = getattr(source, "identity", None) or getattr(jobs, "identity", None)
    if callable(identity):
        return str(identity())
    if callable(jobs) and not isinstance(jobs, type):
        return name_of_function(jobs)
    code = getattr(jobs, "gi_code", None)
    if code is not None:
        return f"generator {getattr(code, 'co_qualname', code.co_name)}{_of_generator(jobs)}"
    file = getattr(jobs, "name", None)
    if isinstance(file, str):
        return f"file {Path(file).name}"
    if isinstance(jobs, range):
        return "range"
    return name_of_function(jobs) if hasattr(jobs, "iterate") else _qualified(type(jobs))


def _qualified(function: Any) -> str:
    name, module = str(function.__qualname__), str(getattr(function, "__module__", None) or "")
    return name if module in ("", "__main__") else f"{module}.{name}"


def _of_object(holder: Any) -> str:
    """Return the texts that an object holds."""
    try:
        found = vars(holder)
    except TypeError:
        return ""
    return _told((name, value) for name, value in found.items() if isinstance(value, TEXT_TYPES) and name[:1] != "_")


def _of_closure(function: FunctionType, depth: int) -> str:
    """Return the texts and functions of the functions around a function."""
    told: list[tuple[str, Any]] = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            value = cell.cell_contents
        except ValueError:  # it has no value yet
            continue
        if isinstance(value, TEXT_TYPES):
            told.append((name, value))
        elif depth and isinstance(value, FunctionType | MethodType) and value is not function:
            told.append((name, _Named(name_of_function(value, depth - 1))))
    return _told(told)


def _of_generator(jobs: Any) -> str:
    """Return what a generator that has not begun was called with."""
    if inspect.getgeneratorstate(jobs) != inspect.GEN_CREATED:
        return ""
    values = inspect.getgeneratorlocals(jobs)
    count = jobs.gi_code.co_argcount + jobs.gi_code.co_kwonlyargcount
    names = jobs.gi_code.co_varnames[:count]
    return _told((name, values[name]) for name in names if isinstance(values.get(name), ARGUMENTS))


class _Named(str):
    """The name of a function, which is no text of anybody's."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the name without quotes."""
        return str(self)


def _told(values: Iterable[tuple[str, Any]]) -> str:
    """Return names and values in parentheses, without passwords; "" for none."""
    shown = []
    for name, value in values:
        plain = value if isinstance(value, _Named | bytes | int) else str(value)
        text = repr(without_passwords_in({name: plain})[name] if type(plain) is str else plain)
        if len(text) > MOST_SHOWN:
            digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
            text = f"{text[:MOST_SHOWN]}...{digest}"
        shown.append(f"{name}={text}")
    return f"({', '.join(shown)})" if shown else ""
