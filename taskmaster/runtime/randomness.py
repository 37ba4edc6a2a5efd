"""Random numbers in forked processes: each must have its own.

Python sees to that for ``random``; numpy's global generator is a copy of the parent's, so that all
children would draw the same numbers.
"""

from __future__ import annotations

import random
import sys

__all__ = ["reseed"]


def reseed() -> None:
    """Seed the global generators from the system; to be called in a forked child."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
