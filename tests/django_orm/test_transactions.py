"""A job that leaves a transaction open has failed, and the next one has a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
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


def by_hand(number: int) -> None:
    """Write in a transaction of one's own, and raise."""
    entered(number)
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("leave", "expected"),
    [(autocommit_off, JobLeftTransaction), (entered, JobLeftTransaction), (by_hand, ZeroDivisionError)],
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
            with pytest.raises(expected, match=r"left a transaction of the database 'default' open|^$"):
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

    for job in (commits, atomic):
        assert integration.failing_if_open(job)(job.__name__) is None
        assert connection.get_autocommit()

    assert Author.objects.count() == 2


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
