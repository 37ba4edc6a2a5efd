"""A job has failed if a transaction of it was rolled back without an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import Error, IntegrityError, close_old_connections, connection, connections, transaction
from support.library.models import Author

from taskmaster.django_orm import integration
from taskmaster.django_orm.connections import JobLeftTransaction
from taskmaster.django_orm.undone import BlockUndone

FIRST = 1000  # the key of the row that is there


def twice() -> None:
    """Break the primary key."""
    Author.objects.create(pk=FIRST, name="again")


def by_a_method(name: str) -> None:
    """An error of Django's own methods is caught in the block."""
    with transaction.atomic():
        Author.objects.create(name=name)
        try:
            twice()
        except IntegrityError:
            pass


def by_an_inner_block(name: str) -> None:
    """The same in a block inside of another one: what stands in that is kept, without this."""
    with transaction.atomic():
        Author.objects.create(name="outer")
        by_a_method(name)


def without_a_savepoint(name: str) -> None:
    """An exception leaves a block that can undo nothing by itself, and is caught outside."""
    with transaction.atomic():
        Author.objects.create(name=name)
        try:
            with transaction.atomic(savepoint=False):
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass


def by_sql(name: str) -> None:
    """A statement of one's own fails; Django does not hear of it, but PostgreSQL rolls back."""
    with transaction.atomic():
        Author.objects.create(name=name)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT * FROM nowhere")
        except Error:
            pass


def by_hand(name: str) -> None:
    """The same without a block."""
    transaction.set_autocommit(False)
    try:
        Author.objects.create(name=name)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT * FROM nowhere")
        except Error:
            pass
        transaction.commit()
    finally:
        transaction.set_autocommit(True)


def by_closing(name: str) -> None:
    """A connection in a block is taken for one that somebody has left without autocommit."""
    with transaction.atomic():
        Author.objects.create(name=name)
        close_old_connections()


def by_closing_before_a_write(name: str) -> None:
    """In an inner block, whose end is caught."""
    with transaction.atomic():
        Author.objects.create(name=name)
        try:
            with transaction.atomic():
                connections.close_all()
        except Error:
            pass


def by_closing_without_autocommit(name: str) -> None:
    """As before the next long query; the commit commits nothing."""
    transaction.set_autocommit(False)
    Author.objects.create(name=name)
    close_old_connections()
    transaction.commit()


def by_closing_after_a_begin(name: str) -> None:
    """A transaction that Django has not seen."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    Author.objects.create(name=name)
    connection.close()


def names() -> list[str]:
    """Give what was written beside the first row."""
    return sorted(Author.objects.exclude(pk=FIRST).values_list("name", flat=True))


METHODS = [by_a_method, by_an_inner_block, without_a_savepoint]


@pytest.mark.parametrize("job", [by_closing, by_closing_before_a_write])
def test_a_job_that_closes_its_connection_in_a_block_fails(tables: str, job: Callable[[str], None]) -> None:
    """Django says nothing at the end of the block; outside of one it may be closed."""
    checked = integration.failing_if_open(job)
    with pytest.raises(BlockUndone, match="'default' was closed inside of a block of transaction"):
        checked("x")
    assert names() == []
    assert connection.get_autocommit()

    def outside(name: str) -> None:
        close_old_connections()
        Author.objects.create(name=name)
        connection.close()

    integration.failing_if_open(outside)("x")
    assert names() == ["x"]


@pytest.mark.parametrize("job", [by_closing_without_autocommit, by_closing_after_a_begin])
def test_a_job_that_closes_its_connection_before_the_commit_fails(tables: str, job: Callable[[str], None]) -> None:
    """What it has written is rolled back, and its commit() would commit nothing."""
    checked = integration.failing_if_open(job)
    with pytest.raises(BlockUndone, match=r"'default' was closed in a transaction, .* call commit"):
        checked("x")
    assert names() == []
    assert connection.get_autocommit()


def test_a_connection_without_autocommit_that_loses_nothing_may_be_closed(tables: str) -> None:
    """Nothing was sent, or only read, all was committed or taken back, or an error is handled."""

    def nothing(_: str) -> None:
        transaction.set_autocommit(False)

    def read(_: str) -> None:
        transaction.set_autocommit(False)
        assert not Author.objects.filter(name="nobody").exists()

    def committed(name: str) -> None:
        transaction.set_autocommit(False)
        Author.objects.create(name=name)
        transaction.commit()
        read(name)

    def taken_back(name: str) -> None:
        transaction.set_autocommit(False)
        Author.objects.create(name=name)
        transaction.rollback()

    def handled(name: str) -> None:
        try:
            transaction.set_autocommit(False)
            Author.objects.create(name=name)
            raise ZeroDivisionError
        except ZeroDivisionError:
            connection.close()

    for job in (nothing, read, committed, taken_back, handled):

        def closing(name: str, job: Callable[[str], None] = job) -> None:
            job(name)
            close_old_connections()
            connection.close()

        integration.failing_if_open(closing)(job.__name__)
        assert connection.get_autocommit()
    assert names() == ["committed"]


def forget_connection() -> None:
    """Close this thread's connection, which may be that of another test's database."""
    connections["default"].close()
    del connections["default"]


def test_a_coroutine_that_leaves_a_transaction_open_is_told_so(tables: str) -> None:
    """Its connection is closed in the coroutine's context, which is no close of the job's."""

    def left_open(name: str) -> None:
        transaction.set_autocommit(False)
        Author.objects.create(name=name)

    async def run() -> None:
        await sync_to_async(forget_connection)()
        with pytest.raises(JobLeftTransaction):
            await integration.failing_if_open(sync_to_async(left_open))("x")
        await sync_to_async(forget_connection)()

    asyncio.run(run())


@pytest.mark.parametrize("job", [*METHODS, by_sql, by_hand])
def test_a_job_whose_transaction_was_undone_fails(tables: str, job: Callable[[str], None]) -> None:
    """It would be done, and have done nothing; where the database keeps what was written, it is."""
    Author.objects.create(pk=FIRST, name="first")
    kept = connection.vendor == "sqlite" and job in (by_sql, by_hand)
    checked = integration.failing_if_open(job)
    if kept:
        checked("x")
    else:
        with pytest.raises(BlockUndone, match=r"'default' was rolled back, .* no exception has left its block"):
            checked("x")

    assert names() == (["x"] if kept else [])
    assert connection.get_autocommit()
    job("outside of a job")  # nobody is told, as ever


def test_a_coroutine_whose_transaction_was_undone_fails(tables: str) -> None:
    """Its queries are in another thread."""
    Author.objects.create(pk=FIRST, name="first")
    connection.close()

    async def job(name: str) -> None:
        await sync_to_async(by_a_method)(name)

    async def run() -> None:
        await sync_to_async(forget_connection)()
        with pytest.raises(BlockUndone):
            await integration.failing_if_open(job)("x")
        await sync_to_async(forget_connection)()

    asyncio.run(run())
    assert names() == []


def test_a_block_of_its_own_for_what_may_fail_is_no_failure(tables: str) -> None:
    """Nor is an exception that is caught around a block, or a rollback that was asked for."""

    def savepoint(name: str) -> None:
        with transaction.atomic():
            Author.objects.create(name=name)
            try:
                with transaction.atomic():
                    twice()
            except IntegrityError:
                pass

    def around(name: str) -> None:
        try:
            with transaction.atomic():
                twice()
        except IntegrityError:
            pass
        Author.objects.create(name=name)

    def asked_for(_: str) -> None:
        around("before")  # its error is none of the block's below
        with transaction.atomic():
            Author.objects.create(name="taken back")
            transaction.set_rollback(True)

    Author.objects.create(pk=FIRST, name="first")
    for job in (savepoint, around, asked_for):
        integration.failing_if_open(job)(job.__name__)
    assert names() == ["around", "before", "savepoint"]


def test_a_job_inside_of_a_test_s_transaction_fails_too(tables: str) -> None:
    """What is undone there is a savepoint, and the transaction around it goes on."""
    Author.objects.create(pk=FIRST, name="first")
    with transaction.atomic(), integration.kept_connections():
        checked: Any = integration.failing_if_open(by_a_method)
        with pytest.raises(BlockUndone):
            checked("x")
        Author.objects.create(name="kept")
    assert names() == ["kept"]
