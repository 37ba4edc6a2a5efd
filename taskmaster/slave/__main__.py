"""``python -m taskmaster.slave``: the slave of a local run. One line of JSON on its standard input
tells it what to do.

When that input ends, the master's process has ended, and this one ends, too.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from dataclasses import replace

from taskmaster.errors import TaskmasterError
from taskmaster.redaction import clean_lines, clean_message
from taskmaster.runtime import standard_streams
from taskmaster.runtime.child_process import Forked
from taskmaster.runtime.command_log import CommandLog
from taskmaster.runtime.exhaustion import exhausted, is_exhausted
from taskmaster.runtime.exit_word import say_exit
from taskmaster.runtime.log import LOG_LINE, TIME_OF_DAY
from taskmaster.runtime.titles import set_title
from taskmaster.slave.config import GIVE_UP_MARK, Instructions, SlaveConfig
from taskmaster.slave.supervisor import run_slave


class MarkedLog(CommandLog):
    """Marks the lines in which the slave says why it gives up."""

    def give_up(self, traceback: str, sentence: str) -> None:
        """Write them."""
        text = "\n".join(filter(None, (clean_lines(traceback.rstrip()), clean_message(sentence))))
        sys.stderr.write("".join(f"{GIVE_UP_MARK}{line}\n" for line in text.splitlines()))
        sys.stderr.flush()


def main(prepared: socket.socket | None = None, process: Forked | None = None) -> int:
    """Read the configuration, and run the slave; return its exit code.

    Args:
        prepared: Control socket of a fork server that is there already, and can be replaced.
        process: That fork server.
    """
    standard_streams.fill()
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)  # unbuffered: what follows the line belongs to the lifeline
        if not byte:
            return 0
        line += byte
    told = Instructions.from_line(line)
    set_title("tm-slave", f"slave of {told.config.target}")
    logging.basicConfig(level=told.log_level.upper(), format=LOG_LINE, datefmt=TIME_OF_DAY, stream=sys.stderr)
    # Standard input is the workers' too, unless it is moved out of their way.
    lifeline = os.dup(0)
    os.set_inheritable(lifeline, False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    fork_server = prepared
    if told.fork_server is not None:
        os.set_inheritable(told.fork_server, False)
        fork_server = socket.socket(fileno=told.fork_server)
    if told.exit_word is not None:
        os.set_inheritable(told.exit_word, False)
    config = replace(told.config, fork_server=fork_server, fork_server_process=process, lifeline=lifeline)
    code = _code_of(config, told.key, MarkedLog() if told.marked else CommandLog())
    if told.exit_word is not None:
        say_exit(told.exit_word, code)
    return code


def _code_of(config: SlaveConfig, key: str, log: CommandLog) -> int:
    """Run the slave; return its exit code."""
    try:
        return run_slave(config, lambda: key, log, final=True)
    except TaskmasterError as exc:
        sys.stderr.write(f"{clean_message(str(exc))}\n")
        return exc.exit_code
    except Exception as exc:
        if not is_exhausted(exc):
            raise
        sys.stderr.write(f"{clean_message(exhausted(exc))}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
