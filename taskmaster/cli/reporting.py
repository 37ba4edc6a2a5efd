"""``tm-ctl report``: the report of a run, which may be going on or not."""

from __future__ import annotations

import sys
from typing import Any

import click

from taskmaster.cli.command import loaded
from taskmaster.cli.echo import echo, echo_json
from taskmaster.cli.options import parse_arguments
from taskmaster.cli.which_run import one_master, run_command_of

__all__ = ["report"]

_output = click.option(
    "-o",
    "--output",
    metavar="FILE",
    default=None,
    help="Write to this file, whole or not at all; JSON if the name ends with .json.  [default: standard output]",
)


@run_command_of(_output)
def report(output: str | None, **where: Any) -> None:
    """Make a report of a run: a page of HTML without a script, in one file.

    It says how the run stands or has ended, how fast it was, what has failed, who changed what, and
    which command resumes it. While the run goes on, its master is asked. Otherwise the report is
    made from the state, without slaves and times of jobs. `--report` of tm-run and tm-master writes
    it at the end.

    \b
    Examples:
      tm-ctl report backfill.py --output report.html
      tm-ctl report backfill.tmstate --json
    """  # noqa: D301
    from taskmaster.runner import control, report_file
    from taskmaster.runner.answer_shapes import making_sense_of
    from taskmaster.runner.identities import state_of

    report_file.check_report(output, "--output")
    path, host = None, where["host"]
    if one_master(where["state"]) is not None:
        path = str(state_of(where["state"], parse_arguments(where["arguments"]), where["get_jobs_callback"]))
        host = control.find_master(path)
    loaded()
    if host is None and path is not None:
        facts = report_file.report_of_state(path)
        _put(facts, output, as_json=where["as_json"])
        return
    with making_sense_of(str(host)):
        facts = report_file.report_of_master(str(host), where["key"], where["key_file"], path)
        _put(facts, output, as_json=where["as_json"])


def _put(facts: dict[str, Any], output: str | None, *, as_json: bool) -> None:
    """Print a report, or write it to a file."""
    from taskmaster.errors import StateUnwritable
    from taskmaster.runner import report_file

    if output is None and as_json:
        echo_json(facts)
    elif output is None:
        sys.stdout.write(report_file.as_html(facts).decode())
    else:
        try:
            report_file.write_report(output, facts, as_json=as_json)
        except OSError as exc:
            raise StateUnwritable(f"The report cannot be written to {output}: {exc.strerror or exc}.") from None
        echo(f"The report is in {output}", err=True)
