"""What never passes by itself is known by what was said; what a restart brings forth is not."""

from __future__ import annotations

import pytest

from taskmaster.sources.database_errors import is_final, is_refused, said
from taskmaster.sources.database_retry import passes


class OperationalError(Exception):
    """As every driver of the DB-API has one."""

    sqlstate: str | None = None


class ServerError(Exception):
    """As asyncpg has them: with the server's letters, and none of the DB-API's names."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("the server said so")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    "text",
    [
        'connection to server at "127.0.0.1", port 5432 failed: FATAL:  password authentication failed for user "x"',
        'FATAL:  role "x" does not exist',
        'FATAL:  database "x" does not exist',
        'FATAL:  database "x" is not currently accepting connections',
        'FATAL:  permission denied for database "x"',
        'FATAL:  pg_hba.conf rejects connection for host "10.0.0.1", user "x", database "y", no encryption',
        'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "x", database "y", SSL off',
        'FATAL:  role "x" is not permitted to log in',
        "fe_sendauth: no password supplied",
        'connection to server on socket "/run/.s.PGSQL.5432" failed: Permission denied',
        'Unix-domain socket path "/x/.s.PGSQL.5432" is too long (maximum 107 bytes)',
        'definition of service "nope" not found',
        'service file "/x/pg_service.conf" not found',
        "SSL error: certificate verify failed",
        'server certificate for "a" does not match host name "b"',
        'root certificate file "/x/root.crt" does not exist',
        'private key file "/x/c.key" has group or world access',
        "SSL error: tlsv1 alert unknown ca",
        "SSL error: wrong version number",
        "SSL error: unsupported protocol",
        "server does not support SSL, but SSL was required",
        "server does not support GSSAPI encryption",
        "channel binding required, but SSL not in use",
        'authentication method requirement "scram-sha-256" failed: server requested a cleartext password',
        'weak sslmode "require" may not be used with sslrootcert=system (use "verify-full")',
        'invalid port number: "99999"',
        'invalid sslmode value: "bogus"',
        'invalid connection option "hots"',
        "FATAL:  invalid command-line argument for server process: nonsense",
        'FATAL:  unrecognized configuration parameter "nosuch"',
        'FATAL:  parameter "shared_buffers" cannot be changed without restarting the server',
        "FATAL:  unsupported startup parameter: options",
        "FATAL:  bouncer config error",
        "FATAL:  SSL required",
        "FATAL:  TLS required",
        'invalid "ssl_min_protocol_version" value: "TLSv9"',
        "could not match 3 port numbers to 2 hosts",
        'could not parse network address "nonsense": Name or service not known',
        "GSSAPI encryption required but no credential cache",
        "GSSAPI continuation error: No credentials were supplied, or they were inaccessible",
        "ERROR:  no such user: x",
        "FATAL:  no such database: x",
        "received invalid response to SSL negotiation: H",
        "expected authentication request from server, but received H",
    ],
)  # fmt: skip
def test_what_stays_is_final(text):
    """Names, passwords, rights, options, certificates, and servers of another kind."""
    assert is_final(OperationalError(text))


@pytest.mark.parametrize(
    "text",
    [
        'connection to server at "127.0.0.1", port 5432 failed: Connection refused',
        'connection to server on socket "/run/.s.PGSQL.5432" failed: No such file or directory',
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is not yet accepting connections",
        "FATAL:  the database system is in recovery mode",
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'could not translate host name "db" to address: Name or service not known',
        'could not translate host name "db" to address: Temporary failure in name resolution',
        "server closed the connection unexpectedly",
        "SSL SYSCALL error: EOF detected",
        "SSL connection has been closed unexpectedly",
        "connection timeout expired",
        "session is read-only",
        "timeout expired",
        "query_wait_timeout",
        "FATAL:  no more connections allowed (max_client_conn)",
        'FATAL:  too many connections for role "x"',
        "FATAL:  server login has been failing, try again later (server_login_retry)",
        "pgbouncer cannot connect to server",
        "server is not in hot standby mode",
        "client_idle_timeout",
        "server conn crashed?",
    ],
)
def test_what_a_restart_brings_forth_passes(text):
    """It is waited for, also when the connection is a run's first."""
    assert not is_final(OperationalError(text))
    assert passes(OperationalError(text))


@pytest.mark.parametrize("code", ["28P01", "28000", "3D000"])
def test_a_driver_with_the_server_s_letters_is_told_at_once_too(code):
    """Whatever its classes are called, and in whatever language the server speaks."""
    assert is_final(ServerError(code))
    assert not passes(ServerError(code))


def test_a_pooler_s_other_session_is_no_wrong_statement():
    """The name of a prepared statement is taken, or unknown, because the session is another one."""
    for code in ("42P05", "26000"):
        assert passes(ServerError(code))
        assert not is_refused(ServerError(code))
    assert is_refused(ServerError("42703"))


def test_an_error_is_said_in_one_line():
    """Without line breaks."""
    assert said(OperationalError("first\n\tsecond  third\n")) == "first second third"
