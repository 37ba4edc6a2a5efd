"""The ``key=value`` words of a command, as the types that a function says it takes."""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from taskmaster.errors import UsageError

__all__ = ["converted", "texts_of"]

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def converted(function: Callable[..., Any], arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return arguments as the types of the function's annotations, or of its default values where
    it has none; texts where it has neither.

    Args:
        function: What they are passed to.
        arguments: As they were written.

    Raises:
        UsageError: A text is no value of its type.
    """
    kinds = _annotations(function) if arguments else {}
    return {name: _value(function, name, text, kinds.get(name)) for name, text in arguments.items()}


def texts_of(function: Callable[..., Any], arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of the arguments that are passed as texts because nothing says otherwise."""
    kinds = _annotations(function)
    return [name for name, value in arguments.items() if isinstance(value, str) and name not in kinds]


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = {}.values()
    # A text that a default value's type does not fit would be compared with numbers, and never be
    # equal: no jobs.
    found = {p.name: type(p.default) for p in parameters if type(p.default) in _OF_DEFAULTS}
    try:
        return found | typing.get_type_hints(function)
    except Exception:  # a name in a string that only a type checker knows
        return found | {p.name: p.annotation for p in parameters if isinstance(p.annotation, type)}


def _value(function: Callable[..., Any], name: str, text: str, kind: Any) -> Any:
    kinds = [one for one in _members(kind) if one is not type(None)]
    for one in kinds:
        try:
            return _read(one, text)
        except (ValueError, ArithmeticError, KeyError):
            continue
    if not kinds:
        return text
    called = getattr(function, "__name__", "get_jobs")
    wanted = " or ".join(getattr(one, "__name__", str(one)) for one in kinds)
    raise UsageError(
        f"{name}={text} cannot be passed to {called}, which says by its annotation or its default value that {name} is "
        f"of the type {wanted}. If it takes texts, too, let it say so: `def {called}({name}: str)`."
    )


def _members(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union; a type alone; none for what no text can be made into."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(member for one in typing.get_args(kind) for member in _members(one))
    if typing.get_origin(kind) is typing.Annotated:
        return _members(typing.get_args(kind)[0])
    return (kind,) if kind in _ARGUMENT_READERS or kind is type(None) else ()


def _bool(text: str) -> bool:
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ValueError(text)


_ARGUMENT_READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: _bool,
    decimal.Decimal: decimal.Decimal,
    pathlib.Path: pathlib.Path,
    dt.datetime: dt.datetime.fromisoformat,
    dt.date: dt.date.fromisoformat,
    dt.time: dt.time.fromisoformat,
    uuid.UUID: uuid.UUID,
}


_OF_DEFAULTS = {int, float, bool, decimal.Decimal, dt.datetime, dt.date, dt.time, uuid.UUID}


def _read(kind: Any, text: str) -> Any:
    return _ARGUMENT_READERS[kind](text)
