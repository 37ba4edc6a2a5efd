"""A key that the database has in another spelling than Django sends is no key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models
from support.library.models import Labelled, Parcel

from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper
from taskmaster.errors import SourceError

NOT_FOUND = "is not found by that value: the database has it in another spelling"
FIRST = datetime.fromisoformat("2026-01-01")


class LowerField(models.CharField):
    """It changes what it reads."""

    def from_db_value(self, value: str, *_: object) -> str:
        return value.lower()


LOWER_META = type("Meta", (), {"app_label": "library"})
LOWER_ID = LowerField(max_length=10, primary_key=True)
Lower: Any = type("Lower", (models.Model,), {"__module__": __name__, "id": LOWER_ID, "Meta": LOWER_META})


def insert(model: Any, *rows: tuple[Any, ...]) -> None:
    columns = model._meta.concrete_fields[: len(rows[0])]
    with connection.cursor() as cursor:
        names = ", ".join(field.column for field in columns)
        places = ", ".join(["%s"] * len(columns))
        cursor.executemany(f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({places})", rows)


def parcels(spelt: Callable[[UUID], str], moment: Callable[[datetime], str]) -> None:
    numbers = [UUID(int=(0xABC << 116) + (n << 64)) for n in range(60)]
    sent = [moment(FIRST + timedelta(minutes=20 * n)) for n in range(60)]
    insert(Parcel, *((spelt(number), at, n) for n, (number, at) in enumerate(zip(numbers, sent, strict=True))))


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    ("spelt", "moment", "key"),
    [
        (str, str, "id"),
        (lambda number: number.hex.upper(), str, "id"),
        (lambda number: number.hex, datetime.isoformat, "sent"),
        (lambda number: number.hex, lambda moment: f"{moment}+00:00", "sent"),
    ],
)
def test_other_spellings_of_sqlite(use: Any, tmp_path: Any, spelt: Any, moment: Any, key: str, step: int) -> None:
    """Most rows were left out, the last one was, or reading had no end."""
    use({"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "library.sqlite")}, Parcel)
    parcels(spelt, moment)
    with pytest.raises(SourceError, match=NOT_FOUND):
        list(RangeQuerySetWrapper(Parcel.objects.all(), step, key=key).iterate(None))


def test_ranges_want_their_ends_to_be_in_order(use: Any, tmp_path: Any) -> None:
    """The last row was above the end of the last range."""
    use({"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "library.sqlite")}, Parcel)
    parcels(lambda number: number.hex, datetime.isoformat)
    with pytest.raises(SourceError, match=NOT_FOUND):
        list(QuerySetRanges(Parcel.objects.all(), rows=7, key="sent").iterate(None))


def test_a_spelling_that_is_django_s_is_read(tables: str) -> None:
    """Whatever the database keeps it as; each page is a query, and one for its last key."""
    parcels(lambda number: number.hex, str)
    for key in ("id", "sent", "weight"):
        assert len(list(RangeQuerySetWrapper(Parcel.objects.all(), 7, key=key).iterate(None))) == 60
        drawn = QuerySetRanges(Parcel.objects.all(), rows=7, target=None, key=key).iterate(None)
        assert sum(job.payload.queryset().count() for job in drawn) == 60


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_field_that_changes_what_it_reads(use: Any, tmp_path: Any, step: int) -> None:
    """Rows between the two spellings were left out; ranges are drawn with one of them alone."""
    use({"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "library.sqlite")}, Lower, Labelled)
    insert(Lower, *((text,) for text in ("0", "B", "C", "Q1", "a", "d", "e")))
    with pytest.raises(SourceError, match=f"library.Lower whose id is .* {NOT_FOUND}"):
        list(RangeQuerySetWrapper(Lower.objects.all(), step).iterate(None))
    drawn = QuerySetRanges(Lower.objects.all(), rows=step, target=None).iterate(None)
    assert sum(job.payload.queryset().count() for job in drawn) == 7
    insert(Labelled, *((f"l-{n:05}",) for n in range(20)))
    assert len(list(RangeQuerySetWrapper(Labelled.objects.all(), step).iterate(None))) == 20


def test_a_row_that_was_deleted_is_no_other_spelling(use: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not found, and is not there when its page is asked for again."""
    use({"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "library.sqlite")}, Parcel)
    parcels(lambda number: number.hex, str)
    from taskmaster.django_orm import rows

    plain = rows.check_spelling

    def after_a_deletion(key: Any, value: Any, *words: Any, **more: Any) -> None:
        Parcel.objects.filter(pk=value).delete()
        plain(key, value, *words, **more)

    monkeypatch.setattr(rows, "check_spelling", after_a_deletion)
    assert len(list(RangeQuerySetWrapper(Parcel.objects.all(), 7))) == 60
