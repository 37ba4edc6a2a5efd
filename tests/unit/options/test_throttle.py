"""How a pace is given on the command line and in a script."""

from __future__ import annotations

import pytest

from taskmaster.errors import UsageError
from taskmaster.guards.pace import Pace, PaceLimit
from taskmaster.options.commands import RunOptions
from taskmaster.options.throttle import probe_of
from taskmaster.postgres import pace

NAMED = Pace("2x", lambda: 0.0)


def test_the_command_line_wins_over_the_module() -> None:
    """Nothing said, off, a limit with a database, and a pace of a script."""
    made = pace("1.5x", "dbname=blog")

    assert RunOptions().paced(NAMED) is NAMED
    assert RunOptions(pace=" OFF ").paced(NAMED) is None
    assert RunOptions(pace=made).paced(NAMED) is made
    given = RunOptions(pace="20ms@postgresql://me:se%40cret@h/b").paced(NAMED)
    assert given is not None
    assert given.limit == PaceLimit(seconds=0.02)


@pytest.mark.parametrize(
    "text",
    [
        "1.5x", "1.5x@", "1.5x@ ", "@dbname=b", "dbname=b password=sesame1", "fast@dbname=b",
        "1.5x@dbname=b password=sesame1 'x", "1.5x@postgresql://me:sesame1@h:port/b", "",
    ],
)  # fmt: skip
def test_a_pace_that_is_none_is_refused_and_no_password_repeated(text: str) -> None:
    """With the option that it is of, and how it is written."""
    with pytest.raises(UsageError, match="--pace") as refused:
        RunOptions(pace=text).check()

    assert "sesame1" not in str(refused.value)


def test_a_script_gives_a_text_or_a_pace() -> None:
    """And is told so where it gives a number."""
    RunOptions(pace=pace("1.5x", "dbname=blog")).check()
    with pytest.raises(UsageError, match=r"postgres\.pace"):
        RunOptions(pace=1.5).check()  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", ["fast", "1.05x", "20m", "-3ms"])
def test_a_limit_that_cannot_be_read_is_quoted(limit: str) -> None:
    """Before a database; without one, it may be a part of a DSN."""
    with pytest.raises(UsageError, match=f"'{limit}', a limit that cannot be read"):
        RunOptions(pace=f"{limit}@dbname=b").check()
    with pytest.raises(UsageError, match="--pace has a limit that cannot be read"):
        RunOptions(pace="sesame1").check()


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("hots=127.0.0.1", "tm-ctl probe has a DSN with 'hots', and PostgreSQL has no such option; did you mean host?"),
        ("postgresql://h/b?sslmod=require", "has a DSN with 'sslmod', and PostgreSQL has no such option; did you mean"),
        ("host=h database=b", "with 'database', and PostgreSQL has no such option; there are host, port, dbname"),
        ("pwd=s3cret", "has a DSN with 'pwd'"),
        ("password=my hots=1", "has a DSN that cannot be read"),
        ("postgresql://me:my@x/y?hots=3@h/b", "has a DSN that cannot be read"),
        ("hots", "has a DSN that cannot be read"),
    ],
)
def test_the_wrong_word_of_a_dsn_is_named_unless_it_may_be_of_a_password(dsn: str, said: str) -> None:
    """A name that is written wrong is found at once; a password has spaces, = and ?, too."""
    with pytest.raises(UsageError) as refused:
        probe_of(dsn, "")

    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)
    if "cannot be read" in said:
        assert "hots" not in str(refused.value)
