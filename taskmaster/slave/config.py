"""What a slave is to do: made from the command line, or by the master of a local run, which tells
it to the slave as a line of JSON.
"""

from __future__ import annotations

import json
import socket
from dataclasses import fields
from typing import NamedTuple

from taskmaster.records import record
from taskmaster.runtime.child_process import Forked
from taskmaster.transport.address import Address

__all__ = ["GIVE_UP_MARK", "Instructions", "SlaveConfig"]

GIVE_UP_MARK = "\x1e"  # of lines in which a slave says why it gives up; nobody writes it by chance

# Fields that the line leaves out: a socket, a process and a descriptor exist in one process only.
UNTELLABLE = ("fork_server", "fork_server_process", "lifeline")


@record()
class SlaveConfig:
    """What a slave does, and how; durations in seconds.

    Attributes:
        target: The target of the callback.
        address: The address of the master.
        processes: How many workers there are.
        threads: How many jobs each of them runs at once, if the callback is a plain function.
        concurrency: How many jobs each of them runs at once, if it is a coroutine function.
        batch: Jobs in a batch, None to choose by what they take.
        jobs_per_worker: Most jobs that a worker runs before it is replaced, None for any number.
        memory_per_worker: Bytes that a worker may take before it is replaced, None for any number.
        wait: How long to wait for the master.
        grace: How long running jobs have after the first signal.
        path: Where else modules are looked for; the master's ``sys.path`` in a local run.
        quiet: Whether to say nothing of the slave's own; the master of a local run speaks for it.
        code: Digest of the callback's file, "" if that is not known.
        definition: Where the callback is defined that a script has given, "" if it is not compared.
        elsewhere: Whether it runs on an engine, which has only those of the user's files that
            travel with it.
        fork_server: Control socket of a fork server that is there already.
        fork_server_process: That fork server, if it can be replaced; None if it alone holds the
            callback.
        lifeline: Descriptor whose end of file says that the master's process has ended; what is
            written to it says that this slave is to end.
    """

    target: str
    address: Address
    processes: int
    threads: int = 1
    concurrency: int = 1
    batch: int | None = None
    jobs_per_worker: int | None = None
    memory_per_worker: int | None = None
    wait: float = 3600.0
    grace: float = 30.0
    path: tuple[str, ...] = ()
    quiet: bool = False
    code: str = ""
    definition: str = ""
    elsewhere: bool = False
    fork_server: socket.socket | None = None
    fork_server_process: Forked | None = None
    lifeline: int | None = None


class Instructions(NamedTuple):
    """What a slave that a run has started is told on the first line of its standard input.

    Attributes:
        config: What it does, but for what only its process can have.
        key: The key of its master.
        log_level: As ``--log-level``.
        fork_server: Descriptor, which it has inherited, of the control socket of a fork server;
            None if it has none, or makes its own.
        exit_word: Descriptor, which it has inherited, to which it writes how it ends; None if it is
            not to.
        marked: Whether the lines in which it says why it gives up begin with ``GIVE_UP_MARK``: the
            command that has started it repeats them once, however many slaves say the same.
    """

    config: SlaveConfig
    key: str
    log_level: str
    fork_server: int | None = None
    exit_word: int | None = None
    marked: bool = False

    def to_line(self) -> bytes:
        """Return the line, with its end."""
        config = {one.name: getattr(self.config, one.name) for one in fields(SlaveConfig) if one.name not in UNTELLABLE}
        return json.dumps({**self._asdict(), "config": config}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes | bytearray) -> Instructions:
        """Return what ``to_line`` gave."""
        told = json.loads(line)
        config = told["config"]
        config.update(address=Address(*config["address"]), path=tuple(config["path"]))
        return cls(**{**told, "config": SlaveConfig(**config)})
