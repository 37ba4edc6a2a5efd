"""The sources that ``taskmaster.sources`` returns for a file: they yield its lines, rows or values
as jobs, and resume after any of their keys.

A line or row that cannot be read raises an error with the file and the byte; or, if the user asked
for that, it is left out, counted, and listed at the end of the run.
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
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.bad_lines import BadLines
from taskmaster.sources.csv_header import Header
from taskmaster.sources.resumable_file import FileKey, ResumableFile
from taskmaster.sources.text_encoding import TextEncoding
from taskmaster.units import show_count

__all__ = ["CsvRows", "FileSource", "JsonLines", "Lines"]

logger = clean_logger(__name__)

LOST_QUOTE = ("unexpected end of data", "field larger than field limit")
"""Texts of the errors that ``csv`` raises when a quote has no end near it."""

ONE_DOCUMENT = (
    "each line has to be a job of its own. If the file is one JSON document, make lines of it: jq -c '.[]' FILE > NEW"
)
"""The cure for a file of JSON instead of JSON Lines."""


class FileSource(ABC):
    """A file as a source: see ``taskmaster.sources.files``.

    Args:
        path: The path of the file.
        encoding: The encoding of its text.
        max_line: Most bytes of a line.
        bad: Counts lines and rows that cannot be read, or refuses them.
    """

    sure_of_keys = True
    """Each key is higher than the one before: the master need not check that."""
    checks_last = True
    """``iterate`` refuses a key of another file, or of a file that was changed."""

    def __init__(self, path: str | os.PathLike[str], encoding: TextEncoding, max_line: int, bad: BadLines) -> None:
        self._path = _path_of(path)
        self._encoding = encoding
        self._max_line = max_line
        self._bad = bad
        self._file: ResumableFile | None = None
        self._lost_bytes = 0

    def bounds(self, known: Any) -> int | None:
        """Return the largest size that the file had at the beginning of a session. Warn if it is
        smaller now: without that, lines that were cut off would be missed silently.
        """
        try:
            size = os.stat(self._path).st_size  # noqa: PTH116  # as the user has spelled it
        except OSError:
            return None  # opening the file raises the error
        if type(known) is not int:
            return size
        self._lost_bytes = max(0, known - size)
        if self._lost_bytes:
            logger.warning("%s", self._shorter())
        return max(known, size)

    def iterate(self, last: Any = None) -> Iterator[Job]:
        """Yield the jobs, those after ``last`` if it is given.

        Raises:
            UsageError: There is no such file, or it is no text.
            StateRefused: It is not the file that ``last`` comes from, or was changed before that
                position.
            SourceError: It cannot be read on, has a bad line or row, or is being changed.
        """
        self._bad.begin()
        with self._open() as file:
            if last is not None:
                file.resume_at(self._file_key(last))
            self._file = file
            jobs = self._jobs(file)
            first = next(jobs, None)
            if first is not None:
                yield first
                yield from jobs
            elif last is None:
                self._bad.check_some_good(file.path)

    def remarks(self) -> list[str]:
        """Return the lines to print at the end of the run about what was left out."""
        return [*([self._shorter()] if self._lost_bytes else []), *self._bad.remarks(self._path)]

    def total(self) -> int | None:
        """Return None: only reading the whole file would tell the number of its lines."""
        return None

    def position(self, key: Any) -> float | None:
        """Return the fraction of the file before a key, 0 to 1; None before the reading has begun,
        and for a key that is none of a file. Any thread may call it.
        """
        return self._file.fraction_before(key[0]) if self._file is not None and _is_file_key(key) else None

    @abstractmethod
    def _jobs(self, file: ResumableFile) -> Iterator[Job]:
        """Return the jobs from the file's position on."""

    def _shorter(self) -> str:
        return (
            f"{self._path} has {show_count(self._lost_bytes, 'byte')} less than in an earlier session of this run. "
            "That is fine if lines were corrected. If its end was cut off, as of an incomplete copy, the missing lines "
            "are not read: put the whole file there, and give the same command again."
        )

    def _open(self) -> ResumableFile:
        return ResumableFile(self._path, self._max_line, self._encoding.mark, self._bad.leave_out)

    def _file_key(self, key: Any) -> FileKey:
        if _is_file_key(key):
            return key
        raise StateRefused(
            f"The key {key!r} is not a position in a file, so that this run was begun with another source than "
            f"{self._path}. Give that one, or start a new run with --reset."
        )

    def _not_text(self, file: ResumableFile, exc: UnicodeDecodeError, position: int) -> SourceError:
        return file.error(
            position,
            f"byte {position + exc.start} ({exc.object[exc.start]:#04x}) is no {self._encoding.name} ({exc.reason}); "
            'give the encoding that the file has, such as encoding="cp1252", or errors="replace"',
        )


class Lines(FileSource):
    """The source that ``lines`` returns."""

    def _jobs(self, file: ResumableFile) -> Iterator[Job]:
        for piece in file.pieces():
            try:
                text = self._encoding.decode(piece)
            except UnicodeDecodeError:
                yield from self._one_by_one(file, piece)
            else:
                yield from _lines_of(piece, text, file.at)

    def _one_by_one(self, file: ResumableFile, piece: bytes) -> Iterator[Job]:
        """Yield the lines of a piece in which at least one line is no text."""
        walk = _Walk(file, self._encoding, self._not_text)
        for line in walk.of(piece):
            if (not_text := walk.take_error()) is not None:
                self._bad.leave_out(not_text)
            else:
                yield Job(walk.at, line.removesuffix("\n").removesuffix("\r") if line.endswith("\n") else line)


class CsvRows(FileSource):
    """The source that ``csv_rows`` returns."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoding: TextEncoding,
        max_line: int,
        bad: BadLines,
        dialect: dict[str, Any],
        *,
        header: bool,
    ) -> None:
        super().__init__(path, encoding, max_line, bad)
        csv.reader((), **dialect)  # here, so that an unknown option fails at the line that gives it
        end = dialect.get("lineterminator", "\n")
        if end not in ("\n", "\r\n"):
            raise UsageError(
                f"lineterminator={end!r}: lines end with LF or CR LF, and csv.reader knows no "
                f"others: the whole file would be its header. Convert it first: tr {end!r} '\\n' < FILE > NEW."
            )
        self._dialect = dialect
        self._header = header
        self._names = Header(self._path, ())

    def remarks(self) -> list[str]:
        """Return the lines to print at the end of the run, about left-out rows and the header."""
        return [*super().remarks(), *self._names.remarks()]

    def _jobs(self, file: ResumableFile) -> Iterator[Job]:
        first = self._first_row()
        width = len(first)
        self._names = names = Header(self._path, first if self._header else ())
        fresh = file.at[0] == 0
        walk = _Walk(file, self._encoding, self._not_text)
        rows = self._rows(file, walk, self._bad.leave_out)
        if fresh and self._header:
            next(rows, None)
        for begin, row in rows:
            if len(row) == width:
                names.compare(row, begin)
                yield Job(walk.at, dict(zip(first, row, strict=True)) if self._header else tuple(row))
                continue
            what = f"it has {show_count(len(row), 'field')} where the first row has {width}: {row[: width + 1]!r}"[:500]
            self._bad.leave_out(file.error(begin, what))

    def _first_row(self) -> list[str]:
        """Return the first row, which tells the number of fields and, with a header, their names.
        An error in it is never left out.
        """
        with ResumableFile(self._path, self._max_line, self._encoding.mark) as file:
            walk = _Walk(file, self._encoding, self._not_text)
            begin, first = next(self._rows(file, walk, _raise), (0, []))
            if self._header and len(set(first)) < len(first):
                twice = next(name for name in first if first.count(name) > 1)
                raise file.error(
                    begin,
                    f"the header has the name {twice!r} more than once; mend it, or read tuples with header=False",
                )
            return first

    def _rows(
        self, file: ResumableFile, walk: _Walk, bad: Callable[[SourceError], None]
    ) -> Iterator[tuple[int, list[str]]]:
        """Yield the byte at which each row begins, and its fields. ``walk.at`` is then the key
        right behind the row.
        """
        reader = csv.reader(walk.of_file(), **self._dialect)
        while True:
            begin = walk.at[0]
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as exc:
                error = walk.take_error() or file.error(begin, f"this is not CSV: {_said(exc)}")
                if any(words in str(exc) for words in LOST_QUOTE):
                    # The rest of the file may be inside that quote: that is too much to leave out.
                    raise error from None
                bad(error)
                continue
            if (not_text := walk.take_error()) is not None:
                bad(not_text)
            elif row:
                yield begin, row


class JsonLines(FileSource):
    """The source that ``jsonl`` returns."""

    def _jobs(self, file: ResumableFile) -> Iterator[Job]:
        walk = _Walk(file, self._encoding, self._not_text)
        begin = walk.at[0]
        first = begin == 0  # no line of the file that is not blank was read yet
        array: Job | None = None  # the first line, if it may be a whole document
        for line in walk.of_file():
            if (not_text := walk.take_error()) is not None:
                self._bad.leave_out(not_text)
                first = False
            elif not line.isspace():
                if array is not None:
                    yield array
                    array = None
                try:
                    job = Job(walk.at, json.loads(line))
                except (ValueError, RecursionError) as exc:
                    if first and _begins_document(line.strip()):
                        raise file.error(begin, f"this is not JSON: {exc}; {ONE_DOCUMENT}") from None
                    self._bad.leave_out(file.error(begin, f"this is not JSON: {exc}"))
                else:
                    if first and type(job.payload) is list and len(job.payload) > 1:
                        array = job
                    else:
                        yield job
                first = False
            begin = walk.at[0]
        if array is not None:
            raise file.error(0, f"the file is a single array of {len(array.payload)}; {ONE_DOCUMENT}")


def _begins_document(line: str) -> bool:
    """Return whether the first line of a file begins a JSON document of several lines."""
    return line in ("[", "{") or (line[0] == "[" and line[-1] == ",")


def _is_file_key(key: Any) -> TypeGuard[FileKey]:
    return isinstance(key, tuple) and len(key) == 3 and all(type(part) is int and part >= 0 for part in key)


class _Walk:
    """The lines of a file one by one, as text with their line ends.

    Args:
        file: The file.
        encoding: The encoding of the text.
        not_text: Function that makes an error for a line that is no text.

    Attributes:
        at: The key right behind the newest line.
    """

    def __init__(
        self,
        file: ResumableFile,
        encoding: TextEncoding,
        not_text: Callable[[ResumableFile, UnicodeDecodeError, int], SourceError],
    ) -> None:
        self.at = file.at
        self._error: SourceError | None = None
        self._file = file
        self._encoding = encoding
        self._not_text = not_text

    def of_file(self) -> Iterator[str]:
        """Yield all lines from the file's position on."""
        for piece in self._file.pieces():
            yield from self.of(piece)

    def take_error(self) -> SourceError | None:
        """Return the error of the first line that was no text since the last call; None if all
        were.
        """
        error, self._error = self._error, None
        return error

    def of(self, piece: bytes) -> Iterator[str]:
        """Yield the lines of a piece."""
        position, crc, stamp = self._file.at
        for line in io.BytesIO(piece):
            try:
                text = self._encoding.decode(line)
            except UnicodeDecodeError as exc:
                self._error = self._error or self._not_text(self._file, exc, position)
                text = line.decode("ascii", "backslashreplace")
            position += len(line)
            crc = zlib.crc32(line, crc)
            self.at = position, crc, stamp
            yield text


def _path_of(path: object) -> str:
    """Return the path of a file as a text.

    Raises:
        UsageError: It is no path.
    """
    if not isinstance(path, (str, bytes, os.PathLike)) or b"\0" in os.fsencode(path) or not os.fsencode(path):
        raise UsageError(
            f"{path!r} is no path of a file: give a str or a pathlib.Path, such as lines('urls.txt'). The file itself "
            "is opened by the master, when it begins to read."
        )
    return os.fsdecode(path)


def _raise(error: SourceError) -> None:
    raise error


def _said(exc: csv.Error) -> str:
    """Return a ``csv`` error with a cure for the user, who did not open the file."""
    if "universal-newline" in str(exc) or "new-line character" in str(exc):
        return (
            "a CR stands alone in it, outside of quotes; if the lines of the file end so, as on old Macs, convert it: "
            "tr '\\r' '\\n' < FILE > NEW"
        )
    more = "; csv.field_size_limit(BYTES) in your module allows more" if "limit" in str(exc) else ""
    return f"{exc}{more}"


def _lines_of(piece: bytes, text: str, at: FileKey) -> Iterator[Job]:
    """Return the jobs of whole lines. All loops but one run in C: with short lines, this function
    takes most of the master's time.
    """
    position, crc, stamp = at
    pieces = io.BytesIO(piece).readlines()
    ends = accumulate(map(len, pieces), initial=position)
    next(ends)
    sums = [crc := zlib.crc32(line, crc) for line in pieces]
    texts = text.split("\n")
    if "\r" in text:
        texts = [*(line.removesuffix("\r") for line in texts[:-1]), texts[-1]]
    return map(Job, zip(ends, sums, repeat(stamp), strict=False), texts)
