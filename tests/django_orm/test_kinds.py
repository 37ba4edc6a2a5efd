"""All kinds of models and querysets: each row once, by pages and by ranges, or a refusal."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, router
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, Subquery, Value
from django.db.models.functions import Concat, Lower
from support.library.models import Author, Post, Profile, ProxyPost, Review, Seat

from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper
from taskmaster.errors import UsageError
from taskmaster.keys import check, decode
from taskmaster.master.reading.source import Source


@pytest.fixture
def library(tables: str) -> str:
    """Authors, posts, reviews and profiles; gives which database it is."""
    authors = Author.objects.bulk_create(Author(id=n, name=f"Author {n}") for n in range(1, 13))
    Post.objects.bulk_create(
        Post(id=3 * n, author=authors[n % 12], slug=f"p{n * 37 % 61:03}", year=2000 + n % 5) for n in range(1, 41)
    )
    for n in range(200, 210):
        Review.objects.create(id=n, author=authors[n % 12], slug=f"r{n}", stars=n % 5)
    for author in authors[:8]:
        Profile.objects.create(author=author).friends.add(*authors[2:5])
    Seat.objects.bulk_create(Seat(hall=hall, number=number) for hall in "ab" for number in range(9))
    return tables


OTHERS = Post.objects.filter(author=OuterRef("author"), id__lt=OuterRef("id"))

KINDS: dict[str, Callable[[], Any]] = {
    "proxy": ProxyPost.objects.all,
    "proxy with its order": lambda: ProxyPost.objects.filter(year__gt=2001),
    "child": Review.objects.all,
    "child, in its order": lambda: Review.objects.order_by("id"),
    "child, by the key of its parent": lambda: Review.objects.values_list("id", flat=True),
    "child, in the order of its link": lambda: Review.objects.order_by("post_ptr").values("stars", "id"),
    "child by a field of its parent": lambda: Review.objects.filter(slug__gt="r203", stars__gt=0),
    "parent of a child": lambda: Post.objects.filter(review__stars__gt=1),
    "key that is a foreign key": Profile.objects.all,
    "composite key": lambda: Seat.objects.filter(number__gt=3),
    "related manager": lambda: related(Author, 3, "post_set"),
    "many to many": lambda: related(Profile, 1, "friends"),
    "many to many, from behind": lambda: related(Author, 3, "admirers"),
    "related, by name": lambda: Author.objects.filter(admirers__author_id__gt=2).distinct(),
    "or": lambda: Post.objects.filter(Q(year=2001) | Q(author__name__endswith="7")),
    "exclude": lambda: Author.objects.exclude(post__year=2001),
    "exists": lambda: Post.objects.filter(Exists(OTHERS)),
    "not exists": lambda: Post.objects.filter(~Exists(OTHERS)),
    "subquery": lambda: Post.objects.annotate(first=Subquery(OTHERS.order_by("id").values("id")[:1])),
    "subquery, filtered": lambda: Post.objects.alias(first=Subquery(OTHERS.values("slug")[:1])).filter(first__gt="p"),
    "sliced subquery": lambda: Post.objects.filter(pk__in=Post.objects.order_by("-year", "id").values("pk")[:7]),
    "expression": lambda: Post.objects.annotate(name=Concat(Lower("slug"), Value("!"))).filter(name__gt="p02"),
    "annotation of a join": lambda: Post.objects.annotate(author_name=F("author__name")),
    "aggregate": lambda: Author.objects.annotate(n=Count("post", filter=Q(post__year=2001))).filter(n__lt=2),
    "extra": lambda: Post.objects.extra(where=["year > %s"], params=[2001]),
    "raw where": lambda: Post.objects.extra(select={"twice": "year * 2"}),
    "only": lambda: Post.objects.only("year").filter(year=2003),
    "defer": lambda: Post.objects.defer("body"),
    "select_related": lambda: Post.objects.select_related("author"),
    "prefetch_related": lambda: Author.objects.prefetch_related("post_set"),
    "prefetch with a queryset": lambda: Author.objects.prefetch_related(
        Prefetch("post_set", Post.objects.filter(year=2001), to_attr="some")
    ),
    "using": lambda: Post.objects.using("default"),
    "evaluated": lambda: evaluated(Post.objects.filter(year=2002)),
    "none": Post.objects.none,
    "as text": lambda: Post.objects.values_list("slug", "pk"),
}


def related(model: Any, key: int, name: str) -> Any:
    """Give the rows of a related manager."""
    return getattr(model.objects.get(pk=key), name).all()


def evaluated(queryset: Any) -> Any:
    """Give a queryset whose rows are there already."""
    assert len(queryset) > 0
    return queryset


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_queryset_is_read_once(library: str, kind: str) -> None:
    """By pages from each key on, by ranges as workers get them, and as a source."""
    plain = list(KINDS[kind]().order_by("pk"))
    expected = list(map(pk_of, plain))
    wrapper = RangeQuerySetWrapper(KINDS[kind](), 7)
    rows = list(wrapper.iterate(None))
    ranges = QuerySetRanges(KINDS[kind](), rows=5, target=None)
    found = [row for job in ranges.iterate(None) for row in pickle.loads(pickle.dumps(job.payload)).queryset()]

    assert list(map(pk_of, rows)) == expected
    assert {type(row) for row in rows} == {type(row) for row in plain}
    assert sorted(set(map(pk_of, found))) == expected
    if rows:
        last = decode(check(wrapper.job_key(rows[2])))
        assert list(wrapper.iterate(last)) == rows[3:]
    assert Source(KINDS[kind]()).resumes_by_key
    assert RangeQuerySetWrapper(KINDS[kind]()).identity() == RangeQuerySetWrapper(KINDS[kind]()).identity()


def pk_of(row: Any) -> Any:
    """The primary key of a row."""
    if isinstance(row, dict):
        return row["id"]
    return row[1] if isinstance(row, tuple) else getattr(row, "pk", row)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Post.objects.raw("SELECT * FROM library_post"), "RawQuerySet, which is not a queryset"),
        (lambda: Post.objects.filter(year=1).union(Post.objects.filter(year=2)), r"a union\(\) of others"),
        (lambda: Post.objects.filter(year=1).intersection(Post.objects.all()), r"a intersection\(\) of others"),
        (lambda: Post.objects.filter(year=1).difference(Post.objects.all()), r"a difference\(\) of others"),
        (lambda: Post.objects.all()[5:], "sliced"),
        (Post.objects.iterator, "generator, which is not a queryset"),
        (lambda: aiter(Post.objects.aiterator()), "async_generator, which is not a queryset"),
        (lambda: Post.objects.in_bulk([]), "dict, which is not a queryset"),
        (lambda: Post.objects.order_by("year").distinct("year"), "distinct"),
        (lambda: Post.objects.select_for_update(skip_locked=True), "select_for_update"),
        (lambda: ProxyPost, "ProxyPost is a model"),
        (lambda: Post.objects.get, "method, which is not a queryset"),
    ],
)
@pytest.mark.parametrize("source", [RangeQuerySetWrapper, QuerySetRanges])
def test_what_is_no_queryset_to_read_is_refused(library: str, make: Any, expected: str, source: Any) -> None:
    """With what it is."""
    with pytest.raises(UsageError, match=expected):
        source(make())


class Archive:
    """Sends what is read of posts to a replica, and what is written to the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """Give the database."""
        del hints
        return "replica" if model is Post else None

    def db_for_write(self, model: Any, **hints: Any) -> str:
        """Give the database."""
        del model, hints
        return "default"


def test_routers_choose_for_pages_and_ranges(library: str, also: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come from the replica, a range goes to the primary, and the run is the primary's."""
    also("replica", dict(connection.settings_dict))
    before = RangeQuerySetWrapper(Post.objects.all()).identity()
    monkeypatch.setattr(router, "routers", [Archive()])
    rows = list(RangeQuerySetWrapper(Post.objects.all(), 7))
    (job,) = QuerySetRanges(Post.objects.all()).iterate(None)

    assert {row._state.db for row in rows} == {"replica"}
    assert len(rows) == 50
    assert job.payload.queryset().db == "replica"
    assert job.payload.queryset().update(place=7) == 50
    assert Post.objects.using("default").filter(place=7).count() == 50
    assert RangeQuerySetWrapper(Post.objects.all()).identity() == before
    assert RangeQuerySetWrapper(Post.objects.using("replica")).identity() != before
