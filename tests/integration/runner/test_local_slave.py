"""The slave of a run on this machine, as a process."""

from __future__ import annotations

import math

from support.ports import free_port

from taskmaster.runner.local_slave import LocalSlave
from taskmaster.slave.config import Instructions, SlaveConfig
from taskmaster.transport.address import Address


def test_a_slave_that_has_not_met_its_master_ends_when_it_is_told_to() -> None:
    """As that of a run without jobs, which is over before its slave has started: it waited for its
    master.
    """
    config = SlaveConfig("json:dumps", Address("127.0.0.1", free_port()), processes=1, wait=math.inf, quiet=True)
    slave = LocalSlave(Instructions(config, "k" * 43, "warning"), lambda _text, _stream: None)

    assert slave.stop() is not None, "it had to be killed"
