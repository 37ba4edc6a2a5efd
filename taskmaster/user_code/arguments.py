"""The ``key=value`` words of a command, as the types that a function says it takes."""

from __future__ import annotations

import collections.abc
import datetime as dt
import decimal
import enum
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
        UsageError: A text is no value of its type, or the type holds several values (a list).
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
    found = {
        p.name: type(p.default) for p in parameters if type(p.default) in _OF_DEFAULTS or _is_enum(type(p.default))
    }
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
    called = getattr(function, "__name__", "get_jobs")
    if not kinds and _of_several(kind):
        raise UsageError(
            f"{name}={text} cannot be passed to {called}, which says by its annotation or its default value that "
            f"{name} holds several values: of a text, it would take each character for one. Let it take a text and "
            f"split it: `def {called}({name}: str)`, and {name}.split(',')."
        )
    if not kinds:
        return text
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
    return (kind,) if kind in _ARGUMENT_READERS or kind is type(None) or _is_enum(kind) else ()


def _of_several(kind: Any) -> bool:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(_of_several(member) for member in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Annotated:
        return _of_several(typing.get_args(kind)[0])
    of = typing.get_origin(kind) or kind
    return isinstance(of, type) and issubclass(of, collections.abc.Iterable) and not issubclass(of, (str, bytes))


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


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


_SEVERAL = {list, tuple, set, frozenset, dict}
_OF_DEFAULTS = {int, float, bool, decimal.Decimal, dt.datetime, dt.date, dt.time, uuid.UUID} | _SEVERAL


def _read(kind: Any, text: str) -> Any:
    if _is_enum(kind):
        if text in kind.__members__:
            return kind[text]
        by_value = [one for one in kind if str(one.value) == text]
        return by_value[0] if by_value else kind(text)
    return _ARGUMENT_READERS[kind](text)
