"""Options from the keywords of a call: what a script writes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from taskmaster.errors import CallError
from taskmaster.options.commands import MasterOptions, RunOptions, SlaveOptions
from taskmaster.units import bytes_of, rate_of, seconds_of, share_of

__all__ = ["from_keywords"]

# Options that may be written with a unit.
_AMOUNTS: dict[str, Callable[[str, object], float]] = {
    "run_time": seconds_of,
    "sample": share_of,
    "rate": rate_of,
    "memory_per_worker": bytes_of,
}

_Options = TypeVar("_Options", MasterOptions, SlaveOptions, RunOptions)


def from_keywords(cls: type[_Options], keywords: Mapping[str, Any]) -> _Options:
    """Make options from the keywords of a call.

    ``address`` and ``no_progress`` mean what ``--address`` and ``--no-progress`` mean;
    ``run_time``, ``sample``, ``rate`` and ``memory_per_worker`` may be written as on the command
    line, ``"2h"``, ``"0.1%"``, ``"100/m"`` and ``"500M"``.

    Raises:
        CallError: there is no such option; names the nearest. It is a TypeError, too.
        UsageError: such a text cannot be read.
    """
    names = {one.name for one in fields(cls) if not one.metadata.get("commands_only")}
    given = dict(keywords)
    if "address" in given:
        if "host" in given:
            raise CallError("host and address are the same option: give one of them")
        given["host"] = given.pop("address")
    if "no_progress" in given and "progress" in names:
        if "progress" in given:
            raise CallError("no_progress is progress='none': give one of them")
        if given.pop("no_progress"):
            given["progress"] = "none"
    for name, convert in _AMOUNTS.items():
        if isinstance(given.get(name), str) and name in names:
            given[name] = convert(f"--{name.replace('_', '-')}", given[name])
    for name in given:
        if name in names:
            continue
        if (one := next((one for one in fields(cls) if one.name == name), None)) is not None:
            raise CallError(f"{name} is an option of the commands alone: {one.metadata['commands_only']}")
        near = difflib.get_close_matches(name, names, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(names))}"
        raise CallError(f"there is no option {name!r}; {hint}")
    return cls(**given)
