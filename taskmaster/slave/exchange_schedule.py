"""When a slave looks after its workers, reports and asks for more. Pure: the time is passed in."""

from __future__ import annotations

from taskmaster.model import BATCH_SECONDS, GATHERING_WORKERS

__all__ = ["ExchangeSchedule"]

# Between two readings of how far the workers have got, until the master says how often.
FIRST_PROGRESS_SECONDS = 0.25
HUNGRY_SECONDS = 0.002  # without a new batch, before batches that wait behind another one are given back
# A slave with many workers asks for several batches at once, as long as each worker has one that it
# runs: an exchange costs the master more than the batch that it is for.
GATHERED = 1 / 8  # of the time that a batch takes
RENEWALS = 6  # exchanges within the term of a lease, so that one that is lost costs nothing


class ExchangeSchedule:
    """The moments at which a slave exchanges with its master.

    Attributes:
        asked: Whether the last exchange asked for batches.
    """

    def __init__(self) -> None:
        self.asked = False
        self._ask_at = 0.0
        self._fed_at = 0.0  # when a batch came last
        self._posted_at = 0.0
        self._read_at = 0.0  # when the workers' progress was read last
        self._read_every = FIRST_PROGRESS_SECONDS
        self._gather = 0.0  # seconds from one exchange that asks to the next one
        self._patient = False  # they pass although a worker has nothing

    def gather(self, batch_seconds: float, workers: int) -> None:
        """Note what work a batch is to be, and how many workers there are."""
        self._gather = GATHERED * batch_seconds if workers >= GATHERING_WORKERS else 0.0
        # The master wants longer batches where a fleet is so large that it could not answer all of
        # it at once: a worker is without one there because others are, and each that asked for
        # itself would take from the master what feeds five.
        self._patient = self._gather > 0 and batch_seconds > BATCH_SECONDS

    def may_ask(self, now: float) -> bool:
        """Return whether a batch may be asked for, if a worker can take one."""
        return now >= self._ask_at

    def has_gathered(self, now: float, *, idle: bool) -> bool:
        """Return whether it is time to ask.

        Args:
            now: the time.
            idle: whether a worker has none, which is a reason of its own unless the fleet is very
                large.
        """
        return (idle and not self._patient) or now >= self._posted_at + self._gather

    def gathers(self, now: float, *, free: bool, idle: bool) -> bool:
        """Return whether the end of a batch is told later, together with others: every worker has
        one that it runs, or the master has said when to ask again for one that has none.

        Args:
            now: the time.
            free: whether a worker can take a batch.
            idle: whether a worker has none.
        """
        return free and not self.has_gathered(now, idle=idle and self.may_ask(now))

    def reads_progress(self, now: float) -> bool:
        """Return whether it is time to read how far the workers have got."""
        return now >= self._read_at + self._read_every

    def would_soon(self, now: float) -> bool:
        """Return whether the progress would soon be read: what is said together with something else
        takes no exchange of its own.
        """
        return now >= self._read_at + self._read_every / 2

    def must_exchange(self, now: float, lease: float, *, working: bool, resting: bool) -> bool:
        """Return whether an exchange is due although there is nothing to say: it renews the leases,
        and its answer says what is wanted back, and for how long workers still rest.

        Args:
            now: the time.
            lease: seconds after which the master gives a silent slave up.
            working: whether there are batches in flight.
            resting: whether a worker rests.
        """
        return now >= self._exchange_at(lease, often=working or resting)

    def until_next(
        self, now: float, lease: float, *, working: bool, resting: bool, free: bool, idle: bool = True
    ) -> float:
        """Return the seconds until something is due. What is due is done by the methods above: one
        that leaves it undone has the slave turn without a rest.

        Args:
            now: the time.
            lease: seconds after which the master gives a silent slave up.
            working: whether there are batches in flight.
            resting: whether a worker rests.
            free: whether a batch would be asked for.
            idle: whether a worker has none.
        """
        due = self._exchange_at(lease, often=working or resting)
        if working:
            due = min(due, self._read_at + self._read_every)
        if free:
            at_once = idle and not self._patient
            due = min(due, self._ask_at if at_once else max(self._ask_at, self._posted_at + self._gather))
        return due - now

    def _exchange_at(self, lease: float, *, often: bool) -> float:
        """Return when an exchange is due at the latest."""
        return self._posted_at + min(lease / RENEWALS, self._read_every if often else lease)

    def read(self, now: float) -> None:
        """Note that the workers' progress is read."""
        self._read_at = now

    def posted(self, now: float, *, asked: bool) -> None:
        """Note that an exchange goes out, and whether it asks for batches."""
        self._posted_at, self.asked = now, asked

    def welcomed(self) -> None:
        """Note that a master has said welcome: it may be asked at once."""
        self._ask_at = 0.0

    def answered(self, now: float, pause: float, *, fed: bool) -> bool:
        """Note the answer to the last exchange.

        A slave that got a batch asks for the next one at once; one that did not, when it is told
        to.

        Args:
            now: the time.
            pause: seconds after which the master wants to hear from this slave again.
            fed: whether there was a batch in it.

        Returns:
            Whether no batch has come for a time after which those that wait behind another one are
            to be given back, for idle workers.
        """
        if self.asked and not fed:
            self._ask_at = now + pause
            return now - self._fed_at > HUNGRY_SECONDS
        if fed:
            self._ask_at = self._fed_at = now
        self._read_every = pause
        return False
