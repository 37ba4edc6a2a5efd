"""What a database refuses for now is asked again, for so long, and nothing else is."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from taskmaster.errors import SourceError
from taskmaster.sources.database_retry import is_cancelled, is_lost, passes, persistently, sqlstate


class OperationalError(Exception):
    """As every driver of the DB-API has one."""

    def __init__(self, pgcode: str | None = None) -> None:
        super().__init__("the server is away")
        self.pgcode = pgcode


class Time:
    """A clock that goes on when somebody sleeps, and notes for how long."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        """Seconds."""
        return self.now


def failing(*errors: Exception) -> Callable[[], str]:
    """An attempt that fails in these ways, one after the other, and then gives an answer."""
    left: Iterator[Exception] = iter(errors)

    def attempt() -> str:
        for error in left:
            raise error
        return "answer"

    return attempt


def why(error: Exception) -> str:
    """As a source says it."""
    if not passes(error):
        raise error
    return f"{error}."


def test_what_passes_is_tried_again_with_growing_pauses():
    """And the connection is given up each time."""
    time, given_up = Time(), []
    attempt = failing(*[OperationalError()] * 6, OperationalError("57P03"))
    found = persistently(attempt, lambda: given_up.append(1), why, patience=60.0, sleep=time.sleep, clock=time.clock)

    assert found == "answer"
    assert time.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert len(given_up) == 7


def test_patience_comes_to_an_end():
    """With the time, the reason, and that the run can be resumed."""
    time = Time()

    def never() -> str:
        raise OperationalError

    with pytest.raises(SourceError, match=r"for 3[0-9] s: the server is away. The run can be resumed"):
        persistently(never, lambda: None, why, patience=30.0, sleep=time.sleep, clock=time.clock)


@pytest.mark.parametrize("error", [ValueError("no"), OperationalError("42703"), OperationalError("22012")])
def test_what_does_not_pass_is_raised_at_once(error):
    """A column that there is not will not be there in a minute."""
    time = Time()
    with pytest.raises(type(error)):
        persistently(failing(error), lambda: None, why, patience=60.0, sleep=time.sleep, clock=time.clock)

    assert time.slept == []


@pytest.mark.parametrize(
    ("code", "cancelled"), [("57014", True), ("25P04", True), ("57P05", False), ("25P03", False), ("57P01", False)]
)
def test_time_outs_of_the_server_pass(code, cancelled):
    """What took too long may be asked for in smaller parts; what was idle for too long only needs a
    new connection.
    """
    assert passes(OperationalError(code))
    assert is_cancelled(OperationalError(code)) is cancelled


def test_the_cause_of_an_error_may_have_the_server_s_letters():
    """An object-relational mapper raises errors of its own."""
    error = RuntimeError("wrapped")
    error.__cause__ = OperationalError("40001")

    assert sqlstate(error) == "40001"
    assert passes(error)
    assert not passes(RuntimeError("without"))


class Error(Exception):
    """The DB-API's root of what drivers raise."""


class DatabaseError(Error):
    """What psycopg2 raises, without a code, after a farewell that is only a warning."""


class InternalError(DatabaseError):
    """A class below it, for which there may be many reasons."""


def of_the_system(number: int) -> OSError:
    """What a driver without libpq passes on."""
    return OSError(number, "the system said so")


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("server closed the connection unexpectedly"),
        DatabaseError("error with status PGRES_TUPLES_OK and no message from the libpq"),
        InternalError("SSL SYSCALL error: EOF detected"),
        InternalError("could not receive data from server: Connection timed out"),
        OperationalError(),
        OperationalError("57P01"),
        OperationalError("57P02"),
        OperationalError("57P03"),
        OperationalError("08006"),
        OperationalError("08P01"),
        Error({"S": "FATAL", "C": "57P01", "M": "as pg8000 gives it"}),
        ConnectionResetError("as asyncpg gives it"),
        BrokenPipeError(),
        TimeoutError(),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        of_the_system(errno.EHOSTUNREACH),
        of_the_system(errno.ENETUNREACH),
    ],
    ids=repr,
)
def test_a_lost_connection_passes_however_it_is_spelled(error):
    """With the server's letters, in the driver's words, or as the system says it."""
    assert is_lost(error)
    assert passes(error)


@pytest.mark.parametrize(
    "error",
    [
        InternalError("no COPY in progress"),
        Error({"C": "42703"}),
        of_the_system(errno.ENOSPC),
        OperationalError("57P04"),  # the database was dropped
        RuntimeError("server closed the connection unexpectedly"),
        ValueError("year -44 is out of range"),
    ],
    ids=repr,
)
def test_what_is_no_lost_connection_is_raised(error):
    """Also where no code says what it is."""
    assert not is_lost(error)
    assert not passes(error)


def test_an_error_of_django_s_own_is_no_lost_connection():
    """Only where the driver's is its cause."""
    kind = type("DatabaseError", (Error,), {"__module__": "django.db.utils"})
    own, wrapped = kind("Save with update_fields did not affect any rows."), kind("server closed the connection")
    wrapped.__cause__ = DatabaseError("server closed the connection unexpectedly")

    assert not passes(own)
    assert passes(wrapped)
