"""Sources of jobs: files here, by name; and what the tables of ``postgres`` and the querysets of
``django_orm`` share.

- ``files``: the functions for lines, CSV and JSON, and how files are read; ``file_sources``: what
  they return; ``resumable_file``: an open file that can go on after a key;
- ``file_format``, ``text_encoding``, ``csv_header``: what a file is; ``bad_lines``: what is left
  out of it;
- ``keyset_rows``, ``key_ranges``: a table by pages of rows, or as ranges of keys; ``key_bounds``:
  where such a run ends; ``fixed_cost``: what a range takes beside its rows;
  ``index_operators``: how a table's indexes compare its keys;
- ``database_retry``: asks again what a database refuses for now; ``database_errors``: tells what
  passes from what has to be mended.

Workers import this package for the ranges they are handed: nothing is loaded before it is asked
for.
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
