"""Key ranges of querysets: they cover the rows once, whatever the key, and carry no more than their
borders.
"""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, F, Window
from django.db.models.functions import RowNumber
from support.django_projects import database_of
from support.library.models import Author, Post, Seat

from taskmaster import keys
from taskmaster.django_orm import QuerySetRange, QuerySetRanges, RangeQuerySetWrapper
from taskmaster.errors import UsageError
from taskmaster.master.reading.source import Source


@pytest.fixture
def posts(tables: str) -> list[int]:
    """400 posts with gaps and a hole; gives their ids."""
    author = Author.objects.create(name="Ann")
    found = [3 * n for n in range(1, 451) if not 200 < n <= 250]
    Post.objects.bulk_create(Post(id=id_, author=author, slug=f"p{id_}", year=2000 + id_ % 5) for id_ in found)
    return found


def numbered() -> Any:
    """Give posts with a number that depends on those before."""
    return Post.objects.annotate(number=Window(RowNumber(), order_by="id"))


def drawn(source: Any, last: Any = None) -> list[QuerySetRange]:
    """All ranges after one, as a worker gets them; their keys have been through the state's
    codec.
    """
    jobs = list(source.iterate(last))
    for job in jobs:
        assert keys.decode(keys.check(job.key)) == job.key
    return [pickle.loads(pickle.dumps(job.payload)) for job in jobs]


@pytest.mark.parametrize("key", ["pk", "slug", ("year", "id"), "year"])
def test_ranges_cover_the_queryset_once(posts: list[int], key: Any) -> None:
    """Each row is in one range; equal keys are never cut."""
    found = drawn(QuerySetRanges(Post.objects.all(), rows=64, target=None, key=key))
    rows = [post.id for one in found for post in one.queryset()]

    assert sorted(rows) == posts
    assert found[0].lo is None
    assert [one.lo for one in found[1:]] == [one.hi for one in found[:-1]]
    if key != "year":
        assert len(found) == -(-len(rows) // 64)


def test_ranges_of_a_composite_primary_key(tables: str) -> None:
    """Their borders are tuples."""
    Seat.objects.bulk_create(Seat(hall=hall, number=number) for hall in "abc" for number in range(50))
    found = drawn(QuerySetRanges(Seat.objects.all(), rows=40, target=None))
    for one in found:
        assert one.queryset().update(taken=True) == one.filter(Seat.objects.filter(taken=True)).count()

    assert [(one.lo, one.hi) for one in found] == [
        (None, ("a", 39)), (("a", 39), ("b", 29)), (("b", 29), ("c", 19)), (("c", 19), ("c", 49))
    ]  # fmt: skip
    assert Seat.objects.filter(taken=False).count() == 0


def test_conditions_go_with_a_range(posts: list[int]) -> None:
    """queryset() has them, and filter() leaves them to who calls it; a range without has nothing
    but its borders.
    """
    whole = drawn(QuerySetRanges(Post.objects.all(), rows=100, target=None))
    some = drawn(QuerySetRanges(Post.objects.filter(year=2003, author__name="Ann"), rows=10, target=None))

    assert sum(one.queryset().count() for one in some) == Post.objects.filter(year=2003).count()
    assert all(one.queryset().count() == 10 for one in some[:-1])
    assert some[0].filter(Post.objects).count() > 10
    assert len(pickle.dumps(whole[0])) < 300
    assert whole[0].query is None
    assert some[0].queryset().update(place=F("year")) == 10
    assert not some[0].queryset().ordered
    slugs = [post.slug for post in some[0].filter(Post.objects.order_by("-slug"))]
    assert slugs == sorted(slugs, reverse=True)


def test_a_range_of_another_model_is_refused(posts: list[int]) -> None:
    """filter() wants a queryset of the range's model, which has no limit yet."""
    one = drawn(QuerySetRanges(Post.objects.all()))[0]

    with pytest.raises(UsageError, match=r"library.Post, and the queryset has library.Author"):
        one.filter(Author.objects.all())
    with pytest.raises(UsageError, match="sliced"):
        one.filter(Post.objects.all()[:5])


def test_a_range_is_split_down_to_one_row(posts: list[int]) -> None:
    """Whatever was deleted since it was drawn."""
    source = QuerySetRanges(Post.objects.all(), rows=200, target=None)
    job = next(source.iterate(None))
    Post.objects.filter(id__gt=30).delete()
    found, open_ = [], [job]
    while open_:
        parts = source.split(open_[0].key)
        found += [] if parts else [open_[0]]
        open_ = parts + open_[1:]
    held = [[post.id for post in one.payload.queryset()] for one in found]

    assert [rows for rows in held if rows] == [[3 * n] for n in range(1, 11)]


def test_ranges_are_planned_and_end_where_they_ended(posts: list[int]) -> None:
    """The master parks them; rows that come later are none of the run's."""
    source = QuerySetRanges(Post.objects.all(), rows=100, target=1.0)
    ends = source.bounds(None)
    _, second, *_ = source.iterate(None)
    Post.objects.create(id=9000, author=Author.objects.get(), slug="late")
    again = QuerySetRanges(Post.objects.all(), rows=10, target=None)
    again.bounds(ends)
    rest = drawn(again, second.key)

    assert Source(source).parks
    assert Source(source).splits
    assert ends == (3, 1350)
    assert (rest[0].lo, rest[-1].hi) == (second.payload.hi, 1350)
    assert again.position((None, 1350)) == 1.0
    source.took([second.key], 0.1)
    assert source._rows == 200


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: QuerySetRanges(Post.objects.all(), rows=0), "rows=0"),
        (lambda: QuerySetRanges(Post.objects.all(), key="score"), "may be NULL"),
        (lambda: QuerySetRanges(Post.objects.all(), key="place"), r"No index.*models.Index\(fields=\['place'\]\)"),
        (lambda: QuerySetRanges(Post.objects.all(), key="-id"), "Leave out the -"),
        (lambda: QuerySetRanges(Post.objects.order_by("slug")), "ordered by slug"),
        (lambda: QuerySetRanges(Post.objects.order_by("-id")), "begins with the highest key"),
        (lambda: QuerySetRanges(Post.objects.order_by("id").reverse()), "begins with the highest key"),
        (lambda: QuerySetRanges(Author.objects.reverse()), "begins with the highest key"),
        (lambda: QuerySetRanges(Post.objects.reverse()), r"reverse\(\) reverses the order of the model, slug"),
        (lambda: QuerySetRanges(Post.objects.select_for_update()), r"select_for_update.*in the callback"),
        (lambda: QuerySetRanges(Post.objects.values("place").annotate(n=Count("id"))), "an aggregate over values"),
        (lambda: QuerySetRanges(Post.objects.values("place").distinct()), r"distinct\(\) over values"),
        (lambda: QuerySetRanges(numbered()), "window function"),
        (lambda: QuerySetRanges(Post.objects.all()).iterate(7), "--reset"),
        (lambda: QuerySetRanges(Post.objects.all()).iterate((None, "x")), "--reset"),
    ],
)
def test_what_has_no_ranges_is_refused_with_the_cure(make: Any, expected: str) -> None:
    """Before anything is asked of a database."""
    with pytest.raises(UsageError, match=f"(?s){expected}"):
        make()


def test_a_border_is_read_from_the_index_alone(posts: list[int], tables: str) -> None:
    """However many rows are in the range."""
    source = QuerySetRanges(Post.objects.all(), rows=100)
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(note):
        source._border(30, 1350, 100)
    ((sql, params),) = asked
    with connection.cursor() as cursor:
        if tables == "postgresql":
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("SET enable_seqscan = off")
        cursor.execute(("EXPLAIN " if tables == "postgresql" else "EXPLAIN QUERY PLAN ") + sql, params)
        plan = str(cursor.fetchall())

    assert sql.startswith('SELECT "library_post"."id"')
    assert "Sort" not in plan
    assert "Index Only Scan" in plan or "USING INTEGER PRIMARY KEY" in plan


def test_ranges_are_drawn_where_few_rows_fit_the_condition(
    use: Any, database: str, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """And the server gives no time to find the next one: it was asked for an hour."""
    # Less than the rows up to the first one that fits take, and much more than twenty of them.
    options = "-c statement_timeout=530 -c enable_sort=off -c enable_seqscan=off -c enable_bitmapscan=off"
    use(database_of(database), Author, Post)
    use({**database_of(database), "OPTIONS": {"options": options}})
    sql("INSERT INTO library_author VALUES (1, 'Ann')")
    sql(
        "INSERT INTO library_post (id, author_id, slug, body, year, place) "
        "SELECT n, 1, 's' || n, '', 0, n FROM generate_series(1, 120) n"
    )
    # Each row that is looked at costs 5 ms.
    sql("CREATE FUNCTION slowly(n int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT $1 FROM pg_sleep(0.005)'")
    rare = Post.objects.extra(where=["slowly(place) IN (110, 111, 119)"])
    source = QuerySetRanges(rare, rows=20, target=None, patience=30)
    found = drawn(source)
    parts = source.split((100, 120))

    assert [post.id for one in found for post in one.queryset()] == [110, 111, 119]
    assert [one.hi for one in found] == [20, 40, 60, 80, 100, 120]
    assert [part.key for part in parts] == [(100, 110), (110, 120)]
    assert caplog.text.count("was not found in time") == 1


@pytest.mark.parametrize("kind", [QuerySetRanges, RangeQuerySetWrapper])
def test_a_probe_is_told_of_a_table_of_postgresql(posts: list[int], tables: str, kind: Any) -> None:
    """With the lowest and the highest key; of another database, or by a text, there is none."""
    source = kind(Post.objects.all())
    source.bounds(None)
    by_text = kind(Post.objects.all(), key="slug")
    by_text.bounds(None)

    told = (f'"{Post._meta.db_table}"', '"id"', posts[0], posts[-1])
    assert source.probed() == (told if tables == "postgresql" else None)
    assert by_text.probed() is None
