"""The encoding of a text file, in which line ends have to be single bytes, and each line has to be
decodable without the lines before it.
"""

from __future__ import annotations

import codecs

from taskmaster.errors import UsageError

__all__ = ["TextEncoding"]

_ASCII = bytes(range(128))
# Escape sequences of encodings in which ASCII's characters may stand for others: a byte that looks
# like a line end may be none, and a line may depend on those before it.
_ESCAPES = (rb"\n\x41\u0041\N{BULLET}", b"+AD4-", b"~{<:Ky2;S{#,~}", b"\x1b$B$\x22\x1b(B", b"a-tda")
UTF_8 = ("utf-8", "utf8", "utf-8-sig", "u8")


class TextEncoding:
    """An encoding that lines can be found in.

    Args:
        name: Python's name of the encoding.
        errors: How bytes that are no text are treated: ``"strict"``, ``"replace"``,
            ``"backslashreplace"``, ``"surrogateescape"``, ``"ignore"``, or any other error handler
            of ``codecs``.

    Attributes:
        name: The name of the encoding.
        mark: The byte order mark with which a file may begin; b"" for none.

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
                f"encoding={name!r} has other bytes for ASCII's characters, or escape sequences, so that lines cannot "
                f"be found in the middle of a file. Convert it first: iconv -f {name} -t UTF-8 FILE > NEW."
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
    # The escape sequences come first: among all ASCII characters, Python would warn of invalid
    # ones.
    for probe in (*_ESCAPES, _ASCII):
        try:
            if probe.decode(name) != probe.decode("ascii"):
                return False
        except LookupError:
            raise UsageError(f"encoding={name!r} is unknown to Python. Most files are utf-8.") from None
        except (UnicodeError, ValueError):
            return False
    return True
