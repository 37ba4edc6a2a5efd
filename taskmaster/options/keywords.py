"""Options from the keywords of a call: what a script writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from taskmaster.errors import CallError
from taskmaster.options.commands import MasterOptions, RunOptions, SlaveOptions
from taskmaster.options.option import option_of, spelling

__all__ = ["from_keywords"]

_Options = TypeVar("_Options", MasterOptions, SlaveOptions, RunOptions)


def from_keywords(cls: type[_Options], keywords: Mapping[str, Any]) -> _Options:
    """Make options from the keywords of a call.

    ``address`` and ``no_progress`` mean what ``--address`` and ``--no-progress`` mean. A value that
    the command line takes with a unit may be given as such a text, too: ``run_time="2h"``.

    Raises:
        CallError: There is no such option; the message names the nearest one. It is a TypeError,
            too.
        UsageError: Such a text cannot be read.
    """
    declared = {one.name: option_of(one) for one in fields(cls)}
    names = {name for name, option in declared.items() if not option.commands_only}
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
    for name, value in given.items():
        if name in names:
            read = declared[name].read
            given[name] = read(spelling(name), value) if read is not None and isinstance(value, str) else value
            continue
        if name in declared:
            raise CallError(f"{name} is an option of the commands alone: {declared[name].commands_only}")
        import difflib

        near = difflib.get_close_matches(name, names, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(names))}"
        raise CallError(f"there is no option {name!r}; {hint}")
    return cls(**given)
