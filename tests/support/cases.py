"""Cases of which a few stand for their kind in ``make test``; the others are slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["mostly_slow"]


def mostly_slow(cases: Iterable[Any], *quick: Any) -> list[Any]:
    """Mark the cases as slow, but for the quick ones, which are named by their value or by their
    first value.
    """
    found, left = [], list(quick)
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        names = [name for name in (case, values[0]) if name in left]
        found.append(pytest.param(*values, marks=() if names else pytest.mark.slow))
        if names:
            left.remove(names[0])
    assert not left, f"no case is {left}"
    return found
