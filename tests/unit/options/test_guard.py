"""What --guard takes."""

from __future__ import annotations

import pytest

from taskmaster.errors import UsageError
from taskmaster.options.commands import MasterOptions, RunOptions
from taskmaster.options.guard import parse_guard


def test_guards_of_the_command_line() -> None:
    """Durations have units; the DSN may hold what it likes."""
    options = RunOptions(
        guard=(
            "replication_lag=1m30s@postgresql://me:p@h/b?application_name=x",
            "active_connections=50@host=h dbname=b user=a@b",
            "long_transactions=60@dbname=b",
            "locks_waiting=0@dbname=b",
            "wal_rate=20M@dbname=b",
            "checkpoints_forced=1@dbname=b",
            "dead_tuples=public.posts:100000@dbname=b",
            "dead_tuples=posts:20%@dbname=b",
            "autovacuum_running=posts@dbname=b",
            "disk_free=1K@/",
            "disk_free=10%@/",
            "cpu_load=80%",
        )
    )
    options.check()
    made = options.throttle_hooks()

    assert [(guard.what, guard.limit) for guard in made] == [
        ("replication lag", 90.0),
        ("active connections", 50),
        ("oldest transaction", 60.0),
        ("waiting locks", 0),
        ("written log", 20 * 2**20),
        ("forced checkpoints", 1),
        ("dead rows of public.posts", 100_000),
        ("dead rows of posts", 20.0),
        ("autovacuum workers on posts", 0),
        ("free space at /", 1024),
        ("free space at /", 10.0),
        ("load of the processors", 80.0),
    ]
    assert [guard._read._dsn for guard in made[:2]] == [
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
        "dead_tuples=pg:s3cret@db/x",
        "dead_tuples=100000@password=s3cret",
        "wal_rate=fast@password=s3cret",
        "wal_rate=s3cret",
        "checkpoints_forced=1.5@password=s3cret",
        "autovacuum_running=@password=s3cret",
        "cpu_load=800%",
        "disk_free=20G",
        "disk_free=20G@/no/such/place",
        "disk_free=much@/",
        "http=me:s3cret@throttle.example",
        "http=ftp://me:s3cret@throttle.example",
        "http=",
    ],
)
def test_a_bad_guard_is_refused_with_what_there_is(text: str) -> None:
    """What there is, or how this one is written, and never a password."""
    with pytest.raises(UsageError) as caught:
        MasterOptions(guard=(text,)).check()

    message = str(caught.value)
    assert message.startswith("--guard")
    assert "s3cret" not in message
    if "DSN that cannot be read" not in message:
        name = text.partition("=")[0]
        known = name in ("replication_lag", "active_connections", "locks_waiting", "wal_rate", "checkpoints_forced",
                         "dead_tuples", "autovacuum_running", "cpu_load", "disk_free", "http")  # fmt: skip
        assert (f"It is written {name}=" if known else "There are replication_lag=LIMIT@DSN, ") in message


def test_guards_come_as_a_list() -> None:
    """A text is a list of letters to Python."""
    with pytest.raises(UsageError, match="list of texts"):
        RunOptions(guard="locks_waiting=0@dbname=b").check()  # type: ignore[arg-type]


def test_a_service_is_known_by_its_host_alone() -> None:
    """Its address may hold a password or a token."""
    guard = parse_guard("http=https://me:s3cret@throttle.example:8443/check?token=s3cret")

    assert guard.what == "the service at throttle.example"  # type: ignore[attr-defined]
    assert "s3cret" not in repr(guard)


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ("cpu_load=80", "like 80% or 0.8."),
        ("disk_free=110%@/", "like 10%."),
    ],
)
def test_a_share_is_refused_with_an_example_of_its_own_size(text: str, like: str) -> None:
    """A thousandth of the processors is no limit that anybody would want."""
    with pytest.raises(UsageError) as refused:
        parse_guard(text)

    assert like in str(refused.value)
