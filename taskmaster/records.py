"""Records: dataclasses that are made in a quarter of the time.

``dataclass(frozen=True)`` compiles seven functions for each class, which takes a millisecond; a
command makes fifty such classes at its start, and of most of them one object or none. A record
compiles one, ``__init__``, and only when several objects of its class have been made; it shares the
others.

That nobody writes into a ``record`` is what the type checker holds, and not the running program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, cast, dataclass_transform

__all__ = ["changing", "record"]

_Class = TypeVar("_Class", bound=type)
_FEW = 10  # objects of a class that are made before a constructor is compiled for it


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
    """Make a class a record, whose values stay as they are.

    Args:
        slots: Whether nothing but its fields can be set; a class of which several are the base of
            another cannot have that.
        shown: Whether ``repr()`` shows its fields.
    """
    return _maker({"__eq__": _equal, "__hash__": _hashed, **({"__repr__": _shown} if shown else {})}, slots=slots)


@dataclass_transform(field_specifiers=(field,))
def changing(*, slots: bool = True, compared: bool = False) -> Callable[[_Class], _Class]:
    """Make a class a record whose values change.

    Args:
        slots: As for ``record``.
        compared: Whether two objects with the same values are equal, and no keys of a dict then;
            otherwise each is equal only to itself.
    """
    return _maker({"__repr__": _shown, **({"__eq__": _equal, "__hash__": None} if compared else {})}, slots=slots)


def _maker(shared: dict[str, Any], *, slots: bool) -> Callable[[_Class], _Class]:
    def decorate(cls: _Class) -> _Class:
        own = set(vars(cls))
        made: Any = dataclass(slots=slots, init=False, repr=False, eq=False)(cls)
        for name in shared.keys() - own:
            setattr(made, name, shared[name])
        if "__init__" not in own:
            made.__init__ = _compiled_when_used(made)
        return cast("_Class", made)

    return decorate


def _compiled_when_used(made: Any) -> Callable[..., None]:
    """Return a constructor that puts the real one in its place when it has been called some
    times.
    """
    calls = 0

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        nonlocal calls
        calls += 1
        if calls <= _FEW and _filled(self, made, args, kwargs):
            return
        # That of a subclass without fields of its own takes the same, and sets the same. Without a
        # docstring, dataclasses would write one, which takes as long as all the rest.
        twin: Any = type(made.__name__, (made,), {"__doc__": made.__doc__})
        made.__init__ = dataclass(repr=False, eq=False)(twin).__init__
        made.__init__(self, *args, **kwargs)

    return __init__


def _filled(self: Any, made: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Set the fields as the real constructor does; return False where that has to say what is
    wrong.
    """
    declared = fields(made)
    names = [one.name for one in declared]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if len(given) < len(args) + len(kwargs) or not given.keys() <= set(names):
        return False
    for one in declared:
        if one.name not in given:
            if one.default is MISSING and one.default_factory is MISSING:
                return False
            given[one.name] = one.default if one.default_factory is MISSING else one.default_factory()
        setattr(self, one.name, given[one.name])
    if hasattr(self, "__post_init__"):
        self.__post_init__()
    return True
