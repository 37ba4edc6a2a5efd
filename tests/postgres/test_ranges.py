"""Key ranges: they cover the table once, whatever the key and its gaps, and follow the time that
they take.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from typing import Any

import psycopg
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.locks import locked
from support.odd_type import make_odd_type
from support.text_orders import TEXTS

from taskmaster import keys, postgres
from taskmaster.errors import UsageError
from taskmaster.postgres.catalog import query_plan
from taskmaster.postgres.statements import SourceConnection

Sql = Callable[..., list[tuple]]
NO_SORT = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off;"
CANCEL = (
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%OFFSET 299%' AND wait_event_type = 'Lock'"
)


@pytest.fixture
def comments(sql: Sql) -> None:
    """1,000 rows with gaps, a hole, and keys that are not unique."""
    sql("CREATE TABLE comments (id bigint PRIMARY KEY, author text NOT NULL, n int NOT NULL, score int)")
    sql("INSERT INTO comments SELECT 3 * n, 'author ' || n % 7, n % 7, 0 FROM generate_series(1, 1000) n")
    sql("DELETE FROM comments WHERE id BETWEEN 600 AND 900")
    sql("CREATE INDEX ON comments (author, id); CREATE INDEX ON comments (n)")
    sql("VACUUM ANALYZE comments")


def drawn(source: Any, last: Any = None) -> list[Any]:
    """All ranges after one, whose keys have been through the state's codec."""
    jobs = list(source.iterate(last))
    for job in jobs:
        assert keys.decode(keys.check(job.key)) == job.key
    return [job.payload for job in jobs]


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
@pytest.mark.parametrize("key", ["id", ("author", "id"), "n"])
def test_ranges_cover_the_table_once(database: str, comments: None, sql: Sql, key: Any, driver: Any) -> None:
    """Each row is in one range; equal keys are never cut."""
    source = postgres.ranges(database, "comments", key, rows=64, target=None)
    found = drawn(source)
    with closing(driver.connect(database)) as connection:
        rows = [row for one in found for row in one.fetch(connection, "id")]

    assert sorted(rows) == sorted(sql("SELECT id FROM comments"))
    assert found[0].lo is None
    assert [one.lo for one in found[1:]] == [one.hi for one in found[:-1]]
    if key != "n":
        assert len(found) == -(-len(rows) // 64)


def test_a_range_chooses_its_rows_in_any_statement(database: str, comments: None, sql: Sql) -> None:
    """With the columns as the statement calls them, and values of one's own beside."""
    (_, second, *_) = drawn(postgres.ranges(database, "comments", ("author", "id"), rows=100, target=None))
    with closing(psycopg2.connect(database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE comments c SET score = %(score)s WHERE {second.where('c.author', 'c.id')}",
            {**second.values, "score": 5},
        )
        assert cursor.rowcount == 100
        assert len(second.fetch(connection)) == 100

    with pytest.raises(UsageError, match="author, id"):
        second.where("c.id")


def test_the_end_is_fixed_when_the_run_is_new(database: str, comments: None, sql: Sql) -> None:
    """Rows that come later are none of the run's; a resumed one goes on after the last range."""
    source = postgres.ranges(database, "comments", rows=100, target=None)
    ends = keys.decode(keys.check(source.bounds(None)))
    _, second, *_ = source.iterate(None)
    sql("INSERT INTO comments VALUES (9000, 'late', 0, 0)")
    again = postgres.ranges(database, "comments", rows=10, target=None)
    again.bounds(ends)
    rest = drawn(again, keys.decode(keys.check(second.key)))

    assert ends == (3, 3000, "integer")
    assert rest[0].lo == second.payload.hi
    assert rest[-1].hi == 3000
    assert again.position(second.key) == (second.payload.hi - 3) / (3000 - 3)
    assert again.position((None, 3000)) == 1.0
    assert list(again.iterate(rest and (rest[-1].lo, rest[-1].hi))) == []


def test_an_empty_table_has_no_ranges(database: str, sql: Sql) -> None:
    """And a table of one row has one."""
    sql("CREATE TABLE few (id uuid PRIMARY KEY)")
    assert drawn(postgres.ranges(database, "few")) == []

    sql("INSERT INTO few VALUES (gen_random_uuid())")
    (only,) = drawn(postgres.ranges(database, "few"))
    assert (only.lo, only.hi) == (None, sql("SELECT id::text FROM few")[0][0])


def test_a_range_is_split_down_to_one_row(database: str, comments: None, sql: Sql) -> None:
    """Whatever was deleted since it was drawn."""
    source = postgres.ranges(database, "comments", rows=200, target=None)
    job = next(source.iterate(None))
    sql("DELETE FROM comments WHERE id > 30")
    found, open_ = [], [job]
    while open_:
        parts = source.split(open_[0].key)
        found += [] if parts else [open_[0]]
        open_ = parts + open_[1:]
    with closing(psycopg2.connect(database)) as connection:
        held = [one.payload.fetch(connection, "id") for one in found]

    assert [rows for rows in held if rows] == [[(3 * n,)] for n in range(1, 11)]


def test_rows_with_other_keys_are_split_from_those_that_have_one(database: str, comments: None, sql: Sql) -> None:
    """However many have the highest key of a range; those with one key stay together."""
    sql("INSERT INTO comments SELECT -n, '', 6, 0 FROM generate_series(1, 5000) n")
    source = postgres.ranges(database, "comments", "n", rows=10_000, target=None)
    open_, found = list(source.iterate(None)), []
    assert len(open_) == 1
    while open_:
        job = open_.pop()
        parts = source.split(job.key)
        found += [] if parts else [job.payload]
        open_ += parts
    with closing(psycopg2.connect(database)) as connection:
        held = [one.fetch(connection, "DISTINCT n, id") for one in found]

    assert sorted(sorted({n for n, _ in rows}) for rows in held) == [[n] for n in range(7)]
    assert sum(map(len, held)) == sql("SELECT count(*) FROM comments")[0][0]

    same = postgres.ranges(database, "comments", "n", rows=1000, target=None)
    sql("UPDATE comments SET n = 5")
    assert same.split((None, 5)) == []


def test_ranges_follow_the_time_that_they_take(database: str, comments: None) -> None:
    """At most twice the rows of the largest that was measured; fewer at once when they take
    longer.
    """
    source = postgres.ranges(database, "comments", rows=10, target=1.0)
    jobs = source.iterate(None)
    first, second, third = (next(jobs) for _ in range(3))
    source.took([first.key], 0.1)
    fourth = next(jobs)
    source.took([second.key, third.key], 20.0)

    assert source._open == {fourth.key: 20}
    assert source._rows == 20
    for _ in range(20):
        job = next(jobs, None)
        if job is not None:
            source.took([job.key], 10.0)
    assert source._rows < 5

    source.took([("from", "another session")], 1.0)


def test_a_table_that_is_locked_is_waited_for(database: str, comments: None, caplog: pytest.LogCaptureFixture) -> None:
    """By whoever looks for a border, and by whoever splits a range: a lock that is held for long
    ends no run.
    """
    source = postgres.ranges(database, "comments", rows=300, target=None, statement_timeout=0.2)
    jobs = source.iterate(None)
    first = next(jobs)
    for ask, count in ((lambda: list(jobs), 2), (lambda: source.split(first.key), 2)):
        caplog.clear()
        with (
            caplog.at_level(logging.WARNING, "taskmaster"),
            locked(database, "comments", lambda: "tried again: canceling statement" in caplog.text),
        ):
            assert len(ask()) == count


def test_a_border_that_was_cancelled_is_looked_for_again(database: str, comments: None, sql: Sql) -> None:
    """Whoever did it, and why."""
    source = postgres.ranges(database, "comments", rows=300, target=None)
    jobs = source.iterate(None)
    first = next(jobs)
    with locked(database, "comments", lambda: sql(CANCEL) == [(True,)]):
        rest = list(jobs)

    assert [first.payload.hi, *(job.payload.hi for job in rest)] == [1203, 2103, 3000]


@pytest.mark.parametrize("key", ["id", ("author", "id"), "n"])
def test_a_border_is_read_from_the_index_alone(database: str, comments: None, sql: Sql, key: Any) -> None:
    """Every statement of the master, wherever it is: the rows themselves are never read. What the
    catalogue says is asked for once more at the end.
    """
    sql("INSERT INTO comments SELECT 3 * n, 'more', n % 100, 0 FROM generate_series(1001, 50000) n")
    sql("VACUUM ANALYZE comments")
    source = postgres.ranges(database, "comments", key, rows=1000, target=None)
    source._found()
    asked, fetch = [], source._reading.fetch

    def heard(statement: str, values: Any = (), **how: Any) -> list[tuple]:
        asked.append((statement, values))
        return fetch(statement, values, **how)

    source._reading.fetch = heard  # type: ignore[method-assign]
    assert len(list(source.iterate(None))) > 20
    borders = [(statement, values) for statement, values in asked if "comments" in statement]
    assert 20 < len(borders) >= len(asked) - 5
    for statement, values in borders:
        plan = query_plan(SourceConnection(database), statement, values)

        assert [node["Node Type"] for node in (plan, *plan["Plans"])] == ["Limit", "Index Only Scan"], statement
        assert "Filter" not in plan["Plans"][0]


@pytest.mark.parametrize(
    ("key", "expected"),
    [("score", "may be NULL"), (("n", "id"), r"CREATE INDEX CONCURRENTLY ON public.comments \(n, id")],
)
def test_a_key_that_cannot_lead_is_refused(database: str, comments: None, key: Any, expected: str) -> None:
    """It need not be unique, but it needs an index, and no row may be without it."""
    with pytest.raises(UsageError, match=f"(?s){expected}"):
        postgres.ranges(database, "comments", key).iterate(None)


@pytest.mark.parametrize(
    ("key", "index", "leads"),
    [
        ("at", "(at)", True),
        ("at", "(at DESC)", True),
        ("at", "(at DESC NULLS LAST)", False),
        ("at", "(at NULLS FIRST)", False),
        ("at", "(at, id DESC)", True),
        ("at", "(at DESC, id)", True),
        ("at", "(at, name text_pattern_ops)", True),
        ("at", "(at, lower(name))", True),
        ("at", "(lower(name), at)", False),
        ("at", "USING hash (at)", False),
        (("at", "id"), "(at, id DESC)", False),
        (("at", "id"), "(at DESC, id DESC, name)", True),
        ("name", "(name text_pattern_ops)", False),
    ],
)
@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_an_index_that_cannot_give_the_order_is_refused(
    database: str, sql: Sql, key: Any, index: str, leads: bool, driver: Any
) -> None:
    """And one that can is not, whatever its other columns are: as the server's own plan has it,
    which may not sort.
    """
    sql("CREATE TABLE seen (id int NOT NULL, at timestamptz NOT NULL, name text NOT NULL)")
    sql(f"CREATE INDEX ON seen {index}")
    columns = ", ".join([key] if isinstance(key, str) else key)
    asked = SourceConnection(lambda: driver.connect(database))
    with closing(asked):
        (plan, *_) = query_plan(asked, f"SELECT {columns} FROM seen ORDER BY {columns} LIMIT 1", (), NO_SORT)["Plans"]
    source = postgres.ranges(lambda: driver.connect(database), "seen", key)
    refused = nullcontext() if leads else pytest.raises(UsageError, match=r"CREATE INDEX.* ON public\.seen")

    assert (plan["Node Type"] in ("Index Scan", "Index Only Scan")) is leads
    with closing(source), refused:
        assert list(source.iterate(None)) == []


def test_a_key_of_another_source_is_refused(database: str, comments: None) -> None:
    """It says what to do."""
    for last in (7, (1, 2, 3), ("a", ("b", "c"))):
        with pytest.raises(UsageError, match="--reset"):
            postgres.ranges(database, "comments").iterate(last)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(TEXTS, st.integers(-3, 3)), max_size=40),
    key=st.sampled_from([("t", "n"), ("n", "t"), ("t",), ("n",), ("n", "t", "x")]),
    size=st.integers(1, 8),
    target=st.sampled_from([None, 1.0]),
    data=st.data(),
)
def test_ranges_are_brute_force(
    database: str,
    sql: Sql,
    text_types: list[str],
    rows: list,
    key: tuple[str, ...],
    size: int,
    target: float | None,
    data: st.DataObject,
) -> None:
    """Whatever the order, the key and the sizes, and however often it is drawn on by another
    master: each row that stays is in exactly one range, also when ranges are split, and one that
    comes is in none or one.
    """
    type_ = data.draw(st.sampled_from(text_types))
    sql("DROP TABLE IF EXISTS odd")
    sql(f"CREATE TABLE odd (t {type_} NOT NULL, n int NOT NULL, x serial)")
    sql(f"CREATE INDEX ON odd ({', '.join(key)})")
    for text, number in rows:
        sql("INSERT INTO odd VALUES (%s, %s)", text, number)
    stay = {x for (x,) in sql("SELECT x FROM odd")}
    source = postgres.ranges(database, "odd", key, rows=size, target=target)
    ends = stored(source.bounds(None))
    drawn_on, jobs = source.iterate(None), []
    while (job := next(drawn_on, None)) is not None:
        jobs.append(job)
        event = data.draw(st.sampled_from(["", "", "took", "came", "gone", "restart"]))
        if event == "took":
            source.took([job.key], data.draw(st.floats(0.01, 100)))
        elif event == "came":
            sql("INSERT INTO odd VALUES (%s, %s)", data.draw(TEXTS), data.draw(st.integers(-3, 3)))
        elif event == "gone" and stay:
            doomed = data.draw(st.sampled_from(sorted(stay)))
            sql("DELETE FROM odd WHERE x = %s", doomed)
            stay.remove(doomed)
        elif event == "restart":
            source = postgres.ranges(database, "odd", key, rows=data.draw(st.integers(1, 8)), target=target)
            source.bounds(ends)
            drawn_on = source.iterate(stored(job.key))
    cut = [part for job in jobs for part in ((data.draw(st.booleans()) and source.split(stored(job.key))) or [job])]
    with closing(psycopg2.connect(database)) as connection:
        held = [x for job in cut for (x,) in job.payload.fetch(connection, "x")]

    assert len(held) == len(set(held))
    assert stay <= set(held)
    for found in (jobs, cut):
        assert [job.payload.lo for job in found[:1]] == [None] * bool(found)
        assert [job.payload.lo for job in found[1:]] == [job.payload.hi for job in found[:-1]]
        assert [job.payload.hi for job in found[-1:]] == ([ends[1]] if found else [])


def stored(key: Any) -> Any:
    """It, as the state gives it back."""
    return keys.decode(keys.check(key))


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("uuid", [f"md5('{n}')::uuid" for n in range(9)]),
        ("timestamptz", ["'infinity'", "'-infinity'", "'2024-03-31 01:59:59.999999+00'", "now()", "'0044-03-15 BC'"]),
        ("numeric", ["'NaN'", "'Infinity'", "1e100", "-0.000000000000000000001", "0", "3.14"]),
        ("double precision", ["'NaN'", "'-Infinity'", "0.1::float8 + 0.2::float8", "5e-324", "1e308"]),
        ("inet", ["'10.0.0.1'", "'::1'", "'10.0.0.0/8'"]),
        ("colour", ["'red'", "'green'", "'blue'"]),
        ("bytea", ["'\\x00ff'", "''", "'\\x5c27'"]),
    ],
)
@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_borders_of_any_type_are_those_of_the_server(
    database: str, sql: Sql, type_: str, values: list[str], driver: Any
) -> None:
    """In composite keys, too, and with either driver on either side."""
    sql("CREATE TYPE colour AS ENUM ('red', 'green', 'blue')")
    sql(f"CREATE TABLE odd (k {type_}, n serial, PRIMARY KEY (k, n)); CREATE INDEX ON odd (k)")
    for value in values * 2:
        sql(f"INSERT INTO odd VALUES ({value}::{type_})")
    for key in ("k", ("k", "n")):
        expected = [n for (n,) in sql("SELECT n FROM odd ORDER BY k, n")]
        with (
            closing(postgres.ranges(lambda: driver.connect(database), "odd", key, rows=1, target=None)) as source,
            closing(driver.connect(database)) as connection,
        ):
            found = drawn(source)
            held = [sorted(n for (n,) in one.fetch(connection, "n")) for one in found]

        assert [n for some in held for n in some] == expected
        assert len(found) == len(expected) if key == ("k", "n") else len(set(found)) < len(expected)


def test_a_range_of_an_older_state_can_be_opened() -> None:
    """It has one value less, and chooses the same rows as then."""
    made = postgres.KeyRange(1, 9, "public.t", ("id",), ("integer",), "blog")
    older = postgres.KeyRange.__new__(postgres.KeyRange)
    older.__setstate__([1, 9, "public.t", ("id",), ("integer",), "blog"])

    assert older == made
    assert pickle.loads(pickle.dumps(older)) == made
    assert older.partitioned is False


@pytest.mark.parametrize("last", [("2024-01-03", 20), ("2024-01-03", 29), ("2024-01-04", 35)])
def test_partitions_are_left_out(database: str, sql: Sql, last: tuple) -> None:
    """By the condition of a range and by the search for a border, which compare rows of columns;
    the rows are those of the table.
    """
    sql("CREATE TABLE days (at date, id int, n int DEFAULT 0, PRIMARY KEY (at, id)) PARTITION BY RANGE (at)")
    for day in range(1, 11):
        sql(
            f"CREATE TABLE days{day} PARTITION OF days FOR VALUES FROM ('2024-01-{day:02}') TO ('2024-01-{day + 1:02}')"
        )
    sql("INSERT INTO days SELECT '2024-01-01'::date + n / 10, n FROM generate_series(0, 99) n; ANALYZE days")
    source = postgres.ranges(database, "days", ("at", "id"), rows=7, target=None)
    with closing(source):
        found = drawn(source)
        table = source._found()
        where, values = sys.modules[type(source).__module__]._between(table, ("2024-01-03", 20), last)
        plan = query_plan(source._reading, f"SELECT at FROM {table.sql}{where}", values)
    (one,) = (each for each in found if each.lo == ("2024-01-03", 27))
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN UPDATE days d SET n = n + 1 WHERE {one.where('d.at', 'd.id')}", one.values)
        text = str(cursor.fetchall())
        held = [row for each in found for row in each.fetch(connection, "id")]

    assert held == [(n,) for n in range(100)]
    assert one.partitioned
    assert {day for day in range(1, 11) if f"days{day} " in text} == {3, 4}
    assert not any(f"days{day}'" in str(plan) for day in (1, 2, 5, 6, 7, 8, 9, 10))


def test_partitions_by_hash_are_left_out(database: str, sql: Sql) -> None:
    """By the condition of a range of one tenant: an equality, as an order says nothing of them."""
    sql("CREATE TABLE parts (tenant int, id int, n int DEFAULT 0, PRIMARY KEY (tenant, id)) PARTITION BY HASH (tenant)")
    for rest in range(8):
        sql(f"CREATE TABLE parts{rest} PARTITION OF parts FOR VALUES WITH (MODULUS 8, REMAINDER {rest})")
    sql("INSERT INTO parts SELECT n / 20, n FROM generate_series(0, 99) n; ANALYZE parts")
    with closing(postgres.ranges(database, "parts", ("tenant", "id"), rows=7, target=None)) as source:
        found = drawn(source)
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        held = [row for each in found for row in each.fetch(connection, "id")]
        of_one = [each for each in found if each.lo is not None and each.lo[0] == each.hi[0]]
        for one in of_one:
            cursor.execute(f"EXPLAIN UPDATE parts p SET n = n + 1 WHERE {one.where('p.tenant', 'p.id')}", one.values)
            text = str(cursor.fetchall())
            assert sum(f"parts{rest} " in text for rest in range(8)) == 1, text

    assert held == [(n,) for n in range(100)]
    assert len(of_one) > 5


@pytest.mark.parametrize("columns", ["k", "k, other"])
def test_keys_are_compared_as_their_index_orders_them(
    database: str, sql: Callable[..., list[tuple]], columns: str
) -> None:
    """Although their type is an extension's, in a schema that the search path does not lead to:
    without its operators, they would be compared as texts, and rows left out without a word.
    """
    make_odd_type(sql)
    sql("CREATE TABLE odd (k ext.odd NOT NULL, other ext.odd NOT NULL, n int NOT NULL)")
    sql(f"CREATE UNIQUE INDEX ON odd ({columns})")
    sql("INSERT INTO odd SELECT n, n, n FROM generate_series(1, 40) n")
    key = columns.split(", ")
    expected = [n for (n,) in sql(f"SELECT n FROM odd ORDER BY {columns}")]
    rows = postgres.rows(database, "odd", key, columns="n", chunk=3)
    jobs = list(rows.iterate(None))
    ranges = list(postgres.ranges(database, "odd", key, rows=3, target=None).iterate(None))
    with closing(psycopg2.connect(database)) as connection:
        held = [n for job in ranges for (n,) in job.payload.fetch(connection, "n")]

    assert expected != sorted(expected, key=str)
    assert [job.payload for job in jobs] == expected
    assert [job.payload for job in rows.iterate(jobs[19].key)] == expected[20:]
    assert held == expected


def test_keys_of_which_not_all_can_be_compared_are_refused(database: str, sql: Callable[..., list[tuple]]) -> None:
    """A row of values of two schemas is compared where the search path leads to both."""
    make_odd_type(sql)
    sql("CREATE TABLE odd (t int, k ext.odd, PRIMARY KEY (t, k))")
    sql("INSERT INTO odd SELECT n % 3, n FROM generate_series(1, 30) n")
    expected = sql("SELECT t, k::text FROM odd ORDER BY odd.t, odd.k")
    with pytest.raises(UsageError, match=r"does not lead to those of ext: .*options='-c search_path=public,ext'"):
        list(postgres.rows(database, "odd", ["t", "k"]).iterate(None))
    told = f"{database} options='-c search_path=public,ext'"
    jobs = list(postgres.rows(told, "odd", ["t", "k"], chunk=4).iterate(None))

    assert [job.key for job in jobs] == expected


@pytest.mark.parametrize("lo", [0, 1])
def test_a_worker_whose_search_path_leads_elsewhere_reads_no_other_rows(database: str, sql: Sql, lo: int) -> None:
    """It would compare the values as texts; with the master's path it reads the master's rows."""
    make_odd_type(sql)
    sql("CREATE TABLE odd (t int, k ext.odd, PRIMARY KEY (t, k)); CREATE SCHEMA other; CREATE TABLE other.odd (t int)")
    sql("INSERT INTO odd SELECT n % 3, n FROM generate_series(1, 30) n")
    expected = sql("SELECT t, k::text FROM odd ORDER BY odd.t, odd.k")
    told = f"{database} options='-c search_path=public,ext'"
    with closing(postgres.ranges(told, "odd", ["t", "k"], rows=7, target=None)) as source:
        found = drawn(source)
    with closing(psycopg2.connect(told)) as connection:
        assert [row for one in found for row in one.fetch(connection, "t, k::text")] == expected
    for path in ("public", "other,public", "nowhere"):
        with closing(psycopg2.connect(f"{database} options='-c search_path={path}'")) as connection:
            with pytest.raises(
                psycopg2.Error, match=r"does not lead to ext\.>\(ext\.odd,ext\.odd\): add the schema ext"
            ):
                found[lo].fetch(connection)
            connection.rollback()
            with connection.cursor() as cursor, pytest.raises(psycopg2.Error, match="does not lead to"):
                # Also where no row is there to be looked at.
                cursor.execute(
                    f"UPDATE public.odd o SET t = 1 WHERE o.t = 9 AND {found[lo].where('o.t', 'o.k')}", found[lo].values
                )
    assert not postgres.KeyRange.__new__(postgres.KeyRange).__setstate__((1, 2, "t", ("id",), ("int",)))


def test_types_are_named_with_their_schema(database: str, sql: Sql) -> None:
    """A worker may have another search path than the master."""
    sql("CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy'); SET search_path = app")
    sql("CREATE TABLE app.people (mood app.mood PRIMARY KEY); INSERT INTO app.people VALUES ('ok'), ('sad')")
    master = f"{database} options='-c search_path=app'"
    with closing(postgres.ranges(master, "people", "mood", rows=1, target=None)) as source:
        found = drawn(source)
    with closing(psycopg2.connect(database)) as connection:
        assert [one.fetch(connection) for one in found] == [[("sad",)], [("ok",)]]


@pytest.mark.parametrize("make", [postgres.rows, postgres.ranges])
@pytest.mark.parametrize(
    ("role", "force", "seen"),
    [("reader", "", False), ("owner", "", True), ("owner", "FORCE", False), ("above", "FORCE", True)],
)
def test_row_level_security_hides_nothing_in_silence(
    database: str, sql: Sql, caplog: pytest.LogCaptureFixture, make: Any, role: str, force: str, seen: bool
) -> None:
    """A role that may not see all rows is refused, unless the DSN says that this is wanted."""
    name = f"{role}_{psycopg2.extensions.parse_dsn(database)['dbname']}"
    sql(f"CREATE ROLE {name} LOGIN {'BYPASSRLS' if role == 'above' else ''}")
    try:
        sql("CREATE TABLE mine (id int PRIMARY KEY, who text)")
        sql(f"INSERT INTO mine SELECT n, CASE n % 3 WHEN 0 THEN '{name}' END FROM generate_series(1, 9) n")
        sql("ALTER TABLE mine ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON mine USING (who = current_user)")
        sql(f"GRANT SELECT ON mine TO {name}")
        if role == "owner":
            sql(f"ALTER TABLE mine OWNER TO {name}")
        if force:
            sql("ALTER TABLE mine FORCE ROW LEVEL SECURITY")
        dsn = psycopg2.extensions.make_dsn(database, user=name)
        expected = nullcontext() if seen else pytest.raises(UsageError, match=r"Row-level security|row-level security")
        with closing(make(dsn, "mine")) as source, expected:
            assert len(list(source.iterate(None))) == (9 if make is postgres.rows else 1)
        with closing(make(f"{dsn} options='-c row_security=off'", "mine")) as source, expected:
            source.bounds(None)
        with caplog.at_level(logging.WARNING, "taskmaster"):
            wanted = make(f"{dsn} options='-c row_security=on'", "mine")
            with closing(wanted) as source:
                source.bounds(None)
        assert ("Row-level security is active" in caplog.text) is not seen
    finally:
        sql(f"DROP TABLE IF EXISTS mine; DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("make", [postgres.rows, postgres.ranges])
@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("int", "bigint", True),
        ("int", "text", False),
        ("text", "varchar(9)", True),
        ('text COLLATE "C"', 'text COLLATE "POSIX"', False),
        ("int", "numeric", False),
        ("timestamptz", "date", False),
    ],
)
def test_a_key_in_another_order_is_refused(
    database: str, sql: Sql, make: Any, before: str, after: str, same: bool
) -> None:
    """Where its type or collation was changed since the run began."""
    sql(f"CREATE TABLE t (k {before} PRIMARY KEY)")
    value = "'2024-01-01'::timestamptz" if before == "timestamptz" else "'7'"
    sql(f"INSERT INTO t VALUES ({value})")
    with closing(make(database, "t", "k")) as source:
        bound = keys.decode(keys.check(source.bounds(None)))
    sql(f"ALTER TABLE t ALTER k TYPE {after}")
    with (
        closing(make(database, "t", "k")) as source,
        nullcontext() if same else pytest.raises(UsageError, match="reset"),
    ):
        source.bounds(bound)


@pytest.mark.parametrize("make", [postgres.rows, postgres.ranges])
def test_rows_that_came_after_the_end_are_known(database: str, comments: None, sql: Sql, make: Any) -> None:
    """Also when the row that was the last is gone; what goes is nothing new."""
    with closing(make(database, "comments")) as source:
        source.bounds(None)
        assert source.later() is False
        sql("DELETE FROM comments WHERE id = 3000")
        assert source.later() is False
        sql("INSERT INTO comments VALUES (3001, 'late', 0, 0)")
        assert source.later() is True
