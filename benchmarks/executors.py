"""The executors of ``benchmarks/engines.py``: what ``tm-slave --executor`` is given there."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.works import WORKERS

SCHEDULER = "BENCHMARK_SCHEDULER"
"""The environment variable with the address of Dask's scheduler."""


def processes() -> Any:
    """The standard library's pool."""
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(WORKERS)


def loky() -> Any:
    """That of joblib."""
    from loky import ProcessPoolExecutor

    return ProcessPoolExecutor(WORKERS)


def dask() -> Any:
    """A Dask cluster's."""
    from distributed import Client

    return Client(os.environ[SCHEDULER], set_as_default=False).get_executor(pure=False, retries=0)
