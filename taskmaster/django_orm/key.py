"""The key along which a queryset is read: one field of its model or several, and what can be asked
with it.

Called by the sources of this package. Models say whether a key leads through all rows: it is never
NULL, an index begins with it, and, where rows are jobs, no two rows have the same. The database
alone compares.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import BooleanField, F, Func, Model, Q, QuerySet, UniqueConstraint, Value

from taskmaster.errors import UsageError

__all__ = ["Key", "ReadableQuerySet", "readable"]

ReadableQuerySet = Any
"""A queryset; Django has no types."""

# Where the server goes to the place of a row comparison in the index; others would read all that
# lies before.
ROW_COMPARISON = ("postgresql", "sqlite")
INTEGERS = ("AutoField", "BigAutoField", "SmallAutoField", "IntegerField", "BigIntegerField", "SmallIntegerField",
            "PositiveIntegerField", "PositiveBigIntegerField", "PositiveSmallIntegerField")  # fmt: skip
NUMBERS = (*INTEGERS, "FloatField", "DecimalField")


def readable(queryset: Any, name: str, *, in_order: bool = True) -> ReadableQuerySet:
    """A queryset that can be read by pages.

    Args:
        queryset: or a manager.
        name: of what reads it, for the messages.
        in_order: it is read in the order of a key, and may have no other.

    Raises:
        UsageError: it is none, or one of which a page cannot be told; says what to write instead.
    """
    queryset = queryset.all() if hasattr(queryset, "get_queryset") else queryset
    if isinstance(queryset, type) and issubclass(queryset, Model):
        manager = getattr(getattr(queryset, "_default_manager", None), "name", None) or "objects"
        raise UsageError(
            f"{queryset.__name__} is a model, and not the rows to read: give a queryset of it, such as "
            f"{queryset.__name__}.{manager}.all()."
        )
    if not isinstance(queryset, QuerySet):
        raise UsageError(
            f"{name} was given a {type(queryset).__name__}, which is no queryset: give one, such as Post.objects.all()."
        )
    query = queryset.query
    if query.is_sliced:
        raise UsageError(
            f"The queryset is sliced, and {name} takes slices of it itself, one page after the other. Leave out the "
            "[:n]; --limit (limit= in a script) stops a run after so many jobs, and filter(...) what is read."
        )
    if in_order and (query.order_by or query.extra_order_by):
        raise UsageError(
            f"The queryset is ordered by {', '.join(map(str, query.order_by or query.extra_order_by))}, and {name} "
            "reads along a key. Take .order_by(...) off; another key than the primary one is named beside the "
            f"queryset, as in {name}(queryset, key='slug')."
        )
    if query.combinator:
        raise UsageError(
            f"The queryset is a {query.combinator}() of others, which cannot be read by pages along a key. Give one "
            "queryset with a condition, such as filter(Q(...) | Q(...)), or run one after the other."
        )
    if in_order and query.distinct_fields:
        raise UsageError(
            f"The queryset has distinct({', '.join(map(repr, query.distinct_fields))}), which wants an order of its "
            f"own, and {name} reads along a key. Take it off, and see in the callback what is to be done once."
        )
    return queryset


class _Compared(Func):  # type: ignore[misc]  # Django has no types
    """A row comparison: ``(a, b) > (1, 2)``, which the index over a and b answers at once."""

    def __init__(self, *expressions: Any, sign: str = ">") -> None:
        super().__init__(*expressions, output_field=BooleanField())
        self.sign = sign

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        """As SQL, with its parameters."""
        del connection
        parts = [compiler.compile(expression) for expression in self.source_expressions]
        half = len(parts) // 2
        left, right = (", ".join(sql for sql, _ in side) for side in (parts[:half], parts[half:]))
        return f"({left}) {self.sign} ({right})", [value for _, values in parts for value in values]


class Key:
    """A key of a model.

    Args:
        model: whose rows have it.
        names: of a field or several, ``"pk"`` for the primary key, each with a ``-`` before it for
            descending order.
        descending: from the highest to the lowest.
        unique: no two rows may have the same.
        trusted: do not ask the model whether it leads through all rows.

    Raises:
        UsageError: the model does not have it, or it does not lead through all rows; names what is
            missing.

    Attributes:
        descending: see there.
        names: of the attributes of a row in which it is.
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
        self._fields = [field for name in given for field in self._found(name.removeprefix("-"))]
        self.names = tuple(field.attname for field in self._fields)
        if not trusted:
            self._check(unique=unique)

    def __str__(self) -> str:
        return f"{self.model._meta.label} by {', '.join(field.name for field in self._fields)}"

    @property
    def single(self) -> bool:
        """It is one field, and its value not in a tuple."""
        return len(self._fields) == 1

    @property
    def primary(self) -> bool:
        """It is the model's primary one."""
        return self._fields == self._found("pk")

    def left_out(self, names: Collection[str], *, deferred: bool) -> list[str]:
        """Its fields that a row lacks after ``defer(*names)``, or after ``only(*names)``; the
        primary key stays.
        """
        primary = self._found("pk")
        return [
            field.name
            for field in self._fields
            if field not in primary and (field.name in names or field.attname in names) == deferred
        ]

    @property
    def number(self) -> bool:
        """One can reckon with it."""
        return self.single and _kind(self._fields[0]) in NUMBERS

    # -- what is asked with it ---------------------------------------------------------------------

    def order(self, *, descending: bool | None = None) -> list[str]:
        """For ``order_by``."""
        down = self.descending if descending is None else descending
        return [f"-{name}" if down else name for name in self.names]

    def compared(self, sign: str, key: Any, vendor: str) -> Any:
        """A condition for ``filter``.

        Args:
            sign: one of > >= < <=.
            key: compared with that of the row.
            vendor: of the database.
        """
        values = [Value(part, output_field=_bare(field)) for field, part in self._parted(key)]
        if self.single:
            lookup = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}[sign]
            return Q(**{f"{self.names[0]}__{lookup}": key})
        if vendor in ROW_COMPARISON:
            return _Compared(*map(F, self.names), *values, sign=sign)
        return self._spelt_out(sign, self.parts(key))

    def _spelt_out(self, sign: str, parts: Sequence[Any]) -> Q:
        """Likewise: a >= 1 AND (a > 1 OR (a = 1 AND b > 2)): the first condition is the one that an
        index answers.
        """
        strict = {">": "gt", ">=": "gt", "<": "lt", "<=": "lt"}[sign]
        name, part = self.names[len(self.names) - len(parts)], parts[0]
        if len(parts) == 1:
            return Q(**{f"{name}__{strict}{'e' if '=' in sign else ''}": part})
        rest = self._spelt_out(sign, parts[1:])
        return Q(**{f"{name}__{strict}e": part}) & (Q(**{f"{name}__{strict}": part}) | (Q(**{name: part}) & rest))

    # -- its values --------------------------------------------------------------------------------

    def joined(self, parts: Sequence[Any]) -> Any:
        """The key, of the values of its fields."""
        return parts[0] if self.single else tuple(parts)

    def parts(self, key: Any) -> tuple[Any, ...]:
        """The values of its fields."""
        return (key,) if self.single else tuple(key)

    def checked(self, key: Any, what: str) -> Any:
        """A key that can be one of this model.

        Raises:
            UsageError: it cannot; ``what`` says where it comes from.
        """
        try:
            return self.joined([_fitting(field, part) for field, part in self._parted(key)])
        except (TypeError, ValueError, ValidationError, ArithmeticError):
            kinds = ", ".join(f"{field.name} ({_kind(field)})" for field in self._fields)
            cure = "give one, or None to begin with the first row, as in `def get_jobs(last=None)`"
            raise UsageError(
                f"{what} is {key!r}, which is no key of {self.model._meta.label}: that is "
                f"{'' if self.single else 'a tuple of '}{kinds}. If it is a default of yours, {cure}; if it comes from "
                "a run that had another source, begin a new one with --reset or --state=PATH."
            ) from None

    def _parted(self, key: Any) -> Iterator[tuple[Any, Any]]:
        if not self.single and not isinstance(key, tuple | list):
            raise TypeError("no tuple")
        return zip(self._fields, self.parts(key), strict=True)

    # -- whether it leads through all rows ---------------------------------------------------------

    def _found(self, name: str) -> list[Any]:
        meta = self.model._meta
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

    def _check(self, *, unique: bool) -> None:
        label, names = self.model._meta.label, tuple(field.name for field in self._fields)
        for field in self._fields:
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


def _bare(field: Any) -> Any:
    """The field whose values a foreign key has."""
    while getattr(field, "target_field", None) is not None and field.is_relation:
        field = field.target_field
    return field


def _kind(field: Any) -> str:
    return str(_bare(field).get_internal_type())


def _fitting(field: Any, value: Any) -> Any:
    """A value as the field has it; raises for one that it could not have.

    ``to_python`` alone would take 0 for a text, and look for rows above "0".
    """
    bare = _bare(field)
    kind = bare.get_internal_type()
    if value is None:
        raise TypeError("a key is never NULL")
    if kind in INTEGERS and type(value) is not int:
        raise TypeError("no int")
    if kind in ("CharField", "TextField", "SlugField", "EmailField", "URLField") and not isinstance(value, str):
        raise TypeError("no text")
    if kind == "UUIDField" and not isinstance(value, uuid.UUID | str):
        raise TypeError("no UUID")
    return bare.to_python(value)


def _unique(model: Any, *, in_order: bool = False) -> Iterator[tuple[str, ...]]:
    """Sets of fields of which no two rows have the same; ``in_order``: whose index is sorted as the
    key is.
    """
    meta = model._meta
    yield tuple(one.name for one in getattr(meta, "pk_fields", None) or [meta.pk])
    yield from ((field.name,) for field in meta.concrete_fields if field.unique)
    for parent in [model, *meta.get_parent_list()]:
        yield from parent._meta.unique_together
        for one in parent._meta.constraints:
            if not isinstance(one, UniqueConstraint) or (in_order and one.opclasses):
                continue
            # One that is deferred may be broken for a while; that of a condition says nothing of
            # the other rows.
            if one.condition is None and not one.deferrable and one.fields:
                yield tuple(one.fields)


def _indexes(model: Any) -> Iterator[tuple[str, ...]]:
    """The fields of each index, in its order.

    Those with ``opclasses`` are left out: ``text_pattern_ops`` sorts in another way than ORDER BY.
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
