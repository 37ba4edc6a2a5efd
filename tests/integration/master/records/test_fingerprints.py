"""What of fingerprints only shows in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys


def test_fingerprints_are_the_same_in_every_process() -> None:
    """Whatever the seed of the hashes."""
    program = (
        "from taskmaster.master.records.fingerprints import fingerprint\n"
        "print(fingerprint('1', {'tags': {'a', 'b', 'c', 'dd', 'ee'}, 'x': frozenset('abcdef')}).hex())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(found) == 1
