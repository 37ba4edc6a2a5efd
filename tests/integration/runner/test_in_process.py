"""The slave that runs jobs in the process itself, with the service of a real broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from support.master import Master

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.runner.in_process import InProcessSlave
from taskmaster.runner.in_process_server import InProcessServer
from taskmaster.slave.worker.callbacks import Callbacks


def test_a_setting_that_is_changed_meanwhile_is_heard() -> None:
    """The master knows the slave no more until it says hello again; what has run is not run twice,
    and what it reports is not lost.
    """
    ran: list[int] = []

    def handle_job(job: int) -> None:
        ran.append(job)
        broker.limits.nice = 0.001 * (job % 3)

    broker = Broker("i", Limits())
    broker.intake.add(range(9))
    broker.batch_limit.note(1.0)
    broker.intake.exhaust()
    server = InProcessServer()
    server.serve(Master(broker).service)
    slave = InProcessSlave(Callbacks(handle_job), server, bool, batch=1, grace=1.0, about={})
    nobody: Any = SimpleNamespace(received=0)
    slave.enter("r", nobody)
    turns = 0
    while not broker.finished:
        slave.check()
        turns += 1
        assert turns < 1000, "it hangs"

    assert ran == list(range(9))
    assert broker.settlement.done == 9
