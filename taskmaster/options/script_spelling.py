"""Options as a script spells them: ``limit=`` where a message says ``--limit``."""

from __future__ import annotations

import re
from dataclasses import Field, fields
from functools import cache
from typing import Any

from taskmaster.options.commands import RunOptions
from taskmaster.options.option import option_of, spelling

__all__ = ["as_keywords"]

# A command that is quoted whole is for a terminal, and stays as it is. "(limit= in a script)" is
# left out, as it is what the option becomes. Compiled when it is used: a command has no use for it.
_SPELLED = (
    r"(?P<command>(?:\btm-[a-z]+|\bpython) [^`\n]*)|"
    r"(?<![\w-])(?P<option>--[a-z][a-z-]*)(?: \(\w+= in a script\))?"
    r"(?:=(?P<value>'[^']*'|[^\s,;`]*[^\s,;.:)`]))?"
)


def as_keywords(text: str) -> str:
    """Return a message with options as keywords: ``limit=`` for ``--limit``, ``reset=True`` for
    ``--reset``.
    """
    return re.sub(_SPELLED, _spelled, text)


@cache
def _options() -> dict[str, Field[Any]]:
    return {spelling(one.name): one for one in fields(RunOptions) if not option_of(one).commands_only}


def _spelled(match: re.Match[str]) -> str:
    option = _options().get(match["option"] or "")
    if option is None:
        return match[0]
    if isinstance(option.default, bool):
        return f"{option.name}=True"
    value = match["value"]
    if value is None:
        return f"{option.name}="
    if not value.isupper() and not value.isdecimal():  # PATH and HOST:PORT stand for what is to be written
        value = repr(value.strip("'"))
    return f"{option.name}=[{value}]" if isinstance(option.default, tuple) else f"{option.name}={value}"
