"""What every test gets: an environment of its own, and modules to load."""

from __future__ import annotations

import compileall
import os
import sys
import textwrap
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
import psycopg2
import pytest
from support.postgres_server import Server, empty, server
from support.text_orders import make_orders, told

from taskmaster.runtime import log

# A slow machine is no failure: pytest's own time-out finds what hangs.
hypothesis.settings.register_profile("taskmaster", deadline=None, print_blob=True)
hypothesis.settings.load_profile("taskmaster")

PROCESS_TESTS = Path(__file__).parent / "process"
PACKAGE = Path(__file__).parents[1] / "taskmaster"
ORDERS = "orders of texts that were tried on PostgreSQL"
# Read now: each test runs in an environment without Taskmaster's variables.
GIVEN_DSN = os.environ.get("TASKMASTER_TEST_DSN")


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once, before there are workers.

    Where ``PYTHONDONTWRITEBYTECODE`` is set, as in many containers, each of a thousand commands
    would compile it anew, which is half of what a short run costs.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(PACKAGE, quiet=2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Say how many tests run at a time with ``-n auto``: most of them wait for half of their
    time.
    """
    return min(2 * (os.cpu_count() or 1), 8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in tests/process, so that it can be chosen and left out, and begin with it.

    The longest files are there, and one that began last would be waited for alone.
    """
    for item in items:
        if PROCESS_TESTS in item.path.parents:
            item.add_marker(pytest.mark.process)
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (PROCESS_TESTS not in item.path.parents, -sizes[item.path]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how PostgreSQL sorted texts: which orders can be tried depends on the server and on the
    machine.
    """
    reports = (report for found in terminalreporter.stats.values() for report in found)
    said = {what for report in reports for name, what in getattr(report, "user_properties", ()) if name == ORDERS}
    for what in sorted(said):
        terminalreporter.write_line(f"{ORDERS}: {what}")


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's keys and settings out of the tests, and the tests' keys out of the home
    directory.
    """
    for name in [name for name in os.environ if name.startswith("TASKMASTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.setenv("TASKMASTER_HOME", str(tmp_path / ".taskmaster"))


@pytest.fixture(autouse=True)
def own_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the lines of each test alone: those of tests before it would leave some of its own
    out.
    """
    monkeypatch.setattr(log._CLEANING, "repeats", log._Repeats())  # nobody else may forget them


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Give a PostgreSQL server of the tests' own, which they may stop and start."""
    with server() as running:
        yield running


@pytest.fixture(scope="session")
def emptied() -> list[str]:
    """Give the names of databases that a test has had and that are empty again."""
    return []


@pytest.fixture
def database(request: pytest.FixtureRequest, emptied: list[str]) -> Iterator[str]:
    """Give the DSN of an empty database: on the server of ``TASKMASTER_TEST_DSN``, else on our own.

    To make one takes ten times as long as to empty one.
    """
    base = GIVEN_DSN or request.getfixturevalue("postgres").dsn()
    name = emptied.pop() if emptied else f"taskmaster_{uuid.uuid4().hex[:12]}"
    with closing(psycopg2.connect(base)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
            dsn = psycopg2.extensions.make_dsn(base, dbname=name)
            yield dsn
            if empty(dsn):
                emptied.append(name)
            else:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sql(database: str) -> Iterator[Callable[..., list[tuple]]]:
    """Run a statement in the test's database; gives its rows."""
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True

        def run(text: str, *values: Any) -> list[tuple]:
            with connection.cursor() as cursor:
                cursor.execute(text, values or None)
                return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture
def text_types(sql: Callable[..., list[tuple]], record_property: Callable[[str, str], None]) -> list[str]:
    """Give types of texts, in orders that no sort of Python has: what this server can do, which the
    summary says.
    """
    found = make_orders(sql)
    record_property(ORDERS, told(found))
    return found


@pytest.fixture
def module_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Give a function that writes a user's module: ``module_file('''def get_jobs(): ...''',
    "jobs.py")``.

    The text is dedented; the file lies in ``tmp_path``. What a test imports from there, and what it
    puts on ``sys.path``, is gone after it, so that two tests may use the same name.
    """
    monkeypatch.setattr(sys, "path", list(sys.path))
    # A file that is written twice within a second must not be served from a cache.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str, name: str = "jobs.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        return path

    yield write
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and tmp_path in Path(file).parents:
            del sys.modules[name]
