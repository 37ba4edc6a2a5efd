"""``python -m taskmaster.slave``: the slave of a local run; told what to do by one line of JSON on
its standard input.

The end of that input is the end of the master's process, and of this one.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys

from taskmaster.errors import TaskmasterError
from taskmaster.runtime import standard_streams
from taskmaster.runtime.child_process import Forked
from taskmaster.runtime.titles import set_title
from taskmaster.slave.config import SlaveConfig
from taskmaster.slave.supervisor import run_slave
from taskmaster.transport.address import Address


def main(prepared: socket.socket | None = None, process: Forked | None = None) -> int:
    """Read the configuration, run the slave.

    Args:
        prepared: control socket of a template that is there already, and can be replaced by another
            one.
        process: that template.
    """
    standard_streams.fill()
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)  # unbuffered: what follows the line belongs to the lifeline
        if not byte:
            return 0
        line += byte
    told = json.loads(line)
    set_title("tm-slave", f"slave of {told['target']}")
    logging.basicConfig(
        level=str(told["log_level"]).upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # Standard input is the workers' too, unless it is moved out of their way.
    lifeline = os.dup(0)
    os.set_inheritable(lifeline, False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    template = prepared
    if told["template_fd"] is not None:
        os.set_inheritable(told["template_fd"], False)
        template = socket.socket(fileno=told["template_fd"])
    config = SlaveConfig(
        target=told["target"],
        address=Address(told["host"], told["port"]),
        processes=told["processes"],
        threads=told["threads"],
        concurrency=told["concurrency"],
        batch=told["batch"],
        jobs_per_worker=told["jobs_per_worker"],
        memory_per_worker=told["memory_per_worker"],
        wait=told["wait"],
        grace=told["grace"],
        path=tuple(told["path"]),
        quiet=told["quiet"],
        code=told["code"],
        template=template,
        template_process=process,
        lifeline=lifeline,
    )
    try:
        return run_slave(config, lambda: str(told["key"]))
    except TaskmasterError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main())
