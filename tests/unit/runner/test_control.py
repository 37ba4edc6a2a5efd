"""What ``tm-ctl failures`` hears from a running master, and when it asks again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.master import Master

from taskmaster.errors import ConnectError, NoMaster, StateBusy, StateLocked, UsageError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.runner import control


@pytest.fixture(autouse=True)
def _forget_the_key() -> Iterator[None]:
    yield
    control._of_environment.clear()


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


@pytest.fixture
def state(tmp_path: Path) -> str:
    """Give a state with three failed jobs, of which two have keys that are spelled alike."""
    path = tmp_path / "x.tmstate"
    attempts = (Attempt(5.0, "host:1", "ValueError", "bad", "Traceback"),)
    jobs = [FailedJob(n, key, "job", b"x", attempts) for n, key in enumerate(("1", '"1"', '"other"'), 1)]
    jobs[2] = replace(jobs[2], attempts=(attempts[0]._replace(type="KeyError"),))
    with closing(SqliteStore.open(path, RunIdentity.named("mod"), "mod.py")) as store:
        store.write(Checkpoint(mark="3", failed=jobs, failures=3))
    return str(path)


def left(state: str) -> list[str | None]:
    """The keys of the failed jobs that are left."""
    return [job.key for job in control.failures(state)]


def test_a_failed_job_is_forgotten_by_the_exact_spelling_of_its_key(state: str) -> None:
    """The number 1 is not the text "1", unless there is no other."""
    assert control.drop_failures(state, ["1"]) == {"1": 1}
    assert left(state) == ['"1"', '"other"']
    assert control.drop_failures(state, ["1"]) == {"1": 1}
    assert left(state) == ['"other"']


def test_a_key_that_no_failed_job_has_changes_nothing(state: str) -> None:
    """Those that look like it are named."""
    with pytest.raises(UsageError, match=r"has the key othr; there are: 'other'\."):
        control.drop_failures(state, ["1", "othr"])

    assert len(left(state)) == 3


def test_failed_jobs_of_a_kind_are_listed_and_forgotten(state: str) -> None:
    """By the class of exception that they failed with at last."""
    assert [job.key for job in control.failures(state, "KeyError")] == ['"other"']
    assert control.drop_all_failures(state, "ValueError") == 2
    assert left(state) == ['"other"']
    assert control.drop_all_failures(state) == 1
    assert left(state) == []


def test_a_directory_lists_its_states_with_what_is_wrong_with_them(state: str) -> None:
    """One that is no state is a line, too, and so is one that a run has."""
    folder = Path(state).parent
    (folder / "a.tmstate").write_text("This is no state.")
    with closing(SqliteStore.open(folder / "z.tmstate", RunIdentity.named("mod"), "mod.py")) as store:
        store.tell("127.0.0.1:5050")
        wrong, good, busy = control.states_in(folder)

    assert (wrong.path.name, wrong.run) == ("a.tmstate", None)
    assert wrong.remark
    assert good.run is not None
    assert (good.belongs, good.run.failures, good.remark) == ("mod", 3, "")
    assert busy.remark == "a run is going on, ask 127.0.0.1:5050"


def test_a_state_at_rest_has_its_runs_and_its_trail_and_no_master(state: str) -> None:
    """With what can be asked instead."""
    assert [run.failures for run in control.runs_of(state)] == [3]
    assert control.trail_of(state) == []
    assert control.find_master(state) is None
    with pytest.raises(NoMaster, match="tm-ctl runs"):
        control.master_of(state)


def test_a_run_that_goes_on_is_named_before_its_state_is_changed(state: str) -> None:
    """Nothing is dropped or taken back meanwhile; its master is found."""
    with closing(SqliteStore.open(Path(state), RunIdentity.named("mod"), "mod.py")) as store:
        store.tell("127.0.0.1:5050")
        run = store.load().id
        for change in (
            lambda: control.drop_failures(state, ["1"]),
            lambda: control.drop_all_failures(state),
            lambda: control.restore(state, run),
            lambda: control.runs_of(state),
        ):
            with pytest.raises(StateLocked, match="A run is going on with the state"):
                change()
        assert control.trail_of(state) is None
        assert control.master_of(state) == "127.0.0.1:5050"

    assert len(left(state)) == 3


def test_without_a_key_a_master_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None was left here for its port."""
    monkeypatch.setenv("TASKMASTER_HOME", str(tmp_path))
    with pytest.raises(ConnectError, match=r"has left a key for 127\.0\.0\.1:15099 on this machine"):
        control.connect("127.0.0.1:15099", None, None)


def test_without_a_key_the_masters_of_this_directory_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``tm-run`` takes a free port: `tm-ctl status` alone asks at another one, and only spoke of
    --host and of keys.
    """
    monkeypatch.setenv("TASKMASTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none.tmstate").write_text("no state")
    with pytest.raises(ConnectError, match=r"Is it running\? Name its state or its TARGET"):
        control.connect("127.0.0.1:15099", None, None)
    with closing(SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod.py")) as store:
        store.tell("127.0.0.1:5051")
        with pytest.raises(ConnectError, match=r"is the master of x\.tmstate: name its state, as in `tm-ctl status x"):
            control.connect("127.0.0.1:15099", None, None)


def test_the_key_of_the_environment_serves_for_a_second_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report asks twice, and what watches a run connects again when its master was restarted; the
    environment has it no more.
    """
    used: list[bytes] = []
    monkeypatch.setattr(control.client, "connect", lambda _host, _port, key: used.append(key))
    monkeypatch.setattr(control, "left_key", lambda _: None)
    monkeypatch.setenv("TASKMASTER_KEY", "secret\n")
    for _ in range(2):
        control.connect("127.0.0.1:5050", None, None)
    control.connect("127.0.0.1:5050", "another", None)
    monkeypatch.setenv("TASKMASTER_KEY", "new")
    control.connect("127.0.0.1:5050", None, None)

    assert used == [b"secret", b"secret", b"another", b"new"]
    assert "TASKMASTER_KEY" not in os.environ
