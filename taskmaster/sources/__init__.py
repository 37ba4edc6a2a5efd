"""Sources of jobs: files, and what the tables of ``postgres`` and the querysets of ``django_orm``
have in common.

- ``files``: the public functions for lines, CSV and JSON; ``file_sources``: the sources that they
  return; ``resumable_file``: an open file that is read on after a key;
- ``file_format``, ``text_encoding``, ``csv_header``: the format of a file; ``bad_lines``: lines
  that are left out;
- ``keyset_rows``, ``key_ranges``: a table as pages of rows, or as ranges of keys; ``key_bounds``:
  where such a run ends; ``fixed_cost``: the time of a range that does not depend on its rows;
  ``index_operators``: how a table's indexes compare its keys;
- ``database_retry``: repeats a query after an error that passes; ``database_errors``: recognises
  errors that do not pass.

Workers import this package for their ranges: a module is imported only when a name of it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskmaster.sources.files import CsvRows, FileSource, JsonLines, Lines, csv_rows, jsonl, lines

__all__ = ["CsvRows", "FileSource", "JsonLines", "Lines", "csv_rows", "jsonl", "lines"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module("taskmaster.sources.files"), name)
    return found
