"""A slave on an executor, up to its first word."""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from taskmaster.options.commands import SlaveOptions
from taskmaster.runner import executor_slave
from taskmaster.runtime.command_log import CommandLog
from taskmaster.transport.address import Address


def test_a_slave_that_cannot_begin_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hosts would say there how they have ended, and there are none."""

    def run_slave(*_: Any) -> int:
        assert len(list(tmp_path.glob("taskmaster-ends-*"))) == 1
        raise OSError("too many open files")

    (tmp_path / "jobs.py").write_text("def handle_job(job): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(executor_slave, "factory_of", lambda *_: lambda: ProcessPoolExecutor(1))
    monkeypatch.setattr(executor_slave, "run_slave", run_slave)
    options = SlaveOptions(executor="pools.py:pool")
    with pytest.raises(OSError, match="too many open files"):
        executor_slave.run_executor_slave(
            "jobs.py:handle_job", options, Address("127.0.0.1", 1), "", lambda: "key", CommandLog()
        )
    assert list(tmp_path.glob("taskmaster-ends-*")) == []
