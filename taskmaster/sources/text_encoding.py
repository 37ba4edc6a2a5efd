"""The encoding of a text file: one in which lines can be found by their bytes and decoded alone."""

from __future__ import annotations

import codecs

from taskmaster.errors import UsageError

__all__ = ["TextEncoding"]

_ASCII = bytes(range(128))
# Escapes of encodings in which ASCII's characters stand for others: a line end may be one of them,
# and what a line means may depend on those before it.
_ESCAPES = (rb"\n\x41\u0041\N{BULLET}", b"+AD4-", b"~{<:Ky2;S{#,~}", b"\x1b$B$\x22\x1b(B", b"a-tda")
UTF_8 = ("utf-8", "utf8", "utf-8-sig", "u8")


class TextEncoding:
    """See the module.

    Args:
        name: As Python knows it.
        errors: What becomes of bytes that are no text: ``"strict"``, ``"replace"``,
            ``"backslashreplace"``, ``"surrogateescape"``, ``"ignore"``, or any other handler of
            ``codecs``.

    Attributes:
        name: The encoding.
        mark: Bytes at the beginning of a file that are no text.

    Raises:
        UsageError: There is no such encoding or handler, or lines cannot be found in it.
    """

    def __init__(self, name: str, errors: str = "strict") -> None:
        try:
            codecs.lookup_error(errors)
        except LookupError:
            raise UsageError(
                f"errors={errors!r} is not a way in which Python treats bytes that are not text: give "
                '"strict", "replace", "backslashreplace", "surrogateescape" or "ignore".'
            ) from None
        if not _lines_are_bytes(name):
            raise UsageError(
                f"encoding={name!r} has other bytes for ASCII's characters, or escapes, so that lines cannot be found "
                f"in the middle of a file. Convert it first: iconv -f {name} -t UTF-8 FILE > NEW."
            )
        plain = name.lower().replace("_", "-")
        self.name, self.mark = ("utf-8", b"\xef\xbb\xbf") if plain in UTF_8 else (name, b"")
        self._errors = errors

    def decode(self, line: bytes) -> str:
        """Return the text of whole lines.

        Raises:
            UnicodeDecodeError: It is not text in this encoding, and errors are strict.
        """
        return line.decode(self.name, self._errors)


def _lines_are_bytes(name: str) -> bool:
    # The escapes first: Python warns of one that makes no sense, as among all characters.
    for probe in (*_ESCAPES, _ASCII):
        try:
            if probe.decode(name) != probe.decode("ascii"):
                return False
        except LookupError:
            raise UsageError(f"encoding={name!r} is unknown to Python. Most files are utf-8.") from None
        except (UnicodeError, ValueError):
            return False
    return True
