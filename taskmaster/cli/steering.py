"""The commands of ``tm-ctl`` that steer a running run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import click

from taskmaster.cli.command import loaded
from taskmaster.cli.completing import of_setting, of_slave
from taskmaster.cli.echo import echo, echo_json
from taskmaster.cli.which_run import client_of, reason_option, run_command_of, state_without_master
from taskmaster.errors import UsageError
from taskmaster.redaction import clean
from taskmaster.view.status import STATUS_SCHEMA

__all__ = ["note", "pause", "quiet", "rate", "resume", "retry", "set_", "stop"]

SETTLING_SECONDS = 1.0  # time for slaves to give back jobs that they got at the former rate
MEASURED_SECONDS = 5.0  # time over which a new rate is measured


def _steer(where: Mapping[str, Any], command: str, arguments: Mapping[str, str], reason: str = "") -> None:
    """Ask for a change, and print the result."""
    path = state_without_master(where)
    if path is not None:
        from taskmaster.runner.steer_state import steer_state

        loaded()
        answer = steer_state(path, command, arguments, reason)
        echo_json({"schema": STATUS_SCHEMA, **answer}) if where["as_json"] else echo(clean(answer["say"]))
        return
    client = client_of(where)
    try:
        answer = client.steer(command, arguments, reason)
        late, measured = _seen(client, answer, command, watch=command == "rate" and not where.get("no_watch"))
    finally:
        client.close()
    if where["as_json"]:
        echo_json({"schema": STATUS_SCHEMA, **answer, "not_written": late or None, "measured_rate": measured})
        return
    echo(clean(answer["say"]))
    if measured is not None:
        echo(f"Measured in the last {MEASURED_SECONDS:.0f} s: {measured:.6g} jobs a second.")
    if late:
        echo(clean(late), err=True)


def _seen(client: Any, answer: Mapping[str, Any], command: str, *, watch: bool) -> tuple[str, float | None]:
    """Return a message if a change is not in the state, else "", and the rate that was measured.

    A master that has ended meanwhile had made the change before: a short run may be over.
    """
    from taskmaster.errors import ConnectError

    late, measured, known = "", None, not answer["changed"] or command == "stop"
    try:
        if not known:
            why = client.wait_written(answer["trail"])
            late, known = f"It is in force, but not yet written to the state: {why}" if why else "", True
        if watch:
            measured = _measured(client)
    except ConnectError as exc:
        gone = f"It was in force, but whether the state has it is not known: the master has ended since. {exc}"
        late = late if known else gone
    return late, measured


def _measured(client: Any) -> float | None:
    """Return the jobs a second of the next seconds; None if the master was restarted meanwhile."""
    time.sleep(SETTLING_SECONDS)
    before = client.status()
    time.sleep(MEASURED_SECONDS)
    after = client.status()
    if after.get("incarnation") != before.get("incarnation"):
        return None
    seconds = max(1e-3, after["elapsed"] - before["elapsed"])
    jobs: int = after["settled_here"] - before["settled_here"]
    return round(jobs / float(seconds), 3)


@run_command_of(
    click.option("--for", "duration", metavar="DURATION", help="Resume by itself after this time, like 10m or 2h."),
    click.option("--until", metavar="TIME", help="Resume by itself at this time, like 22:00 or 2026-11-28T22:00."),
    reason_option,
)
def pause(duration: str | None, until: str | None, reason: str, **where: Any) -> None:
    """Hand out no more jobs until `tm-ctl resume`, or for a time.

    Running jobs are finished and reported; jobs that slaves have but have not begun are given
    back. No job is charged an attempt. The pause belongs to the run: it is in force again when the
    master is restarted.

    STATE is the state file of the run, or the TARGET with the arguments that it was given.

    \b
    Examples:
      tm-ctl pause backfill.py
      tm-ctl pause backfill.py --for 10m --reason "deploy"
      tm-ctl pause --host=10.0.0.1:5050 --key-file=tm.key --until 22:00
    """  # noqa: D301
    arguments = {} if duration is None else {"for": duration}
    if until is not None:
        arguments["until"] = repr(_moment(until))
    _steer(where, "pause", arguments, reason)


@run_command_of(reason_option)
def resume(reason: str, **where: Any) -> None:
    """Let a paused run go on, and say what else it waits for.

    \b
    Example:
      tm-ctl resume backfill.py
    """  # noqa: D301
    _steer(where, "resume", {}, reason)


@run_command_of(
    click.argument("rate", metavar="RATE"),
    click.option("--no-watch", is_flag=True, help="Do not measure the new rate, which takes 6 seconds."),
    reason_option,
)
def rate(rate: str, reason: str, **where: Any) -> None:
    """Change how many jobs a second are handed out, to all slaves together.

    RATE is a number like 200 or 0.5, or 30/m, 6000/h, 5000/d; `off` for no limit; `default` for
    that of the master's command line. It stays in force when the master is restarted.

    \b
    Examples:
      tm-ctl rate 40 backfill.py
      tm-ctl rate default backfill.py
    """  # noqa: D301
    _steer(where, "rate", {"rate": rate}, reason)


@run_command_of(click.option("--now", is_flag=True, help="Do not wait for running jobs."), reason_option)
def stop(now: bool, reason: str, **where: Any) -> None:
    """Stop a run so that it can be resumed, as Ctrl-C in its terminal does.

    The master ends with exit code 143 and prints the command that resumes.

    \b
    Example:
      tm-ctl stop backfill.py --reason "the disk is full"
    """  # noqa: D301
    _steer(where, "stop", {"now": "yes"} if now else {}, reason)


@run_command_of(
    click.argument("slave", metavar="SLAVE", shell_complete=of_slave),
    click.option("--stay", is_flag=True, help="Let the slave stay connected, and idle."),
    click.option("--undo", is_flag=True, help="Give the slave jobs again."),
    reason_option,
)
def quiet(slave: str, stay: bool, undo: bool, reason: str, **where: Any) -> None:
    """Give a slave no more jobs, and let it end when its running jobs are done.

    SLAVE is HOST:PID as `tm-ctl slaves` lists it, or HOST for all slaves of a machine, as before it
    is taken away.

    \b
    Examples:
      tm-ctl quiet web3:812 backfill.py
      tm-ctl quiet web3 --host=10.0.0.1:5050 --key-file=tm.key
    """  # noqa: D301
    flags = {name: "yes" for name, given in (("stay", stay), ("undo", undo)) if given}
    _steer(where, "quiet", {"slave": slave, **flags}, reason)


@run_command_of(click.argument("first", metavar="NAME=VALUE", shell_complete=of_setting), reason_option, name="set")
def set_(first: str, reason: str, **where: Any) -> None:
    """Change settings of a run while it goes on.

    NAME is retries, backoff, crashes, job-timeout, max-failures, outage, size, nice, run-time,
    limit, grace or state-timeout; `tm-ctl settings` shows their values. `NAME=default` takes a
    change back. All NAME=VALUE before STATE are set at once.

    \b
    Examples:
      tm-ctl set retries=5 backfill.py
      tm-ctl set job-timeout=30 max-failures=1% backfill.py since=2024-01-01
    """  # noqa: D301
    words = [first, *([where["state"]] if where["state"] is not None else []), *where["arguments"]]
    count = next((number for number, word in enumerate(words) if "=" not in word), len(words))
    settings: dict[str, str] = {}
    for word in words[:count]:
        name, _, value = word.partition("=")
        settings[name] = value
    if not settings:
        raise UsageError(f"{first!r} sets nothing: write NAME=VALUE, as in retries=5.")
    where["state"] = words[count] if count < len(words) else None
    where["arguments"] = tuple(words[count + 1 :])
    _steer(where, "set", settings, reason)


@run_command_of(
    click.option("--kind", "failed_kind", metavar="CLASS", help="The jobs that failed with this class of exception."),
    click.option("--job", "failed_job", metavar="KEY", help="The job with this key."),
    click.option("--all", "all_failed", is_flag=True, help="All failed jobs."),
    reason_option,
)
def retry(failed_kind: str | None, failed_job: str | None, all_failed: bool, reason: str, **where: Any) -> None:
    """Run failed jobs again while the run goes on, before anything new.

    They keep the attempts that they have had, and count as failed until they succeed. When the run
    is over, run them again with --failed instead.

    \b
    Examples:
      tm-ctl retry --kind OperationalError backfill.py
      tm-ctl retry --all backfill.py
    """  # noqa: D301
    chosen = {name: value for name, value in (("kind", failed_kind), ("job", failed_job)) if value is not None}
    if all_failed:
        chosen["all"] = "yes"
    _steer(where, "retry", chosen, reason)


@run_command_of(
    click.argument("text", metavar="TEXT"),
    click.option(
        "--fine", is_flag=True, help="Say that nothing is lost, although workers could not end as they should."
    ),
)
def note(text: str, *, fine: bool, **where: Any) -> None:
    """Write a note into the trail of a run.

    After workers could not end as they should, the run ends with exit code 1 each time it is
    started, until a note with --fine says that somebody has checked what they wrote, and that
    nothing is lost.

    \b
    Examples:
      tm-ctl note "deployed 1.4.2" backfill.py
      tm-ctl note --fine "counted the rows: all are there" backfill.py
    """  # noqa: D301
    _steer(where, "note", {"fine": "yes"} if fine else {}, text)


def _moment(text: str) -> float:
    """Return the next moment with a time of day, or that of a date and time, in seconds since the
    epoch.
    """
    now = datetime.now().astimezone()
    try:
        if "-" in text:
            return datetime.fromisoformat(text).astimezone().timestamp()
        hours, minutes = map(int, text.split(":"))
        found = now.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    except ValueError:
        raise UsageError(
            f"--until is {text!r}: give a time of day like 22:00, or a date and time like 2026-11-28T22:00."
        ) from None
    return (found if found > now else found + timedelta(days=1)).timestamp()
