"""What an executor's worker is given, and may log."""

from __future__ import annotations

import pickle

from taskmaster.engine.batch_call import BatchCall, HostSpec
from taskmaster.engine.slave_task import Archive
from taskmaster.model import WireBatch
from taskmaster.slave.ipc.messages import AboutRun
from taskmaster.slave.ipc.worker_spec import WorkerSpec


def test_a_call_tells_neither_jobs_nor_environment():
    """Executors log the arguments of a call that fails, and of its copies."""
    host = HostSpec("vm:1:ab", WorkerSpec("jobs.py"), Archive("d", b"files"), (("PASSWORD", "p4ss"),))
    lent = WireBatch("t", 7, separate=False, alone=False, avoid=0, blob=b"secret jobs")
    call = BatchCall(host, AboutRun("run", "vm:1", None), lent)
    again = pickle.loads(pickle.dumps(call))

    for shown in (repr(again), str(again), f"{(again,)}", repr({"call": call})):
        assert "p4ss" not in shown
        assert "secret" not in shown
    assert again == call
    assert repr(again) == "<7 jobs of jobs.py>"
