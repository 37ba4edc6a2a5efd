"""What is said and kept of a session whose workers could not end as they should.

Its jobs are settled, and something that they wrote may be lost. The run ends with exit code 1 then,
and whenever it is started again, until somebody says that nothing is lost.
"""

from __future__ import annotations

import shlex

from taskmaster.errors import StateError
from taskmaster.master.run import Run
from taskmaster.master.steering.records import SessionCommand, TrailRow
from taskmaster.master.stores.contract import Store
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.units import show_count, show_moment
from taskmaster.view.console import Console

__all__ = ["BadEnds"]


class BadEnds:
    """See the module.

    Args:
        run: The run.
        store: Its state.
        console: Where it is said.

    Attributes:
        why: Why the exit code is 1, as a part of a sentence; "" if no end was bad.
    """

    def __init__(self, run: Run, store: Store, console: Console) -> None:
        self._steers = run.steers
        self._service = run.service
        self._store = store
        self._console = console
        self.why = ""

    @property
    def known(self) -> TrailRow | None:
        """What the trail has of a bad end; None if nothing is lost."""
        return self._steers.steering.trail.bad_end

    def sentence(self, *, well: bool) -> str:
        """Return what workers could not do at their end, as a part of a sentence; "" if nothing is
        known of it.

        Args:
            well: Those of this command have ended well.
        """
        others = self._service.bad_ends if self.known else []  # else somebody has said that all is there
        if not well or not others:
            return "" if well else "workers could not end as they should: see above."
        more = f", and those of {show_count(len(others) - 1, 'other slave')}" if len(others) > 1 else ""
        return f"workers could not end as they should: {others[-1]}{more}."

    def keep(self, why: str) -> None:
        """Keep in the state that this session, which is over, has ended badly; say what to do.

        Args:
            why: As a part of a sentence.
        """
        self.why = why
        lost = "Something that their jobs wrote may be lost: look at that."
        if isinstance(self._store, MemoryStore):
            self._console.say(f"{lost} The same call runs all again.")
            return
        self._steers.note(SessionCommand.ENDED_BADLY, why, "exit code 1")
        self._console.say(f"{lost} {self._cure()}")
        try:
            self._store.write(self._store.load().unchanged(self._steers.steering.news()))
        except StateError as exc:
            self._console.say(
                f"This could not be written into the state, so that the next start will not know of it: {exc}"
            )

    def remind(self, code: int) -> int:
        """Say what an earlier session may have lost; return the exit code of this one.

        Args:
            code: What it would be else.
        """
        row = self.known
        if row is None:
            return code
        self.why = row.reason
        self._console.say(
            f"But workers that ended at {show_moment(row.at)} did not end well: {row.reason}. Something that their "
            f"jobs wrote may be lost: look at that. {self._cure()}"
        )
        return 1 if code in (0, 3) else code

    def _cure(self) -> str:
        note = shlex.join(["tm-ctl", "note", "--fine", "nothing is lost", self._store.location])
        return f"--reset runs all again; `{note}` says that it is fine. Until then, this run ends with exit code 1."
