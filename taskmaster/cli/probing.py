"""``tm-ctl probe``: measures a database with the probe of ``--pace``, without a run."""

from __future__ import annotations

from contextlib import closing

import click

from taskmaster.cli.echo import echo, echo_json
from taskmaster.cli.options import json_option
from taskmaster.errors import ConnectError

__all__ = ["probe"]


class _Seconds(click.FloatRange):
    """A number of seconds. Messages say "number", where click would say "float range"."""

    name = "number"


@click.command()
@click.argument("dsn")
@click.option(
    "--statement",
    metavar="SQL",
    default="",
    show_default=False,
    envvar="TASKMASTER_STATEMENT",
    help="Statement to measure instead of the small transaction. It runs in a read-only transaction: one that writes "
    "is refused.",
)
@click.option(
    "--seconds",
    type=_Seconds(1.0),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    envvar="TASKMASTER_SECONDS",
    help="For how long to measure.",
)
@json_option
def probe(dsn: str, statement: str, seconds: float, as_json: bool) -> int:
    """Measure how fast a PostgreSQL database answers, to choose a limit for --pace.

    DSN is the database, as for --pace behind the @. A small transaction is run there eight times a
    second, as during a run with --pace. Its times are printed, and the limits in milliseconds that
    1.5x, 2x and 3x would be. Nothing in the database is changed.

    \b
    Examples:
      tm-ctl probe dbname=blog
      tm-ctl probe dbname=blog --seconds=60 --statement='SELECT * FROM posts WHERE id = 7'
    """  # noqa: D301
    from taskmaster.guards.probe_report import ProbeReport
    from taskmaster.options.throttle import probe_of

    with closing(probe_of(dsn, statement)) as made:
        made.try_out()
        report = ProbeReport(made)
        if not as_json:
            echo(report.beginning(seconds, own=bool(statement)))
        for line in report.lines(seconds):
            if not as_json:
                echo(line)
    if as_json:
        echo_json(report.as_json())
    else:
        echo(*report.summary())
    return 0 if report.taken else ConnectError.exit_code
