"""What an engine's worker gives back: how a slave ended. Pure."""

from __future__ import annotations

from taskmaster.records import record
from taskmaster.slave.last_words import NOT_HEARD, RUN_IS_OVER, TOLD_TO_END

__all__ = ["NO_MASTER", "Ended"]

BY_WILL = (0, 129, 130, 143)  # the run is over, or a signal has had it end: SIGHUP, SIGINT, SIGTERM
NO_MASTER = 6  # there is no master, or none that takes it
CANNOT_WORK = (1, 2, NO_MASTER)  # its workers cannot run the callback


@record(slots=False)
class Ended:
    """How a slave on an engine ended.

    Attributes:
        code: Its exit code, negative for a signal; None if the engine lost it, or could not start
            it.
        worker: Which worker of the engine says so; "" if the engine itself does.
        said: The last lines that it wrote to its standard error, or what the engine says.
        unusable: Whether the engine's worker could not start it, and will not be able to.
        lived: Seconds from its start to its end; 0 if it did not start, or if that is unknown.
    """

    code: int | None
    worker: str = ""
    said: str = ""
    unusable: bool = False
    lived: float = 0.0

    @property
    def heard_end(self) -> bool:
        """Whether it ended because the run is over, also if its workers could not do at their end
        what was left to be done; that is exit code 1. A slave that an operator has ended says 0,
        too.
        """
        last = self.said.rstrip().splitlines()[-1:]
        return self.code in (0, 1) and any(RUN_IS_OVER in line for line in last)

    @property
    def told_to_end(self) -> bool:
        """Whether an operator has ended it: another one in its place would get jobs. Its master
        knows what its workers could not do, and is asked about it.
        """
        last = self.said.rstrip().splitlines()[-1:]
        return self.code in (0, 1) and any(TOLD_TO_END in line for line in last)

    @property
    def unfinished(self) -> bool:
        """Whether its workers could not do at their end what was left to be done."""
        return self.code == 1 and (self.heard_end or NOT_HEARD in self.said)

    @property
    def by_will(self) -> bool:
        """Whether it has ended because it was to."""
        return self.code in BY_WILL

    @property
    def cannot_work(self) -> bool:
        """Whether another one would end so, too, on the same worker."""
        known = self.heard_end or self.told_to_end or self.unfinished
        return self.unusable or (self.code in CANNOT_WORK and not known)
