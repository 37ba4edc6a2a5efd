"""A replica that lags is waited for, where a page that it cannot fill would be the last one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import router
from support.library.models import Author

from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper
from taskmaster.errors import SourceError

Routed = Callable[[str], list[str]]


@pytest.fixture
def routed(use: Any, also: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Routed:
    """Make a primary with 30 rows, a replica that has them, and one that has 10; gives a function
    that has them read in turns, and gives which was chosen.
    """

    def file(name: str) -> dict[str, Any]:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / name)}

    use(file("primary"), Author)
    for name, rows in (("default", 30), ("fresh", 30), ("late", 10)):
        if name != "default":
            with also(name, file(name)).schema_editor() as editor:
                editor.create_model(Author)
        Author.objects.using(name).bulk_create(Author(id=n, name="new") for n in range(1, rows + 1))

    def read_in_turns(*names: str) -> list[str]:
        chosen: list[str] = []

        class Turns:
            def db_for_read(self, model: Any, **hints: Any) -> str:
                del model, hints
                chosen.append(names[len(chosen) % len(names)])
                return chosen[-1]

            def db_for_write(self, model: Any, **hints: Any) -> str:
                del model, hints
                return "default"

        monkeypatch.setattr(router, "routers", [Turns()])
        return chosen

    return read_in_turns


def sources(**options: Any) -> list[Any]:
    """Give one of each kind."""
    keys = Author.objects.values_list("pk", flat=True)
    return [
        RangeQuerySetWrapper(keys, 7, **options),
        RangeQuerySetWrapper(keys, -7, **options),
        QuerySetRanges(Author.objects.all(), rows=7, target=None, **options),
    ]


def read(source: Any) -> list[int]:
    """Give the keys of all rows that are done."""
    source.bounds(None)
    jobs = list(source.iterate(None))
    if isinstance(source, QuerySetRanges):
        return [pk for job in jobs for pk in job.payload.queryset().using("default").values_list("pk", flat=True)]
    return sorted(jobs)


@pytest.mark.parametrize("names", [("fresh", "late"), ("late", "fresh"), ("late", "default")])
def test_what_a_late_replica_lacks_is_read(routed: Any, names: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Another one is asked in its place, whether for the end of the run or for a page."""
    chosen = routed(*names)
    for source in sources():
        assert read(source) == list(range(1, 31))
    assert set(chosen) == set(names)
    assert "'late', from which routers read, does not have the row 30 of 'default' yet" in caplog.text


def test_a_replica_that_stays_late_ends_the_reading_with_an_error(routed: Any) -> None:
    """With the database and the cure; one that is named is read as it is."""
    routed("late")
    for source in sources(patience=0):
        with pytest.raises(SourceError, match=r"'late'.* does not have the row 30 of 'default' yet.*\.using\("):
            read(source)
    assert read(RangeQuerySetWrapper(Author.objects.using("late").values_list("pk", flat=True))) == list(range(1, 11))


def test_a_replica_need_not_have_what_is_gone(routed: Any) -> None:
    """The newest row of the primary is that of now; one that cannot be asked is not compared."""
    routed("late")
    Author.objects.using("default").filter(pk__gt=10)._raw_delete("default")
    for source in sources(patience=0):
        assert read(source) == list(range(1, 11))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(router, "db_for_write", lambda *_, **__: "nowhere")
        assert read(sources(patience=0)[0]) == list(range(1, 11))
