"""What a worker needs to know of its work before it starts, as the fork server is told it. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from taskmaster.slave.config import SlaveConfig

__all__ = ["WorkerSpec"]


class WorkerSpec(NamedTuple):
    """See the module.

    Attributes:
        target: Where the callback is, unless the fork server holds it.
        threads: How many jobs run at once, if the callback is a plain function.
        concurrency: How many jobs run at once, if it is a coroutine function.
        path: Where else modules are looked for.
        definition: Where the callback is defined that a script has given, "" if it is not compared.
        elsewhere: It runs on an engine, which has only those of the user's files that travel with
            it.
    """

    target: str
    threads: int = 1
    concurrency: int = 1
    path: tuple[str, ...] = ()
    definition: str = ""
    elsewhere: bool = False

    @classmethod
    def of(cls, config: SlaveConfig) -> WorkerSpec:
        """Return what the workers of a slave are."""
        definition = "" if config.fork_server else config.definition  # such a fork server brings its callback along
        return cls(config.target, config.threads, config.concurrency, config.path, definition, config.elsewhere)

    @property
    def slots(self) -> int:
        """Most jobs that the worker may run at once; its callback says how many it does."""
        return max(self.threads, self.concurrency)

    def to_line(self) -> bytes:
        """Return the spec as the fork server's socket carries it."""
        return json.dumps(self).encode()

    @classmethod
    def from_line(cls, line: bytes) -> WorkerSpec:
        """Return what ``to_line`` gave."""
        target, threads, concurrency, path, *more = json.loads(line)
        return cls(target, threads, concurrency, tuple(path), *more)
