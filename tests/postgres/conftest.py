"""What all tests with a PostgreSQL server need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskmaster.postgres import connections


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    """Each test begins without a worker's connection, and leaves none."""
    yield
    known = connections._local.__dict__.pop("known", {})
    for dsn in list(known):
        connections._close(known, dsn)
