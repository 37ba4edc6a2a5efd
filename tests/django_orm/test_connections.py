"""Connections around batches and forks, as Django treats them around requests."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, router, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from support.commands import wait_for
from support.django_projects import database_of
from support.library.models import Author, Post

from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper, integration
from taskmaster.django_orm import connections as looked_after
from taskmaster.django_orm import queries as reading
from taskmaster.errors import UsageError
from taskmaster.master.throttle.hooks import Hook

SQLITE = "django.db.backends.sqlite3"
# The range from 4 to 8, of authors in the database "replica", before ranges had hints.
PARKED = (
    b"\x80\x05\x95\x92\x00\x00\x00\x00\x00\x00\x00\x8c\x1ctaskmaster.django_orm.ranges\x94\x8c\rQuerySetRange\x94"
    b"\x93\x94)\x81\x94}\x94(\x8c\x02lo\x94K\x04\x8c\x02hi\x94K\x08\x8c\x05model\x94\x8c\x0elibrary.Author\x94\x8c"
    b"\x03key\x94\x8c\x02id\x94\x85\x94\x8c\x05using\x94\x8c\x07replica\x94\x8c\x05label\x94N\x8c\x05query\x94Nub."
)


def backend() -> int:
    """The server's process for this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(("age", "kept"), [(0, False), (None, True), (3600, True)])
def test_conn_max_age_says_what_is_kept_between_batches(use: Any, database: str, age: Any, kept: bool) -> None:
    """By default nothing is; what cannot be used any more is not either."""
    use({**database_of(database), "CONN_MAX_AGE": age})
    first = backend()
    integration.refresh_connections()
    second = backend()

    assert (first == second) is kept
    with pytest.raises(Exception, match="terminat"):
        connection.cursor().execute("SELECT pg_terminate_backend(pg_backend_pid())")
    integration.refresh_connections()
    assert backend() != second


def test_what_debug_keeps_of_queries_is_forgotten(use: Any, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a worker that runs for days would hold the text of its last 9,000 queries."""
    use({**database_of(database), "CONN_MAX_AGE": None})
    monkeypatch.setattr(connection, "force_debug_cursor", True)
    backend()

    assert len(connection.queries_log) == 1
    integration.refresh_connections()
    assert len(connection.queries_log) == 0


def test_a_thread_s_connections_are_closed_with_it(use: Any, database: str) -> None:
    """And nobody else's."""
    use(database_of(database))
    ours = backend()
    left = []

    def work() -> None:
        backend()
        integration.close_connections()
        left.append(connection.connection)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert left == [None]
    assert backend() == ours


def test_a_throttle_finds_the_server_again(use: Any, database: str, sql: Any) -> None:
    """It is not known while the connection is lost, and asked in a new one after that; none is left
    at its end.
    """
    use({**database_of(database), "CONN_MAX_AGE": None})
    connection.close()
    asked, others = [], (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )  # fmt: skip

    def throttle() -> str:
        asked.append(backend())
        return ""

    hook = Hook(throttle)
    hook.ask()
    assert hook.why(0.0) == ""
    assert len(sql(others)) == 1
    hook.ask()
    assert "it raised OperationalError" in hook.why(0.0)
    hook.ask()
    assert hook.why(0.0) == ""
    assert len(set(asked)) == len(asked) == 2
    connection.close()

    again = threading.Event()
    in_thread = Hook(lambda: (backend(), again.set())[1])
    in_thread.start()
    assert again.wait(30.0)
    in_thread.stop()
    in_thread.join(30.0)
    gone = others.replace("pg_terminate_backend(pid)", "count(*)")
    wait_for("the server to see that it was closed", lambda: sql(gone) == [(0,)])


def test_a_transaction_stays_open_over_the_fork(use: Any, database: str) -> None:
    """All else is closed before; and the child opens its own, while the parent's goes on."""
    use(database_of(database), Author)
    backend()
    integration.close_before_fork()
    assert connection.connection is None

    with transaction.atomic():
        ours = backend()
        integration.close_before_fork()
        assert backend() == ours
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                integration.drop_after_fork()
                os.write(write, str(backend()).encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        theirs = os.read(read, 100)
        Author.objects.create(name="Ann")
    os.close(read)
    os.close(write)

    assert theirs.isdigit()
    assert int(theirs) != ours
    assert Author.objects.count() == 1
    assert looked_after._inherited == []


def test_the_database_that_is_named_is_read(use: Any, also: Any, database: str, tmp_path: Path) -> None:
    """Whether the queryset names it, the source, or the object whose related rows they are; ranges
    carry it to the worker.
    """
    use(database_of(database), Author, Post)
    with also("other", {"ENGINE": SQLITE, "NAME": str(tmp_path / "other.sqlite")}).schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Post)
    ben = Author.objects.using("other").create(name="Ben")
    ben.post_set.create(slug="his")
    for wrapper in (
        RangeQuerySetWrapper(Author.objects.using("other")),
        RangeQuerySetWrapper(Author.objects.all(), using="other"),
    ):
        assert [author.name for author in wrapper.iterate(None)] == ["Ben"]
    for rows, using in (
        (Author.objects.using("other"), None), (Author.objects.all(), "other"), (ben.post_set.all(), None)
    ):  # fmt: skip
        (job,) = QuerySetRanges(rows, using=using).iterate(None)
        range_ = pickle.loads(pickle.dumps(job.payload))
        assert range_.queryset().count() == 1
        assert range_.queryset().update(id=F("id")) == 1
    assert list(RangeQuerySetWrapper(Author.objects.all())) == []


class Routed:
    """Reads from a replica."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        del model, hints
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        del model, hints
        return "default"


@pytest.mark.parametrize("rows", [Author.objects.all, lambda: Author.objects.filter(name="Ann")])
def test_ranges_are_written_where_the_router_says(
    use: Any, also: Any, database: str, monkeypatch: pytest.MonkeyPatch, rows: Any
) -> None:
    """Although the master reads their borders from a replica, which would refuse it."""
    use(database_of(database), Author)
    Author.objects.bulk_create(Author(name="Ann") for _ in range(10))
    replica = also("replica", {**database_of(database), "OPTIONS": {"options": "-c default_transaction_read_only=on"}})
    monkeypatch.setattr(router, "routers", [Routed()])
    with CaptureQueriesContext(connections["default"]) as asked:
        found = [pickle.loads(pickle.dumps(job.payload)) for job in QuerySetRanges(rows(), rows=4).iterate(None)]
    connections["default"].close()

    assert all("DESC LIMIT 1" in one["sql"] for one in asked), "the primary says how far the replica has to be"
    assert replica.connection is not None
    assert [one.queryset().count() for one in found] == [4, 4, 2]
    assert connections["default"].connection is None, "so are the rows"
    assert [one.queryset().update(name="Bea") for one in found] == [4, 4, 2]
    assert [one.filter(Author.objects.filter(name="Bea")).count() for one in found] == [4, 4, 2]
    with pytest.raises(Exception, match="read-only transaction"):
        Author.objects.using("replica").update(name="Ann")


def test_a_range_that_was_pickled_earlier_can_be_read(
    use: Any, also: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is parked in a state, from when a range always named a database."""
    use(database_of(database), Author)
    also("replica", database_of(database))
    monkeypatch.setattr(router, "routers", [Routed()])
    Author.objects.bulk_create(Author(name="Ann") for _ in range(10))
    parked = pickle.loads(PARKED)

    assert parked.queryset().db == "replica"
    assert parked.queryset().count() == 4


def test_a_database_that_lets_nobody_in_is_said_at_once(
    use: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name or password does not come right by waiting, as a server that restarts does."""
    use(database_of(database))
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", "no_such_database")
    monkeypatch.setattr(reading, "_answered", set())

    with pytest.raises(UsageError, match=r"'default' refuses the connection: .*no_such_database.* does not exist"):
        next(iter(RangeQuerySetWrapper(Author.objects.all())))
