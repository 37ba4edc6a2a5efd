"""Files as sources of jobs: lines, rows of CSV, lines of JSON. A run over a hundred gigabytes
resumes by seeking.

Used in a user's module, as ``get_jobs`` or as what it returns::

    from taskmaster import sources

    get_jobs = sources.lines("urls.txt")          # or

    def get_jobs(path):                           # tm-run mod.py 8 path=people.csv
        return sources.csv_rows(path, delimiter=";")

Nothing is opened until the master reads, in the thread in which it reads: slaves need not have the
file.

**Keys.** A job's key is the place right behind its line or record: position in bytes, CRC-32 of all
that lies before it, and a stamp of the file's size and time of change when the run was begun.
Positions grow, so no two keys are equal.

**What is noticed.** On a resume the size and the time of change are looked at. If they are as they
were, the file is taken for unchanged and read on from the position at once. If not (it was copied,
appended to, touched, edited), all that lies before the position is read once more, as fast as the
disk gives it, and the run is refused (exit 5) if a byte of it differs. Keys keep the stamp of the
beginning, so that what was settled above the watermark is recognised. Not noticed is a change that
leaves size and time of change as they were, and one in four billion others. What lies behind the
position may change as it likes: it was not read.

**While it is read** the file may grow, and nothing else: it is read up to the size that it had when
reading began. If it becomes shorter, if it is another file, or if what was read is not in it any
more, the source fails (exit 1).

**Lines** end with LF or CR LF. A CR alone is text. The last line need not have an end; but if the
file has grown meanwhile, it is left for the next session, for it may be half a line.

**Compressed files** (``.gz``, ``.bz2``, ``.xz``) are decompressed as they are read, and positions
are those of their content. A resumed run has to decompress all that lies before its position, some
hundred megabytes a second; what was changed there is found whatever the stamp says. They must not
grow while they are read.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import accumulate, repeat
from typing import Any, TypeGuard

from taskmaster.errors import SourceError, StateRefused, UsageError
from taskmaster.model import Job
from taskmaster.sources.resumable_file import Place, SteadyFile

__all__ = ["CsvRows", "FileSource", "JsonLines", "Lines", "csv_rows", "jsonl", "lines"]

MAX_LINE = 64 * 1024 * 1024  # bytes
_ASCII = bytes(range(128))


def lines(path: str | os.PathLike[str], *, encoding: str = "utf-8", max_line: int = MAX_LINE) -> Lines:
    """Each line of a text file is a job: a str without the line's end. Empty lines are jobs too.

    Args:
        path: of the file, as the master finds it.
        encoding: of the text; UTF-8, or any other that has ASCII's characters as single bytes. A
            byte order mark at the beginning of UTF-8 is no part of the text.
        max_line: most bytes of a line; a longer one is an error.

    Raises:
        UsageError: the encoding is unknown, or such that lines cannot be found in it.

    Example::

        get_jobs = lines("urls.txt")

        def handle_job(url):
            fetch(url)
    """
    return Lines(path, encoding, max_line)


def csv_rows(
    path: str | os.PathLike[str],
    *,
    header: bool = True,
    encoding: str = "utf-8",
    max_line: int = MAX_LINE,
    **dialect: Any,
) -> CsvRows:
    """Each row of a CSV file is a job: a dict of str with the names of the first row, or a tuple of
    str.

    A quoted field may hold line ends. Empty rows are left out. All rows must have as many fields as
    the first.

    Args:
        path: of the file, as the master finds it.
        header: the first row has the names of the columns, and rows are dicts; otherwise it is a
            row like all, and rows are tuples.
        encoding: as for ``lines``.
        max_line: most bytes of a line of the file.
        **dialect: what ``csv.reader`` takes: ``delimiter=";"``, ``quotechar``,
            ``dialect="excel-tab"`` and so on. Quotes that do not match are errors, unless
            ``strict=False``.

    Raises:
        UsageError: as for ``lines``.
        TypeError: ``csv.reader`` does not take that.

    Example::

        def get_jobs(path):
            return csv_rows(path, delimiter=";")

        def handle_job(row):
            save(row["name"], row["email"])
    """
    return CsvRows(path, encoding, max_line, {"strict": True, **dialect}, header=header)


def jsonl(path: str | os.PathLike[str], *, encoding: str = "utf-8", max_line: int = MAX_LINE) -> JsonLines:
    """Each line of a JSON Lines file is a job: what ``json.loads`` makes of it. Blank lines are
    left out.

    Args:
        path: of the file, as the master finds it.
        encoding: as for ``lines``.
        max_line: most bytes of a line.

    Raises:
        UsageError: as for ``lines``.
    """
    return JsonLines(path, encoding, max_line)


class FileSource(ABC):
    """A file as a source: see the module.

    Args:
        path: of the file.
        encoding: of its text.
        max_line: most bytes of a line.
    """

    sure_of_keys = True
    """Keys are made here, and grow: the master need not look at each of them."""

    def __init__(self, path: str | os.PathLike[str], encoding: str, max_line: int) -> None:
        self._path = os.fspath(path)
        self._encoding, self._mark = _checked(encoding)
        self._max_line = max_line
        self._file: SteadyFile | None = None

    def iterate(self, last: Any = None) -> Iterator[Job]:
        """Yield the jobs, those behind ``last`` if it is given.

        Raises:
            UsageError: there is no such file.
            StateRefused: it is not the one that ``last`` comes from, or was changed before that
                place.
            SourceError: it cannot be read on, does not hold what it should, or is being changed.
        """
        with self._open() as file:
            if last is not None:
                file.go_to(self._place(last))
            self._file = file
            yield from self._jobs(file)

    def total(self) -> int | None:
        """Not known: the file would have to be read for it."""
        return None

    def position(self, key: Any) -> float | None:
        """How much of the file lies before a key, 0 to 1; None while reading has not begun, and for
        what is no key of a file. Any thread may ask.
        """
        return self._file.share(key[0]) if self._file is not None and _is_place(key) else None

    @abstractmethod
    def _jobs(self, file: SteadyFile) -> Iterator[Job]:
        """The jobs from where the file is."""

    def _open(self) -> SteadyFile:
        return SteadyFile(self._path, self._max_line, self._mark)

    def _place(self, key: Any) -> Place:
        if _is_place(key):
            return key
        raise StateRefused(
            f"The key {key!r} is no place in a file, so that this run was begun with another source than "
            f"{self._path}. Give that one, or start a new run with --reset."
        )

    def _text(self, file: SteadyFile, line: bytes, position: int) -> str:
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError as exc:
            raise self._not_text(file, exc, position) from None

    def _not_text(self, file: SteadyFile, exc: UnicodeDecodeError, position: int) -> SourceError:
        return file.error(
            position,
            f"byte {position + exc.start} ({exc.object[exc.start]:#04x}) is no {self._encoding} ({exc.reason}); give "
            'the encoding that the file has, such as encoding="cp1252"',
        )


class Lines(FileSource):
    """What ``lines`` returns."""

    def _jobs(self, file: SteadyFile) -> Iterator[Job]:
        for piece in file.pieces():
            try:
                text = piece.decode(self._encoding)
            except UnicodeDecodeError as exc:
                good = piece.rfind(b"\n", 0, exc.start) + 1
                yield from _lines_of(piece[:good], piece[:good].decode(self._encoding), file.place)
                self._text(file, piece[good:], file.place[0] + good)
                raise
            yield from _lines_of(piece, text, file.place)


class CsvRows(FileSource):
    """What ``csv_rows`` returns."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoding: str,
        max_line: int,
        dialect: dict[str, Any],
        *,
        header: bool,
    ) -> None:
        super().__init__(path, encoding, max_line)
        csv.reader((), **dialect)  # here, so that an unknown option fails where it was written
        self._dialect = dialect
        self._header = header

    def _jobs(self, file: SteadyFile) -> Iterator[Job]:
        with self._open() as beginning:
            begin, first = next(self._rows(beginning, _Walk(beginning, self._text)), (0, []))
            width = len(first)
            if self._header and len(set(first)) < width:
                twice = next(name for name in first if first.count(name) > 1)
                raise beginning.error(
                    begin,
                    f"the header has the name {twice!r} more than once; mend it, or read tuples with header=False",
                )
        fresh = file.place[0] == 0
        walk = _Walk(file, self._text)
        rows = self._rows(file, walk)
        if fresh and self._header:
            next(rows, None)
        for begin, row in rows:
            if len(row) != width:
                raise file.error(
                    begin, f"it has {len(row)} fields where the first row has {width}: {row[: width + 1]!r}"[:500]
                )
            yield Job(walk.place, dict(zip(first, row, strict=True)) if self._header else tuple(row))

    def _rows(self, file: SteadyFile, walk: _Walk) -> Iterator[tuple[int, list[str]]]:
        """Where each row begins, and its fields; ``walk`` is right behind it."""
        reader = csv.reader(walk, **self._dialect)
        while True:
            begin = walk.place[0]
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as exc:
                more = "; csv.field_size_limit(BYTES) in your module allows more" if "limit" in str(exc) else ""
                raise file.error(begin, f"this is no CSV: {exc}{more}") from None
            if row:
                yield begin, row


class JsonLines(FileSource):
    """What ``jsonl`` returns."""

    def _jobs(self, file: SteadyFile) -> Iterator[Job]:
        walk = _Walk(file, self._text)
        begin = walk.place[0]
        for line in walk:
            if not line.isspace():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as exc:
                    raise file.error(begin, f"this is no JSON: {exc}") from None
                yield Job(walk.place, value)
            begin = walk.place[0]


def _is_place(key: Any) -> TypeGuard[Place]:
    return isinstance(key, tuple) and len(key) == 3 and all(type(part) is int and part >= 0 for part in key)


class _Walk:
    """The lines of a file one by one, as text with their ends.

    Attributes:
        place: right behind the newest line.
    """

    def __init__(self, file: SteadyFile, text: Callable[[SteadyFile, bytes, int], str]) -> None:
        self.place = file.place
        self._lines = self._walk(file, text)

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def _walk(self, file: SteadyFile, text: Callable[[SteadyFile, bytes, int], str]) -> Iterator[str]:
        for piece in file.pieces():
            position, crc, stamp = file.place
            for line in io.BytesIO(piece):
                decoded = text(file, line, position)
                position += len(line)
                crc = zlib.crc32(line, crc)
                self.place = position, crc, stamp
                yield decoded


def _lines_of(piece: bytes, text: str, place: Place) -> Iterator[Job]:
    """The jobs of whole lines. All loops but one are C's: this is what a run over short lines pays
    for.
    """
    position, crc, stamp = place
    pieces = io.BytesIO(piece).readlines()
    ends = accumulate(map(len, pieces), initial=position)
    next(ends)
    sums = [crc := zlib.crc32(line, crc) for line in pieces]
    texts = text.split("\n")
    if "\r" in text:
        texts = [*(line.removesuffix("\r") for line in texts[:-1]), texts[-1]]
    return map(Job, zip(ends, sums, repeat(stamp), strict=False), texts)


def _checked(encoding: str) -> tuple[str, bytes]:
    """An encoding in which lines can be found by their bytes, and the mark with which a file may
    begin.
    """
    try:
        ascii_too = _ASCII.decode(encoding) == _ASCII.decode("ascii")
    except LookupError:
        raise UsageError(f"encoding={encoding!r} is none that Python knows. Most files are utf-8.") from None
    except UnicodeError:
        ascii_too = False
    if not ascii_too:
        raise UsageError(
            f"encoding={encoding!r} has other bytes for ASCII's characters, so that lines cannot be found in the "
            f"middle of a file. Convert it first: iconv -f {encoding} -t UTF-8 FILE > NEW."
        )
    plain = encoding.lower().replace("_", "-")
    return ("utf-8", b"\xef\xbb\xbf") if plain in ("utf-8", "utf8", "utf-8-sig", "u8") else (encoding, b"")
