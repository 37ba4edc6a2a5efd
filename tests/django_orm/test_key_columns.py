"""A key is refused where its column has other values than Django compares."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.test import override_settings
from support.django_projects import database_of

from taskmaster import keys
from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper
from taskmaster.errors import UsageError

Sql = Callable[..., list[tuple]]


def model_of(field: models.Field) -> Any:
    """Return the model of a table with a key of this kind; its name says which."""
    name = f"Legacy{type(field).__name__}"
    meta = type("Meta", (), {"managed": False, "db_table": "legacy", "app_label": "library"})
    return type(name, (models.Model,), {"__module__": __name__, "id": field, "Meta": meta})


FLOATS = model_of(models.FloatField(primary_key=True))
DECIMALS = model_of(models.DecimalField(primary_key=True, max_digits=10, decimal_places=2))
INTEGERS = model_of(models.BigIntegerField(primary_key=True))
DATES = model_of(models.DateField(primary_key=True))
MOMENTS = model_of(models.DateTimeField(primary_key=True))
ARRAYS = model_of(ArrayField(ArrayField(models.IntegerField()), primary_key=True))

MOMENT = "timestamp '2026-01-01' + n * interval '1 hour'"


def sources(model: Any) -> list[Any]:
    """Give one of each kind."""
    return [
        RangeQuerySetWrapper(model.objects.all(), 7),
        QuerySetRanges(model.objects.all(), rows=7, target=None),
    ]


def rows_of(source: Any) -> int:
    """Read a source, with a restart in the middle; give how many rows it has given."""
    source.bounds(None)
    jobs = list(source.iterate(None))
    where = [getattr(job, "key", None) or source.job_key(job) for job in jobs]
    rest = list(source.iterate(keys.decode(keys.encode(where[len(where) // 2]))))
    assert len(rest) == len(jobs) - len(jobs) // 2 - 1
    return sum(job.payload.queryset().count() for job in jobs) if hasattr(jobs[0], "payload") else len(jobs)


@pytest.mark.parametrize(
    ("model", "column", "value", "said"),
    [
        (FLOATS, "real", "n * 0.1", "is real, and a FloatField rounds.*TYPE double precision"),
        (FLOATS, "numeric(30, 20)", "n * 0.1 + 1e-18", "is numeric, and a FloatField rounds"),
        (FLOATS, "bigint", "9007199254740992 + n", "is bigint, and a FloatField rounds"),
        (FLOATS, "double precision", "n * 0.1", ""),
        (FLOATS, "numeric(10, 2)", "n * 0.1", ""),
        (FLOATS, "integer", "n", ""),
        (DECIMALS, "double precision", "n * 0.1", "is double precision, and a DecimalField rounds"),
        (DECIMALS, "numeric", "n * 0.1 + 1e-18", ""),
        (INTEGERS, "numeric", "n + 0.5", "is numeric, and a BigIntegerField rounds"),
        (INTEGERS, "numeric(20)", "n", ""),
        (INTEGERS, "smallint", "n", ""),
        (DATES, "timestamp", MOMENT, "is timestamp, and a DateField rounds"),
        (DATES, "date", "date '2026-01-01' + n", ""),
        (MOMENTS, "timestamp", MOMENT, "is timestamp, and a DateTimeField takes its values, which have no zone"),
        (MOMENTS, "timestamptz", MOMENT, ""),
    ],
)
def test_a_column_of_another_type(
    use: Any, database: str, sql: Sql, model: Any, column: str, value: str, said: str
) -> None:
    """Refused where rows came twice or not at all; what loses nothing is read."""
    with override_settings(TIME_ZONE="Europe/Berlin"):
        use(database_of(database))
        sql(f"CREATE DOMAIN kind AS {column}")
        for kind in (column, "kind"):
            sql(f"CREATE TABLE legacy (id {kind} PRIMARY KEY)")
            sql(f"INSERT INTO legacy SELECT {value} FROM generate_series(1, 100) n")
            for source in sources(model):
                if said:
                    with pytest.raises(UsageError, match=said):
                        source.bounds(None)
                else:
                    assert rows_of(source) == 100
            sql("DROP TABLE legacy")


@override_settings(TIME_ZONE="UTC")
def test_moments_without_zone_are_keys_where_all_is_utc(use: Any, database: str, sql: Sql) -> None:
    """Then Django takes them for the same moments as the server."""
    use(database_of(database))
    sql("CREATE TABLE legacy (id timestamp PRIMARY KEY)")
    sql(f"INSERT INTO legacy SELECT {MOMENT} FROM generate_series(1, 100) n")
    for source in sources(MOMENTS):
        with pytest.warns(RuntimeWarning, match="received a naive datetime"):
            assert rows_of(source) == 100


def test_a_number_that_django_does_not_compare(use: Any, database: str, sql: Sql) -> None:
    """NaN is a decimal of the server's: it was an exception of Django's own, without a name."""
    use(database_of(database))
    sql("CREATE TABLE legacy (id numeric PRIMARY KEY)")
    sql("INSERT INTO legacy SELECT n FROM generate_series(1, 100) n UNION ALL SELECT 'NaN'::numeric")
    for source in sources(DECIMALS):
        with pytest.raises(UsageError, match=r"A row of library.Legacy\w+ has NaN as its id, .*\.filter\(id__lt="):
            list(source.iterate(None))
    assert len(list(RangeQuerySetWrapper(DECIMALS.objects.filter(id__lt=Decimal(10) ** 12), 7).iterate(None))) == 100


def test_an_array_is_a_key(use: Any, database: str, sql: Sql) -> None:
    """Also of ranges, whose keys are hashed."""
    use(database_of(database))
    sql("CREATE TABLE legacy (id integer[] PRIMARY KEY)")
    sql("INSERT INTO legacy SELECT ARRAY[ARRAY[n % 7], ARRAY[n]] FROM generate_series(1, 100) n")
    for source in sources(ARRAYS):
        assert rows_of(source) == 100
