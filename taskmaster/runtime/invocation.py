"""How this process was started: by a command, by a script, or by somebody at a prompt; and where
the options of a command come from.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "STDIN",
    "is_command",
    "is_interactive",
    "is_piped",
    "note_sources",
    "source_of",
    "text_of_stdin",
    "words_given",
]

STDIN = ("", "-")
"""What ``sys.argv`` begins with where Python reads the script from its standard input."""

_sources: dict[str, str] = {}


def note_sources(sources: Mapping[str, str]) -> None:
    """Note where each option of the command comes from: "command line", "environment", "file" or
    "default".
    """
    _sources.update(sources)


def source_of(name: str) -> str:
    """Return where an option of the command comes from; "" where that is not known, as in a
    script.
    """
    return _sources.get(name, "")


def is_command() -> bool:
    """Return whether this process is one of Taskmaster's commands, and no script."""
    return Path(sys.argv[0]).name.startswith("tm-")


def is_interactive() -> bool:
    """Return whether somebody types at the prompt of Python, IPython or a notebook."""
    if hasattr(sys, "ps1"):
        return True
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def words_given() -> list[str]:
    """Return the words behind the script with which this process was started, also those that the
    script has taken out of ``sys.argv``. Where it has put other words there, those.
    """
    now, given = sys.argv[1:], sys.orig_argv
    main = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "origin", None)
    for at, word in enumerate(given):
        is_module = at > 0 and given[at - 1] == "-m" and main == sys.argv[0]
        if is_module or word == sys.argv[0]:
            behind = given[at + (2 if word == "-c" else 1) :]
            left = iter(behind)
            return behind if all(word in left for word in now) else now
    return now


def is_piped() -> bool:
    """Return whether the script comes from a pipe, of which nobody can tell what it was:
    ``python <(...)``, ``... | python``.
    """
    script = sys.argv[0]
    try:
        mode = os.fstat(0).st_mode if script in STDIN else Path(script).stat().st_mode
    except OSError:
        return False
    return (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and not is_interactive()


def text_of_stdin() -> str:
    """Return a digest of the file that is the standard input; "" if it is none."""
    try:
        found = os.fstat(0)
        text = os.pread(0, found.st_size, 0) if stat.S_ISREG(found.st_mode) else b""
    except OSError:
        return ""
    from hashlib import blake2b  # few scripts come from there

    return blake2b(text, digest_size=8).hexdigest() if text else ""
