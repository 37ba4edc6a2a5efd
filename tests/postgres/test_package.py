"""What ``taskmaster.postgres`` offers is there, whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "before",
    [
        "postgres.KeyRange",
        "import taskmaster.postgres.ranges, taskmaster.postgres.rows",
        "postgres.ranges, postgres.KeyRange, postgres.rows",
        "from taskmaster.postgres.rows import Rows; from taskmaster.postgres.ranges import Ranges",
    ],
)
def test_no_module_takes_the_place_of_its_function(before: str) -> None:
    """An annotation ``postgres.KeyRange`` of a callback imports the module ``ranges``."""
    after = "print(postgres.ranges('dbname=x', 't'), postgres.rows('dbname=x', 't'), postgres.KeyRange.__name__)"
    code = f"from taskmaster import postgres\n{before}\n{after}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ended.stdout == "ranges of t by id rows of t by id KeyRange\n", ended.stderr
