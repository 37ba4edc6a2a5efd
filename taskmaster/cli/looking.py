"""The commands of ``tm-ctl`` that show a running run, and who has steered it."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any

import click

from taskmaster.cli.command import loaded
from taskmaster.cli.echo import echo, echo_json
from taskmaster.cli.options import parse_arguments
from taskmaster.cli.which_run import client_of, one_master, print_table, run_command_of, short_time
from taskmaster.errors import UsageError
from taskmaster.redaction import clean
from taskmaster.units import show_moment
from taskmaster.view.status import STATUS_SCHEMA

__all__ = ["events", "settings", "slaves", "trail", "why"]

FOLLOW_SECONDS = 0.5  # between two requests for new events


@run_command_of()
def why(**where: Any) -> int:
    """Say in one sentence why a run is no faster, and what cures it.

    The exit code is 0 when work flows, 1 when somebody holds the run, 2 when a guard or the rate
    does, 3 when there is no slave, 4 when the source yields nothing, 5 when the state cannot be
    written, 6 when there is no master to ask.

    \b
    Example:
      tm-ctl why backfill.py
    """  # noqa: D301
    from taskmaster.master.why import WhyCode

    client = client_of(where)
    try:
        found = client.status()
    finally:
        client.close()
    reason = found.get("why")
    if not reason:
        raise UsageError(
            "The master runs an older Taskmaster, which does not say why; `tm-ctl status` says what it can."
        )
    if where["as_json"]:
        echo_json({"schema": STATUS_SCHEMA, "why": reason})
    else:
        sentence = reason["sentence"]
        echo(clean(f"{sentence[:1].upper()}{sentence[1:]}." + (f" {reason['cure']}" if reason["cure"] else "")))
    try:
        return WhyCode(reason["code"]).exit_code
    except ValueError:
        return 0


@run_command_of(click.option("--all", "everything", is_flag=True, help="Also list those that have gone."))
def slaves(everything: bool, **where: Any) -> None:
    """List the slaves of a run: what each has done, how busy it is, and its longest running job.

    \b
    Example:
      tm-ctl slaves backfill.py
    """  # noqa: D301
    client = client_of(where)
    try:
        rows: list[dict[str, Any]] = []
        while True:
            page = client.look("slaves", after=len(rows))
            rows += page["rows"]
            if not page["rows"] or len(rows) >= page["slaves"]:
                break
    finally:
        client.close()
    if where["as_json"]:
        echo_json({"schema": STATUS_SCHEMA, "slaves": rows, "gone_before": page["gone_before"]})
        return
    gone = [row for row in rows if row["gone_at"] is not None]
    shown = rows if everything else [row for row in rows if row["gone_at"] is None]
    print_table(SLAVE_COLUMNS, map(_slave_row, shown))
    if gone and not everything:
        lost = sum(row["state"] == "lost" for row in gone)
        count = len(gone) + page["gone_before"]
        echo(f"{count} {'other has' if count == 1 else 'others have'} gone ({lost} lost); --all lists them.")


SLAVE_COLUMNS = (
    "SLAVE", "STATE", "WORKERS", "BUSY", "IN HAND", "DONE", "ATTEMPTS FAILED", "JOBS/S", "P50", "P95", "HEARD",
    "LONGEST JOB", "RELEASE",
)  # fmt: skip


def _slave_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    longest = f"{row['longest']}, {short_time(row['longest_seconds'])}" if row["longest"] else "-"
    state = row["state"] if row["gone_at"] is None else f"{row['state']} {show_moment(row['gone_at'])}"
    busy = "-" if row["busy_share"] is None else f"{100 * row['busy_share']:.0f}%"
    heard = "-" if row["heard_seconds"] is None else f"{short_time(row['heard_seconds'])} ago"
    return (
        row["name"], state, str(row["workers"]), busy, str(row["in_hand"]), str(row["done"]), str(row["failed"]),
        f"{row['rate']:.4g}", short_time(row["p50"]), short_time(row["p95"]), heard, longest, row["release"],
    )  # fmt: skip


@run_command_of(click.option("-n", "most", type=click.IntRange(1), default=20, help="How many of the newest entries."))
def trail(most: int, **where: Any) -> None:
    """List who changed what in a run, when and why; also of a run that is not going on.

    \b
    Example:
      tm-ctl trail backfill.py -n 50
    """  # noqa: D301
    rows = _trail_rows(where, most)[-most:]
    if where["as_json"]:
        for row in rows:
            echo_json({"schema": STATUS_SCHEMA, **row})
        return
    print_table(("WHEN", "WHO", "WHAT", "BEFORE", "AFTER", "WHY"), map(_trail_row, rows))


def _trail_rows(where: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
    """Return the trail from the master, or from the state if no master is running on it."""
    from taskmaster.runner import control
    from taskmaster.runner.identities import state_of

    if one_master(where["state"]) is not None:
        path = state_of(where["state"], parse_arguments(where["arguments"]), where["get_jobs_callback"])
        found = control.trail_of(str(path))
        if found is not None:
            loaded()
            return found
    client = client_of(where)
    try:
        rows: list[dict[str, Any]] = client.trail(most)
        return rows
    finally:
        client.close()


def _trail_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    who = row["via"] if not row["user"] else f"{row['user']}@{row['host']}" if row["host"] else row["user"]
    return show_moment(row["at"]), who, row["command"], row["before"] or "-", row["after"] or "-", row["reason"] or "-"


@run_command_of()
def settings(**where: Any) -> None:
    """List the settings of a run, and where each value comes from.

    Those with the source `live` were changed with `tm-ctl set` while the run goes on.

    \b
    Example:
      tm-ctl settings backfill.py
    """  # noqa: D301
    client = client_of(where)
    try:
        rows = client.look("settings")
    finally:
        client.close()
    if where["as_json"]:
        echo_json({"schema": STATUS_SCHEMA, "settings": rows})
        return
    print_table(
        ("NAME", "VALUE", "DEFAULT", "SOURCE", "BY"),
        (
            (
                row["name"], row["value"], row["default"], row["source"],
                f"{row['by']} on {show_moment(row['at'])}" if row["by"] else "-",
            )
            for row in rows
        ),
    )  # fmt: skip


@run_command_of(
    click.option("--follow", is_flag=True, help="Print new events as they happen, until the run is over."),
    click.option("--since", type=click.IntRange(0), default=0, help="Only events with a number above this one."),
)
def events(follow: bool, since: int, **where: Any) -> None:
    """List what has happened in this session of a run: the newest thousand events.

    With --json, each is an object with its number `seq`, which --since takes.

    \b
    Examples:
      tm-ctl events backfill.py
      tm-ctl events backfill.py --follow --json
    """  # noqa: D301
    from taskmaster.errors import ConnectError
    from taskmaster.master.events import LAST_EVENTS
    from taskmaster.transport.client import Declined

    following = {"follower": uuid.uuid4().hex} if follow else {}
    client = client_of(where)
    try:
        while True:
            try:
                page = client.look("events", after=since, **following)
            except Declined:
                raise
            except ConnectError as exc:
                if not follow or not since:
                    raise
                echo(f"The master does not answer any more: {exc}", err=True)
                return
            since = _shown_events(page, since, as_json=where["as_json"])
            if page["rows"]:
                sys.stdout.flush()
                if page["rows"][-1]["event"] in LAST_EVENTS:
                    return
            elif not follow:
                return
            else:
                time.sleep(FOLLOW_SECONDS)
    finally:
        client.close()


def _shown_events(page: Mapping[str, Any], since: int, *, as_json: bool) -> int:
    """Print a page of events; return the number of its last one."""
    if page["forgotten"] and since:
        echo(f"{page['forgotten']} events between are forgotten: a master keeps a thousand.", err=True)
    for event in page["rows"]:
        if as_json:
            echo_json(event)
        else:
            echo(f"{show_moment(event['at'])}  {event['event']:<16}  {event['text']}")
        since = event["seq"]
    return since
