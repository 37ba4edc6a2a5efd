"""How often starting a worker may fail, and how long to wait before the next attempt. Pure.

Called by the pool. A cause that will not go away (a setup that kills its process, no memory) must
not become a machine that forks for ever; one that may (a database that is being restarted) must not
end the slave.
"""

from __future__ import annotations

__all__ = ["RestartPolicy", "Unusable"]

BACKOFF = (0.1, 5.0)  # seconds before a worker that died without having done anything is replaced
TEMPLATES = 5  # that end one after the other before any worker is ready
STILLBORN = 10  # workers that may die before any was ready: a setup() or an import that kills its process
SETUP_RETRIES = 5  # after 1, 2, 4, 8 and 16 s


class Unusable(Exception):
    """Workers cannot run the callback.

    Attributes:
        what: "target", "setup" or "template".
        traceback: of the user's code.
    """

    def __init__(self, what: str, sentence: str, traceback: str) -> None:
        super().__init__(sentence)
        self.what = what
        self.traceback = traceback


class RestartPolicy:
    """Counts what has failed since something last went well.

    Attributes:
        was_ready: some worker has been ready.
        pause: seconds that were waited last,
        until: and when a worker may be started again.
    """

    def __init__(self) -> None:
        self.was_ready = False
        self.pause = 0.0
        self.until = 0.0
        self._setups = 0
        self._templates = 0
        self._stillborn = 0

    def ready(self) -> None:
        """A worker is ready."""
        self.was_ready = True
        self._setups = self._templates = 0

    def back_off(self, now: float) -> None:
        """An attempt has come to nothing: wait longer from one to the next."""
        self.pause = min(BACKOFF[1], max(BACKOFF[0], 2 * self.pause))
        self.until = now + self.pause

    def died(self, how: str, now: float, *, worked: bool) -> None:
        """A worker has died.

        Raises:
            Unusable: as many have before any was ready.
        """
        self._stillborn = 0 if self.was_ready else self._stillborn + 1
        if self._stillborn >= STILLBORN:
            raise Unusable(
                "setup", f"{STILLBORN} workers in a row have died before they were ready, the last one {how}.", ""
            )
        if worked:
            self.pause = self.until = 0.0
        else:
            self.back_off(now)

    def template_ended(self, now: float) -> None:
        """The process that forks the workers has ended.

        Raises:
            Unusable: again and again.
        """
        self._templates += 1
        if self._templates >= TEMPLATES:
            raise Unusable(
                "template",
                f"The process that forks the workers has ended {TEMPLATES} times before any worker was ready; what it "
                f"printed above says why. If nothing is there, it was killed: see whether memory has run out.",
                "",
            )
        self.until = now + BACKOFF[0] * self._templates

    def unusable(self, what: str, sentence: str, traceback: str, now: float) -> float:
        """A worker says that it cannot run jobs; gives the seconds after which it is tried again.

        Raises:
            Unusable: it will not help to try again.
        """
        self._setups += 1
        if what != "setup" or not self.was_ready or self._setups > SETUP_RETRIES:
            raise Unusable(what, sentence, traceback)
        # It worked before: perhaps the database is just being restarted.
        pause = 2.0 ** (self._setups - 1)
        self.until = now + pause
        return pause
