"""The in_flight: what the slave holds, and what it has to say of it. Pure.

Called by the supervisor. One entry for each batch in this slave's hands, from its arrival until the
master has answered the report of its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from taskmaster.model import Failure, FailureKind, Report, ReportEnd, WireBatch

__all__ = ["HeldBatch", "InFlight"]

SHORT = 100  # characters of a message, where there are very many
TRACEBACKS = 4 * 1024 * 1024  # bytes of failures of one batch that wait to be reported; beyond, text is left out
REPORT = 16 * 1024 * 1024  # bytes of failures that go out at once: a frame has an end

State = tuple[int, tuple[int, ...], int, int, ReportEnd, int]
"""upto, extra, number of failures, keep, end, number of long jobs"""
KEEP = 3  # where in a state that is


@dataclass(slots=True, eq=False)
class HeldBatch:
    """A batch in this slave's hands.

    Attributes:
        lent: what the master sent.
        keep: jobs from this index on were given back.
        upto: every job before this index has ended.
        extra: indices beyond that have ended.
        failures: failed jobs that the master does not know of for certain.
        end: how it ended, as in ``Report``; "" while it is worked on.
        stale: the lease is no longer this slave's; nothing is reported.
        told: what the last answered report said.
        failed: how many of its jobs failed here.
        texts: characters of ``failures``.
        together: its jobs are given to one call.
        long: jobs that have been running for long, in the order in which that was seen,
        tickets: and what names them where they are parked by now.
        seconds: what the worker took for it, once it has finished.
        heirs: jobs of a stale batch whose lease another master has given this slave anew, by index.
    """

    lent: WireBatch
    keep: int
    upto: int = 0
    extra: tuple[int, ...] = ()
    failures: list[Failure] = field(default_factory=list)
    end: ReportEnd = ReportEnd.OPEN
    suspects: tuple[int, ...] = ()
    detail: str = ""
    stale: bool = False
    told: State | None = None
    failed: int = 0
    texts: int = 0
    together: bool = False
    long: dict[int, None] = field(default_factory=dict)
    tickets: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    heirs: dict[int, HeldBatch] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """What a report would say, short of its texts."""
        return self.upto, self.extra, len(self.failures), self.keep, self.end, len(self.long)

    def report(self) -> Report:
        """The report of this batch."""
        return Report(
            self.lent.token,
            self.upto,
            self.extra,
            tuple(self.failures),
            self.keep,
            self.end,
            self.suspects,
            self.detail,
            self.together,
            tuple(self.long),
            self.seconds,
        )


class InFlight:
    """All batches of the slave.

    Attributes:
        done: jobs that ended well here.
        failed: attempts that ended badly here.
        singly: reports are made one at a time, to see which of them the master does not accept.
    """

    def __init__(self) -> None:
        self.singly = False
        self.done = 0
        self.failed = 0
        self._held: dict[str, HeldBatch] = {}
        self._sent: dict[str, State] = {}

    def __len__(self) -> int:
        return sum(1 for held in self._held.values() if not held.end)

    @property
    def tokens(self) -> list[str]:
        """Tokens of the batches whose leases are this slave's, for a hello."""
        return [token for token, held in self._held.items() if not held.stale]

    @property
    def settled(self) -> bool:
        """Everything was reported, and the report answered."""
        return not self._held

    def take(self, lent: WireBatch) -> HeldBatch:
        """A batch has arrived."""
        held = HeldBatch(lent, lent.count)
        held.told = held.state  # the master knows as much
        self._held[lent.token] = held
        return held

    def by_token(self, token: str) -> HeldBatch | None:
        """The batch of a token, if it is here."""
        return self._held.get(token)

    def progress(self, held: HeldBatch, upto: int, extra: Sequence[int] = ()) -> None:
        """Note how far a batch has got; it never goes back."""
        held.upto = max(held.upto, min(upto, held.keep))
        held.extra = tuple(index for index in extra if index >= held.upto)
        self._pass_on(held)

    def fail(self, held: HeldBatch, failure: Failure) -> None:
        """A job has failed; whether it counts is decided when the batch's progress passes it."""
        if failure.index >= held.keep:
            return  # it was started at the moment it was given back, and runs elsewhere
        if held.texts > TRACEBACKS:
            left_out = "(left out: many other jobs of this batch have failed at once)\n"
            failure = failure._replace(message=failure.message[:SHORT], traceback=left_out)
        held.failures.append(failure)
        held.failed += failure.kind is not FailureKind.SKIP
        held.texts += _length(failure)

    def finish(self, held: HeldBatch, stop: int, seconds: float = 0.0) -> None:
        """The worker has stopped before the job at ``stop``; all before have ended, within so many
        seconds.
        """
        held.seconds = seconds
        held.keep = min(held.keep, stop)
        self.progress(held, stop)
        self._end(held, ReportEnd.FINISHED)

    def crash(self, held: HeldBatch, suspects: Iterable[int], detail: str, *, timed_out: bool = False) -> None:
        """The worker has died while these jobs ran; or it was killed because the suspects took too
        long.
        """
        # It may have died between saying that a job has failed and moving on: that job has ended.
        failed = {failure.index for failure in held.failures}
        held.extra = tuple(sorted(failed.union(held.extra).difference(range(held.upto))))
        held.suspects, held.detail = tuple(index for index in suspects if index not in failed), detail
        how = ReportEnd.TIMEOUT if timed_out else ReportEnd.CRASHED
        self._end(held, how if held.suspects else ReportEnd.DROPPED)

    def raised(self, held: HeldBatch, suspects: Iterable[int], failure: Failure) -> None:
        """The one call that was given these jobs has raised."""
        held.extra = tuple(sorted({f.index for f in held.failures}.union(held.extra)))
        held.suspects = tuple(suspects)
        held.failures.append(failure)
        held.texts += _length(failure)
        self._end(held, ReportEnd.RAISED)

    def unreadable(self, held: HeldBatch) -> None:
        """The worker could not unpickle the batch."""
        self._end(held, ReportEnd.UNREADABLE)

    def drop(self, held: HeldBatch) -> None:
        """Give back all that has not ended."""
        self._end(held, ReportEnd.DROPPED)

    @property
    def offers(self) -> list[tuple[str, int, int]]:
        """Token, index and ticket of what another master might take over."""
        return [
            (token, index, number)
            for token, held in self._held.items()
            for index, number in held.tickets.items()
            if not held.stale
        ]

    def runs_long(self, held: HeldBatch, index: int) -> None:
        """A job has been running for long; the master is told once."""
        if index not in held.long and index not in held.tickets and not held.stale:
            held.long[index] = None

    def ticket(self, token: str, index: int, number: int) -> None:
        """The master has parked a job that has been running for long."""
        held = self._held.get(token)
        if held is not None:
            held.tickets[index] = number

    def adopt(self, token: str, index: int, new: str) -> None:
        """Another master has given this slave a job that it has been running, under a new lease."""
        held = self._held.get(token)
        heir = self.take(WireBatch(new, 1, separate=False, alone=False, avoid=0, blob=b""))
        if held is None or index not in held.tickets:
            self.drop(heir)
            return
        heir.tickets[0] = held.tickets[index]
        held.heirs[index] = heir
        self._pass_on(held)

    def _pass_on(self, held: HeldBatch) -> None:
        """Tell the heirs of a batch what has become of their job."""
        for index, heir in list(held.heirs.items()):
            ended = index < held.upto or index in held.extra
            if not (ended or held.end):
                continue
            del held.heirs[index]
            if ended:
                for failure in held.failures:
                    if failure.index == index:
                        self.fail(heir, failure._replace(index=0))
                self.finish(heir, 1)
            elif index in held.suspects:
                self.crash(heir, [0], held.detail, timed_out=held.end is ReportEnd.TIMEOUT)
            else:
                self.drop(heir)

    def void(self, tokens: Iterable[str] | None = None) -> list[HeldBatch]:
        """These leases are not the slave's any more (all, if None are named); returns those that
        are still worked on.
        """
        working = []
        for token in list(self._held) if tokens is None else tokens:
            held = self._held.get(token)
            if held is not None and not held.stale:
                held.stale = True
                if held.end:
                    del self._held[token]
                else:
                    working.append(held)
        return working

    def news(self) -> bool:
        """Whether there is something that the master has not heard."""
        return any(held.state != held.told for held in self._held.values() if not held.stale)

    def urgent(self) -> bool:
        """Whether the master should hear at once of what it has not heard: a batch has ended, and
        its worker wants another one; or jobs are given back, for which somebody may be waiting.
        """
        return any(
            held.end or held.told is None or held.keep != held.told[KEEP]
            for held in self._held.values()
            if not held.stale
        )

    def reports(self) -> list[Report]:
        """A report for each batch of which there is news; ``answered`` says that they have arrived.

        What would be too much at once is in the next reports.
        """
        self._sent = {}
        texts = 0
        for token, held in self._held.items():
            if not held.stale and held.state != held.told and texts <= REPORT:
                self._sent[token] = held.state
                texts += held.texts
                if self.singly:
                    break
        self.singly = self.singly and bool(self._sent)
        return [self._held[token].report() for token in self._sent]

    def answered(self) -> None:
        """The master has the last reports."""
        for token, (upto, extra, failures, keep, end, long) in self._sent.items():
            held = self._held.get(token)
            if held is None:
                continue
            if end:
                del self._held[token]
                continue
            # A failure counts in the report that says its job has ended; until then it is said
            # again. One of a job that another master may take over is said to that one, too.
            beyond = set(extra)
            kept = [
                failure
                for failure in held.failures[:failures]
                if not (failure.index < upto or failure.index in beyond) or failure.index in held.tickets
            ]
            held.failures[:failures] = kept
            held.texts = sum(map(_length, held.failures))
            held.told = (upto, extra, len(kept), keep, end, long)
        self._sent = {}

    def refused(self, why: str) -> str | None:
        """The master does not accept the last reports, which would be the same again and again.

        They are made one at a time, then, and nothing is asked for beside them. One that is refused
        by itself is made again with the bare facts: that jobs have failed, and why it is not known
        with what. That counts as an attempt of each.

        Returns:
            None if something else will be said next; "" if nothing was said; else the token of a
            batch whose bare facts were refused, too: its lease has to be given up, together with
            the connection.
        """
        sent, self._sent = list(self._sent), {}
        if not (self.singly and sent):
            self.singly = bool(sent)
            return None if sent else ""
        self.singly = False
        held = self._held.get(sent[0])
        if held is None:
            return None
        message = f"the master did not accept what was reported of this job's failure ({why})"[:1000]
        bare = [Failure(f.index, "ReportRefused", message, "", worker=f.worker) for f in held.failures]
        if (bare, 0.0) == (held.failures, held.seconds):
            return sent[0]
        held.failures, held.seconds = bare, 0.0
        return None

    def unanswered(self) -> None:
        """The connection broke: whatever was said may not have been heard."""
        self._sent = {}
        for held in self._held.values():
            held.told = None

    def _end(self, held: HeldBatch, how: ReportEnd) -> None:
        held.end = how
        self._pass_on(held)
        ended = held.upto + len(held.extra)
        if held.stale:
            self._held.pop(held.lent.token, None)
        else:
            self.done += ended - held.failed
            self.failed += held.failed


def _length(failure: Failure) -> int:
    """At most so many bytes of text, and what comes with them."""
    texts = failure.type, failure.message, failure.traceback
    return 64 + sum(len(text) if text.isascii() else 4 * len(text) for text in texts)
