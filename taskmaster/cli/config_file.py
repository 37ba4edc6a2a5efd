"""Options from a file: taskmaster.toml, or ``[tool.taskmaster]`` of ``pyproject.toml``.

What the command line and the environment say goes before it. A name that no command has is refused,
with the nearest: it would be overlooked else, and the run be another one than was meant.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from taskmaster.errors import UsageError
from taskmaster.options.commands import MasterOptions, RunOptions, SlaveOptions
from taskmaster.options.option import Option, option_of
from taskmaster.records import record
from taskmaster.runtime.ownership import is_trusted, others_write, user

__all__ = ["SECTIONS", "FileSettings", "settings_for"]

FILES = ("taskmaster.toml", "pyproject.toml")
SECTIONS = {"tm-master": "master", "tm-slave": "slave", "tm-spawn": "slave", "tm-run": "run"}
"""The table of each command."""
TARGETS = "targets"
MOST_CONFIG_BYTES = 1_048_576  # of a file; /dev/zero is none
KEY = "key"  # its text would be in a file that others may read
ALIASES = {"address": "host"}
CLASSES = {"master": MasterOptions, "slave": SlaveOptions, "run": RunOptions}
ONCE = ("reset", "adopt", "failed", "dry_run", "sample", "job")
"""What is meant for one command line: each session would do it again."""


@record(slots=False)
class FileSettings:
    """What a file says for a command.

    Attributes:
        path: The file; "" if there is none.
        values: The options' values, by the names of their fields.
    """

    path: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def settings_for(command: str, target: str | None, path: str | None = None) -> FileSettings:
    """Return what the file says for a command: first what is for all, then for the command, then
    for the target.

    Args:
        command: Its name, such as "tm-run".
        target: The TARGET of its command line.
        path: The file; None: that of the working directory, if there is one.

    Raises:
        UsageError: The file cannot be read, or says something that is not understood.
    """
    section = SECTIONS.get(command)
    file_path, content = _read(path)
    if file_path is None or section is None:
        return FileSettings()
    found: dict[str, Any] = {}
    general = {name: value for name, value in content.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    known = (*sorted(set(SECTIONS.values())), TARGETS)
    for name in tables:
        if name not in known:
            raise UsageError(f"{file_path} has a table [{name}]{_nearest(name, known)}")
    for where, table in _tables(file_path, general, tables, section, target):
        for name, value in table.items():
            known_here = _options_of(section) if where == f"[{section}]" else _all_options()
            option = _field(file_path, where, name, known_here)
            found[option] = _checked(file_path, where, name, known_here[option], value)
    return FileSettings(str(file_path), found)


@cache
def _options_of(section: str) -> dict[str, Option]:
    return {one.name: option_of(one) for one in fields(CLASSES[section])}


@cache
def _all_options() -> dict[str, Option]:
    return {name: option for section in CLASSES for name, option in _options_of(section).items()}


def _read(path: str | None) -> tuple[Path | None, dict[str, Any]]:
    """Return the file that is there, and what of it is about Taskmaster."""
    for name in (path,) if path is not None else FILES:
        file_path = Path(str(name))
        try:
            with file_path.open("rb") if path is not None else _open_found(file_path) as file:
                about = os.fstat(file.fileno())
                text = file.read(MOST_CONFIG_BYTES + 1)
            if len(text) > MOST_CONFIG_BYTES:
                raise UsageError(
                    f"{file_path} has more than {MOST_CONFIG_BYTES:,} bytes, so that it is not such a file."
                )
            import tomllib  # where there is such a file: most commands have none

            content = tomllib.loads(text.decode("utf-8"))
        except FileNotFoundError:
            if path is not None:
                raise UsageError(f"--config is {path}, and there is no such file.") from None
            continue
        except OSError as exc:
            raise UsageError(f"{file_path} cannot be read: {exc.strerror}. --no-config does without it.") from None
        except ValueError as exc:  # of TOML, and of UTF-8
            raise UsageError(f"{file_path} is no TOML: {exc}. --no-config does without it.") from None
        if file_path.name == "pyproject.toml":
            tool = content.get("tool")
            content = tool.get("taskmaster", {}) if isinstance(tool, dict) else {}
            if not content:
                continue
        if not isinstance(content, dict):
            raise UsageError(f"{file_path} has a value called tool.taskmaster: write a table [tool.taskmaster].")
        if path is None:
            _check_owner(file_path, about)
        return file_path, content
    return None, {}


def _open_found(file_path: Path) -> BinaryIO:
    """Open a file that was not named, without waiting for the writer of a pipe."""
    file = os.fdopen(os.open(file_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file


def _check_owner(file_path: Path, about: os.stat_result) -> None:
    """Refuse a file that lies where the command was given, and was put there by somebody else: it
    may name commands that are run.

    The owner of the directory is believed, who can put modules there as well.
    """
    above = file_path.absolute().parent.stat()
    of_directory = about.st_uid == above.st_uid and not others_write(above)
    if not is_trusted(about.st_uid) and not of_directory:
        why = f"belongs to {user(about.st_uid)}"
    elif others_write(about):
        why = f"can be written to by other users (mode {stat.S_IMODE(about.st_mode):04o}; `chmod go-w {file_path}`)"
    else:
        return
    raise UsageError(
        f"{file_path} of the working directory {why}, and its content decides what is run here. If you trust it, name "
        f"it with --config={file_path}; --no-config does without it."
    )


def _tables(
    file_path: Path, general: dict[str, Any], tables: dict[str, Any], section: str, target: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables that count for the command, the later ones stronger; check the names in
    the others.
    """
    targets = tables.pop(TARGETS, {})
    for name, table in [*tables.items(), *((f"{TARGETS}.{name}", table) for name, table in targets.items())]:
        if not isinstance(table, dict):
            raise UsageError(f"{file_path} has {name} as a value: write a table [{name}].")
        for option, value in table.items():
            where = f"[{name}]"
            known = _options_of(name) if name in CLASSES else _all_options()
            _checked(file_path, where, option, known[_field(file_path, where, option, known)], value)
    yield "", general
    yield f"[{section}]", tables.get(section, {})
    for meant in () if target is None else (target.partition(":")[0], target):
        for name in [name for name in targets if _with_full_path(name) == _with_full_path(meant)]:
            yield f'[{TARGETS}."{name}"]', targets.pop(name)


def _with_full_path(target: str) -> str:
    """Return a target, that of a file with its full path: ``./x.py`` is ``x.py``."""
    path, colon, function = target.partition(":")
    is_path = path.endswith(".py") or os.sep in path
    return (os.path.realpath(path) if is_path else path) + colon + function


def _field(file_path: Path, where: str, name: str, known: Mapping[str, Option]) -> str:
    """Return the field that a name means."""
    option = name.replace("-", "_")
    option = ALIASES.get(option, option)
    there = f"{file_path} has {name}{f' in {where}' if where else ''}"
    if option == KEY:
        raise UsageError(f"{there}: others may read that file. Write key-file, with the path of one that only you can.")
    if option not in known:
        raise UsageError(f"{there}{_nearest(name, [one.replace('_', '-') for one in known])}")
    if option in ONCE:
        raise UsageError(f"{there}: it is for one command line, and each session would do it again. Leave it out.")
    return option


def _checked(file_path: Path, where: str, name: str, option: Option, value: Any) -> Any:
    """Return a value as the command line would have it."""
    there = f"{file_path} has {name}{f' in {where}' if where else ''} as"
    if option.several:
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise UsageError(f"{there} neither a text nor a list of texts.")
        return value
    if option.type is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{there} {value!r}: write true or false.")
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{there} {value!r}: write a {'number' if option.type is not str else 'text or a number'}.")
    return str(value)


def _nearest(name: str, known: Any) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f", and there is no such thing; did you mean {near[0]}?" if near else ", and there is no such thing."
