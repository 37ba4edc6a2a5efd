"""Records: dataclasses whose values stay as they are, made in a third of the time.

``dataclass(frozen=True)`` compiles seven functions for each class, which takes a millisecond; a
command makes fifty such classes at its start. A record compiles one, ``__init__``, and shares the
others. That nobody writes into it is what the type checker holds, and not the running program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast, dataclass_transform

__all__ = ["record"]

_Class = TypeVar("_Class", bound=type)


def _equal(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _values(self) == _values(other)


def _hashed(self: Any) -> int:
    return hash(_values(self))


def _shown(self: Any) -> str:
    found = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({found})"


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, one.name) for one in fields(self)])


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(*, slots: bool = True, shown: bool = True) -> Callable[[_Class], _Class]:
    """Make a class a record.

    Args:
        slots: Whether nothing but its fields can be set; a class of which several are the base of
            another cannot have that.
        shown: Whether ``repr()`` shows its fields.
    """

    def decorate(cls: _Class) -> _Class:
        shared = {"__eq__": _equal, "__hash__": _hashed, **({"__repr__": _shown} if shown else {})}
        own = set(vars(cls))
        made: Any = dataclass(slots=slots, repr=False, eq=False)(cls)
        for name in shared.keys() - own:
            setattr(made, name, shared[name])
        return cast("_Class", made)

    return decorate
