"""Guards: limits, hysteresis, and what is not known; and what --guard takes."""

from __future__ import annotations

from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest

from taskmaster.errors import UsageError
from taskmaster.guards import Guard, Unknown, hooks_of
from taskmaster.options.commands import MasterOptions, RunOptions
from taskmaster.postgres import guards as postgres
from taskmaster.redaction import without_password


def lag(**given: Any) -> Guard:
    return Guard(lambda: 0.0, 5, "replication lag", "s", **given)


def test_a_guard_waits_above_its_limit_and_says_both() -> None:
    """The limit itself is allowed."""
    guard = lag()

    assert guard.judge(5) == ""
    assert guard.judge(7.2) == "replication lag 7.2 s, above 5 s"
    assert (guard.value, guard.limit, guard.reason) == (7.2, 5, "replication lag 7.2 s, above 5 s")


def test_a_guard_goes_on_when_the_value_has_fallen_well_below() -> None:
    """To four fifths; what rises to the same number for the first time is no reason to wait."""
    guard = lag()

    assert guard.judge(4.5) == ""
    assert guard.judge(5.004) == "replication lag 5 s, above 5 s"
    assert guard.judge(4.5) == "replication lag 4.5 s, was above 5 s and has to fall to 4 s"
    assert guard.judge(Decimal("4.0")) == ""
    assert guard.judge(4.5) == ""


def test_a_limit_of_nothing_can_be_met() -> None:
    """No waiting lock at all."""
    guard = Guard(lambda: 0, 0, "waiting locks")

    assert guard.judge(0) == ""
    assert guard.judge(1) == "waiting locks 1, above 0"
    assert guard.judge(0) == ""


def test_below_means_below() -> None:
    """The limit itself is too much."""
    guard = lag(strict=True)

    assert guard.judge(5) == "replication lag 5 s, not below 5 s"
    assert guard.judge(4.5) == "replication lag 4.5 s, was not below 5 s and has to fall to 4 s"
    assert guard.judge(4) == ""


@pytest.mark.parametrize("value", [None, float("nan"), "many", object()])
def test_what_is_no_number_is_unknown(value: object) -> None:
    """And means wait, also after a value that was fine."""
    guard = lag()
    guard.judge(0)

    assert guard.judge(value).startswith("replication lag is unknown: ")
    assert guard.value is None


def test_what_cannot_be_read_is_unknown() -> None:
    """``Unknown`` says why; anything else is raised, and leaves no old value behind."""

    def read() -> float:
        raise errors.pop(0)

    errors: list[Exception] = [Unknown("nobody is there"), ZeroDivisionError()]
    guard = Guard(read, 5, "replication lag")
    guard.judge(0)

    assert guard() == "replication lag is unknown: nobody is there"
    guard.judge(0)
    with pytest.raises(ZeroDivisionError):
        guard()
    assert (guard.value, guard.reason) == (None, "replication lag is unknown")


def test_doubt_does_not_end_the_wait() -> None:
    """A value that was too large and then unknown has to fall as far as ever."""
    guard = lag()
    guard.judge(7)
    guard.judge(None)

    assert guard.judge(4.5)
    assert not guard.judge(4)


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf"), "5", None, True])
def test_a_limit_is_a_number(limit: Any) -> None:
    """Where it is given, not when the run waits for ever."""
    with pytest.raises(UsageError, match="replication lag"):
        Guard(lambda: 0, limit, "replication lag")


def test_large_and_small_numbers_are_readable() -> None:
    """No exponents, no needless zeros."""
    assert Guard(lambda: 0, 1_000_000, "rows").judge(12_345_678) == "rows 12345678, above 1000000"
    assert Guard(lambda: 0, 0.001, "share").judge(0.25) == "share 0.25, above 0.001"


# -- throttle of a module --------------------------------------------------------------------------


def test_throttle_is_a_function_a_guard_or_a_list_of_them() -> None:
    """Nothing, and a module that happens to be called so, are no hooks."""
    guard = lag()

    def hook() -> str:
        return ""

    assert hooks_of(None, "throttle") == ()
    assert hooks_of(ModuleType("throttle"), "throttle") == ()
    assert hooks_of(guard, "throttle") == (guard,)
    assert hooks_of([hook, guard], "throttle") == (hook, guard)


async def coroutine() -> str:
    """No hook."""
    return ""


def with_argument(master: object) -> str:
    """No hook."""
    return ""


@pytest.mark.parametrize("given", [5, "lag", [5], {}, coroutine, with_argument, Guard, [lambda: "", [lambda: ""]]])
def test_what_cannot_be_asked_is_refused(given: object) -> None:
    """At the start, with what it may be."""
    with pytest.raises(UsageError, match=r"^throttle in mod names .+: give a function without arguments"):
        hooks_of(given, "throttle in mod")


# -- guards of PostgreSQL, without a server --------------------------------------------------------


@pytest.mark.parametrize("dsn", ["s@crt", "postgresql://me:s@crt%zz@h/blog", "password=s@crt host", "pass word=s@crt"])
def test_a_dsn_that_cannot_be_read_is_not_repeated(dsn: str) -> None:
    """The driver's own words would."""
    reason = postgres.locks_waiting(0, dsn)()

    assert reason.startswith("waiting locks is unknown: "), reason
    assert "crt" not in reason


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@h/b?sslmode=require", "postgresql://me:***@h/b?sslmode=require"),
        ("postgres://me:sec@ret@h/b", "postgres://me:***@h/b"),
        ("postgres://me:sec ret@h/b", "postgres://me:***@h/b"),
        ("postgresql://h/b?user=me&password=secret&port=1", "postgresql://h/b?user=me&password=***&port=1"),
        ("host=h password=secret dbname=b", "host=h password=*** dbname=b"),
        ("host=h password = 'sec ret\\' x' dbname=b", "host=h password = *** dbname=b"),
        (r"host=h password=sec\ ret dbname=b", "host=h password=*** dbname=b"),
        ("--guard=locks_waiting=0@postgresql://me:secret@h/b", "--guard=locks_waiting=0@postgresql://me:***@h/b"),
        ("--host=tcp://127.0.0.1:5050", "--host=tcp://127.0.0.1:5050"),
        ("postgresql://me@h/b", "postgresql://me@h/b"),
    ],
)
def test_passwords_are_hidden_wherever_a_dsn_is_shown(text: str, shown: str) -> None:
    """And nothing else."""
    assert without_password(text) == shown


@pytest.mark.parametrize("dsn", ["postgresql://me:s%40crt@h/b", "password='s@crt' host=h", "password=s@crt"])
def test_a_password_is_hidden_in_what_others_say_of_it(dsn: str) -> None:
    """As it stands in the DSN, and as it is meant."""
    assert "crt" not in without_password("role s@crt and s%40crt", dsn)


# -- the command line ------------------------------------------------------------------------------


def test_guards_of_the_command_line() -> None:
    """Durations have units; the DSN may hold what it likes."""
    options = RunOptions(
        guard=(
            "replication_lag=1m30s@postgresql://me:p@h/b?application_name=x",
            "active_connections=50@host=h dbname=b user=a@b",
            "long_transactions=60@dbname=b",
            "locks_waiting=0@dbname=b",
        )
    )
    options.check()
    made = options.throttle_hooks()

    assert [(guard.what, guard.limit) for guard in made] == [
        ("replication lag", 90.0),
        ("active connections", 50),
        ("oldest transaction", 60.0),
        ("waiting locks", 0),
    ]
    assert [guard._read._dsn for guard in made][:2] == [
        "postgresql://me:p@h/b?application_name=x",
        "host=h dbname=b user=a@b",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "replicationlag=5s@dbname=s3cret",
        "postgresql://me:s3cret@h/b",
        "replication_lag@postgresql://me:s3cret@h/b",
        "replication_lag=postgresql://me:s3cret@h/b",
        "replication_lag=password=s3cret",
        "replication_lag=5s",
        "replication_lag=5s@",
        "replication_lag=soon@password=s3cret",
        "replication_lag=5s@s3cret",
        "active_connections=5s@password=s3cret",
        "active_connections=-1@password=s3cret",
        "locks_waiting=@password=s3cret",
        "replication_lag=postgres://pg:s3cret@db/x",
        "replication_lag=pg:s3cret@db/x",
    ],
)
def test_a_bad_guard_is_refused_with_what_there_is(text: str) -> None:
    """The guards, an example, and never a password."""
    with pytest.raises(UsageError) as caught:
        MasterOptions(guard=(text,)).check()

    message = str(caught.value)
    assert message.startswith("--guard")
    assert "s3cret" not in message
    if "DSN that cannot be read" not in message:
        assert "replication_lag, active_connections, long_transactions, locks_waiting" in message
        assert "--guard=active_connections=50@postgresql://replica/blog" in message


def test_guards_come_as_a_list() -> None:
    """A text is a list of letters to Python."""
    with pytest.raises(UsageError, match="list of texts"):
        RunOptions(guard="locks_waiting=0@dbname=b").check()  # type: ignore[arg-type]
