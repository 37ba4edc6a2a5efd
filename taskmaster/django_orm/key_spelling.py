"""A check that a row is found by its key in the spelling that Django sends.

Django accepts several spellings of a value and sends its own: SQLite stores times and UUIDs as
texts, and a field of the project's may change what it reads. If the database has another spelling,
the next page would begin at a wrong position: rows would be left out, or be read without an end.
"""

from __future__ import annotations

from typing import Any

from django.db.models import BooleanField, ExpressionWrapper

from taskmaster.django_orm.key import INTEGERS, TEXT_FIELDS, Key, ReadableQuerySet
from taskmaster.django_orm.queries import ask
from taskmaster.django_orm.readable import as_objects
from taskmaster.errors import SourceError

__all__ = ["check_spelling"]


def check_spelling(
    key: Key, value: Any, page: ReadableQuerySet, patience: float, *, vendor: str, sign: str = "="
) -> None:
    """Check that the database finds a row by its key, if the fields may have several spellings.

    Args:
        key: the key.
        value: the key of a row of the page.
        page: a queryset of rows, with that row among them.
        patience: seconds for which a database that cannot be read is asked again.
        vendor: the kind of database, as Django names it.
        sign: the comparison that the row has to fulfil; ``<=`` for the end of a range.

    Raises:
        SourceError: it does not find the row; the message says why, with the cure.
    """
    if all(_is_sent_as_kept(field, vendor) for field in key.bare_fields):
        return

    def is_lost(rows: ReadableQuerySet) -> bool:
        same = rows._chain()
        same.query.clear_limits()
        if list(same.filter(key.compared("=", value, vendor)).order_by()[:1]):
            return False
        # It may have been deleted meanwhile.
        fits = ExpressionWrapper(key.compared(sign, value, vendor), output_field=BooleanField())
        again = rows.annotate(taskmaster_fits=fits).values_list(*key.names, "taskmaster_fits")
        return any(key.joined(names) == value and not fit for *names, fit in again)

    if ask(as_objects(page).values_list(*key.names), is_lost, patience):
        names = ", ".join(field.name for field in key.fields)
        raise SourceError(
            f"The row of {key.model._meta.label} whose {names} is {value!r} is not found by that value: the database "
            "has it in another spelling than Django sends (a UUID with dashes or capitals, a time with a T or a zone, "
            "a field whose from_db_value() changes what it reads), so that rows would be left out. Write it as Django "
            "does, or read along another key."
        )


def _is_sent_as_kept(field: Any, vendor: str) -> bool:
    if not type(field).__module__.startswith("django."):
        return False
    return vendor == "postgresql" or field.get_internal_type() in (*INTEGERS, *TEXT_FIELDS)
