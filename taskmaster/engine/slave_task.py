"""What an engine's worker is given.

An engine logs the arguments of tasks that fail: a task's text tells neither the key nor the
environment.
"""

from __future__ import annotations

from dataclasses import field, replace

from taskmaster.records import record
from taskmaster.slave.config import Instructions

__all__ = ["Archive", "SlaveTask"]


@record(slots=False)
class Archive:
    """Files on their way to an engine's workers.

    Attributes:
        digest: The digest of the content; the directory there is called after it.
        content: A zip file.
    """

    digest: str
    content: bytes = field(repr=False)


@record(slots=False, shown=False)
class SlaveTask:
    """A slave that an engine is to run.

    Attributes:
        run: Which fleet it belongs to.
        instructions: What the slave is told; ``processes`` is 0 for as many as the engine's worker
            has threads.
        archive: Files that it needs; they are its working directory.
        environment: Variables that it has beside those of the engine's worker.
        reach: Seconds in which the master has to be reached for the first time.
        name: The name of this task, among those of the engine.
    """

    run: str
    instructions: Instructions
    archive: Archive
    environment: tuple[tuple[str, str], ...] = ()
    reach: float = 0.0
    name: str = ""

    def __repr__(self) -> str:
        return f"<slave {self.name} of {self.instructions.config.target}>"

    def named(self, name: str) -> SlaveTask:
        """Return the same under a name."""
        return replace(self, name=name)
