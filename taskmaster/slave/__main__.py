"""``python -m taskmaster.slave``: the slave of a local run; told what to do by one line of JSON on its standard input.

The end of that input is the end of the master's process, and of this one.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys

from taskmaster.slave.slave import SlaveConfig, run_slave
from taskmaster.transport.address import Address


def main() -> int:
    """Read the configuration, run the slave."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)  # unbuffered: what follows the line belongs to the lifeline
        if not byte:
            return 0
        line += byte
    told = json.loads(line)
    logging.basicConfig(
        level=str(told["log_level"]).upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # Standard input is the workers' too, unless it is moved out of their way.
    lifeline = os.dup(0)
    os.set_inheritable(lifeline, False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    template = told["template_fd"]
    if template is not None:
        os.set_inheritable(template, False)
    config = SlaveConfig(
        target=told["target"],
        address=Address(told["host"], told["port"]),
        processes=told["processes"],
        threads=told["threads"],
        concurrency=told["concurrency"],
        batch=told["batch"],
        wait=told["wait"],
        grace=told["grace"],
        path=tuple(told["path"]),
        quiet=told["quiet"],
        template=socket.socket(fileno=template) if template is not None else None,
        lifeline=lifeline,
    )
    return run_slave(config, lambda: str(told["key"]))


if __name__ == "__main__":
    sys.exit(main())
