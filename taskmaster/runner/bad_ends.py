"""What is said and kept of a session whose workers could not end as they should.

Its jobs are settled, and something that they wrote may be lost. The run ends with exit code 1 then,
and whenever it is started again, until somebody says that nothing is lost.
"""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Callable

from taskmaster.master.farewell import names_of
from taskmaster.master.records.steering_records import SessionCommand, TrailRow, unknown_ends
from taskmaster.master.run import Run
from taskmaster.master.steering.trail import Trail
from taskmaster.master.stores.contract import Store
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.master.summary import OwnSlave
from taskmaster.units import show_count, show_moment
from taskmaster.view.console import Console

__all__ = ["BadEnds"]

WRITING_SECONDS = 5.0  # longest wait for the state, whose disk may hang
SIGNALLED = 128  # exit codes above it are those of a slave that a signal has ended


class BadEnds:
    """Notes workers that could not end as they should, and reminds of them at the next start.

    Args:
        run: The run.
        store: Its state.
        console: Prints the messages.

    Attributes:
        why: The reason for exit code 1, as a part of a sentence; "" if all workers ended well.
        remark: Sentences about slaves whose end is not known; "" if all are known.
    """

    def __init__(self, run: Run, store: Store, console: Console) -> None:
        self._steers = run.steers
        self._service = run.service
        self._store = store
        self._console = console
        self._noted = False  # in the trail, as slaves have told it
        self.why = ""
        self.remark = ""

    @property
    def known(self) -> TrailRow | None:
        """What the trail has of a bad end; None if nothing is lost."""
        return self._trail.bad_end

    @property
    def _trail(self) -> Trail:
        return self._steers.steering.trail

    def see_to(self, slave: OwnSlave | None, hurry: Callable[[], bool]) -> str:
        """See to the end of the slave that belongs to the run; return what its workers could not do
        then, as a part of a sentence, "" if they ended well.

        Args:
            slave: None if there is none.
            hurry: Whether nothing may be waited for any more.
        """
        if slave is None:
            return ""
        if not self._service.met:
            slave.stop(lambda: True)  # it is still starting, and would wait for this master
            return ""
        code = slave.stop(hurry)
        if code is None:
            return "their slave did not end, and was killed"
        if code < 0:
            return f"their slave was killed by {signal.Signals(-code).name}"
        # One that a signal has ended has told this master of a bad end, or ends with 1.
        if code == 0 or code > SIGNALLED:
            return ""
        self._noted = any(said.startswith(slave.name) for said in self._service.bad_ends) and self.known is not None
        return "see above"

    def sentence(self, own: str) -> str:
        """Return what workers could not do at their end, as a part of a sentence; "" if nothing is
        known of it.

        Args:
            own: What those of this command could not do.
        """
        if own:
            return f"workers could not end as they should: {own}."
        others = self._service.bad_ends if self.known else []  # else somebody has said that all is there
        if not others:
            return ""
        self._noted = True
        more = f", and those of {show_count(len(others) - 1, 'other slave')}" if len(others) > 1 else ""
        return f"workers could not end as they should: {others[-1]}{more}."

    def keep(self, why: str) -> None:
        """Keep in the state how this session, which is over, has ended: its last checkpoint says
        that this is not known, for it may be killed meanwhile. Say what to do about a bad end.

        Args:
            why: What was bad, as a sentence; "" if nothing was.
        """
        if not why:
            self._keep_good_end()
            return
        self.why = why = why.removesuffix(".").removesuffix(": see above")
        lost = "Something that their jobs wrote may be lost: look at that."
        if isinstance(self._store, MemoryStore):
            self._console.say(f"{lost} The same call runs all again.")
            return
        self._trail.ends_known()
        if not self._noted:
            self._steers.note(SessionCommand.ENDED_BADLY, why, "exit code 1")
        self._console.say(f"{lost} {self._cure()}")
        if problem := self._write():
            self._console.say(
                f"This could not be written into the state, so that the next start will not know of it: {problem}"
            )

    def tell_unheard(self) -> None:
        """Say of which slaves it is not known how their workers ended."""
        names = list(self._service.unheard.values())
        if not names:
            return
        said = f"{show_count(len(names), 'slave')} have not said that their workers ended well"
        if len(names) == 1:
            said = "1 slave has not said that its workers ended well"
        said = f"{said}: {names_of(names)}"
        self.remark = (
            f"{said}. Something that jobs wrote there may be lost: look at what was printed there last, and at the "
            "exit code, which is 1 then."
        )
        self._console.say(self.remark)
        self._steers.note(SessionCommand.UNHEARD, said)

    def _keep_good_end(self) -> None:
        if not (self._trail.ends_known() or self.remark) or isinstance(self._store, MemoryStore):
            return
        if problem := self._write():
            self._console.say(
                "The end of the workers could not be written into the state: the next start will say that it is not "
                f"known. {problem}"
            )

    def _write(self) -> str:
        """Write the trail into the state; return why that cannot be done, "" if it is."""
        problems = [f"it could not be written within {WRITING_SECONDS:g} s."]

        def write() -> None:
            news = self._steers.steering.news()
            try:
                self._store.write(news)
            except Exception as exc:
                problems[:] = [str(exc)]
            else:
                self._steers.written(news)
                problems.clear()

        writer = threading.Thread(target=write, name="taskmaster-last-words", daemon=True)
        writer.start()
        writer.join(WRITING_SECONDS)
        return "".join(problems)

    def remind(self, code: int) -> int:
        """Say what an earlier session may have lost; return the exit code of this one.

        Args:
            code: What it would be else.
        """
        row = self.known
        if row is None:
            return code
        at, workers = show_moment(row.at), unknown_ends(row)
        self.why = f"it is not known how {workers} ended" if workers else row.reason
        said = f"workers that ended at {at} did not end well: {row.reason}"
        if workers:
            said = f"the session of {at} was killed, or its machine went down, before it was known how {workers} ended"
        lost = "Something that their jobs wrote may be lost: look at that."
        self._console.say(f"But {said}. {lost} {self._cure()}")
        return 1 if code in (0, 3) else code

    def _cure(self) -> str:
        note = shlex.join(["tm-ctl", "note", "--fine", "nothing is lost", self._store.location])
        return f"--reset runs all again; `{note}` says that it is fine. Until then, this run ends with exit code 1."
