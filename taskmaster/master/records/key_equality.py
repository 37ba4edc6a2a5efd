"""Whether two keys that are written differently are equal where values are compared.

``last`` is compared by the user's code or by a database: ``amount > 3.0`` leaves ``3.00`` out, and
``moment > last`` the same moment in another time zone. So a run must not be cut between such two,
though they are two keys. Where it cannot be known, as with text, whose equality a collation
decides, they are taken for equal: that only moves a cut. Pure.
"""

from __future__ import annotations

from taskmaster import keys

__all__ = ["same"]

_SINGLE = ('{"bytes":', '{"date":', '{"timedelta":', '{"UUID":', "null")  # values with one spelling each


def same(one: str, other: str) -> bool:
    """Return whether nothing that compares values tells two encoded keys apart. No key is the same
    as "".
    """
    if one == other:
        return True
    if one[:1] == other[:1] == '"':
        return _same_text(one, other)
    if (one.isdigit() and other.isdigit()) or one.startswith(_SINGLE) or other.startswith(_SINGLE):
        return False
    try:
        return bool(_folded(keys.decode(one)) == _folded(keys.decode(other)))
    except (ValueError, TypeError, ArithmeticError):
        return False  # no key; or a Decimal that is not a number


def _same_text(one: str, other: str) -> bool:
    if "\\" not in one and "\\" not in other:  # ASCII throughout, as most are
        return one[1:-1].rstrip().lower() == other[1:-1].rstrip().lower()
    return bool(_folded(keys.decode(one)) == _folded(keys.decode(other)))


def _folded(key: object) -> object:
    """Return a key with its texts as the laxest of the usual collations sees them: without case,
    accents and blanks at the end.
    """
    if isinstance(key, tuple | list):
        return type(key)(map(_folded, key))
    if not isinstance(key, str):
        return key
    from unicodedata import combining, normalize

    letters = normalize("NFKD", key.casefold())
    return "".join(letter for letter in letters if not combining(letter)).rstrip() or key
