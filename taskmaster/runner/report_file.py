"""``--report`` and ``tm-ctl report``: the report of a run, as a file.

At the end of a session it is written whole or not at all; where it cannot be written, neither the
run nor its exit code changes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from taskmaster.errors import StateError
from taskmaster.master.events import LAST_EVENTS
from taskmaster.master.records.job_records import FailedJob
from taskmaster.master.run import Run
from taskmaster.master.stores.contract import Store
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.master.tally.failure_kinds import MOST_KINDS_COUNTED, FailureKinds
from taskmaster.runner import control
from taskmaster.runner.announcements import command_again
from taskmaster.runner.output_file import check_output, write_whole
from taskmaster.runner.report_facts import MOST_FAILED, conclusion, conclusion_of_state, facts_of_master, facts_of_state
from taskmaster.runner.steer_client import SteerClient
from taskmaster.runtime import working_directory
from taskmaster.runtime.log import clean_logger
from taskmaster.transport.client import Declined
from taskmaster.view.report import report
from taskmaster.view.snapshot import RunState

__all__ = ["ReportFile", "as_html", "check_report", "report_of_master", "report_of_state", "write_report"]

logger = clean_logger(__name__)

REPORT_FILE_MODE = 0o640  # as that of a log: a row of a table may stand in a traceback
REPORT_OPTION, EXAMPLE = "--report", "report.html"
MOST_FAILURES_READ = 200_000  # failed jobs of a state; of more, only the classes are counted
BUSY_SECONDS = 2.0  # longest wait at the end of a run for the failed jobs


def check_report(path: str | None, option: str = REPORT_OPTION) -> None:
    """Refuse a report that cannot be written there, before the run begins.

    Raises:
        UsageError: It cannot.
    """
    if path is not None:
        check_output(option, path, EXAMPLE)


class ReportFile:
    """Writes a report at the end of its ``with`` block, which is a session, however that ends.

    Args:
        path: The file; None: no report is written.
        run: The run.
        store: Its state.
        exit_code: The exit code of the command; None where an error says it.
        sampled: Whether it is a rehearsal, whose state is gone with it.
    """

    def __init__(
        self,
        path: str | None,
        run: Run,
        store: Store,
        exit_code: Callable[[], int | None],
        *,
        sampled: bool = False,
    ) -> None:
        self._path = path and str(working_directory.where_typed() / path)  # the user's code may go to another directory
        self._sampled = sampled
        self._kept = not sampled and not isinstance(store, MemoryStore)
        self._run = run
        self._store = store
        self._exit_code = exit_code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._path is None:
            return
        try:
            write_report(self._path, self._facts(error))
        except Exception as exc:  # the run is over, and its end is not to be another one
            again = f"; `{_asked(self._store.location)}` makes it again" if self._kept else ""
            logger.warning("the report cannot be written to %s: %s%s", self._path, exc, again)

    def _facts(self, error: BaseException | None) -> dict[str, Any]:
        code = self._exit_code()
        over = error is None and code in (0, 1, 3)
        status = self._run.status(RunState.FINISHED if over else RunState.STOPPED)
        found = facts_of_master(self._run.steers.look, status, self._failed())
        code = 0 if code is None and error is None else code
        left_out = self._run.summary().left_out if code == 1 else ""
        ended = conclusion(status, code, error, self._last_word(), left_out)
        status["why"] = {"code": "", "sentence": ended["sentence"], "cure": "", "since_at": None}
        if self._sampled:
            ended["sentence"] = f"A rehearsal, which keeps no state. {ended['sentence']}"
        of_state = {
            "resume": command_again(),
            "failed_again": command_again("--failed"),
            "failures": _listed(self._store.location),
            "state_file": self._store.location,
        }
        return {
            **found,
            **(of_state if self._kept else dict.fromkeys(of_state, "")),
            "conclusion": ended,
            "traceback": getattr(error, "user_traceback", None) or "",
        }

    def _failed(self) -> Sequence[FailedJob]:
        """Return the first failed jobs; none where the state cannot be read, which may be why the
        run has ended.
        """
        try:
            return self._store.failed(most=MOST_FAILED, wait=BUSY_SECONDS)
        except StateError as exc:
            logger.warning("the report has no list of the failed jobs: %s", exc)
            return []

    def _last_word(self) -> str:
        """Return what was said of the end."""
        look = self._run.steers.look
        last = look("events", {})["last"]
        rows = look("events", {"after": max(0, last - 3)})["rows"]
        return next((str(row["text"]) for row in reversed(rows) if row["event"] in LAST_EVENTS), "")


def report_of_state(path: str) -> dict[str, Any]:
    """Return the report of the run in a state that no master is at.

    Raises:
        StateLocked: A master is.
        StateError: It cannot be read.
    """
    store = SqliteStore.open_existing(path)
    try:
        record = store.load()
        kinds, failed = _failed_of(store, record.failures)
        found = facts_of_state(record, store.belonging().describe(), kinds, failed)
        return {**found, "conclusion": conclusion_of_state(record), **_places(store.location)}
    finally:
        store.close()


def report_of_master(host: str, key: str | None, key_file: str | None, path: str | None) -> dict[str, Any]:
    """Return the report of a run that goes on.

    Args:
        host: The address of the master.
        key: The shared key.
        key_file: A file with it.
        path: Its state, where that is known.

    Raises:
        ConnectError: The master cannot be reached.
    """
    client = SteerClient(host, key, key_file, via="tm-ctl")

    def look(what: str, arguments: dict[str, Any]) -> Any:
        try:
            return client.look(what, **arguments)
        except Declined as exc:
            if not exc.unknown:
                raise
            return None  # of another release

    try:
        status = client.status()
        failed: list[FailedJob] = []
        if status.get("failed"):
            with closing(control.failures_of(host, key, key_file)) as jobs:
                failed = list(islice(jobs, MOST_FAILED))
        found = facts_of_master(look, status, failed)
    finally:
        client.close()
    return {**found, "conclusion": conclusion(status, None, None, ""), **(_places(path) if path is not None else {})}


def as_html(facts: dict[str, Any]) -> bytes:
    """Return a report as a page."""
    return report(facts)


def write_report(path: str, facts: dict[str, Any], *, as_json: bool = False) -> None:
    """Write a report to a file: as JSON if that is asked for, or its name says so.

    Raises:
        OSError: It cannot be written.
    """
    as_json = as_json or path.lower().endswith(".json")
    content = json.dumps(facts, indent=1).encode() + b"\n" if as_json else report(facts)
    write_whole(Path(path), content, REPORT_FILE_MODE)


def _failed_of(store: SqliteStore, count: int) -> tuple[FailureKinds, Sequence[FailedJob]]:
    """Return the failed jobs of a state by kind, and the first of them."""
    first = list(store.failed(most=MOST_FAILED))
    if count > MOST_FAILURES_READ:
        return FailureKinds(store.kinds(MOST_KINDS_COUNTED)), first
    kinds = FailureKinds()
    jobs: Sequence[FailedJob] = first
    while jobs:
        for job in jobs:
            kinds.add(job)
        jobs = store.failed(jobs[-1].id)
    return kinds, first


def _places(path: str) -> dict[str, Any]:
    return {"state_file": path, "failures": _listed(path)}


def _listed(path: str) -> str:
    return shlex.join(["tm-ctl", "failures", path])


def _asked(path: str) -> str:
    return shlex.join(["tm-ctl", "report", path])
