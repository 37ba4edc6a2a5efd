"""What was written and never committed, when a worker ends."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from taskmaster.slave.worker.open_transactions import OpenTransactions


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection with an empty table."""
    with closing(sqlite3.connect(tmp_path / "rows.sqlite", check_same_thread=False)) as connection:
        connection.execute("CREATE TABLE one (key)")
        yield connection


def test_what_was_written_and_not_committed_is_said(rows: sqlite3.Connection) -> None:
    """SQLite rolls it back."""
    transactions = OpenTransactions()

    assert transactions.sentences() == []

    rows.execute("INSERT INTO one VALUES (1)")
    (sentence,) = transactions.sentences()

    assert "sqlite3 has an open transaction" in sentence
    assert "commit()" in sentence

    rows.commit()

    assert transactions.sentences() == []


def test_it_is_said_of_a_connection_that_only_its_thread_may_use(tmp_path: Path) -> None:
    """Nothing can be asked of it here but whether it is open."""
    opened: list[sqlite3.Connection] = []
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        connection = sqlite3.connect(tmp_path / "rows.sqlite")
        connection.execute("CREATE TABLE one (key)")
        connection.execute("INSERT INTO one VALUES (1)")
        opened.append(connection)
        done.set()
        go.wait()
        connection.close()

    transactions = OpenTransactions()
    thread = threading.Thread(target=work)
    thread.start()
    done.wait()
    found = transactions.sentences()
    go.set()
    thread.join()

    assert len(found) == len(opened) == 1


def test_what_loses_nothing_is_left_alone(rows: sqlite3.Connection) -> None:
    """A database in memory ends with the worker; what the script has begun is the script's."""
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.execute("CREATE TABLE one (key)")
        scratch.execute("INSERT INTO one VALUES (1)")

        assert OpenTransactions().sentences() == []

    rows.execute("INSERT INTO one VALUES (1)")

    assert OpenTransactions().sentences() == []
