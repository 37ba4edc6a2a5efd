"""A real PgBouncer for the tests, which deals out a server's sessions transaction by transaction.

It is a package of the machine's own; as the server, it does not run as root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2

from support.commands import wait_for
from support.ports import free_port
from support.postgres_server import NOBODY, Server

SETTINGS = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {place}/users
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 100
admin_users = postgres
server_login_retry = 0.2
server_round_robin = 1
query_wait_timeout = 1
ignore_startup_parameters = extra_float_digits
"""


class Pooler:
    """One PgBouncer.

    Args:
        place: a directory that is the pooler's own.
        server: what it deals out.
        sessions: how many of the server's for all its clients.
    """

    def __init__(self, place: Path, server: Server, sessions: int) -> None:
        self.port = free_port()
        self._settings = place / "pgbouncer.ini"
        self._user = NOBODY if os.geteuid() == 0 else None
        (place / "users").write_text('"postgres" ""\n', "utf-8")
        text = SETTINGS.format(server=server.port, port=self.port, place=place, sessions=sessions)
        self._settings.write_text(text, "utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = "postgres") -> str:
        """How to connect to a database of the server, through the pooler."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [find_pgbouncer(), self._settings], user=self._user, cwd="/", stderr=subprocess.DEVNULL
        )
        wait_for("the pooler", self._answers)

    def kill(self) -> None:
        """End it as a lost machine does: no client is told."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def admin(self, command: str) -> list[tuple]:
        """Run a command of its console."""
        with closing(psycopg2.connect(self.dsn("pgbouncer"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(command)
                return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        try:
            return bool(self.admin("SHOW VERSION"))
        except psycopg2.OperationalError:
            return False


def find_pgbouncer() -> str:
    """The program; it has to be there, or the tests fail."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found, "PgBouncer is expected for the tests and was not found: apt install pgbouncer"
    return found


@contextmanager
def pooler(server: Server, sessions: int) -> Iterator[Pooler]:
    """A pooler before a server, as long as the block runs."""
    # Beside the server's data, where the user may go that it runs as.
    place = server.place.parent / "pooler"
    place.mkdir()
    made = Pooler(place, server, sessions)
    made.start()
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(place)
