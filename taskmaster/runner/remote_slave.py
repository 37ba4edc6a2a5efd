"""``tm-slave`` and ``tm-spawn``: this machine works for a master that may be on another one.

Guarantee: nothing of the master's wing is loaded, whose start each slave of a fleet would pay for.
"""

from __future__ import annotations

from taskmaster.options.commands import SlaveOptions
from taskmaster.options.option import from_options
from taskmaster.runner import shared_key
from taskmaster.runtime.command_log import CommandLog
from taskmaster.slave.config import SlaveConfig
from taskmaster.slave.supervisor import run_slave
from taskmaster.transport.address import parse
from taskmaster.user_code import target as targets
from taskmaster.user_code.code_version import code_of

__all__ = ["work"]


def work(target: str, options: SlaveOptions) -> int:
    """Take batches from a master and run them, until the run is over: ``tm-slave`` and
    ``tm-spawn``.

    Returns:
        The exit code.
    """
    options.check()
    if options.handle_job_callback:
        target = f"{targets.without_function(target)}:{options.handle_job_callback}"
    address = parse(options.host)
    with CommandLog(options.log_file, as_json=options.log_json) as log:
        key = shared_key.of_slave(target, options, address)
        if options.engine is not None:
            from taskmaster.runner.engine_fleet import run_fleet

            return run_fleet(target, options, address, code_of(target), key, log)
        if options.executor is not None:
            from taskmaster.runner.executor_slave import run_executor_slave

            return run_executor_slave(target, options, address, code_of(target), key, log)
        config = from_options(
            SlaveConfig, options, target=target, address=address, processes=options.workers, code=code_of(target)
        )
        return run_slave(config, key, log)
