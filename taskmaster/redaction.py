"""What may come before a person's eyes: no password, and nothing that moves the cursor.

For messages, logs, the state file, the command line that is repeated. A slave's name, an
exception's class and message, a job, a file's content: whatever comes from elsewhere may hold
control characters, with which a terminal can be told anything, and new lines, with which a line of
ours can be forged.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

__all__ = ["clean", "clean_lines", "clean_message", "without_password"]

HIDDEN = "***"
# postgresql://USER:PASSWORD@..., also where it holds characters that it must not hold; and
# password=..., quoted or not, between other words or in a URL.
_IN_URL = re.compile(r"(\w://[^\s:/@]*:).*(?=@)")
_AS_WORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'?|(?:[^\s&\\]|\\.)+)")


def without_password(text: str, dsn: str = "") -> str:
    """Return a text in which every password of a DSN is hidden.

    Args:
        text: A DSN, or something that has been said of one.
        dsn: Also the password of this one is hidden, however it is written there.
    """
    for secret in sorted(_secrets(dsn), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _AS_WORD.sub(rf"\g<1>{HIDDEN}", _IN_URL.sub(rf"\g<1>{HIDDEN}", text))


def _secrets(dsn: str) -> set[str]:
    found = {match[0][len(match[1]) :] for match in _IN_URL.finditer(dsn)}
    found |= {match[2].strip("'") for match in _AS_WORD.finditer(dsn)}
    return {form for one in found for form in (one, unquote(one), quote(unquote(one), safe="")) if form}


def clean(text: str) -> str:
    """Return the text in one line: a space for what begins a new line or sets a tab, and a ``?``
    for each other character that would move the cursor or change colours.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def clean_lines(text: str) -> str:
    """Return a text of several lines, as a traceback, with each line cleaned."""
    return "\n".join(map(clean, text.split("\n")))


def clean_message(text: str) -> str:
    """Return a text that is said in a line of ours, cleaned.

    If it has several lines, all but the first are indented, so that none looks like another line of
    ours.
    """
    return clean(text) if "\n" not in text else clean_lines(text.rstrip("\n")).replace("\n", "\n    ")


def _shown(char: str) -> str:
    if char in "\t\n\r\v\f":
        return " "
    # A space that does not break does no harm either; Python calls it unprintable.
    return char if char.isprintable() or unicodedata.category(char) == "Zs" else "?"
