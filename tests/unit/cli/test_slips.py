"""What was meant by an option that a command does not have, and where a refused value stands."""

from __future__ import annotations

import click
import pytest

from taskmaster.cli.master import tm_master
from taskmaster.cli.run import tm_run
from taskmaster.cli.slave import tm_slave
from taskmaster.cli.slips import CONFIG_FILE, no_such_option, with_origin
from taskmaster.errors import UsageError


def said(command: click.Command, option: str) -> str:
    """Return what is said of an option that a command does not have."""
    return no_such_option(click.NoSuchOption(option, ctx=click.Context(command))).format_message()


@pytest.mark.parametrize(
    ("command", "option", "meant"),
    [
        (tm_run, "--job_timeout", "No such option '--job_timeout'. Did you mean '--job-timeout'?"),
        (tm_slave, "--job_timeout", "No such option '--job_timeout': --job-timeout is one of tm-run and tm-master."),
        (tm_run, "--Retries", "No such option '--Retries'. Did you mean '--retries'?"),
        (tm_run, "--workers", "No such option '--workers'. Did you mean '--processes'?"),
        (tm_run, "-j", "No such option '-j'. Did you mean '--processes'?"),
        (tm_master, "--workers", "No such option '--workers': --processes is one of tm-run and tm-slave."),
        (tm_run, "--target", "No such option '--target': TARGET is a word of its own, without that."),
        (tm_run, "--hepl", "No such option '--hepl'. Did you mean '--help'?"),
        (tm_run, "--force", "No such option '--force'."),
        (tm_run, "--time-out", "No such option '--time-out'. Did you mean '--job-timeout' or '--state-timeout'?"),
    ],
)
def test_an_option_that_a_command_lacks_is_told_with_what_was_meant(
    command: click.Command, option: str, meant: str
) -> None:
    """Click compares names with their hyphens, which make any two alike, and suggests hidden ones;
    an underscore for a hyphen was said to be an option of this very command.
    """
    assert said(command, option) == meant


def test_a_run_is_resumed_without_an_option() -> None:
    """There is none to look for."""
    assert "given again, without an option" in said(tm_run, "--resume")
    assert "given again" not in said(tm_slave, "--resume")


def context(command: click.Command, **variables: str) -> click.Context:
    """Return a context of a command in which options were set by variables."""
    found = click.Context(command)
    for name in variables:
        found.set_parameter_source(name, click.core.ParameterSource.ENVIRONMENT)
    return found


def test_a_value_of_a_variable_is_told_with_the_variable() -> None:
    """The command line shows nothing of it."""
    error = with_origin(context(tm_run, retries="-2"), UsageError("--retries is -2: give 0 or more."), ValueError())

    assert str(error) == "--retries is -2: give 0 or more. That stands in the variable TASKMASTER_RETRIES."


def test_a_value_of_a_file_is_told_with_the_file() -> None:
    """It may be one that nobody has thought of."""
    ctx = click.Context(tm_run)
    ctx.meta[CONFIG_FILE] = "taskmaster.toml"
    ctx.set_parameter_source("job_timeout", click.core.ParameterSource.DEFAULT_MAP)

    error = with_origin(ctx, UsageError("--job-timeout is '5x'."), ValueError())

    assert str(error) == "--job-timeout is '5x'. That stands in taskmaster.toml."


def test_any_other_error_stays_as_it_is() -> None:
    """What is on the command line is seen there."""
    ctx, error = click.Context(tm_run), ValueError("as it was")
    ctx.set_parameter_source("retries", click.core.ParameterSource.COMMANDLINE)

    assert with_origin(ctx, UsageError("--retries is -2: give 0 or more."), error) is error
    assert with_origin(ctx, UsageError("no option is named"), error) is error
