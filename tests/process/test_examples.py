"""The examples that need a database, as a reader would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import BIN, wait_for
from support.playground import Playground
from support.postgres_server import Server

EXAMPLES = Path(__file__).parents[2] / "examples"
Sql = Callable[..., list[tuple]]


@pytest.mark.slow
def test_comments_are_denormalised(database: str, sql: Sql, playground: Playground) -> None:
    """Killed in the middle and run again: every comment has the name of its author."""
    sql("CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL)")
    sql("CREATE TABLE comments (id bigint PRIMARY KEY, author_id int NOT NULL, author_name text)")
    sql("INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 100) n")
    sql("INSERT INTO comments SELECT n, 1 + n % 100, NULL FROM generate_series(1, 200000) n")
    command = ["tm-run", str(EXAMPLES / "denormalize_comments.py"), "2", "--progress=lines"]
    run = playground.start(*command, BLOG=database)
    wait_for("some names", lambda: sql("SELECT count(author_name) FROM comments")[0][0] > 10_000)
    run.process.kill()
    run.process.wait()
    again = playground.start(*command, BLOG=database)

    assert again.end() == 0, again.output
    wrong = "SELECT count(*) FROM comments c, users u WHERE u.id = c.author_id AND author_name IS DISTINCT FROM u.name"
    assert sql(wrong) == [(0,)]
    assert sql("SELECT count(author_name) FROM comments") == [(200_000,)]


@pytest.mark.slow
def test_shards_are_compared(postgres: Server, playground: Playground) -> None:
    """What differs, what is missing and what is too much is written down; each shard has a state of
    its own.
    """
    made = (
        "CREATE TABLE accounts (id int PRIMARY KEY, balance int); "
        "INSERT INTO accounts SELECT n, n FROM generate_series(1, 20000) n"
    )
    for shard in (0, 1):
        for name in (f"shard{shard}", f"copy{shard}"):
            postgres.execute(f"CREATE DATABASE {name}")
            postgres.execute(made, database=name)
        postgres.execute(
            "CREATE TABLE differences (id int PRIMARY KEY, here text, there text)", database=f"copy{shard}"
        )
    postgres.execute(
        "UPDATE accounts SET balance = 0 WHERE id = 7; DELETE FROM accounts WHERE id = 19999", database="copy1"
    )
    postgres.execute("DELETE FROM accounts WHERE id = 12345", database="shard1")
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "SHARD": postgres.dsn("shard{shard}"),
        "COPY": postgres.dsn("copy{shard}"),
    }
    command = [sys.executable, str(EXAMPLES / "check_all_shards.py"), "0", "1"]
    done = subprocess.run(
        command, env=environment, cwd=playground.directory, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert postgres.execute("SELECT * FROM differences", database="copy0") == []
    found = postgres.execute("SELECT * FROM differences ORDER BY id", database="copy1")
    assert found == [(7, "(7,7)", "(7,0)"), (12345, None, "(12345,12345)"), (19999, "(19999,19999)", None)]
    assert len(list(playground.directory.glob("check_shards*.tmstate"))) == 2
    again = subprocess.run(
        command, env=environment, cwd=playground.directory, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0
    assert again.stderr.count("there is nothing new") == 2

    postgres.execute("DROP TABLE differences; UPDATE accounts SET balance = 1 WHERE id = 9", database="copy0")
    for state in playground.directory.glob("check_shards*.tmstate*"):
        state.unlink()
    quick = {**environment, "TASKMASTER_RETRIES": "0"}
    broken = subprocess.run(command, env=quick, cwd=playground.directory, capture_output=True, text=True, check=False)
    assert broken.returncode == 3, broken.stderr
    assert broken.stdout.splitlines()[-1].endswith("could not be compared: 0")
    assert postgres.execute("SELECT count(*) FROM differences", database="copy1") == [(3,)]
