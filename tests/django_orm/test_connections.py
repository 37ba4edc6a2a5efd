"""Connections around batches and forks, as Django treats them around requests."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction
from library.models import Author
from projects import database_of

from taskmaster import django_hooks
from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper, reading
from taskmaster.django_orm import connections as looked_after
from taskmaster.errors import UsageError


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
    django_hooks.refresh_connections()
    second = backend()

    assert (first == second) is kept
    with pytest.raises(Exception, match="terminat"):
        connection.cursor().execute("SELECT pg_terminate_backend(pg_backend_pid())")
    django_hooks.refresh_connections()
    assert backend() != second


def test_what_debug_keeps_of_queries_is_forgotten(use: Any, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a worker that runs for days would hold the text of its last 9,000 queries."""
    use({**database_of(database), "CONN_MAX_AGE": None})
    monkeypatch.setattr(connection, "force_debug_cursor", True)
    backend()

    assert len(connection.queries_log) == 1
    django_hooks.refresh_connections()
    assert len(connection.queries_log) == 0


def test_a_thread_s_connections_are_closed_with_it(use: Any, database: str) -> None:
    """And nobody else's."""
    use(database_of(database))
    ours = backend()
    left = []

    def work() -> None:
        backend()
        django_hooks.close_connections()
        left.append(connection.connection)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert left == [None]
    assert backend() == ours


def test_a_transaction_stays_open_over_the_fork(use: Any, database: str) -> None:
    """All else is closed before; and the child opens its own, while the parent's goes on."""
    use(database_of(database), Author)
    backend()
    django_hooks.close_before_fork()
    assert connection.connection is None

    with transaction.atomic():
        ours = backend()
        django_hooks.close_before_fork()
        assert backend() == ours
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                django_hooks.drop_after_fork()
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


def test_the_database_that_is_named_is_read(use: Any, database: str, tmp_path: Path) -> None:
    """Whether the queryset names it or the source; ranges carry it to the worker."""
    use(database_of(database), Author)
    other = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "other.sqlite")}
    connections.settings["other"] = connections.configure_settings({"default": {}, "other": other})["other"]
    try:
        with connections["other"].schema_editor() as editor:
            editor.create_model(Author)
        Author.objects.using("other").create(name="Ben")
        for wrapper in (
            RangeQuerySetWrapper(Author.objects.using("other")),
            RangeQuerySetWrapper(Author.objects.all(), using="other"),
        ):
            assert [author.name for author in wrapper.iterate(None)] == ["Ben"]
        (job,) = QuerySetRanges(Author.objects.all(), using="other").iterate(None)
        assert [author.name for author in job.payload.queryset()] == ["Ben"]
        assert list(RangeQuerySetWrapper(Author.objects.all())) == []
    finally:
        connections["other"].close()
        del connections["other"]
        del connections.settings["other"]


def test_a_database_that_lets_nobody_in_is_said_at_once(
    use: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name or password does not come right by waiting, as a server that restarts does."""
    use(database_of(database))
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", "no_such_database")
    monkeypatch.setattr(reading, "_let_in", set())

    with pytest.raises(UsageError, match=r"'default' refuses the connection: .*no_such_database.* does not exist"):
        next(iter(RangeQuerySetWrapper(Author.objects.all())))
