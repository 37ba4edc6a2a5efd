"""No password is shown: texts in which those of connection strings are hidden.

For whatever could come before a person's eyes: messages, the state file, the command line that is
repeated.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

__all__ = ["without_password"]

HIDDEN = "***"
# postgresql://USER:PASSWORD@..., also where it holds characters that it must not hold; and
# password=..., quoted or not, between other words or in a URL.
_IN_URL = re.compile(r"(\w://[^\s:/@]*:).*(?=@)")
_AS_WORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'?|(?:[^\s&\\]|\\.)+)")


def without_password(text: str, dsn: str = "") -> str:
    """A text in which every password of a DSN is hidden.

    Args:
        text: a DSN, or something that has been said of one.
        dsn: also the password of this one is hidden, however it is written there.
    """
    for secret in sorted(_secrets(dsn), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _AS_WORD.sub(rf"\g<1>{HIDDEN}", _IN_URL.sub(rf"\g<1>{HIDDEN}", text))


def _secrets(dsn: str) -> set[str]:
    found = {match[0][len(match[1]) :] for match in _IN_URL.finditer(dsn)}
    found |= {match[2].strip("'") for match in _AS_WORD.finditer(dsn)}
    return {form for one in found for form in (one, unquote(one), quote(unquote(one), safe="")) if form}
