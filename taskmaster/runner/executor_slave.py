"""``tm-slave --executor``: a slave here, whose batches run on somebody's executor.

For workers that cannot reach the master, as on a cluster behind a gateway; where they can, whole
slaves there (``--engine``) say more of their batches and lose less with a worker.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable

from taskmaster.engine.batch_call import HostSpec
from taskmaster.engine.batch_executor import Executors
from taskmaster.engine.executor_pool import ExecutorPool
from taskmaster.engine.host_ends import HostEnds
from taskmaster.errors import UsageError
from taskmaster.options.commands import SlaveOptions
from taskmaster.options.option import from_options
from taskmaster.runner.engine_choice import factory_of
from taskmaster.runner.engine_slaves import task_of
from taskmaster.runtime.command_log import CommandLog
from taskmaster.slave.config import SlaveConfig
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.supervisor import run_slave
from taskmaster.transport.address import Address

__all__ = ["run_executor_slave"]

MOST_SHIPPED_BYTES = 256 * 1024  # it travels with each batch


def run_executor_slave(
    target: str,
    options: SlaveOptions,
    address: Address,
    code: str,
    key: Callable[[], str | None],
    log: CommandLog | None = None,
) -> int:
    """Run the slave to its end; return the exit code.

    Args:
        target: The target of the callback.
        options: The command's.
        address: The address of the master.
        code: Digest of the callback's file.
        key: Gives the shared key, which stays here.
        log: Shows what the slave says; None: standard error alone does.

    Raises:
        UsageError: It is no executor, its calls cannot be guarded, or what is shipped is too much.
    """
    name = str(options.executor)
    executors = Executors(f"--executor={name}", factory_of("--executor", name))
    task = task_of("", target, address, "", code, options, options.wait)
    if (size := len(task.archive.content)) > MOST_SHIPPED_BYTES:
        raise UsageError(
            f"What is shipped has {size / 1000:.0f} kB, and with --executor it travels with each batch, so that "
            f"{MOST_SHIPPED_BYTES / 1000:.0f} kB are the most: install it where the executor's workers are, and leave "
            "--ship out."
        )
    workers = executors.workers
    if workers is None and options.in_flight is None:
        raise UsageError(
            f"--executor={name} gives a {type(executors.current).__name__}, which does not tell how many workers it "
            "has: say with --in-flight how many batches it is to have at once."
        )
    most = options.in_flight or 2 * (workers or 1)
    name_of_slave = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    spec, ends = WorkerSpec.of(task.instructions.config), HostEnds()
    host = HostSpec(name_of_slave, spec, task.archive, task.environment, str(ends.path))
    config = from_options(
        SlaveConfig, options, target=target, address=address, processes=workers or (most + 1) // 2, code=code
    )
    try:
        return run_slave(config, key, log, lambda *parts: ExecutorPool(executors, host, ends, most, *parts))
    finally:
        ends.close()  # there may have been no pool that did it, or its end may have raised
