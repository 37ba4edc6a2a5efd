"""What an executor's worker keeps for the batches that it runs."""

from __future__ import annotations

import atexit
import json
import multiprocessing.util
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskmaster.engine import batch_host
from taskmaster.engine.batch_call import BatchCall, BatchDone, HostEnd, HostSpec
from taskmaster.engine.slave_task import Archive
from taskmaster.model import WireBatch
from taskmaster.slave.ipc.messages import AboutRun
from taskmaster.slave.ipc.worker_spec import WorkerSpec

SPEC = HostSpec("vm:1:ab", WorkerSpec("jobs.py"), Archive("d", b""), ())
CALL = BatchCall(SPEC, AboutRun("run", "vm:1", None), WireBatch("t", 1, separate=False, alone=False, avoid=0, blob=b""))


def test_the_hosts_of_all_threads_are_closed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of two that make theirs in the same moment, as in a Dask worker with threads: a host
    that was forgotten would never have its worker tear down.
    """
    hosts: list[Any] = []
    threads = [threading.Thread(target=batch_host.run_batch, args=(CALL,)) for _ in range(3)]
    first, second, third = threads

    class Host:
        spec, closed, ended = SPEC, False, False

        id = "h"

        def __init__(self, _: HostSpec) -> None:
            hosts.append(self)

        def run(self, _: BatchCall) -> BatchDone:
            return BatchDone()

        def close(self) -> None:
            self.ended = True

    class Noted(list[Any]):
        def __setitem__(self, place: Any, noted: Any) -> None:
            if len(hosts) == 2 and third.ident is None:  # while the second host is noted, the third one comes
                third.start()
                third.join(0.2)  # for as long as it may be held up by the second
            super().__setitem__(place, noted)

    monkeypatch.setattr(batch_host, "BatchHost", Host)
    monkeypatch.setattr(batch_host, "_hosts", Noted())
    monkeypatch.setattr(atexit, "register", lambda _: None)
    monkeypatch.setattr(multiprocessing.util, "Finalize", lambda *_, **__: None)
    for thread in (first, second):
        thread.start()
        thread.join()
    third.join()
    batch_host._close_all()

    assert [host.ended for host in hosts] == [True] * 3


def test_how_a_host_has_ended_is_told_in_the_file_or_with_the_next_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file is on the machine of the slave alone."""
    monkeypatch.setattr(batch_host, "NOTHING_TO_END_SECONDS", 0.0)
    end = HostEnd("h", "vm:1", ["teardown() raised OSError"])
    file = tmp_path / "ends"
    file.touch()

    batch_host._tell(replace(SPEC, told_in=str(file)), end)
    batch_host._tell(replace(SPEC, told_in=str(tmp_path / "elsewhere")), end)
    batch_host._tell(replace(SPEC, slave="another"), end)

    assert HostEnd(*json.loads(file.read_text())) == end
    assert not (tmp_path / "elsewhere").exists()
    assert batch_host.end_hosts(SPEC.slave, 1.0) == (end,)
    assert batch_host.end_hosts(SPEC.slave, 1.0) == ()
    assert batch_host.end_hosts("another", 1.0) == (end,)
