"""What an engine is given, and may log."""

from __future__ import annotations

import pickle

from taskmaster.engine.slave_task import Archive, SlaveTask
from taskmaster.slave.config import Instructions, SlaveConfig
from taskmaster.transport.address import Address


def test_a_task_never_tells_the_key_nor_the_environment():
    """Engines log the arguments of a task that fails, and of its copies."""
    config = SlaveConfig("jobs.py", Address("127.0.0.1", 5050), 0)
    task = SlaveTask(
        "r", Instructions(config, "very secret", "warning"), Archive("d", b"files"), (("PASSWORD", "p4ss"),)
    )
    again = pickle.loads(pickle.dumps(task.named("slave-1")))

    for shown in (repr(again), str(again), f"{(again,)}", repr({"task": task})):
        assert "very secret" not in shown
        assert "p4ss" not in shown
    assert again.instructions.key == "very secret"
    assert repr(again) == "<slave slave-1 of jobs.py>"
