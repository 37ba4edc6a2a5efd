"""A job that leaves a transaction open has failed, and the next one has a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import Error, connection, connections, transaction
from support.django_projects import database_of
from support.library.models import Author

from taskmaster.django_orm import integration
from taskmaster.django_orm.connections import JobLeftTransaction


def autocommit_off(number: int) -> None:
    """Write, and forget the commit."""
    transaction.set_autocommit(False)
    Author.objects.create(name=f"left {number}")


def entered(number: int) -> None:
    """Write in a block that is never left."""
    transaction.atomic().__enter__()
    Author.objects.create(name=f"left {number}")


def begun(number: int) -> None:
    """Write in a transaction that Django does not know of."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    Author.objects.create(name=f"left {number}")


def driver_s(number: int) -> None:
    """Write after the driver was told to wait for a commit."""
    connection.ensure_connection()
    raw = connection.connection
    if connection.vendor == "sqlite":
        raw.isolation_level = ""
    else:
        raw.autocommit = False
    Author.objects.create(name=f"left {number}")


def in_the_thread_of_coroutines(number: int) -> None:
    """Write in a coroutine's thread, and come back."""

    async def leave() -> None:
        await sync_to_async(begun)(number)

    async_to_sync(leave)()


def by_hand(number: int) -> None:
    """Write in a transaction of one's own, and raise."""
    entered(number)
    raise ZeroDivisionError


LEFT = [autocommit_off, entered, begun, driver_s, in_the_thread_of_coroutines]


@pytest.mark.parametrize(
    ("leave", "expected"),
    [*((leave, JobLeftTransaction) for leave in LEFT), (by_hand, ZeroDivisionError)],
)
def test_a_job_that_leaves_a_transaction_fails(tables: str, leave: Callable[[int], None], expected: Any) -> None:
    """The next one has a connection that is as it was."""

    def job(number: int) -> None:
        if number % 2:
            leave(number)
        else:
            Author.objects.create(name=f"good {number}")

    checked = integration.failing_if_open(job)
    for number in range(4):
        if number % 2:
            with pytest.raises(expected, match=r"A transaction of the database 'default' was left open|^$"):
                checked(number)
        else:
            checked(number)
        assert connection.get_autocommit()
        assert not connection.in_atomic_block

    assert sorted(Author.objects.values_list("name", flat=True)) == ["good 0", "good 2"]


def test_what_is_committed_is_no_failure(tables: str) -> None:
    """In a block, by hand, or read and left; the setting is put back."""

    def commits(name: str) -> None:
        transaction.set_autocommit(False)
        Author.objects.create(name=name)
        transaction.commit()

    def atomic(name: str) -> None:
        with transaction.atomic():
            Author.objects.create(name=name)

    def commits_its_own(name: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            Author.objects.create(name=name)
            cursor.execute("COMMIT")

    for job in (commits, atomic, commits_its_own):
        assert integration.failing_if_open(job)(job.__name__) is None
        assert connection.get_autocommit()

    assert Author.objects.count() == 3


def killed(number: int) -> None:
    """The job's connection is lost once, and it catches what that raises."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())" if number == 1 else "SELECT 1")
        Author.objects.create(name=f"good {number}")
    except Error:
        pass


@pytest.mark.parametrize("surround", [nullcontext, integration.kept_connections])
def test_a_lost_connection_is_not_left_to_the_next_job(use: Any, database: str, surround: Any) -> None:
    """The rest of a batch met it, and was done without having done anything where the callback
    catches errors; in the script's own process, all other jobs did.
    """
    use(database_of(database), Author)
    with surround():
        checked = integration.failing_if_open(killed)
        for number in range(4):
            checked(number)
    assert names() == ["good 0", "good 2", "good 3"]


def test_a_lost_connection_is_not_left_to_the_next_coroutine(use: Any, database: str) -> None:
    """They have one connection for all."""
    use(database_of(database), Author)

    async def job(number: int) -> None:
        await sync_to_async(killed)(number)

    async def run() -> None:
        checked = integration.failing_if_open(job)
        for number in range(4):
            await checked(number)

    in_a_loop(run)
    assert names() == ["good 0", "good 2", "good 3"]


def in_a_loop(run: Callable[[], Any]) -> Any:
    """Run a coroutine, whose queries have a new connection."""

    def close() -> None:
        connections["default"].close()
        del connections["default"]

    async def whole() -> Any:
        await sync_to_async(close)()
        try:
            return await run()
        finally:
            await sync_to_async(close)()

    return asyncio.run(whole())


def names() -> list[str]:
    """Give what was written, in order."""
    return sorted(Author.objects.values_list("name", flat=True))


@pytest.mark.parametrize("leave", LEFT[:-1])
def test_a_coroutine_that_leaves_a_transaction_fails(tables: str, leave: Callable[[int], None]) -> None:
    """Django runs its queries in another thread, which is looked at too."""

    async def job(number: int) -> None:
        if number % 2:
            await sync_to_async(leave)(number)
        else:
            await Author.objects.acreate(name=f"good {number}")

    async def run() -> list[Any]:
        checked = integration.failing_if_open(job)
        found = []
        for number in range(4):
            try:
                found.append(await checked(number))
            except JobLeftTransaction as exc:
                found.append(exc)
        return found

    found = in_a_loop(run)
    assert [type(one) for one in found] == [type(None), JobLeftTransaction] * 2
    assert names() == ["good 0", "good 2"]


@pytest.mark.parametrize("leave", LEFT[:-1])
def test_a_coroutine_in_a_list_that_leaves_a_transaction_fails_the_list(
    tables: str, leave: Callable[[int], None]
) -> None:
    """As when ``handle_jobs`` returns one for each job, in lists in tuples."""

    async def job(number: int) -> None:
        if number % 2:
            await sync_to_async(leave)(number)
        else:
            await Author.objects.acreate(name=f"good {number}")

    def jobs(numbers: list[int]) -> list[Any]:
        return [(job(number),) for number in numbers]

    async def run() -> list[Any]:
        found = []
        for (one,) in integration.failing_if_open(jobs)([0, 1, 2]):
            try:
                found.append(await one)
            except JobLeftTransaction as exc:
                found.append(exc)
        return found

    found = in_a_loop(run)
    assert [type(one) for one in found] == [type(None), JobLeftTransaction, type(None)]
    assert names() == ["good 0", "good 2"]


def test_coroutines_of_one_connection_are_rolled_back_together(tables: str) -> None:
    """One leaves a transaction; what the other has written in it meanwhile is gone, too, and both
    have failed.
    """

    async def run() -> list[Any]:
        begun_by_one, written = asyncio.Event(), asyncio.Event()

        async def job(number: int) -> None:
            if number == 1:
                await sync_to_async(begun)(number)
                begun_by_one.set()
                await written.wait()
            else:
                await begun_by_one.wait()
                await Author.objects.acreate(name="together")
                written.set()
                await asyncio.wait([first])

        checked = integration.failing_if_open(job)
        first = asyncio.ensure_future(checked(1))
        return await asyncio.gather(first, checked(2), return_exceptions=True)

    found = in_a_loop(run)
    assert [type(one) for one in found] == [JobLeftTransaction] * 2
    assert "one connection for all coroutines" in str(found[1])
    assert names() == []


def test_a_hook_that_leaves_a_transaction_has_failed(tables: str) -> None:
    """Nobody would commit what setup() or teardown() has written."""
    with pytest.raises(JobLeftTransaction):
        integration.run_hook(lambda: begun(1))
    assert integration.run_hook(lambda: 7) == 7
    assert names() == []


def test_reading_alone_is_no_failure_where_the_server_can_tell(use: Any, database: str) -> None:
    """A project without autocommit: nothing was written, nothing is lost."""
    from support.django_projects import database_of

    use(database_of(database), Author)
    use({**database_of(database), "AUTOCOMMIT": False})
    checked = integration.failing_if_open(lambda _: Author.objects.count())
    assert checked(1) == 0
    assert checked(2) == 0
    with pytest.raises(JobLeftTransaction):
        integration.failing_if_open(lambda _: Author.objects.create(name="x").pk)(1)


def test_a_transaction_around_the_run_is_not_the_job_s(tables: str) -> None:
    """As that of a test, in the same process."""
    with transaction.atomic(), integration.kept_connections():
        checked = integration.failing_if_open(lambda name: Author.objects.create(name=name).name)
        assert [checked("a"), checked("b")] == ["a", "b"]

    assert Author.objects.count() == 2
