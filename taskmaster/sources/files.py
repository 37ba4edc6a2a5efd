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
that lies before it, and a stamp of the file's size and times of change when the run was begun.
Positions grow, so no two keys are equal.

**What is noticed.** On a resume the size and both times of change (of the content, and of the
inode) are looked at. If they are as they were, the file is taken for unchanged and read on from the
position at once. If not (it was copied, appended to, touched, edited), all that lies before the
position is read once more, as fast as the disk gives it, and the run is refused (exit 5) if a byte
of it differs. Keys keep the stamp of the beginning, so that what was settled above the watermark is
recognised. Not noticed is one change in four billion. What lies behind the position may change as
it likes: it was not read.

**While it is read** the file may grow, and nothing else: it is read up to the size that it had when
reading began. If it becomes shorter, if it is another file, or if what was read is not in it any
more, the source fails (exit 1).

**Lines** end with LF or CR LF. A CR alone is text. The last line need not have an end; but if the
file has grown meanwhile, it is left for the next session, for it may be half a line.

**Compressed files** (of gzip, bzip2, xz, and zstd with the extra ``zstd``; told by their first
bytes) are decompressed as they are read, and positions are those of their content. A resumed run
has to decompress all that lies before its position, some hundred megabytes a second; what was
changed there is found whatever the stamp says. They must not grow while they are read, and must be
whole: behind their last member there may be zero bytes, and nothing else.
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
    """Return a source in which each line of a text file is a job: a str without the line's end.
    Empty lines are jobs too.

    Args:
        path: The path of the file, as the master finds it.
        encoding: The encoding of the text: UTF-8, or any other that has ASCII's characters as
            single bytes. A byte order mark at the beginning of UTF-8 is no part of the text.
        errors: What becomes of bytes that are no text, as for ``open``: ``"strict"`` ends the run,
            ``"replace"``, ``"backslashreplace"`` and others give a text all the same.
        skip_bad: Leave lines out that are no text or too long, and count and list them at the end
            of the run; True: all of them; a number: at most that many.
        max_line: Most bytes of a line; a longer one is an error.

    Raises:
        UsageError: The encoding or ``errors`` is unknown, or such that lines cannot be found in it.

    Example::

        get_jobs = lines("urls.txt")

        def handle_job(url):
            fetch(url)
    """
    return Lines(path, TextEncoding(encoding, errors), max_line, BadLines(skip_bad))


def csv_rows(  # what a file of CSV may be like
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

    A quoted field may hold line ends. Empty rows are left out. All rows must have as many fields as
    the first.

    Args:
        path: The path of the file, as the master finds it.
        header: The first row has the names of the columns, and rows are dicts; otherwise it is a
            row like all, and rows are tuples.
        encoding: As for ``lines``.
        errors: As for ``lines``.
        skip_bad: Leave rows out that are no text, no CSV, or have more or fewer fields than the
            first, as for ``lines``. A quote without its end is an error all the same.
        max_line: Most bytes of a line of the file.
        **dialect: What ``csv.reader`` takes: ``delimiter=";"``, ``quotechar``,
            ``dialect="excel-tab"`` and so on. Quotes that do not match are errors, unless
            ``strict=False``.

    Raises:
        UsageError: As for ``lines``.
        TypeError: ``csv.reader`` does not take that.

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
    """Return a source in which each line of a JSON Lines file is a job: what ``json.loads`` makes
    of it. Blank lines are left out.

    Args:
        path: The path of the file, as the master finds it.
        encoding: As for ``lines``.
        errors: As for ``lines``.
        skip_bad: Leave lines out that are no text or no JSON, as for ``lines``.
        max_line: Most bytes of a line.

    Raises:
        UsageError: As for ``lines``.
    """
    return JsonLines(path, TextEncoding(encoding, errors), max_line, BadLines(skip_bad))
