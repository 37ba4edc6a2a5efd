"""Rows of one key are seen also where the model says that there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.django_projects import database_of
from support.library.models import Author, Parcel, Post, Profile, Seat

from taskmaster.django_orm import RangeQuerySetWrapper
from taskmaster.django_orm.key import Key
from taskmaster.django_orm.repeated_rows import is_kept_unique
from taskmaster.errors import SourceError

Sql = Callable[..., list[tuple]]

INHERITED = (
    "CREATE TABLE library_author (id bigint PRIMARY KEY, name text)",
    "CREATE TABLE more (PRIMARY KEY (id)) INHERITS (library_author)",
    "INSERT INTO library_author SELECT n, 'author' FROM generate_series(1, 20) n",
    "INSERT INTO more VALUES (10, 'another'), (21, 'author')",
)
PARTITIONED = (
    "CREATE TABLE library_author (id bigint, name text, PRIMARY KEY (id, name)) PARTITION BY LIST (name)",
    "CREATE TABLE authors PARTITION OF library_author FOR VALUES IN ('author')",
    "CREATE TABLE others PARTITION OF library_author DEFAULT",
    "INSERT INTO library_author SELECT n, 'author' FROM generate_series(1, 21) n",
    "INSERT INTO library_author VALUES (10, 'another')",
)
WITHOUT_INDEX = (
    "CREATE TABLE library_author (id bigint, name text)",
    "INSERT INTO library_author SELECT n, 'author' FROM generate_series(1, 21) n",
    "INSERT INTO library_author VALUES (10, 'another')",
)


@pytest.mark.parametrize("tables", [INHERITED, PARTITIONED, WITHOUT_INDEX])
@pytest.mark.parametrize("step", [1, 5, 10, 11, 1000])
@pytest.mark.parametrize("values", [False, True])
def test_rows_of_one_key_are_seen_at_the_end_of_a_page(
    use: Any, database: str, sql: Sql, tables: tuple[str, ...], step: int, values: bool
) -> None:
    """The second one was left out where a page ended between the two."""
    use(database_of(database))
    for statement in tables:
        sql(statement)
    rows = Author.objects.values("id", "name") if values else Author.objects.all()
    with pytest.raises(SourceError, match="Two rows of the queryset have the key 10 and differ"):
        list(RangeQuerySetWrapper(rows, step).iterate(None))
    # Those that are alike are one job, and those that differ can be told apart by another key.
    assert len(list(RangeQuerySetWrapper(Author.objects.values_list("pk"), step).iterate(None))) == 21
    assert len(list(RangeQuerySetWrapper(Author.objects.all(), step, key=("id", "name"), trusted=True))) == 22


def test_what_the_database_keeps_unique(use: Any, database: str, sql: Sql) -> None:
    """A page of it has no row more than it gives; that of a partitioned table neither."""
    use(database_of(database), Author, Post, Seat, Parcel, Profile)
    for model, names in (
        (Author, "pk"),
        (Post, "slug"),
        (Post, ("year", "id")),
        (Seat, "pk"),
        (Parcel, "sent"),
        (Profile, "pk"),
    ):
        key = Key(model, names, descending=False, unique=True, trusted=False)
        assert is_kept_unique(model.objects.all(), key, 0.0), names
    for change, kept in (
        ("ALTER TABLE library_post DROP CONSTRAINT library_post_slug_key", False),
        ("CREATE UNIQUE INDEX ON library_post (slug) WHERE year > 2000", False),
        ("CREATE UNIQUE INDEX ON library_post (lower(slug))", False),
        ("CREATE UNIQUE INDEX ON library_post (slug, year)", False),
        ("ALTER TABLE library_post ADD UNIQUE (slug) DEFERRABLE", False),
        ("CREATE UNIQUE INDEX ON library_post (slug) INCLUDE (year)", True),
    ):
        sql(change)
        key = Key(Post, "slug", descending=False, unique=True, trusted=False)
        assert is_kept_unique(Post.objects.all(), key, 0.0) is kept, change
