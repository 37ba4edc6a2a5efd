"""An end of a source that is none: a function that ``map`` or ``filter`` calls raises
StopIteration, as ``next(rows)`` does where there is no row.

Python takes that for the end of the whole, without a word. In a generator it would be an error, and
so it is here. One that ``itertools.chain`` has taken for the end of a part cannot be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["without_early_end"]

_LAZY_TYPES = (map, filter, zip, enumerate)
_NEXT = "__next__"  # what an iterator of the user's own ends by


def without_early_end(jobs: Iterator[Any]) -> Iterator[Any]:
    """Return an iterator over the same jobs that ends only where they do.

    It raises:
        RuntimeError: A function that has been called on the way has raised StopIteration.
    """
    if type(jobs) in _LAZY_TYPES or type(jobs).__module__ == "itertools":
        return _looked_at(jobs)
    return jobs


def _looked_at(jobs: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            job = next(jobs)
        except StopIteration as exc:
            here = exc.__traceback__
            inside = here.tb_next if here is not None else None
            if inside is None or inside.tb_frame.f_code.co_name == _NEXT:
                return
            code = inside.tb_frame.f_code
            error = RuntimeError(
                f"{code.co_qualname} raised StopIteration, which would be taken for the end of all jobs: use "
                "next(..., None) there, or catch it"
            )
            raise error.with_traceback(inside) from None
        yield job
