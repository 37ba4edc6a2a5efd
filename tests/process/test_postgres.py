"""Real runs over a real PostgreSQL server, which are killed, and whose server goes away."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable

import pytest
from support.cases import mostly_slow
from support.commands import wait_for
from support.playground import Playground
from support.postgres_server import Server

# The later rows wait, so that the run is certainly going on when something happens to it.
MODULE = """
import os, time, psycopg2
from taskmaster import postgres

DSN = os.environ["TEST_DSN"]
get_jobs = postgres.rows(DSN, "comments", columns=["id", "body"], chunk=50)

def setup():
    global connection
    connection = psycopg2.connect(DSN)
    connection.autocommit = True

def handle_job(row):
    comment, body = row
    while comment > 500 and not os.path.exists("go"):
        time.sleep(0.02)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO ledger SELECT %s, pg_sleep(0.003)::text", (comment,))
"""


def test_a_run_over_rows_resumes_at_its_key(
    database: str, sql: Callable[..., list[tuple]], playground: Playground
) -> None:
    """Killed in the middle, with jobs in hand: nothing is lost, and what was done before is not
    done again.
    """
    playground.write("work.py", MODULE)
    sql("CREATE TABLE comments (id bigint PRIMARY KEY, body text NOT NULL); CREATE TABLE ledger (id bigint, n text)")
    sql("INSERT INTO comments SELECT n, 'x' FROM generate_series(1, 1000) n")
    command = ["tm-run", "work.py", "2", "--progress=lines"]
    run = playground.start(*command, TEST_DSN=database)
    wait_for("some rows", lambda: playground.in_state() > 300)
    run.process.kill()
    run.process.wait()
    playground.write("go", "")
    before = sql("SELECT count(*) FROM ledger")[0][0]
    again = playground.start(*command, TEST_DSN=database)

    assert again.end() == 0, again.output
    assert "Resuming at key" in again.output
    assert sql("SELECT count(DISTINCT id) FROM ledger") == [(1000,)]
    assert before < 1000
    assert sql("SELECT count(*) FROM ledger")[0][0] < 1000 + 300


@pytest.mark.slow
def test_a_server_that_restarts_costs_a_pause(postgres: Server, playground: Playground) -> None:
    """Source and workers find it again: no job is lost."""
    postgres.execute("CREATE DATABASE restarts")
    sql = lambda text: postgres.execute(text, database="restarts")  # noqa: E731
    sql("CREATE TABLE comments (id bigint PRIMARY KEY, body text NOT NULL); CREATE TABLE ledger (id bigint, n text)")
    sql("INSERT INTO comments SELECT n, 'x' FROM generate_series(1, 2000) n")
    lost = MODULE.replace("def handle_job", "retry_on = psycopg2.OperationalError\n\ndef handle_job").replace(
        "    with connection",
        "    if connection.closed:\n        setup()\n    with connection",
    )
    playground.write("work.py", lost)
    words = ["--progress=lines", "--backoff=0.2", "--retries=20", "--size=100", "--max-failures=1000"]
    run = playground.start("tm-run", "work.py", "2", *words, TEST_DSN=postgres.dsn("restarts"))
    wait_for("some rows", lambda: sql("SELECT count(*) FROM ledger")[0][0] > 300)
    postgres.restart()
    playground.write("go", "")

    assert run.end() == 0, run.output
    assert sql("SELECT count(DISTINCT id) FROM ledger") == [(2000,)]


RANGES = """
import os, time, psycopg2
from taskmaster import postgres

DSN = os.environ["TEST_DSN"]
get_jobs = postgres.ranges(DSN, "comments", rows=37, target=0.05)

def setup():
    global connection
    connection = psycopg2.connect(DSN)

def handle_job(comments):
    while (comments.hi or 10**9) > int(open("upto").read()) < 10**9:
        time.sleep(0.02)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO ledger SELECT id, %(lo)s, %(hi)s FROM comments WHERE {comments.where()}",
                       {**comments.values, "lo": comments.lo, "hi": comments.hi})
        cursor.execute(f"UPDATE comments SET n = 100 / (id - 4444) WHERE {comments.where()}", comments.values)
        time.sleep(0.02)
"""


@pytest.mark.slow
def test_ranges_keep_their_borders_over_restarts(
    database: str, sql: Callable[..., list[tuple]], playground: Playground
) -> None:
    """Killed again and again: each row is done, and no two ranges overlap but for parts of one that
    failed.
    """
    sql("CREATE TABLE comments (id bigint PRIMARY KEY, n int); CREATE TABLE ledger (id bigint, lo bigint, hi bigint)")
    sql("INSERT INTO comments SELECT 2 * n, 0 FROM generate_series(1, 20000) n WHERE n % 100 < 90")
    sql("CREATE TABLE original AS SELECT id FROM comments")
    playground.write("work.py", RANGES)
    command = ["tm-run", "work.py", "2", "--progress=lines", "--backoff=0.1", "--retries=1"]
    for round_ in range(3):
        playground.write("upto", str(13_000 * (round_ + 1)))
        run = playground.start(*command, TEST_DSN=database)
        before = sql("SELECT count(*) FROM ledger")[0][0]
        wait_for("some rows", lambda n=before: sql("SELECT count(*) FROM ledger")[0][0] > n + 1500)
        sql("INSERT INTO comments SELECT id + 1, 0 FROM comments WHERE id %% 10 = %s ON CONFLICT DO NOTHING", round_)
        run.process.kill()
        run.process.wait()
    playground.write("upto", str(10**9))
    last = playground.start(*command, TEST_DSN=database)

    assert last.end() == 3, last.output
    assert "1 of them failed" in last.output
    left_out = "SELECT id FROM original o WHERE NOT EXISTS (SELECT FROM ledger l WHERE l.id = o.id)"
    assert sql(left_out) == [(4444,)]
    borders = sql("SELECT DISTINCT coalesce(lo, 0), hi FROM ledger ORDER BY 1, 2")
    crossed = [(one, other) for one in borders for other in borders if one[0] < other[0] < one[1] < other[1]]
    assert crossed == []
    listed = playground.start("tm-ctl", "failures", "work.tmstate", "--json")
    assert listed.end() == 0
    assert "4444" in listed.output
    assert len(borders) > 20


CONNECTS = """
import os, time
from taskmaster import postgres

DSN = os.environ["TEST_DSN"]
get_jobs = postgres.ranges(DSN, "comments", rows=50, target=None)

def handle_job(comments):
    while (comments.hi or 10**9) > 5_000 and not os.path.exists("go"):
        time.sleep(0.02)
    with postgres.connect(DSN) as connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE comments SET n = n + 1 WHERE {comments.where()}", comments.values)
        cursor.execute("SELECT pg_sleep(0.02)")
"""


@pytest.mark.slow
def test_a_server_that_is_away_costs_a_range_one_attempt(postgres: Server, playground: Playground) -> None:
    """However long that takes: workers wait for it, and each range is done exactly once, as it is
    one transaction.
    """
    postgres.execute("CREATE DATABASE away")
    sql = lambda text: postgres.execute(text, database="away")  # noqa: E731
    sql("CREATE TABLE comments (id bigint PRIMARY KEY, n int NOT NULL)")
    sql("INSERT INTO comments SELECT n, 0 FROM generate_series(1, 20000) n")
    playground.write("work.py", CONNECTS)
    words = ["--progress=lines", "--backoff=0.1", "--retries=1"]
    run = playground.start("tm-run", "work.py", "2", *words, TEST_DSN=postgres.dsn("away"))
    wait_for("some rows", lambda: sql("SELECT count(*) FROM comments WHERE n > 0")[0][0] > 1000)
    postgres.stop("immediate")
    playground.write("go", "")
    run.wait_for_output("is waited for")
    time.sleep(3)  # longer than the attempts of a job that does not wait
    postgres.start()

    assert run.end() == 0, run.output
    assert sql("SELECT DISTINCT n FROM comments") == [(1,)]


HANGS = """
import os
from taskmaster import postgres

DSN = os.environ["TEST_DSN"]

def get_jobs():
    return range(20)

def handle_job(n):
    with postgres.connect(DSN) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO ledger VALUES (%s, current_setting('application_name'), "
                       "current_setting('statement_timeout'))", (n,))
        if n == 7:
            cursor.execute("SET statement_timeout = 0")
            connection.commit()
            cursor.execute("SELECT pg_sleep(600)")
        if n == 8:
            cursor.execute("SELECT pg_sleep(600)")
"""


@pytest.mark.slow
def test_a_statement_does_not_outlive_its_worker(
    database: str, sql: Callable[..., list[tuple]], playground: Playground
) -> None:
    """The server ends what takes too long; what has switched that off ends with the worker that is
    killed for it.
    """
    sql("CREATE TABLE ledger (id bigint, name text, timeout text)")
    playground.write("work.py", HANGS)
    # A tenth less for the statement: enough for its worker to say so before it is killed.
    words = ["--progress=lines", "--job-timeout=10", "--crashes=1", "--retries=0", "--state=h.tmstate"]
    run = playground.start("tm-run", "work.py", "2", *words, TEST_DSN=database)

    assert run.end() == 3, run.output
    assert "1 x TimedOut" in run.output
    assert "1 x QueryCanceled" in run.output
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    wait_for("the server to notice", lambda: sql(sleeping) == [(0,)])
    names = {name for (name,) in sql("SELECT name FROM ledger")}
    assert len(names) == 1
    assert all(re.fullmatch(r"taskmaster/[0-9a-f]{12}/\S+:\d+", name) for name in names)
    assert {timeout for (timeout,) in sql("SELECT timeout FROM ledger WHERE id <> 7")} == {"9s"}
    assert sql("SELECT count(DISTINCT id) FROM ledger WHERE id NOT IN (7, 8)") == [(18,)]


@pytest.mark.slow
@pytest.mark.parametrize("processes", mostly_slow(["2", "--processes=0"], "2"))
@pytest.mark.parametrize("source", ["rows", "ranges"])
def test_a_finished_run_says_what_came_later(
    database: str, sql: Callable[..., list[tuple]], playground: Playground, source: str, processes: str
) -> None:
    """Rows above its end are none of its, and are not said to be missing either."""
    playground.write(
        "work.py",
        textwrap.dedent(
            f"""
        import os
        from taskmaster import postgres

        get_jobs = postgres.{source}(os.environ["TEST_DSN"], "comments")

        def handle_job(job):
            pass
            """
        ),
    )
    sql("CREATE TABLE comments (id int PRIMARY KEY)")
    sql("INSERT INTO comments SELECT n FROM generate_series(1, 10) n")
    command = ["tm-run", "work.py", processes, "--progress=none"]

    assert playground.run(*command, TEST_DSN=database).process.returncode == 0
    same = playground.run(*command, TEST_DSN=database)
    sql("INSERT INTO comments SELECT n FROM generate_series(11, 20) n")
    later = playground.run(*command, TEST_DSN=database)

    assert "there is nothing new" in same.output
    assert "Rows with higher keys have come since" in later.output
    assert "--reset" in later.output
    assert "nothing new" not in later.output
