"""``tm-ctl``: look at a running master and at state files; make keys."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from taskmaster.cli import looking, probing, reporting, steering  # noqa: F401  # they make commands
from taskmaster.cli.command import loaded, run_command
from taskmaster.cli.completing import SHELLS, of_run, of_state, script_of
from taskmaster.cli.echo import echo, echo_json
from taskmaster.cli.options import CONTEXT_SETTINGS, common, json_option, merge, option, parse_arguments
from taskmaster.cli.which_run import RUN_COMMANDS, one_master, print_table
from taskmaster.errors import UsageError
from taskmaster.options.commands import MasterOptions
from taskmaster.units import show_count, show_moment

if TYPE_CHECKING:
    from taskmaster.cli.failures import Style

__all__ = ["main", "tm_ctl"]


_get_jobs_callback = option(MasterOptions, "get_jobs_callback")


def _key(function: Any) -> Any:
    return option(MasterOptions, "key")(option(MasterOptions, "key_file")(function))


@click.group(context_settings=CONTEXT_SETTINGS)
@common
def tm_ctl(**given: Any) -> None:
    """Look at a running master and at the runs of a state file; make keys.

    \b
    Examples:
      tm-ctl keygen tm.key
      tm-ctl status --host=10.0.0.1:5050 --key-file=tm.key
      tm-ctl pause backfill.py --for 10m --reason "deploy"
    """  # noqa: D301
    merge(MasterOptions, given)


@tm_ctl.command()
@click.argument("path", default="tm.key")
def keygen(path: str) -> None:
    """Make a key file, tm.key if no PATH is given, that only you can read.

    A master that can be reached from other machines needs a key, and each slave there a copy of it.

    \b
    Example:
      tm-ctl keygen tm.key
    """  # noqa: D301
    from taskmaster.transport import keyfile

    written = keyfile.write_new(path)
    click.echo(str(written))  # unchanged, for scripts
    word = shlex.quote(path)
    echo(
        f"Start the master with --key-file={word}, copy the file to the machines of the slaves (scp -p {word} "
        "HOST:), and start them with --key-file too. Anybody who has the key can run code on the slaves.",
        err=True,
    )


@tm_ctl.command("web-url")
@click.argument("state", shell_complete=of_state)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)
@_get_jobs_callback
@click.option(
    "--look", is_flag=True, envvar="TASKMASTER_LOOK", help="The address of a page that only shows the run, to hand on."
)
def web_url(state: str, arguments: tuple[str, ...], get_jobs_callback: str | None, look: bool) -> None:
    """Print the address of a run's page, with its token.

    STATE is the state file of the run, or the TARGET with the arguments that it was given. The page
    is that of a master that was started with --web, or of tm-web, by you, on this machine.

    \b
    Examples:
      tm-ctl web-url backfill.py
      tm-ctl web-url backfill.py --look
    """  # noqa: D301
    from taskmaster.runner.identities import state_of
    from taskmaster.runner.page_tokens import kept_page

    path = str(state_of(state, parse_arguments(arguments), get_jobs_callback))
    page = kept_page(path)
    if page is None:
        raise UsageError(
            f"No page of yours has been served for {path} on this machine: start the run with --web, or `tm-web "
            f"{shlex.quote(path)}` beside it."
        )
    click.echo(f"{page.url}?token={page.tokens.look if look else page.tokens.steer}")


@tm_ctl.command()
@click.argument("state", required=False, shell_complete=of_state)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)
@option(MasterOptions, "host", help="Address of the master, if no STATE is given.")
@_key
@_get_jobs_callback
@json_option
@click.option(
    "--watch",
    is_flag=True,
    envvar="TASKMASTER_WATCH",
    help="Print the status again each second, over the last one, until the run is over.",
)
def status(
    *,
    state: str | None,
    arguments: tuple[str, ...],
    host: str,
    key: str | None,
    key_file: str | None,
    get_jobs_callback: str | None,
    as_json: bool,
    watch: bool,
) -> None:
    """Say what a running master is doing.

    STATE is the state file of its run, or the TARGET with the arguments that it was given. Both
    also find a tm-run on this machine, on any port.

    \b
    Examples:
      tm-ctl status backfill.py
      tm-ctl status --host=127.0.0.1:5050
      tm-ctl status backfill.py --watch
    """  # noqa: D301
    from taskmaster.cli.watching import as_object, described, watching
    from taskmaster.runner import control
    from taskmaster.runner.identities import state_of
    from taskmaster.runner.steer_client import status_of

    state = one_master(state)
    path = state_of(state, parse_arguments(arguments), get_jobs_callback) if state is not None else None

    loaded()

    where = host if path is None else control.master_of(str(path))
    if watch:
        watching(where, key, key_file, as_json=as_json)
        return
    found = status_of(where, key, key_file)
    if as_json:
        echo_json(as_object(found))
    else:
        echo(*described(found))


@tm_ctl.command()
@click.argument("state", default=".", shell_complete=of_state)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)
@_get_jobs_callback
def runs(state: str, arguments: tuple[str, ...], get_jobs_callback: str | None) -> None:
    """List the states of a directory, or the runs that a state file holds, the newest first.

    STATE is the file, or the TARGET with the arguments that tm-master was given, whose default
    state file in this directory is meant. The run with a * is the one that a master resumes.
    Without STATE, or with a directory, each state file there is listed with what it belongs to.

    \b
    Examples:
      tm-ctl runs
      tm-ctl runs backfill.tmstate
      tm-ctl runs backfill.py since=2024-01-01
    """  # noqa: D301
    from taskmaster.runner import control
    from taskmaster.runner.identities import state_of

    found = parse_arguments(arguments)
    if not found and Path(state).is_dir():
        loaded()
        _list_states(control.states_in(Path(state)), state)
        return
    path = state_of(state, found, get_jobs_callback)

    loaded()

    rows = [("*" if run.resumed else "", run.id, *_row(run)) for run in control.runs_of(str(path))]
    print_table(("", "RUN", *RUN_COLUMNS), rows)


@tm_ctl.command()
@click.argument("run", shell_complete=of_run)
@click.argument("named", metavar="[STATE]", required=False, shell_complete=of_state)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)
@option(MasterOptions, "state", help="The state file; the same as STATE.")
@_get_jobs_callback
def restore(
    run: str, named: str | None, arguments: tuple[str, ...], state: str | None, get_jobs_callback: str | None
) -> None:
    """Take back a RUN that --reset gave up: the master will resume it next.

    RUN is its id, or the beginning of it, as `tm-ctl runs` lists them. STATE is the state file, or
    the TARGET with the arguments that tm-master was given.

    \b
    Examples:
      tm-ctl restore 3f2a backfill.py
      tm-ctl restore 3f2a --state backfill.tmstate
    """  # noqa: D301
    if (named is None) == (state is None):
        raise click.UsageError("Name the state that holds the run, once: as STATE after it, or with --state.")
    from taskmaster.runner import control
    from taskmaster.runner.identities import state_of

    path = state_of(named, parse_arguments(arguments), get_jobs_callback) if named is not None else state

    loaded()

    record = control.restore(str(path), run)
    reached = f"reached key {record.reached}" if record.reached else "reached no key"
    echo(
        f"The run {record.id} is the current one again; it has settled {show_count(record.settled, 'job')} and "
        f"{reached}. Start the master as before, without --reset, to resume it."
    )


@tm_ctl.command()
@click.argument("state", required=False, shell_complete=of_state)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)
@option(MasterOptions, "host", default=None, help="Ask the master at this address, instead of reading a state file.")
@_key
@_get_jobs_callback
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="As CSV with a header line, for spreadsheets.")
@click.option("--type", "kind", metavar="CLASS", help="Only jobs whose last attempt raised this class of exception.")
@click.option(
    "--job",
    "wanted",
    metavar="KEY",
    multiple=True,
    help="Only the job with this key, with its tracebacks; may be repeated.",
)
@click.option("-v", "--tracebacks", is_flag=True, help="Show the traceback of each attempt.")
@click.option(
    "--drop",
    "dropped",
    metavar="KEY",
    multiple=True,
    help="Forget the failed job with this key; may be repeated.",
)
@click.option("--drop-all", is_flag=True, help="Forget all failed jobs; with --type, those of that class.")
def failures(  # noqa: PLR0913  # an option each
    *,
    state: str | None,
    arguments: tuple[str, ...],
    host: str | None,
    key: str | None,
    key_file: str | None,
    get_jobs_callback: str | None,
    kind: str | None,
    wanted: tuple[str, ...],
    dropped: tuple[str, ...],
    drop_all: bool,
    as_json: bool,
    as_csv: bool,
    tracebacks: bool,
) -> None:
    """List the failed jobs of a run, one by one and by kind, or forget some of them.

    STATE is the file, or the TARGET with the arguments that tm-master was given. The master of a
    running run is asked over the network. To run failed jobs again, start tm-master or tm-run with
    --failed.

    \b
    Examples:
      tm-ctl failures backfill.tmstate
      tm-ctl failures backfill.py --type KeyError --csv
      tm-ctl failures --host=10.0.0.1:5050 --key-file=tm.key --json
      tm-ctl failures backfill.tmstate --drop 4711
    """  # noqa: D301
    if (state is None) == (host is None):
        raise UsageError("Name the run whose failed jobs are meant: either its STATE, or its master with --host.")
    from taskmaster.cli.failures import check_styles
    from taskmaster.runner import control
    from taskmaster.runner.identities import state_of

    path = state_of(state, parse_arguments(arguments), get_jobs_callback) if state is not None else None

    loaded()

    style = check_styles(as_json=as_json, as_csv=as_csv)
    if dropped or drop_all:
        _drop(path, dropped, kind, everything=drop_all)
        return
    if path is not None:
        found = control.failures(str(path), kind)
    else:
        found = control.failures_of(str(host), key, key_file, kind)
    _list(found, style, kind, wanted, tracebacks=tracebacks)


def _list(found: Iterable[Any], style: Style, kind: str | None, wanted: Sequence[str], *, tracebacks: bool) -> None:
    """Print failed jobs: those with the keys that are wanted, if any are."""
    from taskmaster.cli.failures import Style, show, with_keys
    from taskmaster.runner import control

    count = show(with_keys(found, wanted) if wanted else found, style=style, tracebacks=tracebacks or bool(wanted))
    if wanted and not count:
        raise control.no_such_key(", ".join(wanted))
    if not count and style is Style.TEXT:
        echo("No job of this run counts as failed" + (" like that." if kind or wanted else "."), err=True)


def _drop(path: Path | None, wanted: Sequence[str], kind: str | None, *, everything: bool) -> None:
    """Forget failed jobs, and print how many they were."""
    from taskmaster.runner import control

    if path is None:
        raise UsageError("--drop changes a state file: stop the run, and name its STATE instead of --host.")
    if everything and wanted:
        raise UsageError("--drop and --drop-all are both given: leave one out.")
    if everything:
        echo(f"{_jobs(control.drop_all_failures(str(path), kind))} forgotten.", err=True)
        return
    for shown, number in control.drop_failures(str(path), wanted, kind).items():
        echo(f"{_jobs(number)} with the key {shown} forgotten.", err=True)


def _jobs(number: int) -> str:
    return f"{number} failed {'job' if number == 1 else 'jobs'}"


RUN_COLUMNS = ("STARTED", "FINISHED", "EXIT", "SETTLED", "FAILED", "KEY")


def _row(run: Any) -> tuple[str, ...]:
    """Return the columns of the table that describe a run."""
    from taskmaster.runner.report_facts import conclusion_of_state

    code = conclusion_of_state(run)["exit_code"]
    ended = show_moment(run.finished), "-" if code is None else str(code)
    return (show_moment(run.started), *ended, str(run.settled), str(run.failures), run.reached or "-")


def _list_states(states: Iterable[Any], directory: str) -> None:
    rows = []
    for one in states:
        columns = _row(one.run) if one.run is not None else ("-",) * len(RUN_COLUMNS)
        rows.append((one.path.name, *columns, one.belongs or one.remark))
    if not rows:
        echo(f"There is no state file in {Path(directory).resolve()}.", err=True)
        return
    print_table(("STATE", *RUN_COLUMNS, "BELONGS TO"), rows)


@tm_ctl.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete all commands.

    Options, TARGET, STATE, RUN and SLAVE are completed with TAB. The script goes into the file that
    the shell reads at its start, such as ~/.bashrc or ~/.zshrc.

    \b
    Examples:
      tm-ctl completion bash
      tm-ctl completion fish
    """  # noqa: D301
    click.echo(script_of(shell))


for _one in (*RUN_COMMANDS, probing.probe):
    tm_ctl.add_command(_one)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command as a program."""
    run_command(tm_ctl, "tm-ctl", words)
