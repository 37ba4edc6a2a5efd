"""Files as sources of jobs: lines, CSV rows, JSON Lines. A run over a hundred gigabytes resumes by
seeking.

A user's module takes one of the functions' results as ``get_jobs``, or returns it from there::

    from taskmaster import sources

    get_jobs = sources.lines("urls.txt")          # or

    def get_jobs(path):                           # tm-run mod.py 8 path=people.csv
        return sources.csv_rows(path, delimiter=";")

Only the master opens the file, when it begins to read: slaves need not have it.

**Keys.** A job's key is the position right behind its line or record: the number of bytes before
it, their CRC-32, and a stamp of the file's size and times of change when the run was begun.
Positions grow, so no two keys are equal.

**Changes between sessions.** On a resume, the size and both times of change (of the content, and of
the inode) are compared. If they are the same, the file is taken for unchanged and read on from the
position. If not (it was copied, appended to, touched, edited), all bytes before the position are
read again, at the speed of the disk, and the run is refused (exit 5) if their checksum differs; one
change in four billion is not noticed. Keys keep the stamp of the run's beginning, so that jobs that
were settled above the watermark are recognised. The file may change after the position, which was
not read yet.

**Changes while it is read.** The file may grow: it is read up to the size that it had when the
reading began. If it becomes shorter, is replaced by another file, or if what was read has changed,
the source fails (exit 1).

**Lines** end with LF or CR LF. A CR alone is text. The last line need not have an end; but if the
file has grown meanwhile, that line is left for the next session, because it may be incomplete.

**Compressed files** (gzip, bzip2, xz, and zstd with the extra ``zstd``; recognised by their first
bytes) are decompressed as they are read, and positions are those of their content. A resumed run
decompresses all that comes before its position, a few hundred megabytes a second, and notices any
change in it. Such a file must not grow while it is read, and must be complete: after its last
member, only zero bytes may follow.
"""

from __future__ import annotations

import os
from typing import Any

from taskmaster.sources.bad_lines import BadLines
from taskmaster.sources.file_sources import CsvRows, FileSource, JsonLines, Lines
from taskmaster.sources.text_encoding import TextEncoding

__all__ = ["CsvRows", "FileSource", "JsonLines", "Lines", "csv_rows", "jsonl", "lines"]

MAX_LINE_BYTES = 64 * 1024 * 1024


def lines(
    path: str | os.PathLike[str],
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    skip_bad: bool | int = False,
    max_line: int = MAX_LINE_BYTES,
) -> Lines:
    """Return a source in which each line of a text file is a job: a str without the line end. Empty
    lines are jobs, too.

    Args:
        path: The path of the file, as the master finds it.
        encoding: The encoding of the text: UTF-8, or any other in which ASCII's characters are the
            same single bytes. A byte order mark at the beginning of UTF-8 is no part of the text.
        errors: How bytes that are no text are treated, as for ``open``: ``"strict"`` ends the run;
            ``"replace"``, ``"backslashreplace"`` and others make a text of them.
        skip_bad: Whether to leave out lines that are no text or too long, which are then counted,
            and listed at the end of the run; True: all of them; a number: at most that many.
        max_line: Most bytes of a line; a longer line is an error.

    Raises:
        UsageError: The encoding or ``errors`` is unknown, or lines cannot be found in that
            encoding.

    Example::

        get_jobs = lines("urls.txt")

        def handle_job(url):
            fetch(url)
    """
    return Lines(path, TextEncoding(encoding, errors), max_line, BadLines(skip_bad))


def csv_rows(
    path: str | os.PathLike[str],
    *,
    header: bool = True,
    encoding: str = "utf-8",
    errors: str = "strict",
    skip_bad: bool | int = False,
    max_line: int = MAX_LINE_BYTES,
    **dialect: Any,
) -> CsvRows:
    """Return a source in which each row of a CSV file is a job: a dict of str with the names of the
    first row, or a tuple of str.

    A quoted field may contain line ends. Empty rows are left out. All rows must have as many fields
    as the first.

    Args:
        path: The path of the file, as the master finds it.
        header: Whether the first row has the names of the columns, and rows are dicts; if not, it
            is a job like the others, and rows are tuples.
        encoding: As for ``lines``.
        errors: As for ``lines``.
        skip_bad: Whether to leave out rows that are no text, no CSV, or have more or fewer fields
            than the first, as for ``lines``. A quote without an end is always an error.
        max_line: Most bytes of a line of the file.
        **dialect: Options of ``csv.reader``: ``delimiter=";"``, ``quotechar``,
            ``dialect="excel-tab"`` and so on. Quotes that do not match are errors, unless
            ``strict=False``.

    Raises:
        UsageError: As for ``lines``.
        TypeError: ``csv.reader`` has no such option.

    Example::

        def get_jobs(path):
            return csv_rows(path, delimiter=";")

        def handle_job(row):
            save(row["name"], row["email"])
    """
    bad, text = BadLines(skip_bad), TextEncoding(encoding, errors)
    return CsvRows(path, text, max_line, bad, {"strict": True, **dialect}, header=header)


def jsonl(
    path: str | os.PathLike[str],
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    skip_bad: bool | int = False,
    max_line: int = MAX_LINE_BYTES,
) -> JsonLines:
    """Return a source in which each line of a JSON Lines file is a job: the value that
    ``json.loads`` returns for it. Blank lines are left out.

    Args:
        path: The path of the file, as the master finds it.
        encoding: As for ``lines``.
        errors: As for ``lines``.
        skip_bad: Whether to leave out lines that are no text or no JSON, as for ``lines``.
        max_line: Most bytes of a line.

    Raises:
        UsageError: As for ``lines``.
    """
    return JsonLines(path, TextEncoding(encoding, errors), max_line, BadLines(skip_bad))
