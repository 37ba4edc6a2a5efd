"""The format of a file, by its first bytes: how it is compressed, or why it has no lines.

The name does not decide: a gzip file need not end in ``.gz``. Nor does an error of the decoder:
UTF-16 or a database may decode as UTF-8 without one.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any

from taskmaster.errors import UsageError

__all__ = ["BROKEN", "Opener", "opener_of", "why_damaged", "why_no_lines"]

HEAD_BYTES = 512
PACKED_BYTES = 64 * 1024  # size of one read of a compressed file
FEWEST_BYTES = 16  # least size of a content that is judged by its fraction of zero bytes
FEWEST_CRS = 3  # a content without LF, but with this many CRs, has lines that end with CR
QUOTED_FIELD = re.compile(rb'"[^"]*"')
FEWEST_CHARACTERS = 2  # least length of a text that can be recognised as UTF-16
ZERO_FRACTION = 0.3  # fraction of zero bytes above which a content is taken for UTF-16 or UTF-32

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""The errors of reading a file that is damaged, or not of the format that it seems to have."""

Opener = Callable[[IO[bytes]], Any]


def _zstd(raw: IO[bytes]) -> Any:
    for name in ("compression.zstd", "backports.zstd"):  # Python's from 3.14 on, and the extra
        try:
            zstd = import_module(name)
        except ImportError:
            continue
        return _Readable(zstd.ZstdFile(raw), zstd.ZstdError)
    raise UsageError(
        "The file is compressed with zstd, which needs a library: pip install '.[zstd]' in a checkout of Taskmaster, "
        "or pip install backports.zstd. Or unpack it: zstd -d FILE."
    )


class _Readable:
    """A decompressing file whose own errors are OSErrors."""

    def __init__(self, file: Any, error: type[Exception]) -> None:
        self._file = file
        self._error = error
        self.close = file.close

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes of the content."""
        try:
            return bytes(self._file.read(size))
        except self._error as exc:
            raise OSError(str(exc)) from exc


class _Members:
    """A decompressing file of one or several members in a row, each with or without zero bytes
    after it.

    ``BZ2File`` and ``LZMAFile`` are not used: they take any bytes that are no member for the end of
    the file. If the beginning of the second member is damaged, they read the first one and raise no
    error.

    Args:
        raw: The compressed file.
        begin: Function that returns a decompressor for one member.
    """

    def __init__(self, raw: IO[bytes], begin: Callable[[], Any]) -> None:
        self._raw = raw
        self._begin = begin
        self._member = begin()

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes of the content; b"" only at its end.

        Raises:
            EOFError: The file ends in the middle of a member.
            OSError: A bzip2 member is damaged, or is none.
            lzma.LZMAError: An xz member is damaged, or is none.
        """
        while True:
            packed = b""
            if self._member.eof:
                packed = self._behind(self._member.unused_data)
                if not packed:
                    return b""
                self._member = self._begin()
            elif self._member.needs_input and not (packed := self._raw.read(PACKED_BYTES)):
                raise EOFError("it ends in the middle")
            if content := self._member.decompress(packed, size):
                return bytes(content)

    def _behind(self, packed: bytes) -> bytes:
        """Return the next bytes after a member, without leading zeros; b"" at the end."""
        while not (packed := packed.lstrip(b"\0")):
            if not (packed := self._raw.read(PACKED_BYTES)):
                return b""
        return packed

    def close(self) -> None:
        """Do nothing: the compressed file is closed by its owner."""


def _gzip(raw: IO[bytes]) -> Any:
    return gzip.GzipFile(fileobj=raw)


def _bzip2(raw: IO[bytes]) -> Any:
    return _Members(raw, bz2.BZ2Decompressor)


def _xz(raw: IO[bytes]) -> Any:
    return _Members(raw, lzma.LZMADecompressor)


# By the first bytes of the file.
OPENERS: tuple[tuple[bytes, Opener], ...] = (
    (b"\x1f\x8b\x08", _gzip),
    *((b"BZh%d%b" % (size, what), _bzip2) for size in range(1, 10) for what in (b"1AY&SY", b"\x17rE8P\x90")),
    (b"\xfd7zXZ\x00", _xz),
    (b"\x28\xb5\x2f\xfd", _zstd),
)
# By the suffix of the name: a file that has one but not the first bytes is damaged, or is something
# else, which its opener notices.
SUFFIXES: dict[str, Opener] = {".gz": _gzip, ".bz2": _bzip2, ".xz": _xz, ".zst": _zstd}

ICONV = "iconv -f {} -t UTF-8 FILE > NEW"
NO_LINES: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xfe\x00\x00", "text in UTF-32", ICONV.format("UTF-32")),
    (b"\x00\x00\xfe\xff", "text in UTF-32", ICONV.format("UTF-32")),
    (b"\xff\xfe", "text in UTF-16", ICONV.format("UTF-16")),
    (b"\xfe\xff", "text in UTF-16", ICONV.format("UTF-16")),
    (b"PK\x03\x04", "a zip archive (or a spreadsheet, which is one)", "unzip -p FILE > NEW"),
    (b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip's", "7z x FILE"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "lz4 -d FILE NEW"),
    (b"\x1f\x9d", "compressed with compress", "gunzip -c FILE > NEW"),
    (b"Rar!\x1a\x07", "an archive of RAR's", "unrar p -inul FILE > NEW"),
    (b"SQLite format 3\x00", "a database of SQLite's", "iterate over its rows in get_jobs"),
    (b"PAR1", "a file of Parquet's", "iterate over its rows in get_jobs"),
    (b"%PDF-", "a PDF", "extract its text first"),
)


def opener_of(head: bytes, suffix: str) -> Opener | None:
    """Return the function that opens a compressed file; None if it is not compressed.

    Args:
        head: The first bytes of the file.
        suffix: The suffix of its name, with the dot, in small letters.
    """
    return next((opener for magic, opener in OPENERS if head.startswith(magic)), SUFFIXES.get(suffix))


def why_damaged(suffix: str, why: object) -> str:
    """Return what is wrong with a compressed file, as the end of a sentence that begins with "it".

    Args:
        suffix: The suffix of its name, in small letters.
        why: The error that reading it has raised, or how else that was noticed.
    """
    kind = f", or is no {suffix} file" if suffix in SUFFIXES else ""
    return f"is damaged, or was not written to its end{kind} ({why}); make or copy it again"


def why_no_lines(content: bytes) -> str:
    """Return why a content has no lines, and what to do, as the end of a sentence that begins with
    "it is"; "" if it may have lines.

    Args:
        content: The beginning of the decompressed content, of any length.
    """
    for magic, what, how in NO_LINES:
        if content.startswith(magic):
            return f"{what}; convert it first: {how}" if " " in how and "FILE" in how else f"{what}; {how}"
    head = content[:HEAD_BYTES]
    mostly_blank = len(head) > FEWEST_BYTES and ZERO_FRACTION * len(head) < head.count(0) < len(head)
    if mostly_blank or any(_every_second_is_blank(head, first) for first in (0, 1)):
        return (
            "full of zero bytes, as text in UTF-16 or UTF-32 without a byte order mark is; convert it first: "
            f"{ICONV.format('UTF-16LE')}"
        )
    # A CR in quotes is part of a CSV field: it is no line end, and does not count.
    if b"\n" not in content and QUOTED_FIELD.sub(b"", content).count(b"\r") >= FEWEST_CRS:
        return "a text whose lines end with CR alone, as on old Macs; convert it first: tr '\\r' '\\n' < FILE > NEW"
    return ""


def _every_second_is_blank(head: bytes, first: int) -> bool:
    """Return whether every second byte of a content is zero and no other is, as with Latin letters
    in UTF-16. A short content can be judged so, too.
    """
    return len(head) >= FEWEST_CHARACTERS * 2 and not any(head[first::2]) and 0 not in head[1 - first :: 2]
