"""How often starting a worker may fail, and how long to wait before the next attempt. Pure.

A cause that will not go away (a setup that kills its process, no memory) must not become a machine
that forks for ever; one that may (a database that is being restarted) must not end the slave.
"""

from __future__ import annotations

from taskmaster.runtime.backoff import Backoff
from taskmaster.slave.ipc.unusable import Cause, Unusable

__all__ = ["RestartPolicy"]

# Before a worker that died without having worked is replaced.
FIRST_RESTART_PAUSE_SECONDS, LONGEST_RESTART_PAUSE_SECONDS = 0.1, 5.0
FIRST_SETUP_PAUSE_SECONDS = 1.0  # before a setup() that raised is tried again
MOST_SETUP_RETRIES = 5  # after 1, 2, 4, 8 and 16 s
MOST_FORK_SERVERS = 5  # that may end one after the other before any worker is ready
MOST_WORKER_STARTS = 10  # that the system may refuse, in a good 20 s, before any worker was ready
MOST_STILLBORN = 10  # workers that may die before any was ready: a setup() or an import that kills its process


class RestartPolicy:
    """Counts what has failed since something last went well.

    Attributes:
        was_ready: Whether some worker has been ready.
        until: When a worker may be started again.
    """

    def __init__(self) -> None:
        self.was_ready = False
        self.until = 0.0
        self._backoff = Backoff(FIRST_RESTART_PAUSE_SECONDS, LONGEST_RESTART_PAUSE_SECONDS)
        self._setup_backoff = Backoff(
            FIRST_SETUP_PAUSE_SECONDS, FIRST_SETUP_PAUSE_SECONDS * 2 ** (MOST_SETUP_RETRIES - 1)
        )
        self._setups = 0
        self._fork_servers = 0
        self._stillborn = 0
        self._starts = 0

    def ready(self) -> None:
        """Note that a worker is ready."""
        self.was_ready = True
        self._setups = self._fork_servers = self._starts = 0
        self._setup_backoff.reset()

    def back_off(self, now: float) -> float:
        """Wait longer than the last time: an attempt has come to nothing; return the seconds."""
        pause = self._backoff.next()
        self.until = now + pause
        return pause

    def cannot_start(self, why: str, now: float) -> float:
        """Note that the system has refused to start a worker; return the seconds until the next
        attempt.

        Raises:
            Unusable: There has been no worker yet: a limit leaves room for none.
        """
        self._starts += 1
        if self._starts >= MOST_WORKER_STARTS and not self.was_ready:
            raise Unusable(Cause.FORK_SERVER, f"{why} It was tried {MOST_WORKER_STARTS} times.")
        return self.back_off(now)

    def died(self, how: str, now: float, *, worked: bool) -> None:
        """Note that a worker has died.

        Raises:
            Unusable: Many in a row have died before any was ready.
        """
        self._stillborn = 0 if self.was_ready else self._stillborn + 1
        if self._stillborn >= MOST_STILLBORN:
            raise Unusable(
                Cause.SETUP,
                f"{MOST_STILLBORN} workers in a row have died before they were ready, the last one {how}.",
            )
        if worked:
            self._backoff.reset()
            self.until = 0.0
        else:
            self.back_off(now)

    def fork_server_ended(self, now: float) -> None:
        """Note that the process that forks the workers has ended.

        Raises:
            Unusable: It has ended again and again.
        """
        self._fork_servers += 1
        if self._fork_servers >= MOST_FORK_SERVERS:
            raise Unusable(
                Cause.FORK_SERVER,
                f"The process that forks the workers has ended {MOST_FORK_SERVERS} times before any worker was ready; "
                "what it printed above says why. If nothing is there, it was killed: see whether memory has run out.",
            )
        self.until = now + FIRST_RESTART_PAUSE_SECONDS * self._fork_servers

    def cannot_run(self, cause: Cause, sentence: str, traceback: str, now: float) -> float:
        """Note that a worker cannot run jobs; return the seconds until the next attempt.

        Raises:
            Unusable: Another attempt would not help.
        """
        self._setups += 1
        if cause != Cause.SETUP or not self.was_ready or self._setups > MOST_SETUP_RETRIES:
            raise Unusable(cause, sentence, traceback)
        # It worked before: perhaps the database is just being restarted.
        pause = self._setup_backoff.next()
        self.until = now + pause
        return pause
