"""One declaration of an option: commands, scripts, checks and other rooms all read it."""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass
from typing import Any

import click
import pytest
from click.testing import CliRunner

from taskmaster.cli.options import SectionedCommand, options_of
from taskmaster.errors import UsageError
from taskmaster.master.broker.limits import Limits
from taskmaster.options.commands import MasterOptions, RunOptions, SlaveOptions
from taskmaster.options.keywords import from_keywords
from taskmaster.options.option import Section, amount, check_options, count, flag, from_options, option_of
from taskmaster.records import record
from taskmaster.units import seconds_of


@record(slots=False)
class Extended(RunOptions):
    """The options of tm-run and one more, as somebody who adds an option would write it."""

    foo: int | None = count(Section.QUEUE, None, "Number of foos.", least=1, unset="no limit")


def test_a_field_is_all_that_an_option_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its declaration come spelling, help, type, limits, variable and keyword."""
    got: list[dict[str, Any]] = []
    command = click.command(cls=SectionedCommand)(options_of(Extended)(lambda **given: got.append(given)))
    monkeypatch.setenv("TASKMASTER_FOO", "7")

    shown = CliRunner().invoke(command, ["--help"]).output
    CliRunner().invoke(command, ["--foo=5"])
    CliRunner().invoke(command, [])

    assert "--foo N" in shown
    assert "Number of foos.  [default: no limit]" in shown
    assert [given["foo"] for given in got] == [5, 7]
    assert from_keywords(Extended, {"foo": 5}).foo == 5  # type: ignore[type-var]
    with pytest.raises(UsageError, match=r"^--foo is 0: give 1 or more"):
        Extended(foo=0).check()


@pytest.mark.parametrize("cls", [MasterOptions, SlaveOptions, RunOptions])
def test_every_field_is_declared(cls: type[Any]) -> None:
    """No option goes without its help and its limits."""
    assert [one.name for one in fields(cls) if not option_of(one).help.endswith(".")] == []


@pytest.mark.parametrize(
    ("given", "seconds"), [("5m", 300.0), ("1h30m", 5400.0), ("90", 90.0), ("0.5", 0.5), ("inf", float("inf"))]
)
def test_seconds_may_be_written_as_a_time(given: str, seconds: float) -> None:
    """``--run-time`` and ``tm-ctl set`` take 5m; ``--job-timeout=5m`` was no valid float."""
    got: list[dict[str, Any]] = []
    command = click.command(cls=SectionedCommand)(options_of(MasterOptions)(lambda **given: got.append(given)))

    assert CliRunner().invoke(command, [f"--job-timeout={given}"]).exception is None
    CliRunner().invoke(command, [])

    assert [one["job_timeout"] for one in got] == [seconds, None]
    assert got[1]["grace"] == 30.0
    assert from_keywords(MasterOptions, {"job_timeout": given}).job_timeout == seconds


def test_seconds_that_cannot_be_read_are_refused_with_how_they_are_written() -> None:
    """Also what is allowed is said by the option's own check."""
    with pytest.raises(UsageError, match=r"^--grace is '5x': give a number of seconds, or a time like 90s, 15m"):
        from_keywords(MasterOptions, {"grace": "5x"})
    with pytest.raises(UsageError, match=r"^--grace is -1\.0: give a number of seconds, 0 or more"):
        from_keywords(MasterOptions, {"grace": "-1"}).check()


@pytest.mark.parametrize("given", ["500", 500, "500K"])
def test_memory_without_its_unit_is_refused(given: int | str) -> None:
    """500 for 500M was 500 bytes: each worker was replaced when it had run a batch."""
    with pytest.raises(UsageError, match=r"^--memory-per-worker is (500|512000): .* with its unit, like 500M"):
        from_keywords(RunOptions, {"memory_per_worker": given}).check()


def test_a_flag_is_true_or_false() -> None:
    """A text such as "no" is true to Python: reset="no" would give a run up."""
    with pytest.raises(UsageError, match=r"^--reset is 'no': give True or False"):
        RunOptions(reset="no").check()  # type: ignore[arg-type]
    RunOptions(reset=1).check()  # type: ignore[arg-type]


def test_none_is_allowed_only_where_it_is_the_default() -> None:
    """Where it is, it means what the help says; elsewhere it is a slip."""
    made = make_dataclass(
        "Made",
        [
            ("a", Any, count(Section.QUEUE, None, "A.", least=1)),
            ("b", Any, count(Section.QUEUE, 1, "B.", least=1)),
            ("c", Any, amount(Section.QUEUE, "TIME", seconds_of, "C.")),
            ("d", Any, flag(Section.QUEUE, "D.")),
        ],
    )

    check_options(made())
    with pytest.raises(UsageError, match=r"^--b is None"):
        check_options(made(b=None))


def test_settings_of_another_room_take_the_options_of_the_same_names() -> None:
    """What is given beside them wins, and what only the options have is left out."""

    @dataclass(frozen=True)
    class Theirs:
        retries: int
        limit: int | None
        other: str = "other"

    assert from_options(Theirs, MasterOptions(retries=5, limit=7), limit=None) == Theirs(5, None)


def test_the_broker_s_defaults_are_the_options() -> None:
    """A run that a test makes without options is one that a user would get."""
    apart = {"outage", "max_failures"}  # these are worked out
    options, limits = MasterOptions(), Limits()
    shared = {one.name for one in fields(Limits)} & {one.name for one in fields(MasterOptions)} - apart

    assert {"size", "span", "lease", "lease_grace", "limit", "retries", "nice"} <= shared
    assert {name: getattr(limits, name) for name in shared} == {name: getattr(options, name) for name in shared}
