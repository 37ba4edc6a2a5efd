"""What a local run's slave is told comes back as it was."""

from __future__ import annotations

from taskmaster.slave.config import Instructions, SlaveConfig
from taskmaster.transport.address import Address


def test_a_line_of_instructions_comes_back_as_it_was():
    """With every value of the configuration that can be told, and each of its own type."""
    config = SlaveConfig(
        target="jobs.py",
        address=Address("::1", 5050),
        processes=3,
        threads=2,
        concurrency=4,
        batch=5,
        jobs_per_worker=6,
        memory_per_worker=7,
        wait=8.5,
        grace=9.5,
        path=("/one", "/two\n"),
        quiet=True,
        code="1234",
    )
    told = Instructions(config, "the key", "debug", 17)

    line = told.to_line()

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Instructions.from_line(line) == told


def test_what_only_the_process_can_have_is_not_told():
    """Descriptors of the master's process mean nothing in the slave's."""
    config = SlaveConfig("jobs", Address("127.0.0.1", 1), 1, lifeline=5)

    assert Instructions.from_line(Instructions(config, "", "info").to_line()).config.lifeline is None
