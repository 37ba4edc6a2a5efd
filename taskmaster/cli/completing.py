"""What the shell completes: TARGET, STATE, RUN, SLAVE and NAME=VALUE. Nothing of the user's is
imported for it, no state is locked, and states and masters are asked for half a second at most.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

__all__ = ["SHELLS", "of_run", "of_setting", "of_slave", "of_state", "of_target", "script_of", "without_equals_signs"]

SHELLS = ("bash", "zsh", "fish")
COMPLETED_COMMANDS = ("tm-run", "tm-master", "tm-slave", "tm-spawn", "tm-ctl", "tm-web")
COMPLETION_SECONDS = 0.5  # that states and masters have to answer
MOST_OFFERED = 500  # suggestions at once


def script_of(shell: str) -> str:
    """Return the script that lets a shell complete all commands."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise ValueError(shell)
    nothing = click.Command("nothing")  # only its script is used, which calls the real command
    variables = {name: f"_{name.replace('-', '_').upper()}_COMPLETE" for name in COMPLETED_COMMANDS}
    scripts = (found(nothing, {}, name, variable).source() for name, variable in variables.items())
    return "\n".join(script.strip() + "\n" for script in scripts)


def without_equals_signs(environment: MutableMapping[str, str]) -> None:
    """Leave out the equals signs that bash takes for words of their own, in what it says of the
    line: to click, ``--progress``, ``=`` and ``l`` would be an option, its value and another word.
    """
    at = environment.get("COMP_CWORD", "")
    if not at.isdecimal():
        return
    from click.shell_completion import split_arg_string

    words = split_arg_string(environment.get("COMP_WORDS", ""))
    before = [
        word
        for index, word in enumerate(words[: int(at)])
        if word != "=" or not words[max(0, index - 1)].startswith("--")
    ]
    environment["COMP_WORDS"] = shlex.join([*before, *words[int(at) :]])
    environment["COMP_CWORD"] = str(len(before))


def of_target(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return Python files, and the modules of packages: found by their names, without an import."""
    return _beginning(incomplete, [*_files(incomplete, ".py"), *_modules()])


def of_state(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return state files; where none begins so, targets: a target stands for its state."""
    return _beginning(incomplete, _files(incomplete, ".tmstate")) or of_target(_ctx, _param, incomplete)


def of_run(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the runs that the states of this directory hold."""
    from taskmaster.runner import control

    found: list[str] = []

    def ask() -> None:
        for path in sorted(Path().glob("*.tmstate")):
            found.extend(_tried(lambda path=path: control.runs_in(path)))  # type: ignore[misc]

    _for_a_moment(ask)
    return _beginning(incomplete, found)


def of_slave(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the slaves of the masters that are at work on states of this directory, or of that of
    ``--host``; as HOST:PID, and as HOST.
    """
    from taskmaster.runner import control
    from taskmaster.runner.steer_client import SteerClient

    names: list[str] = []

    def ask() -> None:
        hosts = [ctx.params["host"]] if ctx.get_parameter_source("host") is ParameterSource.COMMANDLINE else []
        for path in () if hosts else sorted(Path().glob("*.tmstate")):
            hosts += _tried(lambda path=path: [control.serving_at(path)])  # type: ignore[misc]
        for host in filter(None, hosts):
            client = SteerClient(host, ctx.params.get("key"), ctx.params.get("key_file"), via="tm-ctl")
            rows = _tried(lambda client=client: client.look("slaves")["rows"])  # type: ignore[misc]
            names.extend(row["name"] for row in rows if row["gone_at"] is None)
            client.close()

    _for_a_moment(ask)
    return _beginning(incomplete, [*names, *(name.rpartition(":")[0] for name in list(names))])


def of_setting(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of what can be set."""
    from taskmaster.runner.live_settings import READERS

    return _beginning(incomplete, [f"{name}=" for name in READERS])


def _for_a_moment(ask: Callable[[], None]) -> None:
    """Ask in a thread, and wait for the answer no longer than a person waits for a completion."""
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(COMPLETION_SECONDS)


def _tried(find: Callable[[], list[Any]]) -> list[Any]:
    """Return what is found; nothing where that is not possible: nobody reads messages here."""
    try:
        return find()
    except Exception:
        return []


def _beginning(incomplete: str, found: Iterable[str]) -> list[str]:
    return sorted({one for one in found if one.startswith(incomplete)})[:MOST_OFFERED]


def _files(incomplete: str, suffix: str) -> list[str]:
    """Return the files of the directory that is named so far, and of those in it."""
    directory, slash, _ = incomplete.rpartition("/")
    folder = Path(directory + slash)
    begin = directory + slash
    here = _tried(lambda: [path.name for path in folder.glob(f"[!_]*{suffix}")])
    below = _tried(lambda: [str(path.relative_to(folder)) for path in folder.glob(f"[!.]*/[!_]*{suffix}")])
    return [f"{begin}{name}" for name in [*here, *below]]


def _modules() -> list[str]:
    """Return the modules of the packages of the working directory."""
    packages = _tried(lambda: [path.parent.name for path in Path().glob("*/__init__.py")])
    return [
        f"{package}.{path.stem}"
        for package in packages
        for path in _tried(lambda package=package: list(Path(package).glob("*.py")))  # type: ignore[misc]
        if not path.stem.startswith("__")
    ]
