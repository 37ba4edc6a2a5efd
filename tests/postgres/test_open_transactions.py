"""What callbacks have written to PostgreSQL and never committed, when their worker ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import psycopg2
import pytest

from taskmaster.slave.worker.open_transactions import OpenTransactions

DRIVERS: dict[str, Callable[[str], Any]] = {"psycopg2": psycopg2.connect, "psycopg": psycopg.connect}


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_was_written_and_not_committed_is_said(database: str, driver: str) -> None:
    """A transaction that has only read, or is over, loses nothing."""
    transactions = OpenTransactions()
    with closing(DRIVERS[driver](database)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")

        assert transactions.sentences() == []

        cursor.execute("CREATE TABLE one (key int)")
        (sentence,) = transactions.sentences()

        assert sentence.startswith(f"a connection of {driver} has an open transaction")

        connection.commit()

        assert transactions.sentences() == []

        cursor.execute("INSERT INTO one VALUES (1)")

        assert transactions.sentences() == [sentence]

        connection.rollback()

        assert transactions.sentences() == []


def test_a_connection_of_an_event_loop_is_asked_without_it(database: str) -> None:
    """The loop of a worker that ends may have ended before."""
    transactions = OpenTransactions()

    async def write() -> Any:
        connection = await psycopg.AsyncConnection.connect(database)
        await connection.execute("CREATE TEMPORARY TABLE one (key int)")
        return connection

    connection = asyncio.run(write())
    try:
        assert [sentence.split()[3] for sentence in transactions.sentences()] == ["psycopg"]
    finally:
        connection.pgconn.finish()
