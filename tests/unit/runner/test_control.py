"""What ``tm-ctl failures`` hears from a running master, and when it asks again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.master import Master

from taskmaster.errors import StateBusy
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.job_records import Attempt, FailedJob
from taskmaster.master.run_identity import RunIdentity
from taskmaster.master.run_record import Checkpoint
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.runner import control

FAILED = FailedJob(1, "1", "job", None, (Attempt(5.0, "host:1", "ValueError", "bad", "Traceback"),))


class Connection:
    """To a service in this process, whose store is busy for so many questions."""

    def __init__(self, busy: int) -> None:
        self.busy = busy
        self.patience: set[float] = set()
        self.service = Master(Broker("i", Limits()), failures=self.page).service

    def page(self, after: int, most: int, kind: str | None, patience: float) -> Sequence[FailedJob]:
        """As ``Store.failed``."""
        self.patience.add(patience)
        if self.busy:
            self.busy -= 1
            raise StateBusy("a checkpoint")
        return [] if after else [FAILED]

    def call(self, method: str, *args: Any) -> Any:
        """As a connection to a master."""
        return getattr(self.service, method)(*args)

    def close(self) -> None:
        """Nothing to hang up."""


def test_who_lists_failed_jobs_keeps_no_master_from_the_state(tmp_path: Path) -> None:
    """Somebody may look at the first of them in a pager for hours, while the run is restarted."""
    path = tmp_path / "x.tmstate"
    attempts = tuple(Attempt(5.0, "host:1", "ValueError", f"bad \udc80 {n}\n", "Traceback") for n in range(2))
    jobs = [FailedJob(n, str(n), "job", b"x", attempts) for n in range(1, 4)]
    with closing(SqliteStore.open(path, RunIdentity.named("mod"), "mod.py")) as store:
        store.write(Checkpoint(mark=None, failed=jobs, failures=3))
    listed = control.failures(str(path))
    first = next(listed)

    SqliteStore.open(path, RunIdentity.named("mod"), "mod.py").close()
    assert [first, *listed] == [replace(job, payload=None) for job in jobs]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the waits between questions, which take no time here."""
    found: list[float] = []
    monkeypatch.setattr(control.time, "sleep", found.append)
    return found


def test_a_master_that_is_busy_is_asked_again(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers at once that it is: whoever waits in there lets all slaves wait."""
    connection = Connection(3)
    monkeypatch.setattr(control, "connect", lambda *_: connection)

    assert list(control.failures_of("127.0.0.1:5050", None, None)) == [FAILED]
    assert waits == [control.BUSY_PAUSE_SECONDS] * 3
    assert all(0 <= patience <= 0.2 for patience in connection.patience)


def test_a_master_that_stays_busy_is_named(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds, with what else can be asked."""
    monkeypatch.setattr(control, "connect", lambda *_: Connection(10**6))
    with pytest.raises(StateBusy, match=r"5050 has not been able to write a checkpoint for 10 s"):
        list(control.failures_of("127.0.0.1:5050", None, None))

    assert len(waits) == control.MOST_BUSY_PAUSES
