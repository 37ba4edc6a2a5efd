"""What is read in parts is what the queryset is: each row once, of its class; or it is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, F, FilteredRelation, Func, IntegerField, Q, QuerySet, Sum, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import RowNumber
from support.library.models import (
    Author,
    AuthorView,
    Boxed,
    Label,
    Labelled,
    Money,
    Parcel,
    Post,
    Seat,
    Thing,
    ThingQuerySet,
)

from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper
from taskmaster.errors import SourceError, UsageError
from taskmaster.keys import check, decode


@pytest.fixture
def posts(tables: str) -> list[int]:
    """60 posts of 12 authors; gives their ids."""
    authors = Author.objects.bulk_create(Author(id=n, name=f"a{n}") for n in range(1, 13))
    Post.objects.bulk_create(
        Post(id=3 * n, author=authors[n % 12], slug=f"p{n * 37 % 61:03}", year=2000 + n % 5) for n in range(1, 61)
    )
    return [3 * n for n in range(1, 61)]


@pytest.fixture
def things(tables: str) -> int:
    """Make 60 things, of which 10 are marked as deleted; gives how many are alive."""
    with connection.schema_editor() as editor:
        editor.create_model(Thing)
    Thing.everything.bulk_create(Thing(number=n, deleted=n >= 50) for n in range(60))
    return 50


def drawn(source: Any) -> list[Any]:
    """All ranges, as workers get them."""
    return [pickle.loads(pickle.dumps(job.payload)) for job in source.iterate(None)]


# -- the order of a queryset -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "key", "descending"),
    [
        (lambda: Post.objects.order_by("pk"), "pk", False),
        (lambda: Post.objects.order_by("id"), "pk", False),
        (lambda: Post.objects.order_by("-pk"), "pk", True),
        (lambda: Post.objects.order_by("pk").reverse(), "pk", True),
        (lambda: Post.objects.order_by("-id").reverse(), "pk", False),
        (lambda: Post.objects.order_by(F("id").desc()), "pk", True),
        (lambda: Post.objects.order_by(F("id")), "id", False),
        (lambda: Post.objects.order_by("id", "slug"), "pk", False),
        (lambda: Post.objects.order_by("slug"), "slug", False),
        (Post.objects.reverse, "slug", True),  # that of the model, turned round
        (lambda: Post.objects.order_by("-year", "-pk"), ("year", "id"), True),
        (Post.objects.order_by, "pk", False),
        (Author.objects.reverse, "pk", True),
    ],
)
@pytest.mark.parametrize("step", [7, 1000])
def test_the_order_of_the_key_is_kept(posts: list[int], make: Any, key: Any, descending: bool, step: int) -> None:
    """In both directions, however it is written: each row comes once, in that order."""
    names = {"pk": ["pk"], "id": ["pk"], "slug": ["slug"]}.get(key, key)
    expected = list(make().model.objects.order_by(*names))
    wrapper = RangeQuerySetWrapper(make(), step, key=key)
    rows = list(wrapper.iterate(None))

    assert rows == expected[:: -1 if descending else 1]
    assert list(wrapper.iterate(decode(check(wrapper.job_key(rows[6]))))) == rows[7:]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: RangeQuerySetWrapper(Post.objects.order_by("slug", "pk")), "ordered by slug, pk.*key='slug'"),
        (lambda: RangeQuerySetWrapper(Post.objects.order_by("?")), "ordered by"),
        (lambda: RangeQuerySetWrapper(Post.objects.order_by("author__name")), "ordered by author__name"),
        (lambda: RangeQuerySetWrapper(Post.objects.extra(order_by=["id"])), "ordered by id"),
        (
            lambda: RangeQuerySetWrapper(Post.objects.order_by("year", "-id"), key=("year", "id")),
            "ordered by year, -id",
        ),
        (lambda: RangeQuerySetWrapper(Post.objects.reverse()), r"reverse\(\) reverses the order of the model, slug"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), -5, min_id=0), r"min_id=0 without max_id.*max_id=last"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), -5, min_id=None), "without max_id"),
        (lambda: RangeQuerySetWrapper(Post.objects.order_by("-pk"), min_id=None), "without max_id"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), key="-id", min_id=3), "without max_id"),
        (lambda: RangeQuerySetWrapper(Post.objects.all(), descending=True, min_id=3, max_id=None), "without max_id"),
        (lambda: RangeQuerySetWrapper(Post.objects.select_for_update()), r"select_for_update.*in the callback"),
    ],
)
def test_another_order_is_refused_with_the_cure(make: Any, expected: str) -> None:
    """And so is what would begin anew when it is resumed, at the first start."""
    with pytest.raises(UsageError, match=f"(?s){expected}"):
        make()


# -- windows and groups ----------------------------------------------------------------------------


class Ranked(Func):
    """A window function that is written in SQL."""

    template = "rank() over (order by %(expressions)s)"
    output_field = IntegerField()


def windows() -> list[Callable[[], QuerySet]]:
    """Querysets whose rows depend on other rows of the result."""
    number = Window(RowNumber(), order_by="id")
    return [
        lambda: Post.objects.annotate(number=number),
        lambda: Post.objects.annotate(number=Window(RowNumber(), partition_by="author")).filter(number=1),
        lambda: Post.objects.alias(number=number).filter(number__lte=3),
        lambda: Post.objects.annotate(twice=number * 2),
        lambda: Post.objects.annotate(total=Window(Sum("id"), order_by="id")).values("id", "total"),
        lambda: Post.objects.annotate(number=RawSQL("row_number() OVER (ORDER BY id)", ())),
        lambda: Post.objects.extra(select={"number": "row_number() over (order by id)"}),
        lambda: Post.objects.annotate(number=Func(template="rank() OVER(ORDER BY id)", output_field=IntegerField())),
        lambda: Post.objects.annotate(number=1 + Ranked("id")),
    ]


@pytest.mark.parametrize("make", windows())
@pytest.mark.parametrize("source", [RangeQuerySetWrapper, QuerySetRanges])
def test_windows_are_refused(make: Any, source: Any) -> None:
    """Each page, and each range, would have one of its own."""
    with pytest.raises(UsageError, match=r"window function.*subquery"):
        source(make())


def test_a_window_inside_a_subquery_is_whole(posts: list[int]) -> None:
    """It is asked of all rows each time: that is what the refusal says to write."""
    first = Window(RowNumber(), partition_by="author", order_by="id")
    chosen = Post.objects.filter(pk__in=Post.objects.annotate(n=first).filter(n=1).values("pk"))

    assert [post.pk for post in RangeQuerySetWrapper(chosen, 5)] == sorted(chosen.values_list("pk", flat=True))
    assert sum(one.queryset().count() for one in drawn(QuerySetRanges(chosen, rows=5, target=None))) == 12


@pytest.mark.parametrize(
    "make",
    [
        lambda: Post.objects.values("year").annotate(n=Count("id")),
        lambda: Post.objects.values("author__name").annotate(n=Count("id")),
        lambda: Post.objects.values("year").distinct(),
        lambda: Post.objects.values_list("year", flat=True).distinct(),
    ],
)
def test_partial_groups_are_refused(make: Any) -> None:
    """Of a group that two ranges cut, each would have a part."""
    with pytest.raises(UsageError, match="values without the key, 'id'"):
        QuerySetRanges(make())


def test_whole_groups_are_read(posts: list[int]) -> None:
    """By ranges of what the rows of a group have in common; and groups of one row each."""
    groups = Post.objects.values("year").annotate(n=Count("id"))
    found = [row for one in drawn(QuerySetRanges(groups, rows=7, target=None, key="year")) for row in one.queryset()]

    assert sorted((row["year"], row["n"]) for row in found) == [(2000 + n, 12) for n in range(5)]
    counted = Author.objects.annotate(n=Count("post")).filter(n__gt=2)
    assert [author.n for author in RangeQuerySetWrapper(counted, 5)] == [5] * 12
    assert [a.n for one in drawn(QuerySetRanges(counted, rows=5)) for a in one.queryset()] == [5] * 12


# -- rows of one key -------------------------------------------------------------------------------


def with_many_posts(years: list[int]) -> None:
    """Give the author 6 a post of each of these years, and no others."""
    Author.objects.filter(id=6).update(name="busy")
    Post.objects.filter(author=6).delete()
    Post.objects.bulk_create(
        Post(id=1000 + n, author_id=6, slug=f"busy{n:03}", year=year) for n, year in enumerate(years)
    )


@pytest.mark.parametrize("step", [2, 7, 30, 1000])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Author.objects.annotate(year=F("post__year")),
        lambda: Author.objects.values("id", "post__year"),
        lambda: Author.objects.values_list("pk", "post__year"),
    ],
)
def test_one_row_of_a_key_that_differs_is_seen_pages_later(posts: list[int], make: Any, step: int) -> None:
    """All rows of a page were alike, and the others of the same key were left out."""
    Post.objects.update(year=2000)
    with_many_posts([2000] * 99 + [2001])
    with pytest.raises(SourceError, match="have the key 6 and differ"):
        list(RangeQuerySetWrapper(make(), step))
    Post.objects.update(year=2000)

    rows = list(RangeQuerySetWrapper(make(), step).iterate(None))
    assert [row[0] if isinstance(row, tuple) else row["id"] if isinstance(row, dict) else row.id for row in rows] == [
        *range(1, 13)
    ]
    with_many_posts([2000, 2001])
    with pytest.raises(SourceError, match="have the key 6 and differ"):
        list(RangeQuerySetWrapper(make(), step))


def test_rows_of_a_key_that_the_memory_would_not_hold_are_refused(
    posts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless they cannot differ, as those that a condition repeats, or are told apart by the
    database.
    """
    monkeypatch.setattr("taskmaster.django_orm.rows.LARGEST_PAGE_BYTES", 3_000)
    Post.objects.update(year=2000)
    with_many_posts([2000] * 100)
    alike = Author.objects.annotate(year=F("post__year"))

    with pytest.raises(SourceError, match=r"more than \d+ rows with the key 6, .*Add .distinct\(\)"):
        list(RangeQuerySetWrapper(alike, 7))
    assert len(list(RangeQuerySetWrapper(alike.distinct(), 7))) == 12
    assert len(list(RangeQuerySetWrapper(Author.objects.filter(post__year=2000), 7))) == 12
    assert len(list(RangeQuerySetWrapper(Author.objects.filter(post__year=2000).values_list("pk"), 7))) == 12


@pytest.mark.parametrize("step", [1, 2, 5, 7, 1000])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Author.objects.annotate(post_id=F("post__id")),
        lambda: Author.objects.values("id", "post__slug"),
        lambda: Author.objects.values_list("pk", "post__id"),
        lambda: Author.objects.extra(
            select={"slug": "library_post.slug"},
            tables=["library_post"],
            where=["library_post.author_id = library_author.id"],
        ),
        lambda: Author.objects.annotate(one=FilteredRelation("post", condition=Q(post__year__gt=2000))).annotate(
            n=F("one")
        ),
        AuthorView.objects.all,
    ],
)
def test_rows_of_one_key_that_differ_are_no_jobs(posts: list[int], make: Any, step: int) -> None:
    """Wherever a page ends: it was one of them, and no word of the others."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE VIEW library_author_view AS SELECT author_id AS id, slug FROM library_post")
    rows = [str(row if isinstance(row, dict | tuple) else vars(row)) for row in make()]
    try:
        assert len(set(rows)) > 12
        with pytest.raises(SourceError, match="have the key 1 and differ"):
            list(RangeQuerySetWrapper(make(), step))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP VIEW library_author_view")


@pytest.mark.parametrize("step", [1, 2, 5, 7, 1000])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Author.objects.filter(post__year__gte=2000),
        lambda: Author.objects.filter(post__year__gte=2000).prefetch_related("post_set"),
        lambda: Author.objects.filter(post__year__gte=2000).values_list("pk", flat=True),
        lambda: Author.objects.filter(post__year__gte=2000).values("pk", "name"),
        lambda: Author.objects.filter(post__year__gte=2000).distinct(),
    ],
)
def test_a_row_that_a_join_repeats_comes_once(posts: list[int], make: Any, step: int) -> None:
    """As an object, or as its values, wherever a page ends."""
    wrapper = RangeQuerySetWrapper(make(), step)

    assert [wrapper.job_key(row) for row in wrapper.iterate(None)] == list(range(1, 13))


# -- the class of a queryset -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        Thing.objects.all,
        lambda: Thing.objects.filter(number__gte=0),
        lambda: ThingQuerySet(Thing).alive(),
        lambda: Thing.objects.order_by("pk"),
        lambda: Thing.objects.using("default"),
    ],
)
def test_a_range_deletes_as_its_queryset_does(things: int, make: Any) -> None:
    """The methods of the project's class are those of the range, too: what it marks is not gone."""
    for one in drawn(QuerySetRanges(make(), rows=20, target=None)):
        rows = one.queryset()
        assert isinstance(rows, ThingQuerySet)
        assert rows.alive().count() == rows.count()
        rows.delete()

    assert Thing.everything.count() == 60
    assert Thing.objects.count() == 0


def test_a_range_of_django_s_own_class_deletes(things: int) -> None:
    """And its pickle is small."""
    found = drawn(QuerySetRanges(Thing.everything.filter(number__lt=10), rows=20, target=None))

    assert [one.form for one in found] == [None]
    assert found[0].queryset().delete()[0] == 10
    assert Thing.everything.count() == 50


def test_a_class_that_only_a_manager_knows_is_found_by_it(things: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nothing knows is refused, for the workers could not find it."""

    class Local(ThingQuerySet):
        def shout(self) -> str:
            return f"{self.count()}!"

    monkeypatch.setattr(Thing.everything, "_queryset_class", Local)
    found = drawn(QuerySetRanges(Thing.everything.all(), rows=100, target=None))
    assert found[0].queryset().shout() == "60!"
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"class .*Local cannot be imported by its name.*Define it at the top"):
        QuerySetRanges(Local(Thing))


def test_what_a_class_keeps_beside_its_query_goes_with_a_range(things: int) -> None:
    """As tenants and histories do."""
    queryset = Thing.objects.all()
    queryset.reason = "spring cleaning"
    (one,) = drawn(QuerySetRanges(queryset))

    assert one.queryset().reason == "spring cleaning"


def test_a_range_that_an_older_state_holds_is_read(posts: list[int]) -> None:
    """It has no form, and is what it was: a queryset of Django's own."""
    one = drawn(QuerySetRanges(Post.objects.filter(year=2001), rows=100))[0]
    del one.__dict__["form"]
    again = pickle.loads(pickle.dumps(one))

    assert type(again.queryset()) is QuerySet
    assert again.queryset().count() == 12


@pytest.mark.parametrize(
    "make",
    [
        lambda: Post.objects.values_list("pk", flat=True),
        lambda: Post.objects.values_list("id", "slug"),
        lambda: Post.objects.values_list("id", "slug", named=True),
        lambda: Post.objects.values("id"),
        lambda: Post.objects.values(k=F("id")),
        lambda: Post.objects.values("slug", "author__name"),
        lambda: Post.objects.filter(year=2001).values(double=F("id") * 2),
        lambda: Post.objects.annotate(n=Count("author")).values_list("n", "pk"),
        lambda: Post.objects.only("slug"),
        lambda: Post.objects.select_related("author"),
        lambda: Seat.objects.values_list("pk", flat=True),
    ],
)
def test_the_rows_of_ranges_are_those_of_the_queryset(posts: list[int], make: Any) -> None:
    """Whatever values() makes of them."""
    found = [row for one in drawn(QuerySetRanges(make(), rows=7, target=None)) for row in one.queryset()]

    assert sorted(map(str, found)) == sorted(map(str, make().order_by()))
    assert {type(row) for row in found} == {type(row) for row in make()} or type(found[0]).__name__ == "Row"


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tables", ["postgresql", "sqlite"], indirect=True)
def test_a_key_of_the_project_s_own_class_is_kept_as_the_database_has_it(tables: str) -> None:
    """Rows and ranges are read, and resumed, as with a plain one."""
    with connection.schema_editor() as editor:
        editor.create_model(Labelled)
    Labelled.objects.bulk_create(Labelled(label=Label(n)) for n in range(50))
    for queryset in (Labelled.objects.all(), Labelled.objects.values_list("pk", flat=True)):
        wrapper = RangeQuerySetWrapper(queryset, 7)
        rows = list(wrapper.iterate(None))
        keys = [decode(check(wrapper.job_key(row))) for row in rows]
        assert keys == [f"l-{n:05}" for n in range(50)]
        assert list(wrapper.iterate(keys[20])) == rows[21:]
        assert list(RangeQuerySetWrapper(queryset, 7, min_id=Label(40))) == rows[40:]
    source = QuerySetRanges(Labelled.objects.all(), rows=7, target=None)
    jobs = list(source.iterate(None))
    assert [decode(check(job.key)) for job in jobs] == [job.key for job in jobs]
    assert sum(one.queryset().count() for one in drawn(source)) == 50


def test_a_key_that_no_state_can_keep_is_refused(tables: str) -> None:
    """In one sentence, by pages and by ranges."""
    with connection.schema_editor() as editor:
        editor.create_model(Boxed)
    Boxed.objects.bulk_create(Boxed(box={"number": n}) for n in range(3))
    for source in (RangeQuerySetWrapper, QuerySetRanges):
        with pytest.raises(UsageError, match=r"Boxed.box has the value \{'number': \d\}, a dict.*another key"):
            list(source(Boxed.objects.all(), key="box").iterate(None))


def test_decimals_that_sqlite_rounds_are_refused(tables: str) -> None:
    """They would be read again and again; PostgreSQL keeps them."""
    with connection.schema_editor() as editor:
        editor.create_model(Money)
    Money.objects.bulk_create(Money(amount=Decimal(10**16 + 2 * n).scaleb(-2)) for n in range(30))
    for read in (
        lambda: list(RangeQuerySetWrapper(Money.objects.all(), 7)),
        lambda: list(RangeQuerySetWrapper(Money.objects.all(), 7).iterate(None)),
        lambda: drawn(QuerySetRanges(Money.objects.all(), rows=7, target=None)),
    ):
        if tables == "sqlite":
            with pytest.raises(UsageError, match="17 digits, and SQLite keeps decimals as floats with 15"):
                read()
        else:
            assert len(read()) in (30, 5)
    assert len(list(RangeQuerySetWrapper(Parcel.objects.all(), key="weight"))) == 0


@pytest.mark.parametrize("source", [RangeQuerySetWrapper, QuerySetRanges])
def test_a_page_that_leads_nowhere_is_an_error(posts: list[int], source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a database that compares another value than it gives; it was read for ever."""
    from taskmaster.django_orm.key import Key

    monkeypatch.setattr(Key, "compared", lambda *_: Q())
    with pytest.raises(SourceError, match=r"same key.*compares another value than it returns"):
        list(source(Post.objects.all(), 7).iterate(None))


@pytest.mark.parametrize(
    "make", [Post.objects.none, lambda: Post.objects.filter(pk__in=[]), lambda: Post.objects.filter(year=1)]
)
def test_a_queryset_without_rows_has_none(posts: list[int], make: Any) -> None:
    """And says so when it is asked for their number."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    wrapper = RangeQuerySetWrapper(make())

    assert wrapper.total() in (0, 1)
    assert list(wrapper.iterate(None)) == []
    assert drawn(QuerySetRanges(make())) == []
