"""What a worker needs to know of its work before it starts, as the fork server is told it. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from taskmaster.slave.config import SlaveConfig

__all__ = ["WorkerSpec"]


class WorkerSpec(NamedTuple):
    """The callback of a worker, and how its jobs are run.

    Attributes:
        target: The target of the callback, unless the fork server has the callback itself.
        threads: How many jobs run at once, if the callback is a plain function.
        concurrency: How many jobs run at once, if it is a coroutine function.
        path: More directories in which modules are searched.
        definition: The location at which a script's callback is defined; "" if it is not compared.
        elsewhere: Whether the worker runs on an engine, which has only the user's files that were
            sent with the slave.
    """

    target: str
    threads: int = 1
    concurrency: int = 1
    path: tuple[str, ...] = ()
    definition: str = ""
    elsewhere: bool = False

    @classmethod
    def of(cls, config: SlaveConfig) -> WorkerSpec:
        """Return the spec of a slave's workers."""
        definition = "" if config.fork_server else config.definition  # such a fork server brings its callback along
        return cls(config.target, config.threads, config.concurrency, config.path, definition, config.elsewhere)

    @property
    def slots(self) -> int:
        """The most jobs that the worker may run at once; the kind of its callback decides."""
        return max(self.threads, self.concurrency)

    def to_line(self) -> bytes:
        """Return the spec as a line for the fork server's socket."""
        return json.dumps(self).encode()

    @classmethod
    def from_line(cls, line: bytes) -> WorkerSpec:
        """Return what ``to_line`` gave."""
        target, threads, concurrency, path, *more = json.loads(line)
        return cls(target, threads, concurrency, tuple(path), *more)
