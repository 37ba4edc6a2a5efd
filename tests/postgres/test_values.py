"""A callback gets each value such that a statement takes it back as it was, or its job fails."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import psycopg2
import pytest

from taskmaster import postgres
from taskmaster.errors import SourceError
from taskmaster.model import Job
from taskmaster.sources.database_errors import StatementRefused
from taskmaster.sources.keyset_rows import UnreadableRow

Sql = Callable[..., list[tuple]]

TYPES = {
    "timestamptz": ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'12024-03-15'", "'2024-03-31 01:59:59.999999+00'"],
    "timestamp": ["'infinity'", "'0044-03-15 12:00 BC'", "'10000-06-23'", "'2024-02-29 23:59:59.5'"],
    "date": ["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'10000-06-23'", "'2024-02-29'"],
    "time": ["'24:00'", "'00:00'", "'23:59:59.999999'"],
    "timetz": ["'24:00+02'", "'12:00-05'"],
    "interval": ["'1 year'", "'13 mons 2 days'", "'-3 hours'", "'0'", "'178000000 years'"],
    "real": ["0.1", "'NaN'", "'-Infinity'", "1e-45", "3.4028235e38", "16777216"],
    "double precision": ["0.1::float8 + 0.2::float8", "5e-324", "'Infinity'"],
    "numeric": ["'NaN'", "1e100", "0.10"],
}
DRIVERS = {
    "dsn": lambda dsn: dsn,
    "psycopg2": lambda dsn: lambda: psycopg2.connect(dsn),
    "psycopg": lambda dsn: lambda: psycopg.connect(dsn),
}


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("type_", TYPES)
def test_a_value_finds_its_row_and_is_written_back_unchanged(database: str, sql: Sql, type_: str, driver: str) -> None:
    """As a key, beside a key, and in arrays; no row stops the others."""
    sql(f"CREATE TABLE odd (k {type_} PRIMARY KEY, v {type_}, a {type_}[], n int NOT NULL DEFAULT 0)")
    for value in TYPES[type_]:
        sql(f"INSERT INTO odd SELECT v, v, ARRAY[v, NULL] FROM (VALUES ({value}::{type_})) AS t(v)")
    sql("CREATE TABLE before AS SELECT * FROM odd")
    with closing(postgres.rows(DRIVERS[driver](database), "odd", "k", columns=["k", "v", "a"])) as source:
        jobs = [pickle.loads(pickle.dumps(job)) for job in source.iterate(None)]
    with closing((psycopg if driver == "psycopg" else psycopg2).connect(database)) as connection:
        cursor = connection.cursor()
        for job in jobs:
            key, value, array = job.payload
            assert repr(array) == repr([value, None])
            cursor.execute("UPDATE odd SET n = n + 1, v = %s WHERE k = %s", (value, key))
            assert cursor.rowcount == 1, job
        connection.commit()

    assert len(jobs) == len(TYPES[type_])
    assert sql("SELECT k FROM odd WHERE n <> 1") == []
    assert sql("SELECT count(*) FROM odd JOIN before b USING (k) WHERE odd.v = b.v") == [(len(jobs),)]


def test_infinity_of_a_numeric_is_no_nan(database: str, sql: Sql) -> None:
    """psycopg2 would send it back as one."""
    sql("CREATE TABLE odd (k numeric PRIMARY KEY); INSERT INTO odd VALUES ('Infinity'), ('-Infinity'), (1)")
    with closing(postgres.rows(database, "odd", "k")) as source:
        found = [job.payload for job in source.iterate(None)]

    assert found == ["-Infinity", Decimal(1), "Infinity"]
    assert sql("SELECT count(*) FROM odd WHERE k = ANY(%s::numeric[])", [str(one) for one in found]) == [(3,)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_python_has_comes_as_before(database: str, sql: Sql, driver: str) -> None:
    """Moments, spans of days, and their arrays."""
    sql("CREATE TABLE t (id int PRIMARY KEY, a timestamptz, b date, c time, d interval, e date[])")
    sql("INSERT INTO t VALUES (1, '2024-02-29 12:00Z', '2024-02-29', '12:30', '2 days 01:00', '{2024-02-29}')")
    with closing(postgres.rows(DRIVERS[driver](database), "t", columns=["id", "a", "b", "c", "d", "e"])) as source:
        ((_, *found),) = source.iterate(None)

    day = date(2024, 2, 29)
    assert found == [datetime(2024, 2, 29, 12, tzinfo=UTC), day, time(12, 30), timedelta(days=2, hours=1), [day]]


def test_what_the_user_says_of_a_type_stands(database: str, sql: Sql) -> None:
    """Of a connection of their own."""
    sql("CREATE TABLE t (id int PRIMARY KEY, at date); INSERT INTO t VALUES (1, 'infinity')")

    def connect() -> Any:
        connection = psycopg2.connect(database)
        mine = psycopg2.extensions.new_type((1082,), "MINE", lambda value, cursor: f"<{value}>")
        psycopg2.extensions.register_type(mine, connection)
        return connection

    with closing(postgres.rows(connect, "t", columns=["id", "at"])) as source:
        assert list(source.iterate(None)) == [(1, "<infinity>")]


@pytest.mark.parametrize("columns", [["id", "v"], "v"])
@pytest.mark.parametrize("bad", [(1,), (500,), (1000,), (499, 500, 501)])
def test_a_row_that_the_driver_cannot_read_fails_alone(
    database: str, sql: Sql, bad: tuple[int, ...], columns: Any
) -> None:
    """With its key; all others are there, in their order."""
    sql("CREATE TABLE t (id int PRIMARY KEY, v date)")
    sql("INSERT INTO t SELECT n, CASE WHEN n = ANY(%s) THEN 'infinity' ELSE '2024-02-29' END::date "
        "FROM generate_series(1, 1000) n", list(bad))  # fmt: skip

    def parse(text: str | None, cursor: Any) -> date:
        return date.fromisoformat(text or "")

    def connect() -> Any:
        connection = psycopg2.connect(database)
        psycopg2.extensions.register_type(psycopg2.extensions.new_type((1082,), "MINE", parse), connection)
        return connection

    with closing(postgres.rows(connect, "t", columns=columns, chunk=400)) as source:
        jobs = list(source.iterate(None))
        failing = [job for job in jobs if isinstance(job, Job) and isinstance(job.payload, UnreadableRow)]

        assert [source.job_key(job) for job in jobs] == list(range(1, 1001))
        assert tuple(job.key for job in failing) == bad
        with pytest.raises(ValueError, match=r"cannot read what the server has answered.*infinity"):
            pickle.loads(pickle.dumps(failing[0].payload))


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg3"])
@pytest.mark.parametrize("bad", [(1,), (1000,), (499, 500, 501)])
def test_a_row_that_the_server_cannot_give_fails_alone(
    database: str, sql: Sql, bad: tuple[int, ...], driver: str
) -> None:
    """Such as one with a character that the connection's encoding has not, or with damaged data."""
    sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    sql(
        "INSERT INTO t SELECT n, CASE WHEN n = ANY(%s) THEN '漢' ELSE 'é' END FROM generate_series(1, 1000) n",
        list(bad),
    )
    dsn = f"{database} client_encoding=LATIN1"
    given = dsn if driver == "psycopg2" else lambda: psycopg.connect(dsn)
    with closing(postgres.rows(given, "t", columns="v", chunk=400)) as source:
        jobs = list(source.iterate(None))

    failing = [job for job in jobs if isinstance(job.payload, UnreadableRow)]
    assert [job.key for job in jobs] == list(range(1, 1001))
    assert tuple(job.key for job in failing) == bad
    with pytest.raises(ValueError, match=r"server cannot give this row.*has no equivalent in encoding \"LATIN1\""):
        pickle.loads(pickle.dumps(failing[0].payload))


@pytest.mark.parametrize("condition", ["1000 / (id - 5) > 0", ("v > %s", ["x"])])
def test_a_condition_that_fails_for_a_row_ends_the_run(database: str, sql: Sql, condition: Any) -> None:
    """It is the user's, and says nothing of the row."""
    sql("CREATE TABLE t (id int PRIMARY KEY, v date)")
    sql("INSERT INTO t SELECT n, '2024-02-29' FROM generate_series(1, 10) n")

    with pytest.raises(StatementRefused, match=r"division by zero|invalid input syntax"):
        list(postgres.rows(database, "t", where=condition).iterate(None))


def test_texts_in_another_encoding_name_the_cure(sql: Sql, database: str) -> None:
    """Without an encoding, a row with such a value fails alone, a key ends the run."""
    name = f"{psycopg2.extensions.parse_dsn(database)['dbname']}_ascii"
    sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        dsn = psycopg2.extensions.make_dsn(database, dbname=name)
        with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE k (v text PRIMARY KEY)")
            cursor.execute("INSERT INTO t VALUES (1, 'a'), (2, E'\\xe9'), (3, 'c'); INSERT INTO k VALUES (E'\\xe9')")
            connection.commit()
        with closing(postgres.rows(dsn, "t", columns=["id", "v"])) as source:
            first, second, third = source.iterate(None)
        with (
            closing(postgres.rows(dsn, "k", "v")) as source,
            pytest.raises(SourceError, match="client_encoding=LATIN1"),
        ):
            list(source.iterate(None))
        with closing(postgres.rows(f"{dsn} client_encoding=LATIN1", "t", columns=["id", "v"])) as source:
            assert list(source.iterate(None)) == [(1, "a"), (2, "é"), (3, "c")]
    finally:
        sql(f"DROP DATABASE {name} WITH (FORCE)")

    assert (first, third) == ((1, "a"), (3, "c"))
    assert second.key == 2
    assert "client_encoding=LATIN1" in second.payload.why
