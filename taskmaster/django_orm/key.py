"""The key in whose order a queryset is read: one or several fields of its model, and conditions on
them.

The model tells whether all rows can be read by a key: it is never NULL, an index begins with it
and, where rows are jobs, it is unique. Only the database compares keys.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import BigIntegerField, BooleanField, F, Func, Model, Q, UniqueConstraint, Value

from taskmaster.errors import UsageError

__all__ = ["Key", "ReadableQuerySet", "fields_of", "own_field"]

ReadableQuerySet = Any
"""A queryset; Django has no types."""

# Databases that use an index for a comparison of rows of columns; others would scan the table.
ROW_COMPARISON = ("postgresql", "sqlite")
INTEGERS = ("AutoField", "BigAutoField", "SmallAutoField", "IntegerField", "BigIntegerField", "SmallIntegerField",
            "PositiveIntegerField", "PositiveBigIntegerField", "PositiveSmallIntegerField")  # fmt: skip
NUMBER_FIELDS = (*INTEGERS, "FloatField", "DecimalField")
TEXT_FIELDS = ("CharField", "TextField", "SlugField", "EmailField", "URLField")
LOOKUPS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "=": "exact"}
PLAIN_VALUES = frozenset({bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta, uuid.UUID})
"""Types of values that a state can store."""


class _Compared(Func):  # type: ignore[misc]  # Django has no types
    """A row comparison such as ``(a, b) > (1, 2)``, for which an index over a and b is used."""

    def __init__(self, *expressions: Any, sign: str = ">") -> None:
        super().__init__(*expressions, output_field=BooleanField())
        self.sign = sign

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        """Return the SQL and its parameters."""
        del connection
        parts = [compiler.compile(expression) for expression in self.source_expressions]
        half = len(parts) // 2
        left, right = (", ".join(sql for sql, _ in side) for side in (parts[:half], parts[half:]))
        return f"({left}) {self.sign} ({right})", [value for _, values in parts for value in values]


class Key:
    """A key of a model.

    Args:
        model: the model whose rows have the key.
        names: the name of a field, or of several; ``"pk"`` for the primary key. A ``-`` before each
            name means descending order.
        descending: whether rows are read from the highest key to the lowest.
        unique: whether the key has to be unique.
        trusted: whether to skip the check that the model has such a key.

    Raises:
        UsageError: the model does not have the key, or the key may be NULL, is not indexed, or is
            not unique; the message says which.

    Attributes:
        model: the model whose rows have the key.
        descending: whether rows are read from the highest key to the lowest.
        fields: the fields of the key.
        names: the names of a row's attributes that have the key's values.
    """

    def __init__(
        self, model: type[Model], names: str | Sequence[str], *, descending: bool, unique: bool, trusted: bool
    ) -> None:
        self.model = model
        given = [names] if isinstance(names, str) else list(names)
        down = {name.startswith("-") for name in given}
        if not given or len(down) > 1:
            raise UsageError(f"The key {given!r} has no direction: write - before each of its fields, or before none.")
        self.descending = descending or down == {True}
        self.fields = [field for name in given for field in fields_of(model, name.removeprefix("-"))]
        self.names = tuple(field.attname for field in self.fields)
        if not trusted:
            self._check(unique=unique)

    def __str__(self) -> str:
        return f"{self.model._meta.label} by {', '.join(field.name for field in self.fields)}"

    @property
    def single(self) -> bool:
        """Whether the key is one field, so that keys are values and no tuples."""
        return len(self.fields) == 1

    @property
    def primary(self) -> bool:
        """Whether this is the model's primary key."""
        return self.fields == fields_of(self.model, "pk")

    def left_out(self, names: Collection[str], *, deferred: bool) -> list[str]:
        """Return the names of the key's fields that are not loaded after ``defer(*names)`` (if
        ``deferred``) or ``only(*names)``; the primary key always is.
        """
        primary = fields_of(self.model, "pk")
        return [
            field.name
            for field in self.fields
            if field not in primary and (field.name in names or field.attname in names) == deferred
        ]

    @property
    def number(self) -> bool:
        """Whether the key is one number, so that a run's progress can be computed from it."""
        return self.single and _kind(self.fields[0]) in NUMBER_FIELDS

    # -- in queries --------------------------------------------------------------------------------

    def names_in_sql(self, using: str) -> tuple[str, str] | None:
        """Return the names of the table and of the key as SQL of PostgreSQL; None for another kind
        of database, or if the key is not a single number.
        """
        from django.db import connections

        connection = connections[using]
        if connection.vendor != "postgresql" or not self.number:
            return None
        field = self.fields[0]
        names = field.model._meta.db_table, field.column
        table, column = (connection.ops.quote_name(name) for name in names)
        return table, column

    def order(self, *, descending: bool | None = None) -> list[str]:
        """Return the arguments for ``order_by``."""
        down = self.descending if descending is None else descending
        return [f"-{name}" if down else name for name in self.names]

    def compared(self, sign: str, key: Any, vendor: str) -> Any:
        """Return a condition for ``filter`` that compares the key of a row with a given one.

        Args:
            sign: one of > >= < <= and =.
            key: the key on the right.
            vendor: the kind of database, as Django names it.
        """
        parts = [_python(field, part) for field, part in self._parted(key)]
        if self.single:
            return Q(**{f"{self.names[0]}__{LOOKUPS[sign]}": _operand(self.fields[0], parts[0])})
        if vendor in ROW_COMPARISON:
            values = [Value(part, output_field=_sent_as(field)) for field, part in zip(self.fields, parts, strict=True)]
            return _Compared(*map(F, self.names), *values, sign=sign)
        return self._spelt_out(sign, [_operand(field, part) for field, part in zip(self.fields, parts, strict=True)])

    def _spelt_out(self, sign: str, parts: Sequence[Any]) -> Q:
        """Return the same condition without a row comparison: a >= 1 AND (a > 1 OR (a = 1 AND b >
        2)). The database uses an index for the first part.
        """
        if sign == "=":
            return Q(*zip(self.names, parts, strict=True))
        strict = LOOKUPS[sign[0]]
        name, part = self.names[len(self.names) - len(parts)], parts[0]
        if len(parts) == 1:
            return Q(**{f"{name}__{strict}{'e' if '=' in sign else ''}": part})
        rest = self._spelt_out(sign, parts[1:])
        return Q(**{f"{name}__{strict}e": part}) & (Q(**{f"{name}__{strict}": part}) | (Q(**{name: part}) & rest))

    # -- its values --------------------------------------------------------------------------------

    def joined(self, parts: Sequence[Any]) -> Any:
        """Return the key with these values, in a form that a state can store."""
        kept = [
            part if type(part) in PLAIN_VALUES else self._storable(field, part)
            for field, part in zip(self.fields, parts, strict=True)
        ]
        return kept[0] if self.single else tuple(kept)

    def _storable(self, field: Any, part: Any) -> Any:
        plain = _plain(field, part)
        if type(plain) not in PLAIN_VALUES and not _is_kept(plain):
            raise UsageError(
                f"{self.model._meta.label}.{field.name} has the value {plain!r}, a {type(plain).__name__}, which no "
                "state can keep as a key. Read along another key, such as the primary one."
            )
        return plain

    def parts(self, key: Any) -> tuple[Any, ...]:
        """Return the values of the fields of a key."""
        return (key,) if self.single else tuple(key)

    def checked(self, key: Any, what: str) -> Any:
        """Return a given key, with its values converted to the types of the fields.

        Raises:
            UsageError: no row can have that key; the message calls it ``what``.
        """
        try:
            return self.joined([_fitting(field, part) for field, part in self._parted(key)])
        except (TypeError, ValueError, AttributeError, ValidationError, ArithmeticError):
            kinds = ", ".join(f"{field.name} ({_kind(field)})" for field in self.fields)
            cure = "give one, or None to begin with the first row, as in `def get_jobs(last=None)`"
            raise UsageError(
                f"{what} is {key!r}, which is no key of {self.model._meta.label}: that is "
                f"{'' if self.single else 'a tuple of '}{kinds}. If it is a default of yours, {cure}; if it comes from "
                "a run that had another source, begin a new one with --reset or --state=PATH."
            ) from None

    def _parted(self, key: Any) -> Iterator[tuple[Any, Any]]:
        if not self.single and not isinstance(key, tuple | list):
            raise TypeError("no tuple")
        return zip(self.fields, self.parts(key), strict=True)

    # -- checks of the model -----------------------------------------------------------------------

    @property
    def bare_fields(self) -> list[Any]:
        """The fields of the key; for a foreign key, the field that it points to."""
        return [_bare(field) for field in self.fields]

    def _check(self, *, unique: bool) -> None:
        label, names = self.model._meta.label, tuple(field.name for field in self.fields)
        for field in self.fields:
            if field.null:
                raise UsageError(
                    f"{label}.{field.name} may be NULL, and rows without a key would never be read. Choose another "
                    "key, such as the primary one, or make the field null=False."
                )
        together = ", ".join(map(repr, names))
        if unique and not any(set(one) <= set(names) for one in _unique(self.model)):
            raise UsageError(
                f"Nothing in the model says that no two rows of {label} have the same {together}, and of rows with the "
                f"same key some would not be read. Add the primary key to it, as in key=({together}, 'pk'), with "
                f"models.Index(fields=[{together}, {self.model._meta.pk.name!r}]) in Meta.indexes; or say so in "
                f"Meta.constraints: models.UniqueConstraint(fields=[{together}], name=...)."
            )
        if not any(tuple(one[: len(names)]) == names for one in _indexes(self.model)):
            raise UsageError(
                f"No index of {label} begins with {together}, so that the database would sort the whole table for "
                f"each page. Make one: models.Index(fields=[{together}]) in Meta.indexes, and a migration. If there is "
                "one that the model does not know of, or one with opclasses that sort as the key does, say "
                "trusted=True."
            )


def fields_of(model: type[Model], name: str) -> list[Any]:
    """Return the fields of a name: one, or several for a composite primary key.

    Raises:
        UsageError: the model has no such field.
    """
    meta = model._meta
    if name == "pk":
        return list(getattr(meta, "pk_fields", None) or [meta.pk])
    try:
        field = meta.get_field(name)
    except FieldDoesNotExist:
        field = next((one for one in meta.concrete_fields if one.attname == name), None)
    if field is not None and getattr(field, "concrete", False) and field.column is not None:
        return [field]
    if field is not None and field is meta.pk:
        return list(meta.pk_fields)
    known = sorted(one.name for one in meta.concrete_fields)
    close = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UsageError(f"{meta.label} has no field {name!r} that a key can have; it has {', '.join(known)}.{hint}")


def own_field(model: type[Model], field: Any) -> Any:
    """Return the model's own primary key if the field is the primary key of a parent, which has the
    same value in each row; any other field unchanged.
    """
    link = own = model._meta.pk
    while getattr(link.remote_field, "parent_link", False):
        link = link.target_field
        if field is link:
            return own
    return field


def _bare(field: Any) -> Any:
    """Return the field that a foreign key points to; any other field unchanged."""
    while getattr(field, "target_field", None) is not None and field.is_relation:
        field = field.target_field
    return field


def _kind(field: Any) -> str:
    return str(_bare(field).get_internal_type())


def _fitting(field: Any, value: Any) -> Any:
    """Return a value converted to the field's type; raise for one that the field cannot have.

    ``to_python`` alone would convert 0 for a text field, and rows above "0" would be read.
    """
    bare = _bare(field)
    kind = bare.get_internal_type()
    if value is None:
        raise TypeError("a key is never NULL")
    if type(value) not in PLAIN_VALUES:
        value = _plain(bare, value)
    if kind in INTEGERS and isinstance(value, Decimal) and value % 1 == 0:
        value = int(value)  # from a numeric column without decimal places
    if kind in INTEGERS and type(value) is not int:
        raise TypeError("no int")
    if kind in TEXT_FIELDS and not isinstance(value, str):
        raise TypeError("no text")
    if kind == "UUIDField" and not isinstance(value, uuid.UUID | str):
        raise TypeError("no UUID")
    return bare.to_python(value)


def _plain(field: Any, value: Any) -> Any:
    """Return a value of one of the project's classes as the plain value that the database has: a
    state stores only plain values.
    """
    prepared = _bare(field).get_prep_value(value)
    if isinstance(prepared, Enum):
        prepared = prepared.value
    if isinstance(prepared, memoryview | bytearray):
        return bytes(prepared)
    if isinstance(prepared, list | tuple):  # an array: a key is hashed
        return _tuple_of(prepared)
    if type(prepared) not in PLAIN_VALUES:
        kinds: tuple[Any, ...] = (str, int, float, bytes)
        return next((kind(prepared) for kind in kinds if isinstance(prepared, kind)), prepared)
    return prepared


def _tuple_of(value: Any) -> Any:
    return tuple(map(_tuple_of, value)) if isinstance(value, list | tuple) else value


def _is_kept(value: Any) -> bool:
    """Return whether a value is a tuple, of an array, that a state can store."""
    return isinstance(value, tuple) and all(type(one) in PLAIN_VALUES or _is_kept(one) for one in value)


def _python(field: Any, value: Any) -> Any:
    """Return a plain value in the form that a field of the project's needs in a condition."""
    bare = _bare(field)
    if isinstance(value, Decimal) and not value.is_finite():
        raise UsageError(
            f"A row of {field.model._meta.label} has {value} as its {field.name}, with which Django compares nothing: "
            f"mend that row, leave it out with a condition, such as .filter({field.name}__lt=10**12), or read along "
            "another key."
        )
    return value if type(bare).__module__.startswith("django.") else bare.to_python(value)


def _operand(field: Any, value: Any) -> Any:
    """Return a value for the right side of a comparison.

    An integer is wrapped: Django itself finds no row for one that is too large for the field.
    """
    return Value(value, output_field=_sent_as(field)) if type(value) is int and _kind(field) in INTEGERS else value


def _sent_as(field: Any) -> Any:
    """Return the field with whose type a value is sent: the column of an integer may be wider than
    the model's field.
    """
    return BigIntegerField() if _kind(field) in INTEGERS else _bare(field)


def _unique(model: Any, *, in_order: bool = False) -> Iterator[tuple[str, ...]]:
    """Yield the sets of fields that are unique; with ``in_order`` only those whose index has the
    order of ORDER BY.
    """
    meta = model._meta
    yield tuple(one.name for one in getattr(meta, "pk_fields", None) or [meta.pk])
    yield from ((field.name,) for field in meta.concrete_fields if field.unique)
    for parent in [model, *meta.get_parent_list()]:
        yield from parent._meta.unique_together
        for one in parent._meta.constraints:
            if not isinstance(one, UniqueConstraint) or (in_order and one.opclasses):
                continue
            # A deferred constraint may be broken for a while; one with a condition does not hold
            # for all rows.
            if one.condition is None and not one.deferrable and one.fields:
                yield tuple(one.fields)


def _indexes(model: Any) -> Iterator[tuple[str, ...]]:
    """Yield the fields of each index, in their order.

    Indexes with ``opclasses`` are left out: ``text_pattern_ops`` sorts differently than ORDER BY.
    """
    yield from _unique(model, in_order=True)
    meta = model._meta
    yield from ((field.name,) for field in meta.concrete_fields if field.db_index)
    for parent in [model, *meta.get_parent_list()]:
        for index in parent._meta.indexes:
            signs = {sign for _, sign in index.fields_orders}
            plain = index.condition is None and not index.opclasses
            if plain and len(signs) == 1 and type(index).__name__ in ("Index", "BTreeIndex"):
                yield tuple(name for name, _ in index.fields_orders)
