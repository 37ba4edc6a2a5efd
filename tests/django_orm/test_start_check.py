"""Where a run must not be started, because its connections would not see what the script's see."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.signals import connection_created
from django.utils.functional import SimpleLazyObject
from support.django_projects import database_of
from support.library.models import Author

from taskmaster import Taskmaster
from taskmaster.django_orm import integration
from taskmaster.errors import UsageError


def callback(job: Any) -> None:
    """Nothing is done: the run is refused before."""


def start() -> None:
    """Start a run as a script does."""
    Taskmaster(callback, [1], processes=1, progress="none").start()


def test_a_run_inside_of_a_transaction_is_refused(tables: str) -> None:
    """However it was begun; its name and the way out are said."""
    expected = r"inside of a transaction of the database 'default'.*Start the run after it; or processes=0"
    with transaction.atomic(), pytest.raises(UsageError, match=expected):
        start()
    transaction.set_autocommit(False)
    try:
        with pytest.raises(UsageError, match=expected):
            start()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        with pytest.raises(UsageError, match=expected):
            start()
        cursor.execute("ROLLBACK")
    integration.check_start()


class Silent:
    """Lets nothing be written, as for a dry run."""

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        return None if sql.startswith("UPDATE") else execute(sql, params, many, context)


@pytest.mark.parametrize("opened", [True, False])
def test_a_run_inside_of_a_wrapper_of_statements_is_refused(tables: str, *, opened: bool) -> None:
    """The run's own connections would not have it, and write. One that each new connection gets is
    no matter, and jobs in this process have it.
    """
    silent = Silent()
    if not opened:
        connection.close()
    with connection.execute_wrapper(silent):
        with pytest.raises(UsageError, match=r"inside of execute_wrapper\(Silent\) of the connection 'default'"):
            start()
        integration.check_start(here=True)

        def give(connection: Any, **_: Any) -> None:
            connection.execute_wrappers.append(Silent())

        connection_created.connect(give)
        try:
            integration.check_start()
        finally:
            connection_created.disconnect(give)


def test_a_run_in_another_thread_than_the_transaction_is_refused(tables: str) -> None:
    """In this process, too: that thread's connection finds none of the rows; whoever else is in a
    transaction is no concern of the run.
    """
    said: list[str] = []
    lazy = SimpleLazyObject(lambda: 1 / 0)  # as that of an app whose settings are not there

    def run() -> None:
        try:
            Taskmaster(callback, [1], processes=0, progress="none").start()
            said.append("done")
        except UsageError as exc:
            said.append(str(exc))

    def in_thread() -> None:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    with transaction.atomic():
        in_thread()
    atomic = transaction.atomic()
    atomic._from_testcase = True
    with atomic, ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()
    in_thread()
    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()  # as a view beside another one

    assert ["with processes=0, or use a TransactionTestCase" in one for one in said] == [True, True, False, False]
    assert said[2:] == ["done", "done"]
    del lazy


def test_a_temporary_table_is_the_script_s_alone(tables: str) -> None:
    """It may hide the one that the workers would read."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE library_author AS SELECT * FROM library_author")
    with pytest.raises(UsageError, match=r"has temporary tables = 'library_author', and a new one has None"):
        integration.check_start()


def test_sqlite_in_memory_is_refused_once_it_is_used(use: Any) -> None:
    """Workers would have databases of their own; one that nobody has opened is nobody's."""
    use({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}, Author)
    with pytest.raises(UsageError, match=r"in memory, which other processes do not have.*processes=0"):
        start()
    connection.connection.close()
    connection.connection = None
    integration.check_start()


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("CREATE SCHEMA t1; SET search_path TO t1, public", "search_path"),
        ("SET ROLE tm_other", "user"),
        ("SET row_security = off", "row_security"),
        ("SET session_replication_role = replica", "session_replication_role"),
        ("SET default_transaction_read_only = on", "default_transaction_read_only"),
        (
            "CREATE POLICY own ON library_author USING (name = current_setting('app.tenant')); SET app.tenant = 't1'",
            "app.tenant",
        ),
    ],
)
def test_what_a_connection_was_told_is_refused_where_it_decides_on_rows(
    use: Any, database: str, told: str, name: str
) -> None:
    """As the schema of a tenant: the run would read and write those of another one."""
    use(database_of(database), Author)
    with connection.cursor() as cursor:
        cursor.execute("DO $$ BEGIN CREATE ROLE tm_other; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        cursor.execute(told)
    with pytest.raises(UsageError, match=f"connection 'default' has {name} = .*connection_created.*processes=0"):
        start()
    connection.close()
    integration.check_start()


def test_what_decides_on_no_rows_is_warned_of(use: Any, database: str, caplog: pytest.LogCaptureFixture) -> None:
    """And what each connection is told, as by OPTIONS, is no difference."""
    use({**database_of(database), "OPTIONS": {"options": "-c search_path=public,pg_temp"}}, Author)
    integration.check_start()
    assert caplog.text == ""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '7s'")
    integration.check_start()

    assert "has statement_timeout = '7000'" in caplog.text


def test_an_attached_file_is_noticed(use: Any, tmp_path: Any) -> None:
    """SQLite's other connections do not have it."""
    use({"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "a.sqlite")}, Author)
    with connection.cursor() as cursor:
        cursor.execute(f"ATTACH '{tmp_path / 'b.sqlite'}' AS other")
    with pytest.raises(UsageError, match=r"has attached = 'other .*b.sqlite', and a new one has None"):
        integration.check_start()


def test_an_unused_connection_is_not_opened(use: Any, database: str) -> None:
    """Nothing is asked of a database that the script has not asked itself."""
    use(database_of(database))
    connection.close()
    integration.check_start()

    assert connection.connection is None
