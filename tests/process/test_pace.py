"""``--pace`` with the real commands, beside a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from support.commands import free_port
from support.playground import PREAMBLE, Playground
from support.postgres_server import Server, server

JOBS = """
def get_jobs(last=-1):
    n = last + 1
    while n < 400 or not os.path.exists("enough"):
        yield n
        n += 1
def handle_job(n):
    note(n)
    time.sleep(0.005)
"""


@contextmanager
def somebody_else(dsn: str) -> Iterator[None]:
    """Somebody is at work in the database, all the time."""
    stop = threading.Event()

    def work() -> None:
        with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            while not stop.wait(0.02):
                cursor.execute("SELECT 1")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_a_run_finds_its_pace_and_says_what_it_cost(playground: Playground, postgres: Server) -> None:
    """It measures first, then all jobs are done by a slave that knows nothing of it; the password
    is in no word of it, and in no file.
    """
    playground.write("paced.py", PREAMBLE + JOBS)
    host, dsn = f"--host=127.0.0.1:{free_port()}", f"{postgres.dsn()} password=sesame1"

    with somebody_else(postgres.dsn()):
        words = ("--progress=json", "--size=200")  # few jobs are left when it is enough
        run = playground.start("tm-master", "paced.py", host, *words, f"--pace=50x@{dsn}")
        slave = playground.start("tm-slave", "paced.py", host, "--processes=2")
        run.wait_for_output('"reason": "pace ')
        playground.write("enough", "")
        assert run.end() == 0, run.output

    assert slave.end() == 0, slave.output
    ended = playground.ledger.ended()
    assert set(ended) == {str(n) for n in range(len(ended))}
    assert len(ended) >= 400
    reasons = [
        json.loads(line)["reason"] for line in run.output.splitlines() if line.startswith('{"event": "progress"')
    ]
    assert any("measuring the database without the run" in one for one in reasons), run.output
    assert any(one.startswith("pace ") and "without the run" in one for one in reasons), run.output
    assert "Pace: the probe took" in run.output
    assert "sesame1" not in run.output + slave.output
    states = list(playground.directory.glob("*.tmstate*"))
    assert states
    assert not any(b"sesame1" in state.read_bytes() for state in states)


@pytest.mark.slow
def test_where_nobody_else_is_at_work_a_run_has_full_speed(playground: Playground, postgres: Server) -> None:
    """In the master's own process, too; a module names the pace, and --pace=off takes it away."""
    named = f"from taskmaster import postgres\npace = postgres.pace('1.5x', {postgres.dsn()!r})\n"
    playground.write("paced.py", PREAMBLE + named + JOBS)
    playground.write("enough", "")

    run = playground.run("tm-run", "paced.py", "--processes=0", "--progress=json")

    assert run.process.returncode == 0, run.output
    assert '"nobody_else": true' in run.output
    off = playground.run("tm-run", "paced.py", "--processes=0", "--progress=json", "--pace=off", "--reset")
    assert off.process.returncode == 0, off.output
    assert "pace: " not in off.output.lower()


@pytest.mark.slow
def test_a_wrong_password_ends_the_command_and_is_not_shown(playground: Playground) -> None:
    """A server that asks for it says so: exit 2 at once, for a run as for ``tm-ctl probe``."""
    playground.write("paced.py", PREAMBLE + JOBS)
    with server() as asking:
        asking.execute("CREATE ROLE locked LOGIN PASSWORD 'right1'")
        rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (asking.data / "pg_hba.conf").write_text(rules, encoding="ascii")
        asking.restart()
        dsn = f"host=127.0.0.1 port={asking.port} user=locked dbname=postgres"
        for words in (
            ("tm-run", "paced.py", "1", f"--pace=1.5x@{dsn} password=sesame1"),
            ("tm-ctl", "probe", f"{dsn} password=sesame1", "--seconds=1"),
        ):
            refused = playground.run(*words)
            assert refused.process.returncode == 2, refused.output
            assert 'password authentication failed for user "locked"' in refused.output
            assert "sesame1" not in refused.output
        assert not playground.ledger.ended()
        right = playground.run("tm-ctl", "probe", f"{dsn} password=right1", "--seconds=1")
        assert right.process.returncode == 0, right.output
        assert "right1" not in right.output
