"""A disk that always takes the same time, for what is measured on a machine whose disk others use.

There, one and the same pgbench takes twice or five times as long from one minute to the next, with
nothing beside it, which hides what a run does. The server's files are in memory here. Each write of
its log waits, one after the other as on a disk, for ``SECONDS_EACH`` and for as long as its bytes
take; that is all that a commit waits for. Data files are written without waiting, as a kernel does.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["SETTINGS", "steady_disk"]

SOURCE = Path(__file__).with_suffix(".c")
SECONDS_EACH = 0.0008  # about what a cloud's network disk takes
BYTES_A_SECOND = 200e6
MEMORY = "/dev/shm"
SETTINGS = {"wal_sync_method": "open_datasync"}


@contextmanager
def steady_disk() -> Iterator[None]:
    """Have servers that are started in the block write to such a disk.

    Raises:
        subprocess.CalledProcessError: There is no C compiler, or it refuses.
    """
    before, environment = tempfile.tempdir, os.environ.copy()
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        Path(folder).chmod(0o755)  # the server is another user's
        library = Path(folder) / "steady_disk.so"
        numbers = [f"-DSECONDS_EACH={SECONDS_EACH}", f"-DBYTES_A_SECOND={BYTES_A_SECOND}"]
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", *numbers, "-o", library, SOURCE, "-ldl"], check=True)
        tempfile.tempdir = MEMORY
        os.environ["LD_PRELOAD"] = str(library)
        try:
            yield
        finally:
            tempfile.tempdir = before
            os.environ.clear()
            os.environ.update(environment)
