"""Rows by pages: the same as one query over the whole table, whatever the key, and from wherever
one begins.
"""

from __future__ import annotations

import datetime as dt
import logging
import pickle
import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from itertools import chain, repeat
from typing import Any

import psycopg
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.commands import wait_for
from support.locks import locked
from support.text_orders import TEXTS

from taskmaster import keys, postgres
from taskmaster.errors import SourceError, UsageError
from taskmaster.master.reading.source import Source
from taskmaster.model import Job
from taskmaster.postgres import catalog, pages
from taskmaster.postgres.catalog import order_now, query_plan
from taskmaster.postgres.statements import SourceConnection
from taskmaster.sources.database_errors import StatementRefused
from taskmaster.sources.database_retry import TooSlow


def key_of(source: Any, job: Any) -> Any:
    """A job's key, as the state gives it back."""
    key = source.job_key(job)
    return keys.decode(keys.check(key))


def slow_at_times(reading: SourceConnection, when: list[bool]) -> None:
    """Let the time of some statements be up before the server is asked, where that means fewer
    rows.
    """
    fetch, left = reading.fetch, list(when)

    def sometimes(sql: str, values: Any = (), **how: Any) -> list[tuple]:
        if "may_be_slow" in how and not how["may_be_slow"] and left and left.pop():
            raise TooSlow("the statement took too long.")
        return fetch(sql, values, **how)

    reading.fetch = sometimes  # type: ignore[method-assign]


def row_of(job: Any) -> Any:
    """What the callback gets."""
    return job.payload if isinstance(job, Job) else job


@pytest.fixture
def comments(sql: Callable[..., list[tuple]]) -> None:
    """1,000 rows with gaps."""
    sql("CREATE TABLE comments (id bigint PRIMARY KEY, body text NOT NULL, score int)")
    sql("INSERT INTO comments SELECT 3 * n, 'body ' || n, n % 10 FROM generate_series(1, 1000) n")
    sql("ANALYZE comments")


@pytest.mark.parametrize("chunk", [1, 7, 1000, 5000])
def test_the_pages_are_the_table(database: str, comments: None, chunk: int) -> None:
    """Whatever a page holds; jobs are keys, the values of a column, or tuples of several."""
    ids = [3 * n for n in range(1, 1001)]
    if chunk == 1:
        ids = ids[:50]
        last = 3 * 950
        assert [key - last for key in postgres.rows(database, "comments", chunk=1).iterate(last)] == ids
        return

    assert list(postgres.rows(database, "comments", chunk=chunk).iterate(None)) == ids
    assert list(postgres.rows(database, "comments", chunk=chunk, descending=True).iterate(None)) == ids[::-1]
    rows = list(postgres.rows(database, "public.comments", columns=["body", "id"], chunk=chunk).iterate(None))
    assert rows[:2] == [("body 1", 3), ("body 2", 6)]
    bodies = list(postgres.rows(database, "comments", columns="body", chunk=chunk).iterate(2997))
    assert bodies == [Job(3000, "body 1000")]


def test_a_source_is_closed_while_a_page_is_on_its_way(
    database: str, comments: None, sql: Callable[..., list[tuple]], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for the server; the thread that does closes the connection, and takes it for no
    lost one.
    """
    held = "id <= 300 OR pg_advisory_xact_lock_shared(1)::text IS NOT NULL"
    source = Source(postgres.rows(database, "comments", where=held, chunk=100))
    sql("SELECT pg_advisory_lock(1)")
    assert next(source.iterate()) == 3
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    wait_for("the second page to wait", lambda: sql(waiting) == [(1,)])
    source.close()
    assert sql(waiting) == [(1,)]
    sql("SELECT pg_advisory_unlock(1)")
    left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_for("its connection to end", lambda: sql(left) == [(0,)])

    assert "tried again" not in caplog.text


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_pages_of_wide_rows_have_fewer(
    database: str, sql: Callable[..., list[tuple]], monkeypatch: pytest.MonkeyPatch, driver: Any
) -> None:
    """Whatever is wide in them; those of narrow ones have as many as they may, but for the
    first.
    """
    monkeypatch.setattr(pages, "PAGE_BYTES", 200_000)
    sql("CREATE TABLE wide (id int PRIMARY KEY, t text, b bytea, j jsonb, a text[])")
    sql("INSERT INTO wide SELECT n, '', '', '{}', '{}' FROM generate_series(1, 2000) n")
    for column, value in (
        ("t", "repeat('x', 2000)"),
        ("b", "convert_to(repeat('x', 2000), 'UTF8')"),
        ("j", "jsonb_build_object('in', jsonb_build_array(repeat('x', 2000)))"),
        ("a", "ARRAY['', repeat('x', 2000)]"),
    ):
        sql(f"UPDATE wide SET {column} = {value} WHERE id > 1000")
        dsn = lambda: driver.connect(database)  # noqa: E731
        with closing(postgres.rows(dsn, "wide", columns=["id", column], chunk=400)) as source:
            source.bounds(None)
            found = [len(page) for page in source._pages(None)]

        assert sum(found) == 2000
        # The fourth has the first wide rows, and ends where they are enough; of documents and
        # arrays only those are measured that are not small as they are stored.
        assert found[:3] == [100, 400, 400], column
        assert 110 <= found[3] <= (201 if column in "tb" else 400), found
        assert all(10 <= count <= 130 for count in found[4:-1]), found
        assert len(found) > 9


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_any_driver_will_do(database: str, comments: None, driver: Any) -> None:
    """A function that returns a connection takes the place of a DSN."""
    source = postgres.rows(lambda: driver.connect(database), "comments", where=("score = %s", [3]), chunk=10)

    assert [key // 3 % 10 for key in source.iterate(None)] == [3] * 100
    assert 50 < (source.total() or 0) < 200


@pytest.mark.parametrize("driver", [None, psycopg2, psycopg])
def test_what_is_in_a_row_can_be_sent_to_a_worker(database: str, sql: Callable[..., list[tuple]], driver: Any) -> None:
    """Bytes are bytes, also in arrays and domains; the rest is as the driver gives it."""
    sql("CREATE DOMAIN blob AS bytea")
    sql(
        "CREATE TABLE kinds (id int PRIMARY KEY, b bytea, d blob, a bytea[], j jsonb, n numeric, t timestamptz, u uuid)"
    )
    sql(
        "INSERT INTO kinds VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (1, '\\x00ff', '\\x', "
        "ARRAY['\\x01', NULL]::bytea[], '{\"a\": [1]}', 1.50, now(), gen_random_uuid())"
    )
    names = ["id", "b", "d", "a", "j", "n", "t", "u"]
    dsn = database if driver is None else lambda: driver.connect(database)
    with closing(postgres.rows(dsn, "kinds", columns=names)) as source:
        first, second = (pickle.loads(pickle.dumps(row)) for row in source.iterate(None))

    assert first[:6] == (1, b"\x00\xff", b"", [b"\x01", None], {"a": [1]}, Decimal("1.50"))
    assert second == (2, *[None] * 7)


def test_a_condition_may_have_percent_signs(database: str, comments: None) -> None:
    """Without values it is plain SQL."""
    source = postgres.rows(database, "comments", where="body LIKE '%7' AND score % 2 = 1 -- odd")

    assert len(list(source.iterate(None))) == 100


def test_the_end_is_fixed_when_the_run_is_new(database: str, comments: None, sql: Callable[..., list[tuple]]) -> None:
    """Rows that come later are none of the run's, also after a restart; with follow=True they
    are.
    """
    ends = postgres.rows(database, "comments").bounds(None)
    sql("INSERT INTO comments VALUES (5000, 'late', 0), (4, 'between', 0)")
    again = postgres.rows(database, "comments", chunk=100)
    again.bounds(keys.decode(keys.check(ends)))
    seen = list(again.iterate(2990))

    assert ends == (3, 3000, "integer")
    assert seen == [2991, 2994, 2997, 3000]
    assert again.position(3000) == 1.0
    assert again.position(3) == 0.0

    followed = postgres.rows(database, "comments", follow=True)
    assert followed.total() is None
    following = followed.iterate(2997)
    assert [next(following), next(following)] == [3000, 5000]
    sql("INSERT INTO comments VALUES (5001, 'later', 0)")
    assert next(following) == 5001


def test_an_empty_table_has_no_rows(database: str, sql: Callable[..., list[tuple]]) -> None:
    """And no end to remember."""
    sql("CREATE TABLE none (id int PRIMARY KEY)")
    source = postgres.rows(database, "none")

    assert source.bounds(None) is None
    assert list(source.iterate(None)) == []


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("uuid", ["gen_random_uuid()"] * 5),
        ("timestamptz", ["'infinity'", "'-infinity'", "'2024-03-31 01:59:59.999999+00'", "now()", "'0044-03-15 BC'"]),
        ("date", ["'2024-02-29'", "'infinity'", "'4713-01-01 BC'"]),
        ("numeric", ["'NaN'", "1e100", "-0.000000000000000000001", "0", "3.14"]),
        ("numeric(10,2)", ["1.05", "-2", "99999999.99"]),
        ("double precision", ["'NaN'", "'-Infinity'", "0.1::float8 + 0.2::float8", "5e-324", "1e308"]),
        ("bytea", ["'\\x00ff'", "''", "'\\x5c27'"]),
        ("boolean", ["true", "false"]),
        ("char(5)", ["'a'", "'b  '", "''"]),
        ("varchar(3)", ["'a'", "'ab '", "''"]),
        ("interval", ["'1 year 2 days'", "'-3 hours'", "'0'"]),
        ("inet", ["'10.0.0.1'", "'::1'"]),
        ("colour", ["'red'", "'green'", "'blue'"]),
        ("positive", ["7", "3"]),
        ("int[]", ["'{1,2}'", "'{}'", "'{1,NULL}'"]),
        ("smallint", ["'-32768'", "32767", "0"]),
    ],
)
def test_keys_of_any_type_come_back_as_they_went(
    database: str, sql: Callable[..., list[tuple]], type_: str, values: list[str]
) -> None:
    """From each key, through the state's codec, the rest follows in the server's order; also
    backwards.
    """
    sql("CREATE TYPE colour AS ENUM ('red', 'green', 'blue')")
    sql("CREATE DOMAIN positive AS int CHECK (value > 0)")
    sql(f"CREATE TABLE odd (k {type_} PRIMARY KEY, n serial)")
    for value in values:
        sql(f"INSERT INTO odd VALUES ({value}::{type_})")
    for descending in (False, True):
        expected = [n for (n,) in sql(f"SELECT n FROM odd ORDER BY k {'DESC' if descending else ''}")]
        source = postgres.rows(database, "odd", "k", columns="n", chunk=2, descending=descending)
        jobs = list(source.iterate(None))

        assert [job.payload for job in jobs] == expected
        for place, job in enumerate(jobs):
            rest = [later.payload for later in source.iterate(key_of(source, job))]
            assert rest == expected[place + 1 :]


def test_keys_do_not_depend_on_what_the_database_makes_of_them(database: str, sql: Callable[..., list[tuple]]) -> None:
    """Rounded, as a database may have them, those of floats would be below or above the rows that
    they are of.
    """
    name = sql("SELECT current_database()")[0][0]
    for setting in ("extra_float_digits = 0", "datestyle = 'SQL, DMY'", "intervalstyle = 'iso_8601'"):
        sql(f"ALTER DATABASE {name} SET {setting}")
    sql("CREATE TABLE odd (k float8 PRIMARY KEY, n serial)")
    sql("INSERT INTO odd SELECT 0.1::float8 + n * 2e-16 FROM generate_series(1, 20) n")
    expected = [n for (n,) in sql("SELECT n FROM odd ORDER BY k")]
    rows = list(postgres.rows(database, "odd", "k", columns="n", chunk=1).iterate(None))
    ranges = list(postgres.ranges(database, "odd", "k", rows=1, target=None).iterate(None))
    with closing(psycopg2.connect(database)) as connection:
        held = [job.payload.fetch(connection, "n") for job in ranges]

    assert [job.payload for job in rows] == expected
    assert held == [[(n,)] for n in expected]


ROWS = st.tuples(TEXTS, st.integers(-3, 3))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.sets(ROWS, max_size=30),
    chunk=st.integers(1, 8),
    order=st.permutations(["t", "n"]),
    condition=st.sampled_from([None, "n > 0", ("n <> %s", [1]), "n > 100"]),
    slow=st.lists(st.booleans(), max_size=20),
    data=st.data(),
)
def test_pages_are_brute_force(  # noqa: PLR0917  # what hypothesis gives, and three fixtures
    database: str,
    sql: Callable[..., list[tuple]],
    text_types: list[str],
    rows: set,
    chunk: int,
    order: list[str],
    condition: Any,
    slow: list[bool],
    data: st.DataObject,
) -> None:
    """Composite keys with texts in odd orders; rows come and go between the pages, some of which
    are too slow at first, and none that stays is left out.
    """
    type_ = data.draw(st.sampled_from(text_types))
    sql("DROP TABLE IF EXISTS odd")
    sql(f"CREATE TABLE odd (t {type_} NOT NULL, n int NOT NULL, UNIQUE ({', '.join(order)}))")
    for text, number in rows:
        sql("INSERT INTO odd VALUES (%s, %s) ON CONFLICT DO NOTHING", text, number)
    descending = data.draw(st.booleans())
    way = "DESC" if descending else "ASC"
    (fits, values) = condition if isinstance(condition, tuple) else (condition or "true", [])
    chosen = f"SELECT {', '.join(order)} FROM odd WHERE {fits} ORDER BY {order[0]} {way}, {order[1]} {way}"
    ordered = sql(chosen, *values)
    source = postgres.rows(database, "odd", order, where=condition, chunk=chunk, descending=descending)
    slow_at_times(source._reading, slow)
    gone, came, seen = set(), set(), []
    # Drawn before: how many pages there are depends on the time that they take, as it should.
    deeds = data.draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 29), st.integers(0, 4), ROWS), max_size=30))
    nothing = (1, 0, 1, ("", 0))
    for job, (deletes, place, inserts, fresh) in zip(source.iterate(None), chain(deeds, repeat(nothing)), strict=False):
        seen.append(row_of(job))
        if deletes == 0 and ordered:
            doomed = ordered[place % len(ordered)]
            sql(f"DELETE FROM odd WHERE {order[0]} = %s AND {order[1]} = %s", *doomed)
            gone.add(doomed)
        if inserts == 0:
            sql("INSERT INTO odd VALUES (%s, %s) ON CONFLICT DO NOTHING", *fresh)
            came.update(sql(f"SELECT {', '.join(order)} FROM odd WHERE t = %s AND n = %s", *fresh))
    stayed = [row for row in ordered if row not in gone]

    assert [row for row in seen if row in stayed and row not in came] == [row for row in stayed if row not in came]
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(ordered) | came

    ordered = sql(chosen, *values)
    for place, job in enumerate(list(source.iterate(None))):
        later = postgres.rows(database, "odd", order, where=condition, chunk=chunk, descending=descending)
        assert [row_of(after) for after in later.iterate(key_of(source, job))] == ordered[place + 1 :]


@pytest.mark.parametrize(
    ("key", "table", "expected"),
    [
        ("id", "comment", "There is no table comment; there is public.comments"),
        ("id", "blog.comments", "There is no table blog.comments; there is public.comments"),
        ("ids", "comments", "no column 'ids'; it has id"),
        ("score", "comments", "may be NULL.*ALTER TABLE public.comments ALTER COLUMN score SET NOT NULL"),
        ("body", "comments", r"unique.*CREATE UNIQUE INDEX CONCURRENTLY ON public.comments \(body\)"),
        (("body", "id"), "comments", r"No index.*CREATE UNIQUE INDEX CONCURRENTLY ON public.comments \(body, id\)"),
        ("id", "seen", "seen is a view"),
        ("id", "elsewhere", "elsewhere is a foreign table"),
        ("id", "kept", "kept is a materialized view"),
        ("id", "numbers", "numbers is a sequence"),
        ("id", '"comments', 'There is no table "comments|is not the name of a table: invalid name syntax'),
        ("id", "", "There is no table ''|'' is not the name of a table"),
        ("id", "other.public.comments", "There is no table other|is not the name of a table: cross-database"),
        (("id", "id"), "comments", "each of them once"),
        ((), "comments", "at least one column"),
        ("id", "partly", "No unique index"),
        ("id", "parents", "Other tables inherit"),
        ("name", "patterns", "No unique index"),
        (("d", "id"), "parts", r"CREATE UNIQUE INDEX ON public.parts \(d, id\)"),
    ],
)
def test_a_key_that_cannot_lead_is_refused(
    database: str, comments: None, sql: Callable[..., list[tuple]], key: Any, table: str, expected: str
) -> None:
    """With the statement that mends it, before the first row is read."""
    sql("CREATE VIEW seen AS SELECT * FROM comments; CREATE MATERIALIZED VIEW kept AS SELECT * FROM comments")
    sql("CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere; CREATE SEQUENCE numbers")
    sql("CREATE FOREIGN TABLE elsewhere (id int NOT NULL) SERVER far")
    sql("CREATE TABLE partly (id int NOT NULL); CREATE UNIQUE INDEX ON partly (id) WHERE id > 0")
    sql("CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children () INHERITS (parents)")
    sql("CREATE TABLE patterns (name text NOT NULL); CREATE UNIQUE INDEX ON patterns (name text_pattern_ops)")
    sql("CREATE TABLE parts (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d)")

    with pytest.raises(UsageError, match=f"(?s){expected}"):
        postgres.rows(database, table, key).iterate(None)


def test_the_statement_that_is_printed_mends_it(database: str, comments: None, sql: Callable[..., list[tuple]]) -> None:
    """As it stands."""
    with pytest.raises(UsageError) as caught:
        postgres.rows(database, "comments", ("body", "id")).iterate(None)
    sql(str(caught.value).partition("Mend it with: ")[2])

    assert len(list(postgres.rows(database, "comments", ("body", "id")).iterate(None))) == 1000


def test_an_index_of_another_version_of_its_collation_is_warned_of(
    database: str, comments: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search by it may pass over rows; few servers of the tests have such a collation."""
    list(postgres.rows(database, "comments").iterate(None))
    assert "REINDEX" not in caplog.text

    versions = "SELECT 'id', 'public.german', '2.28', '2.36' WHERE %s IS NOT NULL"
    monkeypatch.setattr(catalog, "_VERSIONS", versions)
    list(postgres.rows(database, "comments").iterate(None))

    assert "made by version 2.28 and which is of version 2.36 now" in caplog.text
    assert "REINDEX TABLE public.comments; ALTER COLLATION public.german REFRESH VERSION" in caplog.text


OTHER_ORDER = "in another order than when this run was new: it was that of .*text.* and is that of"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ALTER TABLE words ALTER id TYPE char(9)", OTHER_ORDER),
        ("ALTER TABLE words RENAME TO all_; CREATE VIEW words AS SELECT * FROM all_ WHERE id < 'c'", "is a view"),
        ("ALTER TABLE words ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", "Row-level security is active"),
        ('CREATE INDEX ON words (body); ALTER TABLE words ALTER id TYPE varchar(9) COLLATE "C"', ""),
        ("DROP TABLE words", ""),
    ],
)
@pytest.mark.parametrize("ranged", [False, True])
def test_a_table_that_hides_rows_from_the_middle_on_is_noticed(
    database: str, sql: Callable[..., list[tuple]], change: str, expected: str, ranged: bool
) -> None:
    """At the end of the reading at the latest: its pages look as if there were no more rows."""
    sql("CREATE ROLE reads; GRANT pg_read_all_data TO reads")
    sql('CREATE TABLE words (id text COLLATE "C" PRIMARY KEY, body text)')
    sql("INSERT INTO words SELECT chr(97 + n % 26) || n, '' FROM generate_series(1, 100) n")
    dsn = f"{database} options='-c role=reads'"
    try:
        source = postgres.ranges(dsn, "words", rows=50) if ranged else postgres.rows(dsn, "words", chunk=50)
        jobs = source.iterate(None)
        next(jobs)
        sql(change)
        if expected:
            with pytest.raises(UsageError, match=expected):
                list(jobs)
        elif "DROP" in change:
            table = source._found() if ranged else source._statements().table
            with closing(SourceConnection(dsn)) as reading:
                assert order_now(reading, table) is None
        else:
            assert len(list(jobs)) == (1 if ranged else 99)
        source.close()
    finally:
        sql("DROP OWNED BY reads; DROP ROLE reads")


def test_names_may_be_odd(database: str, sql: Callable[..., list[tuple]]) -> None:
    """The server quotes them."""
    sql("""CREATE SCHEMA "My ""schema"; CREATE TABLE "My ""schema"."Tä%ble" ("Or der" int PRIMARY KEY, "%s" text)""")
    sql("""INSERT INTO "My ""schema"."Tä%%ble" VALUES (1, 'one'), (2, %s)""", "two")
    source = postgres.rows(database, '"My ""schema"."Tä%ble"', "Or der", columns=["Or der", "%s"], chunk=1)

    assert list(source.iterate(None)) == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("type_", ["int", "numeric"])
@pytest.mark.parametrize(
    ("names", "key", "columns"),
    [
        (("c0", "body"), "c0", ["body"]),
        (("c1", "body"), "c1", ["c1", "body"]),
        (("octets", "body"), "octets", ["body"]),
        (("k1", "k0", "body"), ["k1", "k0"], ["k1", "k0", "body"]),
        (("text of a", "a", "body"), ["text of a", "a"], ["a"]),
    ],
)
def test_no_name_of_a_column_changes_the_order(
    database: str, sql: Callable[..., list[tuple]], names: tuple, key: Any, columns: list[str], type_: str
) -> None:
    """Pages give names of their own to what they select; rows were left out where a key had one."""
    keys_ = [key] if isinstance(key, str) else key
    typed = ", ".join(f'"{name}" {type_ if name in keys_ else "text"}' for name in names)
    primary = ", ".join(f'"{name}"' for name in keys_)
    sql(f"CREATE TABLE odd ({typed}, PRIMARY KEY ({primary}))")
    values = ["n % 7"] * (len(keys_) - 1) + ["n * 31 % 997", "md5(n::text)"]
    sql(f"INSERT INTO odd SELECT {', '.join(values)} FROM generate_series(1, 200) n")
    jobs = list(postgres.rows(database, "odd", key, columns=columns, chunk=10).iterate(None))

    assert len(jobs) == 200


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_what_a_function_sets_before_it_returns_stays(
    database: str, sql: Callable[..., list[tuple]], driver: Any
) -> None:
    """Although it has left the transaction open in which it has."""
    sql("CREATE SCHEMA aside; CREATE TABLE aside.words (id int PRIMARY KEY); INSERT INTO aside.words VALUES (1)")

    def connect() -> Any:
        connection = driver.connect(database)
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = aside")
        return connection

    for source in (postgres.rows(connect, "words"), postgres.ranges(connect, "words")):
        with closing(source):
            assert len(list(source.iterate(None))) == 1


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_names_of_types_may_be_odd_too(database: str, sql: Callable[..., list[tuple]], driver: Any) -> None:
    """In pages and in ranges, with columns that the callback does not get."""
    sql("""CREATE SCHEMA "My Schema"; CREATE TYPE "My Schema"."100% ""odd" AS ENUM ('b', 'a', 'c')""")
    name = '"My Schema"."Weird ""Table"""'
    sql(f'CREATE TABLE {name} ("k""" "My Schema"."100% ""odd" PRIMARY KEY, "%s" int)')
    for number, letter in enumerate("cab"):
        sql(f"INSERT INTO {name} VALUES (%s, %s)", letter, number)
    with (
        closing(postgres.rows(lambda: driver.connect(database), name, 'k"', columns="%s", chunk=1)) as pages,
        closing(postgres.ranges(lambda: driver.connect(database), name, 'k"', rows=1, target=None)) as ranges,
        closing(driver.connect(database)) as connection,
    ):
        assert list(pages.iterate(None)) == [Job("b", 2), Job("a", 1), Job("c", 0)]
        assert list(pages.iterate("b")) == [Job("a", 1), Job("c", 0)]
        held = [job.payload.fetch(connection, '"%%s"') for job in ranges.iterate(None)]
        assert held == [[(2,)], [(1,)], [(0,)]]


def test_a_partitioned_table_is_read_in_order(database: str, sql: Callable[..., list[tuple]]) -> None:
    """Whatever the partitions are."""
    sql("CREATE TABLE parts (id int, d int, PRIMARY KEY (id, d)) PARTITION BY RANGE (d)")
    for at in range(3):
        sql(f"CREATE TABLE parts{at} PARTITION OF parts FOR VALUES FROM ({at}) TO ({at + 1})")
    sql("INSERT INTO parts SELECT n, n % 3 FROM generate_series(1, 100) n")

    assert list(postgres.rows(database, "parts", ("id", "d"), chunk=9).iterate((50, 2))) == [
        (n, n % 3) for n in range(51, 101)
    ]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("key", "after"), [("id", 1500), (("score2", "id"), (5, 100)), (("body", "id"), ("more", 45000))]
)
def test_a_page_is_read_along_the_index(
    database: str, comments: None, sql: Callable[..., list[tuple]], key: Any, after: Any, descending: bool
) -> None:
    """No sort, and no look at what lies before the page."""
    sql("ALTER TABLE comments ADD score2 int NOT NULL DEFAULT 5; CREATE INDEX ON comments (score2, id)")
    sql("CREATE INDEX ON comments (body, id)")
    sql("INSERT INTO comments SELECT 3 * n, 'more', 0, n % 10 FROM generate_series(1001, 30000) n; ANALYZE comments")
    source = postgres.rows(database, "comments", key, chunk=10, descending=descending)
    source.bounds(None)
    plan = query_plan(SourceConnection(database), *source._statements().page(after, source._last_key(), 10))
    nodes = [plan]
    while "Plans" in nodes[-1]:
        (inner,) = nodes[-1]["Plans"]
        nodes.append(inner)
    scan = nodes[-1]

    assert {node["Node Type"] for node in nodes[:-1]} <= {"Limit", "WindowAgg", "Subquery Scan"}
    assert scan["Node Type"] in ("Index Scan", "Index Only Scan")
    assert "Index Cond" in scan
    assert "Filter" not in scan


@pytest.mark.parametrize(
    ("index", "condition", "covered"),
    [
        (None, "score = 3", False),
        (None, "score >= 0", False),
        ("(id) WHERE score = 3", "score = 3", True),
        ("(id) WHERE score = 3", "score = 4", False),
        ("(score, id)", ("score = %s", [3]), True),
        ("(score, id)", "score > 3", False),
        ("(score)", "score > 3", False),
    ],
)
@pytest.mark.parametrize("rows", [20, 20_000])
def test_a_condition_without_an_index_is_warned_of(
    database: str,
    sql: Callable[..., list[tuple]],
    caplog: pytest.LogCaptureFixture,
    rows: int,
    index: str | None,
    condition: Any,
    covered: bool,
) -> None:
    """With the plan, however many rows there are; one that an index covers in the key's order is
    not.
    """
    sql("CREATE TABLE scores (id int PRIMARY KEY, score int NOT NULL)")
    sql("INSERT INTO scores SELECT n, n %% 10 FROM generate_series(1, %s) n", rows)
    if index:
        sql(f"CREATE INDEX ON scores {index}")
    sql("VACUUM ANALYZE scores")
    text = condition if isinstance(condition, str) else condition[0].replace("%s", "3")
    with caplog.at_level(logging.WARNING, "taskmaster"):
        found = list(postgres.rows(database, "scores", where=condition).iterate(None))

    assert found == [key for (key,) in sql(f"SELECT id FROM scores WHERE {text} ORDER BY id")]
    assert ("no index covers the condition" in caplog.text) is not covered
    assert ("The plan is: Limit <- " in caplog.text) is not covered


DRIVERS = {
    "psycopg2": lambda dsn: dsn,
    "psycopg": lambda dsn: lambda: psycopg.connect(dsn),
    "psycopg client": lambda dsn: lambda: psycopg.connect(dsn, cursor_factory=psycopg.ClientCursor),
}


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    "condition",
    [
        "body LIKE 'b%' AND n % 2 = 0",
        ("body LIKE %s AND n %% 2 = 0", ["b%"]),
        ("body = ANY(%s) OR body = %s", [["it's", "b%s"], "100%"]),
        ("made < %s", [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]),
    ],
)
def test_the_index_that_a_condition_wants_can_be_made_as_it_is_printed(
    database: str, sql: Callable[..., list[tuple]], caplog: pytest.LogCaptureFixture, condition: Any, driver: str
) -> None:
    """With the values in it, and percent signs as SQL has them; made, it covers the condition, and
    nothing is said.
    """
    sql("CREATE TABLE odd (id int PRIMARY KEY, n int, body text, made timestamptz NOT NULL DEFAULT '2024-06-01Z')")
    sql("INSERT INTO odd SELECT n, n, CASE n %% 5 WHEN 0 THEN 'b%%' ELSE 'x' END FROM generate_series(1, %s) n", 2000)
    sql("VACUUM ANALYZE odd")
    dsn = DRIVERS[driver](database)
    with caplog.at_level(logging.WARNING, "taskmaster"):
        found = list(postgres.rows(dsn, "odd", where=condition).iterate(None))
        (record,) = caplog.records
        statement = record.getMessage().partition("mends it: ")[2]
        assert statement.startswith("CREATE INDEX CONCURRENTLY ON public.odd (id) WHERE ")
        with closing(psycopg2.connect(database)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)
        caplog.clear()
        again = list(postgres.rows(dsn, "odd", where=condition).iterate(None))

    assert again == found
    assert caplog.records == []


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [400, 1])
def test_a_condition_that_few_rows_fit_comes_to_its_end(
    database: str, comments: None, sql: Callable[..., list[tuple]], chunk: int
) -> None:
    """Although no statement has the time to look at the whole table: each looks at a stretch of
    it.
    """
    sql(
        "CREATE FUNCTION slow(int) RETURNS boolean LANGUAGE plpgsql "
        "AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN $1 = 3; END $$"
    )
    sql("DELETE FROM comments WHERE score = 3 AND id NOT IN (9, 2979)")
    for descending in (False, True):
        source = postgres.rows(
            database,
            "comments",
            where="slow(score)",
            chunk=chunk,
            statement_timeout=0.25,
            patience=10.0,
            descending=descending,
        )

        assert list(source.iterate(None)) == ([2979, 9] if descending else [9, 2979])


def test_a_table_that_is_locked_is_waited_for(database: str, comments: None, caplog: pytest.LogCaptureFixture) -> None:
    """At the start, where nothing can be asked for in smaller parts; with the statement and what
    helps.
    """
    with caplog.at_level(logging.WARNING, "taskmaster"):
        source = postgres.rows(database, "comments", where="score = 3", statement_timeout=0.2)
        with locked(database, "comments", lambda: "statement_timeout=0.2" in caplog.text):
            keys_ = source.iterate(None)

        assert len(list(keys_)) == 100
    assert "timeout: SELECT id FROM public.comments ORDER BY public.comments.id LIMIT 1. If it waits" in caplog.text

    with locked(database, "comments"), pytest.raises(SourceError, match=r"public\.comments.*statement_timeout=0\.2"):
        postgres.rows(database, "comments", statement_timeout=0.2, patience=0).iterate(None)


def test_a_lost_connection_is_opened_again(
    database: str, comments: None, sql: Callable[..., list[tuple]], caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of the table; the rest follows."""
    source = postgres.rows(database, "comments", chunk=100)
    seen = []
    with caplog.at_level(logging.WARNING, "taskmaster"):
        for key in source.iterate(None):
            seen.append(key)
            if key == 300 * 3:
                sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'taskmaster%'")

    assert seen == [3 * n for n in range(1, 1001)]
    assert "tried again" in caplog.text


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_a_connection_that_the_server_has_ended_for_being_idle_is_opened_again(
    database: str, comments: None, sql: Callable[..., list[tuple]], driver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As it does where ``idle_session_timeout`` is shorter than the time between two pages."""
    (name,) = sql("SELECT current_database()")[0]
    sql(f"ALTER DATABASE {name} SET idle_session_timeout = '100ms'")
    reading = SourceConnection(lambda: driver.connect(database))
    first = reading.fetch("SELECT pg_backend_pid()")[0][0]
    while sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s", first):
        time.sleep(0.02)
    with caplog.at_level(logging.WARNING, "taskmaster"):
        assert reading.fetch("SELECT count(*) FROM comments") == [(1000,)]
    reading.close()

    assert "tried again" in caplog.text  # psycopg2 says only that it was closed


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_what_does_not_pass_is_said_at_once(database: str, comments: None, driver: Any) -> None:
    """In a sentence, with the statement; nothing is tried again for ever."""
    there = lambda **other: lambda: driver.connect(database, **other)  # noqa: E731
    with pytest.raises(
        StatementRefused, match=r'the statement EXPLAIN.*WHERE \(nonsense = 1 .*: column "nonsense" does not exist'
    ):
        list(postgres.rows(there(), "comments", where="nonsense = 1").iterate(None))
    with pytest.raises(StatementRefused, match="permission denied for table comments"):
        list(postgres.rows(there(options="-c role=pg_monitor"), "comments").iterate(None))
    with pytest.raises(StatementRefused, match="division by zero"):
        list(postgres.rows(there(), "comments", where="1 / (id - 30) < 7").iterate(None))
    with pytest.raises(UsageError, match=r'the connection: .*role "nobody_x" does not exist'):
        list(postgres.rows(there(user="nobody_x"), "comments").iterate(None))
    with pytest.raises(UsageError, match=r'the connection: .*database "nowhere" does not exist'):
        list(postgres.rows(there(dbname="nowhere"), "comments").iterate(None))
    for wrong, why in (
        ({"port": "543x"}, 'invalid integer value "543x" for connection option "port"'),
        ({"port": "99999"}, 'invalid port number: "99999"'),
        ({"sslmode": "bogus"}, 'invalid sslmode value: "bogus"'),
        ({"options": "-c statement_timeout=soon"}, 'invalid value for parameter "statement_timeout": "soon"'),
        ({"options": "-c nosuch=1"}, 'unrecognized configuration parameter "nosuch"'),
    ):
        with pytest.raises(UsageError, match=f"the connection: .*{why}"):
            SourceConnection(there(**wrong)).fetch("SELECT 1")
    with pytest.raises(TooSlow):
        SourceConnection(there(), timeout=0.05).fetch("SELECT pg_sleep(1)", may_be_slow=False)


def test_a_password_is_not_repeated(database: str) -> None:
    """Whatever the driver says."""
    dsn = f"{database} user=nobody_s3cret password=nobody_s3cret"
    with pytest.raises(UsageError) as caught:
        postgres.rows(dsn, "comments").iterate(None)

    assert "s3cret" not in str(caught.value)
    for none in ({"password": "s3cret"}, b"password=s3cret"):
        with pytest.raises(UsageError, match=f"A {type(none).__name__} is not a DSN") as caught:
            postgres.rows(none, "comments")
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"chunk": "500"}, "chunk='500'.*whole number"),
        ({"chunk": 0}, "chunk=0"),
        ({"statement_timeout": "60"}, "statement_timeout='60'.*seconds"),
        ({"patience": -1}, "patience=-1"),
        ({"descending": True, "follow": True}, "descending"),
        ({"dsn": "nonsense"}, "DSN that cannot be read"),
        ({"dsn": "host=127.0.0.1 port=543x"}, "DSN that cannot be read: .*the port as a number"),
        ({"dsn": "postgresql://me:pass/word@127.0.0.1/blog"}, "DSN that cannot be read: .*the port as a number"),
        ({"dsn": None}, "A NoneType is not a DSN"),
        ({"where": ("body LIKE 'a%' AND score = %s", [3])}, r"does not fit its 1 value .*%% for a percent sign"),
        ({"where": ("score = %s", [3, 4])}, r"does not fit its 2 values"),
    ],
)
def test_what_makes_no_sense_is_refused(database: str, comments: None, given: dict, expected: str) -> None:
    """With the value, and what it should be."""
    with pytest.raises(UsageError, match=expected):
        postgres.rows(**{"dsn": database, "table": "comments", **given}).iterate(None)


@pytest.mark.parametrize(
    ("type_", "values", "places"),
    [
        ("float8", ["1", "2", "3"], [0.0, 0.5, 1.0]),
        ("float8", ["1", "2", "Infinity"], [None, None, None]),
        ("float8", ["-Infinity", "2", "3"], [None, None, None]),
        ("numeric", ["1", "2", "NaN"], [None, None, None]),
        ("numeric", ["-1.5", "0.5", "2.5"], [0.0, 0.5, 1.0]),
        ("numeric", ["1", f"1{'0' * 400}", f"2{'0' * 400}"], [None, None, None]),
        ("bigint", ["-9223372036854775808", "0", "9223372036854775807"], [0.0, 0.5, 1.0]),
    ],
)
def test_the_place_of_a_number(
    database: str, sql: Callable[..., list[tuple]], type_: str, values: list[str], places: list
) -> None:
    """Between the lowest and the highest; not a number, and infinity, are keys like others, and
    have none.
    """
    sql(f"CREATE TABLE odd (k {type_} PRIMARY KEY)")
    for value in values:
        sql(f"INSERT INTO odd VALUES (%s::{type_})", value)
    for make, last in ((postgres.rows, lambda job: getattr(job, "key", job)), (ranges_of_one, lambda job: job.key)):
        source = make(database, "odd", "k")
        source.bounds(None)
        jobs = list(source.iterate(None))

        assert len(jobs) == len(values)
        assert [source.position(last(job)) for job in jobs] == [
            None if place is None else pytest.approx(place) for place in places
        ]


def ranges_of_one(*given: Any) -> Any:
    """Each row is a range."""
    return postgres.ranges(*given, rows=1, target=None)


def test_a_key_of_another_source_is_refused(database: str, comments: None) -> None:
    """It says what to do."""
    with pytest.raises(UsageError, match=r"is no key.*--reset"):
        list(postgres.rows(database, "comments").iterate(("a", "b")))
