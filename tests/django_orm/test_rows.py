"""A queryset by pages: the same as one query over all of it, whatever the key, and from wherever
one begins.
"""

from __future__ import annotations

import pickle
import threading
import tracemalloc
import uuid
import weakref
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from django.db import connection, connections, router, transaction
from django.db.models import Count, Q
from django.test.utils import CaptureQueriesContext, override_settings
from support.django_projects import database_of, key_of
from support.library.models import Author, Parcel, Post, Seat, Word
from support.odd_type import make_odd_type

from taskmaster import Taskmaster, keys
from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper
from taskmaster.django_orm.rows import bytes_of_a_row
from taskmaster.errors import SourceError, UsageError
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.model import Job
from taskmaster.runner.dry_run import preview
from taskmaster.sources.database_retry import TooSlow

Sql = Callable[..., list[tuple]]


@pytest.fixture
def posts(tables: str) -> list[int]:
    """400 posts with gaps; gives their ids."""
    author = Author.objects.create(name="Ann")
    Post.objects.bulk_create(
        Post(id=3 * n, author=author, slug=f"p{n * 7919 % 1000:03}", year=2000 + n % 5) for n in range(1, 401)
    )
    return [3 * n for n in range(1, 401)]


@pytest.fixture
def moments(use: Any, database: str, sql: Sql) -> Callable[[str | None], None]:
    """Give a function that makes 1,000 parcels, sent every half minute of a night in which clocks
    were turned back, and has Django show them in a zone.
    """

    def make(zone: str | None) -> None:
        use({**database_of(database), "TIME_ZONE": zone}, Parcel)
        sql(
            "INSERT INTO library_parcel SELECT gen_random_uuid(), "
            "timestamptz '2026-10-24 22:00+00' + n * interval '30 s', n FROM generate_series(1, 1000) AS n"
        )

    return make


def ids(rows: Any) -> list[int]:
    """The ids of posts."""
    return [post.id for post in rows]


@pytest.mark.parametrize("step", [1, 7, 400, 1000])
def test_the_pages_are_the_queryset(posts: list[int], step: int) -> None:
    """Whatever a page holds, in both directions, and whatever order the model itself has."""
    assert ids(RangeQuerySetWrapper(Post.objects.all(), step)) == posts
    assert ids(RangeQuerySetWrapper(Post.objects, -step)) == posts[::-1]
    assert ids(RangeQuerySetWrapper(Post.objects.filter(year=2003), step)) == [n for n in posts if n // 3 % 5 == 3]


def test_min_id_and_max_id_are_included(posts: list[int]) -> None:
    """A run that is resumed gets the last key once more; 0 is before the first."""
    assert ids(RangeQuerySetWrapper(Post.objects.all(), 7, min_id=0)) == posts
    assert ids(RangeQuerySetWrapper(Post.objects.all(), 7, min_id=300, max_id=330)) == list(range(300, 331, 3))
    assert ids(RangeQuerySetWrapper(Post.objects.all(), 7, 300, 330, descending=True)) == list(range(330, 299, -3))


def test_rows_below_zero_are_not_left_out_by_a_zero(tables: str, caplog: pytest.LogCaptureFixture) -> None:
    """The default of ``last=0`` would leave them out; a loop that is resumed at a row 0 goes on."""
    Author.objects.bulk_create(Author(id=n, name="") for n in (-7, -5, 3, 4))
    with pytest.raises(UsageError, match=r"min_id=0 leaves out the rows of .* from -7 on.*last=None"):
        next(iter(RangeQuerySetWrapper(Author.objects.all(), min_id=0)))
    assert ids(RangeQuerySetWrapper(Author.objects.all())) == [-7, -5, 3, 4]
    assert ids(RangeQuerySetWrapper(Author.objects.all(), min_id=-5)) == [-5, 3, 4]
    assert ids(RangeQuerySetWrapper(Author.objects.filter(pk__gte=0), min_id=0)) == [3, 4]
    assert ids(RangeQuerySetWrapper(Author.objects.all(), -2, min_id=0, max_id=4)) == [4, 3]
    assert "leaves out" not in caplog.text

    Author.objects.create(id=0, name="")
    assert ids(RangeQuerySetWrapper(Author.objects.all(), min_id=0)) == [0, 3, 4]
    assert "min_id=0 leaves out the rows" in caplog.text


@pytest.mark.slow
def test_a_row_that_is_deleted_meanwhile_does_not_stop_it(posts: list[int]) -> None:
    """Its key is noted before it is handed out, and Django takes it from the object."""
    seen = []
    for post in RangeQuerySetWrapper(Post.objects.all(), 10):
        seen.append(post.id)
        post.delete()
        assert post.pk is None

    assert seen == posts
    assert Post.objects.count() == 0


def asked_before() -> int:
    """Return how many queries are about the catalogue: the key's column, row-level security, and
    whether the key is kept unique.
    """
    return 3 if connection.vendor == "postgresql" else 0


def test_a_page_is_one_query_and_the_rest_is_not_read(posts: list[int]) -> None:
    """As many queries as pages, each with a limit, after those about PostgreSQL's catalogue;
    nothing is read before it is asked for.
    """
    before = asked_before()
    with CaptureQueriesContext(connection) as queries:
        rows = iter(RangeQuerySetWrapper(Post.objects.all(), 100))
        assert len(queries) == 0
        next(rows)
        assert len(queries) == before + 1
        assert len(list(rows)) == 399

    assert len(queries) == before + 5
    assert all("LIMIT 100" in query["sql"] for query in queries[before:])


@pytest.mark.parametrize("key", ["slug", ("year", "id"), ("year", "pk"), "-slug", ("-year", "-id")])
def test_any_unique_key_will_do(posts: list[int], key: Any) -> None:
    """One field or several; from each key the rest follows, also when the key has been in the
    state.
    """
    names = [key] if isinstance(key, str) else list(key)
    expected = ids(Post.objects.order_by(*names))
    wrapper = RangeQuerySetWrapper(Post.objects.all(), 33, order_by=key)
    rows = list(wrapper.iterate(None))

    assert ids(rows) == expected
    for place in (0, 32, 33, 399):
        assert ids(wrapper.iterate(key_of(wrapper, rows[place]))) == expected[place + 1 :]


@pytest.mark.parametrize("step", [1, 4, -5, 1000])
def test_composite_primary_keys(tables: str, step: int) -> None:
    """Their key is a tuple, as row and as bound."""
    seats = [(hall, number) for hall in ("a", "b", "c") for number in (-1, 0, 5, 100)]
    Seat.objects.bulk_create(Seat(hall=hall, number=number) for hall, number in seats)
    wrapper = RangeQuerySetWrapper(Seat.objects.all(), step)
    expected = seats[:: 1 if step > 0 else -1]

    assert [seat.pk for seat in wrapper] == expected
    assert wrapper.bounds(None) == (("a", -1), ("c", 100))
    for place, key in enumerate(expected):
        assert [seat.pk for seat in wrapper.iterate(key)] == expected[place + 1 :]
        assert keys.key_of(Seat(hall=key[0], number=key[1])) == key
    keys_alone = Seat.objects.values_list("pk", flat=True), Seat.objects.values_list("hall", "number")
    for queryset in (*keys_alone, Seat.objects.values_list("taken", "pk"), Seat.objects.values("pk")):
        source = RangeQuerySetWrapper(queryset, step)
        assert [source.job_key(row) for row in source.iterate(expected[2])] == expected[3:]
    between = RangeQuerySetWrapper(Seat.objects.all(), abs(step), min_id=("a", 5), max_id=("c", -1))
    assert [seat.pk for seat in between] == seats[2:9]


@pytest.mark.parametrize("key", ["id", "sent", "weight"])
def test_keys_of_other_types(tables: str, key: str) -> None:
    """UUIDs, moments and decimals come back from the state as they went."""
    Parcel.objects.bulk_create(
        Parcel(sent=datetime(2024, 3, 31, 1, 59, n, 123456 + n, tzinfo=UTC), weight=Decimal(n) / 16) for n in range(20)
    )
    wrapper = RangeQuerySetWrapper(Parcel.objects.all(), 3, key=key)
    rows = list(wrapper.iterate(None))
    expected = list(Parcel.objects.order_by(key))

    assert rows == expected
    for place in range(20):
        assert list(wrapper.iterate(key_of(wrapper, rows[place]))) == expected[place + 1 :]


@pytest.mark.parametrize(
    ("queryset", "first"),
    [
        (Post.objects.values, "p919"),
        (lambda: Post.objects.values("slug", "pk"), {"slug": "p919", "pk": 3}),
        (lambda: Post.objects.values_list("slug", "id"), ("p919", 3)),
        (lambda: Post.objects.values_list("id", "slug", named=True), (3, "p919")),
        (lambda: Post.objects.values_list("pk", flat=True), 3),
        (lambda: Post.objects.only("body"), None),
        (lambda: Post.objects.select_related("author"), None),
        (lambda: Post.objects.prefetch_related("author"), None),
        (lambda: Post.objects.annotate(n=Count("author__post")), None),
        (lambda: Post.objects.using("default"), None),
    ],
)
def test_what_a_row_is_stays(posts: list[int], queryset: Any, first: Any) -> None:
    """values() and its kin give what they give elsewhere, and objects have what was selected with
    them.
    """
    wrapper = RangeQuerySetWrapper(queryset(), 150)
    rows = list(wrapper.iterate(None))

    assert [wrapper.job_key(row) for row in rows] == posts
    assert rows == list(queryset().order_by("pk"))
    if first == "p919":
        assert rows[0]["slug"] == first
    elif first is not None:
        assert rows[0] == first


def test_related_rows_are_read_with_the_page(posts: list[int]) -> None:
    """select_related and prefetch_related do for a page what they do for a queryset."""
    for queryset, each in ((Post.objects.select_related("author"), 1), (Post.objects.prefetch_related("author"), 2)):
        with CaptureQueriesContext(connection) as queries:
            assert {post.author.name for post in RangeQuerySetWrapper(queryset, 100)} == {"Ann"}
        # The last page is empty, and needs no authors.
        assert len(queries) == asked_before() + 4 * each + 1


def test_an_object_that_a_join_repeats_comes_once(posts: list[int]) -> None:
    """But values of the joined rows would be left out where a page ends, and are refused."""
    authors = Author.objects.filter(post__year__in=[2000, 2001])

    assert [author.name for author in RangeQuerySetWrapper(authors, 50)] == ["Ann"]
    with pytest.raises(SourceError, match="joins rows of another table"):
        list(RangeQuerySetWrapper(authors.values("id", "post__slug"), 50))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: RangeQuerySetWrapper(Post.objects.all()[:10]), "sliced.*--limit"),
        (lambda: RangeQuerySetWrapper(Post.objects.only("year"), key="slug"), r"only\(...\) leaves out 'slug'.*add it"),
        (lambda: RangeQuerySetWrapper(Post.objects.defer("slug"), key="slug"), r"defer\(...\) leaves out 'slug'"),
        (lambda: RangeQuerySetWrapper(Post.objects.order_by("slug")), r"ordered by slug.*\(queryset, key="),
        (lambda: RangeQuerySetWrapper(Post.objects.all().union(Post.objects.all())), "union.*filter"),
        (lambda: RangeQuerySetWrapper(Post.objects.distinct("slug")), "distinct"),
        (lambda: RangeQuerySetWrapper([1, 2]), r"list, which is not a queryset.*Post.objects.all"),
        (lambda: RangeQuerySetWrapper(Post), r"Post is a model.*such as Post\.objects\.all\(\)\.$"),
        (lambda: Source(Post), r"Post is a model.*such as Post\.objects\.all\(\)\.$"),
        (lambda: Taskmaster(print, Post), r"Post is a model.*such as Post\.objects\.all\(\)\.$"),
        (lambda: Source(lambda: Post).resolve(), r"Post is a model.*such as Post\.objects\.all\(\)\.$"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), 0), "step=0"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), key="slag"), "no field 'slag'.*Did you mean 'slug'"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), key="author__name"), "no field"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), key="score"), "may be NULL"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), key="year"), r"no two rows.*key=\('year', 'pk'\)"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), key=("place", "id")), r"No index.*models.Index\(fields="),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), key=("year", "-id")), "no direction"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), key="id", order_by="id"), "mean the same"),
        (lambda: RangeQuerySetWrapper(Seat.objects.all(), min_id=0), r"min_id is 0.*a tuple of hall.*last=None"),
        (lambda: RangeQuerySetWrapper(Parcel.objects.all(), min_id=0), r"UUIDField.*last=None"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), key="slug", min_id=0), "SlugField"),
        (lambda: RangeQuerySetWrapper(Post.objects.all()).iterate(("a", 1)), "--reset"),
        (lambda: RangeQuerySetWrapper(Post.objects.values("slug")), r"not the key, 'id'.*\.only"),
        (lambda: RangeQuerySetWrapper(Post.objects.values_list("slug", flat=True)), "without flat=True"),
        (lambda: RangeQuerySetWrapper(Seat.objects.values("hall")), "'hall', 'number'"),
    ],
)
def test_what_cannot_be_read_by_pages_is_refused_with_the_cure(make: Any, expected: str) -> None:
    """Before anything is asked of a database."""
    with pytest.raises(UsageError, match=f"(?s){expected}"):
        make()


def test_an_index_that_the_model_does_not_know_of_can_be_trusted(posts: list[int]) -> None:
    """Then nothing is asked of the model."""
    wrapper = RangeQuerySetWrapper(Post.objects.all(), 50, key=("place", "id"), trusted=True)

    assert ids(wrapper) == posts


def test_an_index_with_opclasses_gives_no_order(use: Any, database: str) -> None:
    """The server would sort the table for each page; what is unique by it is unique all the
    same.
    """
    use(database_of(database), Word)
    for make in (lambda: RangeQuerySetWrapper(Word.objects.all(), key="spelt"),
                 lambda: QuerySetRanges(Word.objects.all(), key="spelt")):  # fmt: skip
        with pytest.raises(UsageError, match=r"No index of library.Word begins with 'spelt'.*opclasses that sort"):
            make()
    trusted = RangeQuerySetWrapper(Word.objects.all(), key="spelt", trusted=True)
    both = RangeQuerySetWrapper(Word.objects.all(), key=("text", "spelt"))
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")

    assert "Sort" in trusted._query("a", 10).explain()
    assert "Sort" not in both._query(("a", "b"), 10).explain()


def test_a_key_that_would_be_compared_as_text_is_refused(
    use: Callable[..., None], database: str, sql: Callable[..., list[tuple]]
) -> None:
    """The operators of its type are in a schema that the search path does not lead to: rows came
    twice, or not at all. Where it leads there, the key is as good as any.
    """
    make_odd_type(sql)
    sql("CREATE TABLE library_post (id bigint PRIMARY KEY, slug ext.odd NOT NULL UNIQUE)")
    sql("INSERT INTO library_post SELECT n, n FROM generate_series(1, 20) n")
    slugs = Post.objects.values_list("slug", flat=True)
    use(database_of(database))
    for make in (
        lambda: list(RangeQuerySetWrapper(slugs, key="slug", step=3)),
        lambda: list(QuerySetRanges(Post.objects.all(), key="slug").iterate(None)),
    ):
        with pytest.raises(
            UsageError, match=r"column slug of library_post .* schema ext, .*-c search_path=public,ext'"
        ):
            make()
    use({**database_of(database), "OPTIONS": {"options": "-c search_path=public,ext"}})

    assert list(RangeQuerySetWrapper(slugs, key="slug", step=3)) == [str(n) for n in range(1, 21)]


@pytest.mark.parametrize("binding", [False, True])
@pytest.mark.parametrize("key", ["place", ("place", "id")])
def test_a_column_may_be_wider_than_its_field(use: Any, database: str, sql: Sql, key: Any, *, binding: bool) -> None:
    """As when a database administrator has changed it to a bigint before the model: Django takes a
    comparison with a key that its field could not hold for one without rows.
    """
    use({**database_of(database), "OPTIONS": {"server_side_binding": binding}}, Author, Post)
    sql("ALTER TABLE library_post ALTER place TYPE bigint")
    sql("INSERT INTO library_author VALUES (1, 'Ann')")
    sql(
        "INSERT INTO library_post (author_id, slug, body, year, place) "
        "SELECT 1, n::text, '', 2000, 2147483640::bigint + n FROM generate_series(1, 300) AS n"
    )
    places = [2147483640 + n for n in range(1, 301)]

    read = RangeQuerySetWrapper(Post.objects.all(), 7, key=key, trusted=True)
    assert [post.place for post in read.iterate(None)] == places
    read = RangeQuerySetWrapper(Post.objects.all(), -7, key=key, trusted=True)
    assert [post.place for post in read.iterate(None)] == places[::-1]

    ranges = QuerySetRanges(Post.objects.all(), rows=7, target=None, key=key, trusted=True)
    ranges.bounds(None)
    found = [job.payload.queryset().count() for job in ranges.iterate(None)]
    assert (len(found), sum(found), max(found)) == (43, 300, 7)


@pytest.mark.parametrize(
    ("use_tz", "zone", "driver", "refused"),
    [
        (False, "Europe/Berlin", "psycopg", ["rows"]),
        (False, "UTC", "psycopg", []),
        (True, "Europe/Berlin", "psycopg", []),
        (True, "Europe/Berlin", "psycopg2", ["rows", "ranges"]),
    ],
)
def test_a_key_in_a_zone_with_an_hour_twice(
    moments: Callable[[str | None], None], *, use_tz: bool, zone: str, driver: str, refused: list[str]
) -> None:
    """Refused where moments are not told apart when clocks are turned back."""
    with override_settings(USE_TZ=use_tz, TIME_ZONE=zone):
        moments(zone if use_tz else None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connection.Database, "__name__", driver)
            for name, source in {
                "rows": RangeQuerySetWrapper(Parcel.objects.all(), 7, key="sent"),
                "ranges": QuerySetRanges(Parcel.objects.all(), rows=7, target=None, key="sent"),
            }.items():
                if name in refused:
                    with pytest.raises(UsageError, match=f"the zone {zone} has an hour twice"):
                        source.bounds(None)
                        list(source.iterate(None))
                    continue
                source.bounds(None)
                jobs = list(source.iterate(None))
                found = [job.payload.queryset().count() for job in jobs] if name == "ranges" else [1 for _ in jobs]
                assert sum(found) == 1000


def test_a_column_without_zone_tells_its_hours_apart(moments: Callable[[str | None], None], sql: Sql) -> None:
    """The server shows it as it is."""
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin"):
        moments(None)
        sql("ALTER TABLE library_parcel ALTER sent TYPE timestamp")
        assert len(list(RangeQuerySetWrapper(Parcel.objects.all(), 7, key="sent"))) == 1000


def test_the_end_is_fixed_when_the_run_is_new(posts: list[int]) -> None:
    """As a source it ends at the same row after each restart; in a loop it goes on with what
    comes.
    """
    ends = keys.decode(keys.check(RangeQuerySetWrapper(Post.objects.all()).bounds(None)))
    Post.objects.create(id=5000, author=Author.objects.get(), slug="late")
    again = RangeQuerySetWrapper(Post.objects.all(), 100)
    again.bounds(ends)

    assert ends == (3, 1200)
    assert ids(again.iterate(1190)) == [1191, 1194, 1197, 1200]
    assert (again.position(3), again.position(1200)) == (0.0, 1.0)
    assert ids(RangeQuerySetWrapper(Post.objects.all(), min_id=1200)) == [1200, 5000]
    backwards = RangeQuerySetWrapper(Post.objects.all(), 100, descending=True)
    backwards.bounds(ends)
    assert backwards.position(1200) == 0.0
    Post.objects.create(id=1, author=Author.objects.get(), slug="early")
    assert ids(backwards.iterate(9)) == [6, 3]


def test_an_empty_table_has_no_rows(tables: str) -> None:
    """And no end to remember; rows that come while the run goes on are none of it."""
    wrapper = RangeQuerySetWrapper(Post.objects.all())

    assert wrapper.bounds(None) is None
    Post.objects.create(author=Author.objects.create(name="Ann"), slug="late")
    assert list(wrapper.iterate(None)) == []


@pytest.mark.parametrize(
    "jobs", [Post.objects.all, lambda: Post.objects, lambda: get_jobs, lambda: lambda: Post.objects]
)
def test_a_queryset_is_a_source(posts: list[int], jobs: Any) -> None:
    """Given or returned: it resumes at its key, and is not read whole for its number of rows."""
    source = Source(jobs())
    asked = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        rows = source.iterate(None)
        assert [next(rows).id, next(rows).id] == [3, 6]
    assert len(asked) == asked_before() + 3  # both ends, and a page
    assert source.resumes_by_key
    assert source.job_key(next(rows)) == 9
    assert ids(source.iterate(1194, resume=True)) == [1197, 1200]


def get_jobs() -> Any:
    """As a user's module has it."""
    return Post.objects.all()


def test_the_total_comes_in_a_connection_of_its_thread_that_is_closed(posts: list[int], tables: str) -> None:
    """On PostgreSQL from the statistics, without a count."""
    wrapper = RangeQuerySetWrapper(Post.objects.filter(year=2003))
    if tables == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    found, left = [], []

    def ask() -> None:
        found.append(wrapper.total())
        left.append(connections["default"].connection)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()

    assert 60 <= found[0] <= 100
    assert left == [None]


def test_a_model_instance_can_be_a_job(posts: list[int]) -> None:
    """Its key is its primary key, and it comes back from its pickle."""
    post = next(iter(RangeQuerySetWrapper(Post.objects.select_related("author"))))
    again = pickle.loads(pickle.dumps(post))

    assert keys.key_of(post) == 3
    assert again == post
    assert again.author.name == "Ann"


@pytest.mark.slow
def test_memory_is_flat(use: Any, database: str, sql: Sql) -> None:
    """Of a hundred thousand rows never more than two pages are there at once."""
    use(database_of(database), Author)
    sql("INSERT INTO library_author SELECT n, 'author ' || n FROM generate_series(1, 100000) n")
    alive: weakref.WeakValueDictionary[int, Author] = weakref.WeakValueDictionary()
    most = count = 0
    for author in RangeQuerySetWrapper(Author.objects.all(), 1000).iterate(None):
        alive[author.pk] = author
        count += 1
        if count % 500 == 0:
            most = max(most, len(alive))

    assert count == 100_000
    assert 500 <= most <= 2001


@pytest.mark.parametrize(
    "kind", [lambda: Author.objects.prefetch_related("post_set"), lambda: Post.objects.select_related("author")]
)
def test_what_a_row_takes_in_memory_is_known(use: Any, database: str, sql: Sql, kind: Callable[[], Any]) -> None:
    """With the dicts of its object and of what was read beside it, which are most of that."""
    use(database_of(database), Author, Post)
    sql("INSERT INTO library_author SELECT n, 'author ' || n FROM generate_series(1, 300) n")
    sql(
        "INSERT INTO library_post (id, author_id, slug, body, year, place) "
        "SELECT n, 1 + n % 300, 's' || n, 'body ' || n, 1000 + n, 2000 + n FROM generate_series(1, 600) n"
    )
    list(kind()[:10])  # what Django keeps of each query is made now
    tracemalloc.start()
    try:
        page = list(kind())
        taken = tracemalloc.get_traced_memory()[0] / len(page)
    finally:
        tracemalloc.stop()

    assert 0.7 * taken < bytes_of_a_row(page) < 1.5 * taken


def test_a_lost_connection_costs_a_page_and_no_row(use: Any, database: str, sql: Sql) -> None:
    """The page is asked for again, in a new connection."""
    use(database_of(database), Author, Post)
    sql("INSERT INTO library_author VALUES (1, 'Ann')")
    sql(
        "INSERT INTO library_post (id, author_id, slug, body, year, place) "
        "SELECT n, 1, 's' || n, '', 0, 0 FROM generate_series(1, 100) n"
    )
    seen = []
    for post in RangeQuerySetWrapper(Post.objects.all(), 10):
        seen.append(post.id)
        if post.id in (20, 55):
            sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND datname = current_database()")  # fmt: skip

    assert seen == list(range(1, 101))


def test_a_lost_connection_is_closed_whichever_database_a_router_chose(
    use: Any, also: Any, database: str, sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Replicas in turns: each is lost once, and then good again."""
    use(database_of(database), Author)
    sql("INSERT INTO library_author SELECT n, 'author ' || n FROM generate_series(1, 100) n")
    replicas = [also(name, database_of(database)) for name in ("one", "two")]
    chosen: list[str] = []

    class Turns:
        def db_for_read(self, model: Any, **hints: Any) -> str:
            del model, hints
            chosen.append(("one", "two", "two")[len(chosen) % 3])
            return chosen[-1]

    monkeypatch.setattr(router, "routers", [Turns()])
    seen = []
    for author in RangeQuerySetWrapper(Author.objects.all(), 2):
        seen.append(author.id)
        if author.id == 50:
            assert all(replica.connection for replica in replicas)
            sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND datname = current_database()")  # fmt: skip

    assert seen == list(range(1, 101))
    assert caplog.text.count("tried again") == 2


def test_a_count_that_is_too_slow_is_done_without(use: Any, database: str, caplog: pytest.LogCaptureFixture) -> None:
    """In one line, without a traceback: the run itself goes on."""
    use(database_of(database), Author, Post)
    use({**database_of(database), "OPTIONS": {"options": "-c statement_timeout=500"}})

    def slowly(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        return execute("SELECT pg_sleep(5)", None, *rest)

    with connection.execute_wrapper(slowly):
        assert RangeQuerySetWrapper(Post.objects.filter(year=2003)).total() is None
    assert "the rows cannot be counted" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_page_that_is_too_slow_is_asked_for_with_fewer_rows(use: Any, database: str, sql: Sql) -> None:
    """As the database's own statement_timeout has it; in a transaction of the caller's nothing is
    tried again.
    """
    # Along the index, so that no more rows are looked at than the page has.
    options = "-c statement_timeout=300 -c enable_sort=off -c enable_seqscan=off -c enable_bitmapscan=off"
    use(database_of(database), Author, Post)
    use({**database_of(database), "OPTIONS": {"options": options}})
    sql("INSERT INTO library_author VALUES (1, 'Ann')")
    sql(
        "INSERT INTO library_post (id, author_id, slug, body, year, place) "
        "SELECT n, 1, 's' || n, '', 0, 0 FROM generate_series(1, 60) n"
    )
    # Each row that is looked at costs 10 ms.
    sql("CREATE FUNCTION slowly(n int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT $1 FROM pg_sleep(0.01)'")
    slow = Post.objects.extra(where=["slowly(place) = 0"])
    wrapper = RangeQuerySetWrapper(slow, 60)

    assert ids(wrapper) == list(range(1, 61))
    with pytest.raises(Exception, match="statement timeout") as caught, transaction.atomic():
        list(wrapper)
    assert not isinstance(caught.value, TooSlow)


@pytest.mark.slow
def test_rows_are_found_where_few_fit_the_condition(
    use: Any, database: str, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    """And the server gives no time to look at all that lie between two: it is read by stretches."""
    options = "-c statement_timeout=200 -c enable_sort=off -c enable_seqscan=off -c enable_bitmapscan=off"
    use(database_of(database), Author, Post)
    use({**database_of(database), "OPTIONS": {"options": options}})
    sql("INSERT INTO library_author VALUES (1, 'Ann')")
    sql(
        "INSERT INTO library_post (id, author_id, slug, body, year, place) "
        "SELECT n, 1, 's' || n, '', 0, n FROM generate_series(1, 120) n"
    )
    # Each row that is looked at costs 5 ms.
    sql("CREATE FUNCTION slowly(n int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT $1 FROM pg_sleep(0.005)'")
    rare = Post.objects.extra(where=["slowly(place) IN (70, 71, 119)"])
    for descending in (False, True):
        wrapper = RangeQuerySetWrapper(rare, 100, descending=descending, patience=30)
        expected = [119, 71, 70] if descending else [70, 71, 119]
        assert ids(wrapper.iterate(None)) == expected
        assert ids(wrapper.iterate(71)) == expected[expected.index(71) + 1 :]
        assert ids(RangeQuerySetWrapper(rare, -100 if descending else 100, patience=30)) == expected

    assert "too slow, and is asked for again" in caplog.text
    assert "tried again" not in caplog.text


def test_pages_of_wide_rows_have_fewer(use: Any, database: str, sql: Sql) -> None:
    """The master holds two of them: 1,000 rows of 100 KB would be 200 MB."""
    use(database_of(database), Author, Post)
    sql("INSERT INTO library_author VALUES (1, 'Ann')")
    sql(
        "INSERT INTO library_post (id, author_id, slug, body, year, place) "
        "SELECT n, 1, 's' || n, repeat('x', 100000), 0, 0 FROM generate_series(1, 300) n"
    )
    wrapper = RangeQuerySetWrapper(Post.objects.select_related("author"), 1000)
    pages = [len(page) for page in wrapper._walk(None)]

    assert sum(pages) == 300
    assert pages[0] == 100
    assert 70 <= max(pages[1:]) <= 85


def test_a_wrong_query_fails_at_once(posts: list[int]) -> None:
    """What does not pass by itself is Django's own error."""
    from django.db.utils import DatabaseError

    with pytest.raises(DatabaseError):
        list(RangeQuerySetWrapper(Post.objects.extra(where=["no_such_column = 1"]), 10))


def test_pages_of_a_composite_key_come_from_the_index(use: Any, database: str, sql: Sql) -> None:
    """No sort, and nothing before the page is looked at."""
    use(database_of(database), Author, Post, Seat)
    sql("INSERT INTO library_author VALUES (1, 'Ann')")
    sql(
        "INSERT INTO library_post (id, author_id, slug, body, year, place) "
        "SELECT n, 1, 's' || n, '', n % 5, 0 FROM generate_series(1, 20000) n"
    )
    sql("INSERT INTO library_seat SELECT 'h' || n % 3, n, false FROM generate_series(1, 20000) n")
    sql("VACUUM ANALYZE")
    for queryset, key, last in (
        (Post.objects.all(), "pk", 9000),
        (Post.objects.all(), ("year", "id"), (2, 9000)),
        (Seat.objects.all(), "pk", ("h1", 9000)),
    ):
        for descending in (False, True):
            wrapper = RangeQuerySetWrapper(queryset, 100, key=key, descending=descending)
            wrapper.bounds(None)
            plan = wrapper._query(last, 100).explain(analyze=True)

            assert "Index" in plan
            assert "Index Cond" in plan
            assert "Sort" not in plan
            assert "Rows Removed" not in plan


def test_where_rows_cannot_be_compared_the_condition_is_spelt_out(posts: list[int]) -> None:
    """For databases that would not use the index: the same rows."""
    from taskmaster.django_orm.key import Key

    key = Key(Post, ("year", "id"), descending=False, unique=True, trusted=False)
    for sign in (">", ">=", "<", "<="):
        for end in ((2002, 300), (2002, 301), (1999, 0), (2004, 1200)):
            compared = ids(Post.objects.filter(key.compared(sign, end, "postgresql")).order_by("year", "id"))
            spelt_out = ids(Post.objects.filter(key.compared(sign, end, "mysql")).order_by("year", "id"))
            assert compared == spelt_out
    assert ids(Post.objects.filter(Q(id=3) & key.compared("<", (2001, 4), "oracle"))) == [3]


def test_the_connection_is_the_caller_s(use: Any, database: str) -> None:
    """What an open transaction has written is read."""
    use(database_of(database), Author, Post)
    with closing(psycopg2.connect(database)) as other, transaction.atomic():
        author = Author.objects.create(name=str(uuid.uuid4()))
        assert [one.pk for one in RangeQuerySetWrapper(Author.objects.all())] == [author.pk]
        with other.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM library_author")
            assert cursor.fetchone() == (0,)


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        (lambda: Post.objects, True),
        (lambda: (Job(post.slug, post) for post in Post.objects.all()), True),
        (lambda: Post.objects.values_list("pk", flat=True), False),
        (lambda: QuerySetRanges(Post.objects.all()), False),
    ],
)
def test_a_dry_run_says_what_is_better_than_instances(
    posts: list[int], capsys: pytest.CaptureFixture[str], jobs: Any, said: bool
) -> None:
    """In one line, with what to write; of keys and ranges it says nothing."""
    preview(Source(jobs()), JobIdentity(), 3, "STATE")
    lines = capsys.readouterr().err.splitlines()

    advice = [line for line in lines if "instances of library.Post" in line]
    assert len(advice) == said
    assert all(".values_list('pk', flat=True)" in line and "QuerySetRanges" in line for line in advice)
    assert lines[-2:] == ["STATE", "Dry run: nothing was run, and no state was touched."]
