"""What a run over a queryset reads, as a state knows it: the same each time, and no other's."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db.models import Count, F, Q
from django.utils import timezone
from support.library.models import Author, Parcel, Post, Thing

from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper


def said(queryset: Any, **options: Any) -> str:
    """What a wrapper says."""
    return RangeQuerySetWrapper(queryset, **options).identity()


def test_it_can_be_read(tables: str) -> None:
    """Model, key, database and condition, with its values."""
    found = said(Post.objects.filter(year__gt=2001, slug="a"))

    assert found.startswith("library.Post by id of the database 'default' (")
    assert "2001" in found
    assert "slug" in found
    assert found == QuerySetRanges(Post.objects.filter(year__gt=2001, slug="a")).identity()


DIFFERENT: list[Any] = [
    lambda: said(Post.objects.all()),
    lambda: said(Author.objects.all()),
    lambda: said(Post.objects.all(), key="slug"),
    lambda: said(Post.objects.order_by("-pk")),
    lambda: said(Post.objects.all(), min_id=7),
    lambda: said(Post.objects.all(), max_id=7),
    lambda: said(Post.objects.filter(year=2001)),
    lambda: said(Post.objects.filter(year=2002)),
    lambda: said(Post.objects.exclude(year=2001)),
    lambda: said(Post.objects.filter(year=2001, place=1)),
    lambda: said(Post.objects.filter(year=1, place=2001)),
    lambda: said(Post.objects.filter(year__in=[1, 2])),
    lambda: said(Post.objects.filter(year__in=[1, 3])),
    lambda: said(Post.objects.filter(year__in=range(900))),
    lambda: said(Post.objects.filter(year__in=[*range(899), 7000])),
    lambda: said(Post.objects.filter(slug="a' OR 1")),
    lambda: said(Post.objects.filter(slug="%s")),
    lambda: said(Post.objects.annotate(n=Count("author")).filter(n__gt=1)),
    lambda: said(Post.objects.annotate(n=Count("author")).filter(n__gt=2)),
    lambda: said(Post.objects.filter(author__name="a")),
    lambda: said(Parcel.objects.filter(sent__gte=datetime(2024, 1, 1, tzinfo=UTC))),
    lambda: said(Parcel.objects.filter(sent__gte=datetime(2025, 1, 1, tzinfo=UTC))),
    lambda: said(Parcel.objects.filter(sent__date=date(2025, 1, 1))),
    lambda: said(Post.objects.extra(where=["place > 1"])),
    lambda: said(Post.objects.extra(where=["place > 2"])),
    lambda: said(Thing.objects.all()),
    lambda: said(Thing.everything.all()),
    lambda: said(Post.objects.none()),
]


def test_what_reads_other_rows_is_another_run(tables: str) -> None:
    """Whatever differs: the model, the key, the direction, the ends, the condition, its values."""
    found = [make() for make in DIFFERENT]

    assert len(set(found)) == len(found)
    assert max(map(len, found)) < 400


@pytest.mark.parametrize(
    "make",
    [
        lambda: said(Parcel.objects.filter(sent__lt=timezone.now())),
        lambda: said(Parcel.objects.filter(sent__lt=timezone.now() - timedelta(days=30))),
        lambda: said(Post.objects.filter(year__in={2001, 2002})),
        lambda: said(Post.objects.filter(Q(year=1) | Q(author__name="x")).select_related("author")),
        lambda: said(Post.objects.annotate(double=F("year") * 2).filter(double__gt=3)),
    ],
)
def test_it_is_the_same_again(tables: str, make: Any) -> None:
    """At the next start, though the clock has gone on."""
    assert make() == make()


def test_what_does_not_change_the_rows_does_not_change_it(tables: str) -> None:
    """What is selected with them, a column more, and the number of rows of a page."""
    plain = said(Post.objects.filter(year=1))

    assert said(Post.objects.filter(year=1).select_related("author"), step=7) == plain
    assert said(Post.objects.filter(year=1).prefetch_related("author")) == plain
    assert said(Post.objects.filter(year=1).only("slug")) == plain
    assert said(Post.objects.filter(year=1).defer("body")) == plain
    assert said(Post.objects.filter(year=1).order_by("pk")) == plain
    assert "body" not in plain


SET_OF_TEXTS = """
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["support.library"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "some.db"}},
)
import django
django.setup()
from support.library.models import Post
from taskmaster.django_orm import RangeQuerySetWrapper
print(RangeQuerySetWrapper(Post.objects.filter(slug__in=set("abcdefghij"), year__gt=3)).identity())
"""


@pytest.mark.slow
def test_the_order_of_a_set_does_not_matter() -> None:
    """That of texts differs from one process to the next."""
    found = {
        subprocess.run(
            [sys.executable, "-c", SET_OF_TEXTS],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }

    assert len(found) == 1
    assert "IN (a, b, c" in found.pop()
