"""What can be iterated over and is still no source of jobs: a text, a set, a table of pandas'.

Each would run to its end, and would have run something else than was meant, or leave jobs out when
it is resumed. None of the libraries is imported: their classes are known by their names.
"""

from __future__ import annotations

import inspect
import os
from collections import UserString
from collections.abc import Iterator, Reversible
from collections.abc import Set as AbstractSet
from typing import Any

from taskmaster.errors import named

__all__ = ["why_unsuitable"]

SET_ITERATOR = type(iter(set[int]()))
BYTES_ITERATORS = type(iter(b"")), type(iter(bytearray()))
TEXT_ITERATORS = type(iter("")), type(iter("\u00fc"))  # some Pythons have one of its own for ASCII
FRAMES = {"DataFrame": "its columns", "LazyFrame": "its columns", "Dataset": "the names of its variables"}
FRAME_MODULES = ("pandas", "polars", "dask", "modin", "cudf", "pyspark", "vaex", "xarray", "geopandas", "pyarrow")


def why_unsuitable(jobs: Any) -> str:
    """Return why jobs cannot come from a value, and what to give instead, as the end of a sentence
    that begins with "it is"; "" if they can, as far as its type says.
    """
    kind = type(jobs)
    if isinstance(jobs, str | UserString | os.PathLike):
        path = os.fspath(jobs) if isinstance(jobs, os.PathLike) else str(jobs)
        one = "a path" if isinstance(jobs, os.PathLike) else "a text, of which each character would be a job"
        return (
            f"{one}. For a job for each line of a file, give taskmaster.sources.lines({path!r:.100}); for one job, "
            "give a list of it"
        )
    if isinstance(jobs, TEXT_ITERATORS):
        return (
            "an iterator over a text, of which each character would be a job. For a job for each line of a file, give "
            "taskmaster.sources.lines(PATH); for one job, give a list of it"
        )
    if isinstance(jobs, (bytes, bytearray, memoryview, *BYTES_ITERATORS)):
        return (
            f"{named(kind)}, of which each byte would be a job. For a job for each line of a file, give "
            "taskmaster.sources.lines(PATH); for one job, give a list of it"
        )
    if isinstance(jobs, SET_ITERATOR) or (isinstance(jobs, AbstractSet) and not isinstance(jobs, Reversible)):
        of = "an iterator over a set" if isinstance(jobs, Iterator) else named(kind)
        return (
            f"{of}, which has no order: a resumed run would find its jobs in another one, and leave some out. Give "
            "them in an order that stays, as in sorted(...)"
        )
    if inspect.isasyncgen(jobs) or inspect.iscoroutine(jobs) or hasattr(kind, "__aiter__"):
        return (
            f"{named(kind)}, and jobs are read by a plain `for` in a thread of its own. Write it as a plain function; "
            "what has to be awaited in it can be run with asyncio.run(...)"
        )
    return _why_no_table(kind)


def _why_no_table(kind: type) -> str:
    for base in kind.__mro__:
        package = base.__module__.partition(".")[0]
        if base.__name__ in FRAMES and package in FRAME_MODULES:
            rows = ".iter_rows()" if package == "polars" else ".itertuples(name=None)"
            return (
                f"{named(kind)} of {package}, and to iterate over it gives {FRAMES[base.__name__]}. Give its rows, as "
                f"in {rows}, which are plain tuples"
            )
    return ""
