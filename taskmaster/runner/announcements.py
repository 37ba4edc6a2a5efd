"""What a run says at its start and at its end: where it begins, what failed, how it is resumed.

The session decides when each of these is said.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from taskmaster import keys
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.stores.contract import Store
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.master.summary import Summary
from taskmaster.redaction import HIDDEN, is_url, without_password, without_path
from taskmaster.runtime.invocation import is_command, is_interactive, words_given
from taskmaster.transport.server import Server
from taskmaster.units import show_count, show_moment, show_settled
from taskmaster.view.console import Console

if TYPE_CHECKING:
    from taskmaster.runner.in_process_server import InProcessServer

__all__ = ["Announcements", "command_again", "shown_guard", "without_message"]

MOST_KINDS_SHOWN = 3  # kinds of failure that the end of a run shows


class Announcements:
    """Says how a run begins and ends.

    Args:
        console: Prints the messages.
        store: The run's state.
    """

    def __init__(self, console: Console, store: Store) -> None:
        self._say = console.say
        self._console = console
        self._store = store

    @property
    def keeps_state(self) -> bool:
        """Whether the run can be resumed, and its failures be listed later."""
        return not isinstance(self._store, MemoryStore)

    def how_to_go_on(self) -> str:
        """Return how a run that has ended early goes on, without the first letter."""
        if self.keeps_state:
            return f"esume it with: {command_again()}"
        return f"un it again, from its beginning, for it keeps no state (state= makes it resumable): {command_again()}"

    def start(self, record: RunRecord, given_up: RunRecord | None) -> None:
        """Say where the run begins, and what ``--reset`` gave up."""
        state = self._store.location
        if given_up is not None:
            reached = f"key {given_up.reached}" if given_up.reached else "no key"
            self._say(
                f"The run {given_up.id} is given up; it had reached {reached} "
                f"({show_count(given_up.settled, 'job')} settled). "
                f"Take it back with: {shlex.join(['tm-ctl', 'restore', given_up.id, state])}"
            )
        if record.finished is not None:
            return  # this is said when it is known whether there is anything new
        if record.mark is None and not record.settled:
            self._say(f"New run; its state is {state}")
            return
        reached = f"key {keys.show(record.mark)}" if record.mark is not None else "the beginning"
        # The number of parked jobs explains how the key can be further than what is settled.
        parked = f", {len(record.parked)} parked ones go first" if record.parked else ""
        self._say(
            f"Resuming at {reached} ({show_count(record.settled, 'job')} settled so far{parked}); the state is {state}"
        )

    def serving(self, server: Server | InProcessServer, slave_command: str) -> None:
        """Say where slaves reach the master, and if not many of them can."""
        if isinstance(server, Server) and server.shortage:
            self._say(server.shortage)
        self._say(f"Taskmaster server running on {str(server.where)!r}")
        self._say(f"Start slaves with: {slave_command}")

    def start_of_failed(self, record: RunRecord) -> None:
        """Say that failed jobs are run again, and nothing else."""
        jobs = "The failed job is" if record.failures == 1 else f"The {record.failures} failed jobs are"
        self._say(
            f"{jobs} run again as read then, and nothing else: the source is not read, so that what was mended there "
            f"is not seen. The state is {self._store.location}"
        )

    def finished_before(self, record: RunRecord, now: str) -> None:
        """Say that the run had come to its end already.

        Args:
            record: The run.
            now: What becomes of it now.
        """
        at = show_moment(record.finished)
        failed = f", {record.failures} of them failed" if record.failures else ""
        self._say(
            f"This run finished at {at} with {show_count(record.settled, 'job')}{failed}; {now}. Its "
            f"state is {self._store.location}"
        )

    @staticmethod
    def after(record: RunRecord) -> str:
        """Return after which key the run had ended."""
        return "" if record.mark is None else f" after key {keys.show(record.mark)}"

    def nothing_new(self, record: RunRecord, *, later: bool) -> str:
        """Return that a run which had ended has nothing to do.

        Args:
            record: The run.
            later: Whether jobs were added after the end of the run was fixed.
        """
        if not later:
            return f"there is nothing new{self.after(record)}; --reset runs all again"
        return (
            f"all that there was when it began is done{self.after(record)}. Rows with higher keys have come since, "
            "which are none of this run's; --reset runs all again, and them"
        )

    def nothing_came(self, record: RunRecord, *, later: bool) -> None:
        """Say the same of a run that was said to go on, as the source had not told yet."""
        self._say(f"The source has ended: {self.nothing_new(record, later=later)}.")

    def end(self, summary: Summary) -> None:
        """Say how a run has ended that came to its end: "All done" is said of no other."""
        settled, done = f"{show_count(summary.settled, 'job')} settled", "All done"
        if summary.failed:
            settled, done = f"{settled}, {summary.failed} of them failed", "Finished"
        if summary.left_out:
            done = "Finished, but jobs are probably left out (see above; --reset runs all again)"
        elif summary.expected is not None and summary.settled < summary.expected:
            done = "All that came is done" if not summary.failed else done
            settled += f", and {summary.expected} were expected (see above)"
        self._say(f"{done}: {settled}; this session took {timedelta(seconds=round(summary.elapsed))}.")

    def left_out(self, summary: Summary) -> None:
        """Say of a run that had come to its end already that it has left jobs out, if it has."""
        if summary.left_out:
            self._say(summary.left_out)

    def failures(self, summary: Summary) -> set[str]:
        """Say which kinds of failure are the most frequent, and what can be done about them.

        Returns:
            The tracebacks that were shown, as ``without_message`` gives them.
        """
        shown = set()
        if summary.failed:
            kinds = self._store.kinds(MOST_KINDS_SHOWN)
            self._console.say_kinds(kinds)
            shown = {without_message(example.traceback) for _, example in kinds}
            if not self.keeps_state:
                self._say("This run keeps no state, so that they are not listed anywhere; state= makes it keep one.")
                return shown
            self._say(f"List them with: {shlex.join(['tm-ctl', 'failures', self._store.location])}")
            self._say(f"Run them again, when the cause is mended, with: {command_again('--failed')}")
        return shown

    def kinds(self) -> None:
        """Say which kinds of failure are the most frequent."""
        self._console.say_kinds(self._store.kinds(MOST_KINDS_SHOWN))

    def failed_again(self, summary: Summary) -> None:
        """Say what came of running the failed jobs again, of a run that has not come to its end."""
        came = f"{summary.failed} of them failed once more" if summary.failed else "all of them went well"
        self._say(
            f"The failed jobs were run again, and {came}. The run itself has not come to its end; "
            f"{show_settled(summary.settled)} so far."
        )
        self.failures(summary)
        self._say(f"Resume it with: {command_again(without='--failed')}")


def without_message(traceback: str) -> str:
    """Return a traceback without its last line, which differs from job to job."""
    return traceback.rstrip().rpartition("\n")[0]


def command_again(*more: str, without: str = "") -> str:
    """Return the command line that this process was started with, without options
    that are for one start only. A password is left out, as a comment for the shell says.

    Args:
        more: Options to add; a script that calls ``Taskmaster`` has them as keywords.
        without: An option to leave out.
    """
    once = ("--reset", "--adopt", without, *more)
    rest = [without_password(word) for word in _without_secrets(words_given()) if word not in once]
    note = f"  # a password was left out: put it in for {HIDDEN}" if any(HIDDEN in word for word in rest) else ""
    if is_command():
        return shlex.join([Path(sys.argv[0]).name, *rest, *more]) + note
    script = shlex.join(["python", sys.argv[0], *rest]) + note
    if is_interactive() or sys.argv[0] in ("", "-", "-c"):
        script = "the same call"
    keywords = "".join(f", {word.lstrip('-').replace('-', '_')}=True" for word in more)
    return f"{script}, with Taskmaster(...{keywords})" if more else script


def _without_secrets(words: Sequence[str]) -> Iterator[str]:
    """Hide the text of the key, values of --env, and the addresses of webhooks and of guards: what
    is printed here stays in logs.
    """
    before = ""
    for word in words:
        option, equals, value = word.partition("=")
        if before == "--key":
            yield "KEY"
        elif option == "--key" and equals:
            yield "--key=KEY"
        elif before == "--env":
            yield option  # taken from the environment then
        elif option == "--env":
            yield f"--env={value.partition('=')[0]}" if equals else word
        elif before == "--notify" and is_url(word):
            yield without_path(word)
        elif option == "--notify" and is_url(value):
            yield f"--notify={without_path(value)}"
        elif before == "--guard":
            yield shown_guard(word)
        elif option == "--guard" and equals:
            yield f"--guard={shown_guard(value)}"
        else:
            yield word
        before = word


def shown_guard(given: str) -> str:
    """Return a guard as it may be shown: of an address of a service, the scheme and host alone."""
    name, _, url = given.partition("=")
    return f"{name}={without_path(url)}" if is_url(url) else given
