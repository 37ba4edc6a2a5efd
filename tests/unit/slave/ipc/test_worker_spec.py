"""What the fork server is told of a worker comes back as it was."""

from __future__ import annotations

from taskmaster.slave.ipc.worker_spec import WorkerSpec


def test_a_spec_comes_back_as_it_was():
    """Names of folders with anything in them."""
    spec = WorkerSpec("jobs.py:run", 2, 5, ('/a "b"\n', "/ü"), "run:3", elsewhere=True)

    assert WorkerSpec.from_line(spec.to_line()) == spec
    assert spec.slots == 5
