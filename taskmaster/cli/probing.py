"""``tm-ctl probe``: what the probe of ``--pace`` says of a database without a run."""

from __future__ import annotations

from contextlib import closing

import click

from taskmaster.cli.echo import echo, echo_json
from taskmaster.cli.options import json_option
from taskmaster.errors import ConnectError

__all__ = ["probe"]


class _Seconds(click.FloatRange):
    """A number of seconds, which click calls a float range in a message."""

    name = "number"


@click.command()
@click.argument("dsn")
@click.option(
    "--statement",
    metavar="SQL",
    default="",
    show_default=False,
    envvar="TASKMASTER_STATEMENT",
    help="What stands for the work of others there; by default a small transaction with a read. It runs "
    "in a transaction that is read only: one that writes is refused.",
)
@click.option(
    "--seconds",
    type=_Seconds(1.0),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    envvar="TASKMASTER_SECONDS",
    help="For how long it is probed.",
)
@json_option
def probe(dsn: str, statement: str, seconds: float, as_json: bool) -> int:
    """Measure what others feel of a PostgreSQL database, to choose a limit for --pace.

    DSN is the database, as for --pace behind the @. A small statement is run there eight times a
    second, as beside a run with a pace; how long it takes is shown, and what the limits 1.5x, 2x
    and 3x would come to. Nothing is changed there.

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
