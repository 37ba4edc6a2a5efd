"""The identity of a run, made from what a command or a script was given, and the name of its state
file.

``of_target`` and ``of_script`` make the identity that the state is compared with, and the name that
the state has if nobody gives one. Nothing of the user's is imported or called.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from taskmaster.errors import StateError, StateRefused
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.stores.default_path import SUFFIX, arguments_digest, state_path
from taskmaster.options.commands import RunOptions
from taskmaster.options.option import spelling
from taskmaster.records import record
from taskmaster.redaction import without_passwords_in
from taskmaster.runner.function_names import described, name_of_function
from taskmaster.runner.state_copy import StateBusyNow, copied_state
from taskmaster.runner.surroundings import surroundings
from taskmaster.runtime import working_directory
from taskmaster.runtime.invocation import STDIN, text_of_stdin, words_given
from taskmaster.units import show_count
from taskmaster.user_code import target as targets
from taskmaster.user_code.code_version import code_of_file, file_of

__all__ = ["KnownRun", "find_state", "of_script", "of_target", "state_of", "under_test", "unfinished_elsewhere"]

PACKAGE = Path(__file__).parents[1]
MOST_DIRECTORIES = 4  # above a target, in which its states are looked for
MOST_STATES_NAMED = 5  # states in a message
MOST_EXAMINED = 20  # states that are opened to find an unfinished run
LARGEST_EXAMINED_BYTES = 16 * 1024 * 1024  # larger states are not opened for that: each is copied first
# Words of a script's command line that say how it works and not on what: Django's, and those that
# many scripts have. Taskmaster's own options are left out, too.
NOT_OF_THE_RUN = {"-v": 1, "--verbosity": 1, "--settings": 1, "--pythonpath": 1, "--no-color": 0, "--force-color": 0,
                  "--traceback": 0, "--skip-checks": 0, "-q": 0, "--quiet": 0, "--verbose": 0}  # fmt: skip
TEST_RUNNERS = ("unittest.case", "unittest.suite", "doctest")
OWN_OPTIONS = {spelling(one.name): int(not isinstance(one.default, bool)) for one in fields(RunOptions)}


@record()
class KnownRun:
    """What a run is, and where its state is by default.

    Attributes:
        identity: What the state has to belong to.
        states: Where the state can be; a new one is made at the first of these.
        former: Where releases before 1.0 would have kept it.
    """

    identity: RunIdentity
    states: tuple[Path, ...]
    former: Path


def of_target(parsed: targets.Target, arguments: Mapping[str, str], callback: str = "") -> KnownRun:
    """Return what the run of a command's target is.

    Args:
        parsed: The target, with the function that yields jobs if one was named.
        arguments: The arguments of that function.
        callback: Name of the function that is called with each job, if it is not the usual one.
    """
    here = Path(os.path.realpath(working_directory.where_typed()))
    function = parsed.function or "get_jobs"
    found = file_of(parsed)
    installed = parsed.path is None and (found is None or _is_installed(found))
    what: dict[str, Any] = {"module": parsed.module if installed else "", "function": function}
    what |= {"arguments": dict(arguments), "callback": callback}
    name = targets.name(parsed, "get_jobs")
    former_path = state_path(name, arguments_digest(arguments))
    former = f"{name} {arguments_text(arguments)}" if arguments else name
    suffix = "" if function == "get_jobs" else f"-{function}"
    digest = arguments_digest(without_passwords_in(arguments))
    if installed:
        about = {name: value for name, value in what.items() if value}
        identity = RunIdentity(about, former=former, environment=surroundings())
        digest = identity.digest(here) if callback else digest
        return KnownRun(identity, (state_path(parsed.module + suffix, digest),), former_path)
    given = _as_given(parsed, found)
    real = os.path.realpath(given)
    below = _dotted_below(real, here)
    identity = RunIdentity(
        {name: value for name, value in what.items() if value},
        file=real,
        given=given,
        code=code_of_file(real),
        former=former,
        # A file that is not below the working directory was known by the last part of its name.
        former_is_sure=below is not None,
        environment=surroundings(),
    )
    plain = None if callback else digest
    paths = _default_paths(identity, here, suffix, plain)
    if (now := working_directory.find()) is not None:  # where a module has gone when it was imported
        paths += _default_paths(identity, Path(os.path.realpath(now)), suffix, plain)
    return KnownRun(identity, tuple(dict.fromkeys(paths)), former_path)


def _default_paths(identity: RunIdentity, here: Path, suffix: str, plain: str | None) -> list[Path]:
    """Return where the state of a file's run may be in a directory.

    Args:
        identity: The identity of the run.
        here: The directory.
        suffix: What follows the name of the file.
        plain: What tells runs of the file apart; None where that is the whole identity.
    """
    paths = []
    real, given = identity.file, identity.given
    for file in dict.fromkeys([real, given] if _is_below(real, here) else [given, real]):
        dotted = _dotted_below(file, here)
        if dotted is not None:
            paths.append(state_path(dotted + suffix, identity.digest(here) if plain is None else plain, here))
        else:
            path = Path(file)
            inner = path.relative_to(here).parts if path.is_relative_to(here) else path.parts[-1:]
            readable = ".".join(inner).removesuffix(".py")
            as_named = RunIdentity(identity.what, file=real, given=file)
            paths.append(state_path(readable + suffix, as_named.digest(here), here))
    return paths


def of_script(callback: Callable[[Any], Any], jobs: Any, source: Any) -> KnownRun:
    """Return what a run is that a script starts.

    Args:
        callback: Called with each job.
        jobs: What the script gave as its jobs.
        source: What that was made into; a queryset is read by a source that can describe itself.
    """
    here = Path(os.path.realpath(Path.cwd()))
    script, text = _script()
    words = [*text, *_telling_words(words_given())]
    called, read = name_of_function(callback), described(jobs, source)
    given = _absolute(script) if Path(script).is_file() else ""
    real = os.path.realpath(given) if given else ""
    managed = Path(script).name in ("manage.py", "django-admin") and len(sys.argv) > 1
    stem = (Path(script).stem or "script") + (f".{sys.argv[1]}" if managed else "")
    name = f"{stem}.{getattr(callback, '__name__', 'callback')}"
    former = f"{Path(sys.argv[0] or 'interactive').stem or 'interactive'}.{getattr(callback, '__name__', 'callback')}"
    beside = bool(given) and Path(given).parent == here
    plain = beside and called.isidentifier() and read == "get_jobs" and not words
    identity = RunIdentity(
        {"name": "" if given else script, "words": words, "callback": called, "source": read},
        file=real,
        given=given,
        code=code_of_file(real) if real else "",
        former=former,
        former_is_sure=beside and not words and not managed and _is_function(jobs),
        environment=surroundings(),
    )
    path = state_path(name, "" if plain else identity.digest(here))
    return KnownRun(identity, (path,), state_path(former))


def find_state(known: KnownRun) -> Path:
    """Return where the state of a run is, or is to be made, by default."""
    for path in known.states:
        if path.exists():
            return path
    if known.former.exists() and _may_be_of(known.former, known.identity):
        return known.former
    return known.states[0]


def state_of(state: str, arguments: Mapping[str, str], get_jobs: str | None) -> Path:
    """Return the state file that a command of ``tm-ctl`` means.

    Args:
        state: The file, or a target.
        arguments: The arguments of the target's function.
        get_jobs: Name of that function, if the target names none.

    Raises:
        TargetError: It is neither.
    """
    path = Path(state)
    if not arguments and not get_jobs and (path.suffix == SUFFIX or (path.is_file() and path.suffix != ".py")):
        return path
    known = of_target(targets.with_function(state, get_jobs), arguments)
    found = find_state(known)
    others = [] if found.exists() else sorted(found.parent.glob(f"{_stem(found)}*{SUFFIX}"))
    if others:
        names = ", ".join(other.name for other in others[:MOST_STATES_NAMED])
        raise StateRefused(
            f"There is no state {found}. Of this target there are other ones: {names}. Give the same arguments as to "
            "the run that is meant; `tm-ctl runs` says which state belongs to what."
        )
    elsewhere = [] if found.exists() else _states_above(known.identity.file)
    if elsewhere:
        names = ", ".join(map(str, elsewhere[:MOST_STATES_NAMED]))
        raise StateRefused(
            f"There is no state {found}: it is in the directory that the run was started in. There is {names}. "
            "Name it instead of the target, or call this in its directory."
        )
    return found


def _states_above(file: str) -> list[Path]:
    """Return states with the name of a file, of runs that were started in a directory above it."""
    import glob

    path, states = Path(file), []
    for directory in list(path.parents)[:MOST_DIRECTORIES] if file else []:
        name = glob.escape(".".join(path.relative_to(directory).with_suffix("").parts))
        states += [*directory.glob(f"{name}{SUFFIX}"), *sorted(directory.glob(f"{name}-*{SUFFIX}"))]
    return states


def unfinished_elsewhere(known: KnownRun, state: Path) -> str:
    """Return a sentence about an unfinished run that may have been meant where a new one begins; ""
    if there is none.

    Args:
        known: The new run.
        state: Its state, which has its default name.
    """
    identity = known.identity
    if not identity.file:
        return ""
    beside = Path(identity.file).parent
    scripted = "source" in identity.what
    paths = sorted(state.parent.glob(f"{_stem(state)}*{SUFFIX}"))[:MOST_EXAMINED] if scripted else []
    if beside != state.parent:
        paths += sorted(beside.glob(f"{Path(identity.file).stem}*{SUFFIX}"))[:MOST_EXAMINED]
    for other in paths:
        if os.path.realpath(other) == os.path.realpath(state) or other.stat().st_size > LARGEST_EXAMINED_BYTES:
            continue
        try:
            with copied_state(Path(os.path.realpath(other))) as store:
                record, belonging = store.load(), store.belonging()
                theirs = belonging.describe() if belonging.is_of_file(identity.file) else ""
        except (StateError, StateBusyNow, OSError, ValueError):
            continue
        if record.finished is None and record.settled and theirs:
            return (
                f"There is an unfinished run of {theirs}, with {show_count(record.settled, 'job')} settled, "
                f"in {other}; this one is "
                f"another, and begins anew. To go on with that one, start it as before, in {other.parent}, or with "
                f"--state={other}."
            )
    return ""


def _stem(state: Path) -> str:
    """Return the part of a default name that a person reads."""
    name = state.name.removesuffix(SUFFIX)
    return name[:-9] if re.search(r"-[0-9a-f]{8}$", name) else name


def arguments_text(arguments: Mapping[str, str]) -> str:
    """Return the arguments as releases before 1.0 wrote them."""
    return json.dumps(dict(arguments), sort_keys=True)


def under_test() -> bool:
    """Return whether this process runs tests: a state that one of them leaves would end the next
    run.
    """
    program = Path(sys.argv[0])
    return (
        # The variable alone is inherited by what a test starts.
        ("PYTEST_CURRENT_TEST" in os.environ and "pytest" in sys.modules)
        or (program.name in ("manage.py", "django-admin") and sys.argv[1:2] == ["test"])
        or program.parts[-2:] == ("unittest", "__main__.py")
        or program.name == "python -m unittest"
        or _is_called_by(*TEST_RUNNERS)
    )


# -- inside ----------------------------------------------------------------------------------------


def _is_called_by(*modules: str) -> bool:
    """Tell whether a function of one of these modules has called this, over however many others."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") in modules:
            return True
        frame = frame.f_back
    return False


def _is_installed(file: Path) -> bool:
    """Return whether a file is of an installed distribution, which may be elsewhere tomorrow."""
    if file.is_relative_to(PACKAGE) or {"site-packages", "dist-packages"} & set(file.parts):
        return True
    import sysconfig  # it takes milliseconds, and few runs ask

    return file.is_relative_to(sysconfig.get_paths()["stdlib"])


def _as_given(parsed: targets.Target, found: Path | None) -> str:
    """Return the absolute path by which a target names its file, links not followed."""
    if parsed.path is None:
        return _absolute(found or "")
    where = parsed.text.rpartition(":")[0] if parsed.function and ":" in parsed.text else parsed.text
    there = working_directory.where_typed() / where
    return _absolute(there if there.is_file() else parsed.path)


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  # Path.resolve follows links


def _is_below(file: str, directory: Path) -> bool:
    return Path(file).is_relative_to(directory)


def _dotted_below(file: str, directory: Path) -> str | None:
    """Return the dotted name of a file below a directory; None if it is elsewhere or has no such
    name.
    """
    path = Path(file)
    if not path.is_relative_to(directory):
        return None
    parts = list(path.relative_to(directory).with_suffix("").parts)
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) if all(part.isidentifier() for part in parts) else None


def _script() -> tuple[str, list[str]]:
    """Return what the process runs, and what else is known of that: a script, a notebook, a
    command.
    """
    name = sys.argv[0]
    notebook = os.environ.get("JPY_SESSION_NAME") or getattr(sys.modules.get("__main__"), "__vsc_ipynb_file__", None)
    if "ipykernel" in sys.modules and Path(name).stem == "ipykernel_launcher":
        return (str(notebook) if notebook else "notebook"), []
    if name == "-c":
        text = sys.orig_argv[sys.orig_argv.index("-c") + 1 :][:1] if "-c" in sys.orig_argv else []
        return "command", text
    if name in STDIN:
        if hasattr(sys, "ps1"):
            return "interactive", []
        known = text_of_stdin()
        return "stdin", [known] if known else []
    return name, []


def _telling_words(words: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command line that can say on what a script works."""
    skip = 0
    for word in words:
        name, equals, _ = word.partition("=")
        takes = {**OWN_OPTIONS, **NOT_OF_THE_RUN}.get(name)
        if skip:
            skip -= 1
        elif takes is not None:
            skip = 0 if equals else takes
        else:
            yield word


def _is_function(jobs: Any) -> bool:
    return hasattr(jobs, "__code__")


def _may_be_of(path: Path, identity: RunIdentity) -> bool:
    """Return whether a state under a name of releases before 1.0 can be this run's."""
    try:
        with copied_state(Path(os.path.realpath(path))) as store:
            return store.belonging().may_be(identity, Path(os.path.realpath(path)))
    except (StateError, StateBusyNow, OSError, ValueError):
        return True  # it is in use or damaged: who opens it says so
