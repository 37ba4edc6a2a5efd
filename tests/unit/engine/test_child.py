"""What an engine's worker does with a slave: starts it, ends it when it is not wanted any more, and
says how it ended. The slave is none; it behaves as it is told.
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import pytest

from taskmaster.engine import child
from taskmaster.engine.child import Wanted
from taskmaster.engine.slave_task import Archive, SlaveTask
from taskmaster.slave.config import Instructions, SlaveConfig
from taskmaster.transport.address import Address

TASK = SlaveTask(
    "r1", Instructions(SlaveConfig("jobs.py", Address("127.0.0.1", 5050), 0, grace=1.0), "very secret", "warning"),
    Archive("d", b""), (("PLACE", "there"),), reach=1.0, name="slave-1",
)  # fmt: skip


class Pipe(io.BytesIO):
    """Keeps what was written to it when it is closed."""

    text = b""

    def close(self) -> None:
        self.text = self.text or self.getvalue()
        super().close()


class Slave:
    """A process that is none.

    Args:
        code: With what it ends by itself; None: it goes on until it is told to end.
        hears: It ends when it is told to.
    """

    said = b"tm-slave: connected\ntm-slave: the disk is full\n"

    def __init__(self, code: int | None, *, hears: bool = True) -> None:
        self.code, self.hears = code or 0, hears
        self.ended = threading.Event()
        if code is not None:
            self.ended.set()
        self.stdin, self.stderr = Pipe(), io.BytesIO(self.said)
        self.terminated = self.killed = False
        self.started: dict[str, Any] = {}

    def __call__(self, words: list[str], **options: Any) -> Slave:
        self.started = {"words": words, **options}
        return self

    def wait(self, timeout: float | None = None) -> int:
        if not self.ended.wait(timeout):
            raise TimeoutExpired("slave", timeout or 0.0)
        return self.code

    def terminate(self) -> None:
        self.terminated = True
        if self.hears:
            self.code = -signal.SIGTERM
            self.ended.set()

    def kill(self) -> None:
        self.killed, self.code = True, -signal.SIGKILL
        self.ended.set()


@pytest.fixture(autouse=True)
def _there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let the master be there, and forget what fleets have ordered."""
    monkeypatch.setattr(child.socket, "create_connection", lambda *_: io.BytesIO())
    monkeypatch.setattr(child, "unpack", lambda *_: tmp_path)
    monkeypatch.setattr(child.os, "write", lambda *_: None)
    for name in ("WANTED_CHECK_SECONDS", "SLAVE_LATE_SECONDS", "ABANDONED_SECONDS"):
        monkeypatch.setattr(child, name, 0.01)
    yield
    child._wills.clear()
    assert child._running.get("r1", set()) == set(), "a slave counts as running although it has ended"


def run(monkeypatch: pytest.MonkeyPatch, slave: Slave, wanted: Any = lambda: Wanted.YES) -> Any:
    """Run a slave to its end."""
    monkeypatch.setattr(child.subprocess, "Popen", slave)
    return child.run_slave_task(TASK, Path("/nowhere"), 3, wanted)


def test_a_slave_is_told_all_on_its_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is neither in its command line nor in its environment, also where this process has
    one; it has as many workers as the engine's worker has threads.
    """
    monkeypatch.setenv("TASKMASTER_KEY", "another secret")
    slave = Slave(0)

    ended = run(monkeypatch, slave)

    assert (ended.code, ended.by_will) == (0, True)
    assert ended.worker.endswith(f":{os.getpid()}")
    told = Instructions.from_line(slave.stdin.text)
    assert (told.key, told.config.processes) == ("very secret", 3)
    environment = slave.started["env"]
    assert environment["PLACE"] == "there"
    assert "secret" not in str(slave.started["words"]) + str(environment)


def test_how_it_ended_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the master can say why no slave works."""
    ended = run(monkeypatch, Slave(2))

    assert ended.code == 2
    assert ended.said.endswith("the disk is full\n")
    assert ended.cannot_work


def test_a_slave_that_runs_costs_the_worker_of_the_engine_one_look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is still wanted; its end is waited for and not looked for, as ``Popen.wait`` with
    a time limit does fifty times a second.
    """
    waits: list[float | None] = []
    answers = iter([Wanted.YES] * 20)

    class Noted(Slave):
        def wait(self, timeout: float | None = None) -> int:
            waits.append(timeout)
            return super().wait(timeout)

    run(monkeypatch, Noted(None), lambda: next(answers, Wanted.DRAIN))

    assert len(waits) == 3  # until its end, for its code, and at the end of all


def test_one_that_is_not_wanted_any_more_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal that ends it is no failure of it."""
    answers = iter([Wanted.YES, Wanted.YES, Wanted.DRAIN])
    slave = Slave(None)

    ended = run(monkeypatch, slave, lambda: next(answers, Wanted.DRAIN))

    assert slave.terminated
    assert ended.code == 128 + signal.SIGTERM
    assert ended.by_will


@pytest.mark.parametrize("order", ["drain", "give up"])
def test_a_fleet_orders_its_slaves_in_this_process_to_end(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    """Also one that hears nothing, which is killed when its time is over."""
    slave = Slave(None, hears=False)
    named: list[str] = []

    def wanted() -> Wanted:
        named.extend(child.running("r1"))
        if order == "drain":
            assert child.drain("r1") == ["slave-1"]
        else:
            child.give_up("r1")
        return Wanted.YES

    ended = run(monkeypatch, slave, wanted)

    assert "slave-1" in named
    assert slave.terminated
    assert slave.killed
    assert ended.code == 128 + signal.SIGTERM


def test_a_master_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that it has, with the address; no slave is started."""
    clock = iter(range(1000))
    monkeypatch.setattr(child.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(child.time, "sleep", lambda _: None)

    def refuse(*_: object) -> None:
        raise ConnectionRefusedError("Connection refused")

    monkeypatch.setattr(child.socket, "create_connection", refuse)
    slave = Slave(0)
    ended = run(monkeypatch, slave)

    assert slave.started == {}
    assert ended.code == child.NO_MASTER
    assert "cannot reach the master at 127.0.0.1:5050: Connection refused" in ended.said


def test_one_that_was_to_end_before_it_began_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fleet gave up while it waited."""
    child.give_up("r1")
    slave = Slave(0)

    ended = run(monkeypatch, slave)

    assert slave.started == {}
    assert ended.by_will


def test_what_cannot_be_started_here_is_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason: another worker of the engine may be able to."""

    def full(*_: object) -> Path:
        raise OSError("No space left on device")

    monkeypatch.setattr(child, "unpack", full)
    ended = run(monkeypatch, Slave(0))

    assert ended.unusable
    assert "No space left on device" in ended.said


def test_files_lie_in_a_directory_of_this_user_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that others can write to, or a link, is refused."""
    monkeypatch.setattr(child.tempfile, "gettempdir", lambda: str(tmp_path))
    found = child.own_directory()
    assert found.stat().st_mode & 0o777 == 0o700
    found.chmod(0o777)
    with pytest.raises(PermissionError, match="set TMPDIR"):
        child.own_directory()
    found.rmdir()
    found.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="set TMPDIR"):
        child.own_directory()
