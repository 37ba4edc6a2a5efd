"""What may come before a person's eyes: no password, and nothing that moves the cursor.

For messages, logs, the state file, the command line that is repeated. A slave's name, an
exception's class and message, a job, a file's content: whatever comes from elsewhere may hold
control characters, with which a terminal can be told anything, and new lines, with which a line of
ours can be forged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

__all__ = [
    "HIDDEN",
    "clean",
    "clean_lines",
    "clean_message",
    "clean_short",
    "is_url",
    "without_password",
    "without_passwords_in",
    "without_path",
    "without_tokens",
]

HIDDEN = "***"
# postgresql://USER:PASSWORD@..., also where it holds characters that it must not hold; and
# password=..., quoted or not, between other words or in a URL.
_IN_URL = re.compile(r"(\w://[^\s:/@]*:).*(?=@)")
_AS_WORD = re.compile(r"((?:password|passwd|pwd)\s*=\s*)('(?:[^'\\]|\\.)*'?|(?:[^\s&\\]|\\.)+)", re.IGNORECASE)
# Up to the last @ before a path: what two addresses differ in behind that must not be hidden where
# runs are told apart by them.
_IN_URL_ALONE = re.compile(r"(\w://[^\s:/@]*:)[^\s/?#]*(?=@)")
_NAME = r"(?i)(password|passwd|pwd)$"  # of an argument or option

_IN_PAGE = r"(?i)([?&]token=)[\w-]+"  # of the page of a run
_WEB = r"(?i)(https?://)([^/?#\s]*)"


def without_password(text: str, dsn: str = "") -> str:
    """Return a text in which every password of a DSN is hidden.

    Args:
        text: A DSN, or something that has been said of one.
        dsn: Also the password of this one is hidden, however it is written there.
    """
    for secret in sorted(_secrets(dsn), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _AS_WORD.sub(rf"\g<1>{HIDDEN}", _IN_URL.sub(rf"\g<1>{HIDDEN}", text))


def without_tokens(text: str) -> str:
    """Return a text in which the tokens of a page's addresses are hidden: with one, anybody who
    reads the text could steer the run.
    """
    return re.sub(_IN_PAGE, rf"\g<1>{HIDDEN}", text)


def without_passwords_in(value: Any) -> Any:
    """Return plain values in which every password is hidden: in texts, of entries that have the
    name of one, and of words of a command line. Of a URL no more is hidden than its password.

    Example::

        without_passwords_in({"dsn": "postgresql://u:x@h/d"}) == {"dsn": "postgresql://u:***@h/d"}
        without_passwords_in(["--password", "x"]) == ["--password", "***"]
    """
    if isinstance(value, str):
        return _AS_WORD.sub(rf"\g<1>{HIDDEN}", _IN_URL_ALONE.sub(rf"\g<1>{HIDDEN}", value))
    if isinstance(value, Mapping):
        hidden = {name: isinstance(part, str) and _is_name_of_one(name) for name, part in value.items()}
        return {name: HIDDEN if hidden[name] else without_passwords_in(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        before = [None, *value]
        return [
            HIDDEN if isinstance(part, str) and _is_option_of_one(word) else without_passwords_in(part)
            for word, part in zip(before, value, strict=False)
        ]
    return value


def _is_name_of_one(name: Any) -> bool:
    return isinstance(name, str) and re.search(_NAME, name) is not None


def _is_option_of_one(word: Any) -> bool:
    return _is_name_of_one(word) and word.startswith("-")


def is_url(text: str) -> bool:
    """Return whether a text is the address of a webhook, and no command."""
    return re.match(_WEB, text.strip()) is not None


def without_path(url: str) -> str:
    """Return the scheme and the host of an address alone: who knows the rest of that of a webhook
    can post there.

    Example::

        without_path("https://hooks.slack.com/services/T1/B2/x") == "https://hooks.slack.com/…"
    """
    match = re.match(_WEB, url.strip())
    if match is None:
        return HIDDEN
    host = match[2].rpartition("@")[2]
    return f"{match[1]}{clean(host)}/\N{HORIZONTAL ELLIPSIS}"


def _secrets(dsn: str) -> set[str]:
    found = {match[0][len(match[1]) :] for match in _IN_URL.finditer(dsn)}
    found |= {match[2].strip("'") for match in _AS_WORD.finditer(dsn)}
    return {form for one in found for form in (one, unquote(one), quote(unquote(one), safe="")) if form}


def clean(text: str) -> str:
    """Return the text in one line: a space for what begins a new line or sets a tab, and a ``?``
    for each other character that would move the cursor or change colours.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def clean_short(value: Any, most: int) -> str:
    """Return the first characters of a text that somebody else has sent, in one line; "" for what
    is no text. To clean all of a very long one would take seconds.
    """
    return clean(value[:most]) if isinstance(value, str) else ""


def clean_lines(text: str) -> str:
    """Return a text of several lines, as a traceback, with each line cleaned."""
    return "\n".join(map(clean, text.split("\n")))


def clean_message(text: str) -> str:
    """Return a text without control characters, for a line of Taskmaster's own output.

    If it has several lines, all but the first are indented, so that none looks like another line
    of Taskmaster's.
    """
    return clean(text) if "\n" not in text else clean_lines(text.rstrip("\n")).replace("\n", "\n    ")


def _shown(char: str) -> str:
    if char in "\t\n\r\v\f":
        return " "
    # A space that does not break does no harm either; Python calls it unprintable.
    return char if char.isprintable() or unicodedata.category(char) == "Zs" else "?"
