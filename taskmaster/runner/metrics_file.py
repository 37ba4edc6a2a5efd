"""``--metrics-file``: the metrics of a run in a file, for node_exporter's textfile collector.

It is written every 15 seconds and at the end, under another name first, so that nobody reads half
of it; after the end it stays, and says how the run ended. A thread of its own writes it: a write
that fails or hangs does not stop the run.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.master.summary import View
from taskmaster.runner.output_file import check_output, write_whole
from taskmaster.runtime import working_directory
from taskmaster.runtime.log import clean_logger
from taskmaster.view.metrics import metrics
from taskmaster.view.snapshot import Snapshot

__all__ = ["MetricsFile", "check_metrics_file"]

logger = clean_logger(__name__)

METRICS_FILE_SECONDS = 15.0
LAST_WRITE_SECONDS = 5.0  # longest wait at the end of a run for the last write
METRICS_FILE_MODE = 0o644  # node_exporter runs as another user


def check_metrics_file(path: str) -> None:
    """Refuse a file that cannot be written, before the run begins.

    Raises:
        UsageError: It cannot be written, or prometheus-client is missing.
    """
    if importlib.util.find_spec("prometheus_client") is None:
        raise UsageError(
            "--metrics-file needs prometheus-client, which comes with the extra `web`: pip install '.[web]'."
        )
    check_output("--metrics-file", path, "taskmaster.prom")


class MetricsFile:
    """A view that writes the metrics of its run into a file.

    Args:
        view: Shows the run.
        path: The file.
        status: Gives the status of the run, at any time and in any thread.
        describe: Makes the status of a snapshot.
    """

    def __init__(
        self,
        view: View,
        path: str,
        status: Callable[[], dict[str, Any]],
        describe: Callable[[Snapshot], dict[str, Any]],
    ) -> None:
        self._view = view
        self._path = working_directory.where_typed() / path  # the user's code may go to another directory
        self._status = status
        self._describe = describe
        self._last: Snapshot | None = None
        self._ended = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="taskmaster-metrics-file", daemon=True)
        self._thread.start()

    def update(self, snapshot: Snapshot) -> None:
        """Show the run as it is now."""
        self._view.update(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Show it for the last time, and write how it ended."""
        self._view.close(snapshot)
        self._last = snapshot
        self._ended.set()
        self._thread.join(LAST_WRITE_SECONDS)

    def say(self, line: str) -> None:
        """Print a line of Taskmaster's own."""
        self._view.say(line)

    def _run(self) -> None:
        self._try(self._status)
        while not self._ended.wait(METRICS_FILE_SECONDS):
            self._try(self._status)
        last = self._last
        if last is not None:
            self._try(lambda: self._describe(last))

    def _try(self, status: Callable[[], dict[str, Any]]) -> None:
        try:
            self._write(status())
        except Exception as exc:
            if not self._warned:
                logger.warning("the metrics cannot be written to %s, which is tried again: %s", self._path, exc)
            self._warned = True
        else:
            self._warned = False

    def _write(self, status: dict[str, Any]) -> None:
        # The collector puts the files of all runs of a machine together.
        _, text = metrics(status, up=True, with_target=True)
        write_whole(self._path, text, METRICS_FILE_MODE)
