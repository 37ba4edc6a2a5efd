"""The keeper: turns the broker's books into checkpoints, several a second, in a thread of its own.

Started by ``taskmaster.master.master``. Whatever the store cannot write stays in the books and is
in the next attempt; nothing is handed out meanwhile. One caller at a time: the thread, and after
``stop`` the master itself for the last checkpoint.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from taskmaster import keys
from taskmaster.errors import StateUnwritable
from taskmaster.master.broker.broker import Broker, Changes
from taskmaster.master.broker.watermark import END, Settled, settled_piece
from taskmaster.master.completion import Share
from taskmaster.master.job_identity import Identity
from taskmaster.master.job_records import ParkedJob
from taskmaster.master.pickling import pickled
from taskmaster.master.reading.dedup import Earlier
from taskmaster.master.stores.contract import Checkpoint, Piece, RunRecord, Store
from taskmaster.runtime.backoff import Backoff

__all__ = ["Keeper", "within"]

logger = logging.getLogger(__name__)

INTERVAL = 0.25  # seconds between checkpoints
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 10.0  # until a checkpoint that could not be written is tried again
TICK = 0.1  # seconds between two looks at a last checkpoint that is under way
SHARE = 20  # a checkpoint that takes t seconds is followed by a wait of at least SHARE * t: it costs 5 % at most
SLOW = 5.0  # seconds that a checkpoint may take before the run waits for it
IDLE = 5.0  # seconds after which one is written although nothing but the clock has moved


class Keeper(threading.Thread):
    """Writes checkpoints.

    Args:
        store: where to.
        broker: whose books.
        lock: guards them.
        identity: tells jobs apart.
        earlier: what earlier sessions settled and the source has not yielded again.
        record: the run as it was at the start of this session.
        clock: monotonic seconds.
        share: reckons which share of the work is settled; None: nobody can.
    """

    def __init__(
        self,
        store: Store,
        broker: Broker,
        lock: threading.Lock,
        identity: Identity,
        earlier: Earlier,
        record: RunRecord,
        clock: Callable[[], float] = time.monotonic,
        share: Share | None = None,
    ) -> None:
        super().__init__(name="taskmaster-keeper", daemon=True)
        self._store = store
        self._broker = broker
        self._lock = lock
        self._identity = identity
        self._earlier = earlier
        self._record = record
        self._clock = clock
        self._began = clock()
        self._stop_asked = threading.Event()
        self._due = threading.Event()
        self._written: tuple[object, ...] = ()
        self._written_at = self._began
        self._failing: float | None = None  # since when no checkpoint could be written
        self._writing: float | None = None  # since when one is being written
        self._refilled = 0  # id of the last failed job that is run again
        self._share = share

    def run(self) -> None:
        """The thread."""
        least, pause = 0.0, INTERVAL
        backoff = Backoff(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while not self._stop_asked.wait(least):
            self._due.wait(pause - least)
            self._due.clear()
            if self._stop_asked.is_set():
                return
            before = self._clock()
            try:
                self.checkpoint()
                self.refill()
            except StateUnwritable as exc:
                least = pause = backoff.next()
                self._pause(str(exc))
            except Exception:
                # Without checkpoints the run would go on and lose its place: stop handing out, and
                # keep trying.
                least = pause = 5.0
                logger.exception("the checkpoint failed")
                self._pause("the checkpoint failed unexpectedly; its traceback is in the log")
            else:
                backoff.reset()
                least = SHARE * (self._clock() - before)
                pause = max(INTERVAL, least)
                self._pause("")

    def hurry(self) -> None:
        """Somebody waits for the next checkpoint; it comes as soon as it may."""
        self._due.set()

    def stop(self, seconds: float | None = None) -> bool:
        """End the thread; what is in the books is not lost, the caller writes it with
        ``checkpoint``.

        Returns:
            False if it has not ended within so many seconds: it is in a write that hangs, and
                nobody else may write.
        """
        self._stop_asked.set()
        self._due.set()
        if self.is_alive():
            self.join(seconds)
        return not self.is_alive() and self._writing is None

    def last_checkpoint(self, meanwhile: Callable[[], object]) -> None:
        """Write a checkpoint when the thread has ended; a disk that hangs does not hold the caller.

        Args:
            meanwhile: called several times a second while it is written; what it raises leaves it
                alone.

        Raises:
            StateUnwritable: the store could not; try again.
        """
        failed: list[BaseException] = []

        def write() -> None:
            try:
                self.checkpoint()
            except BaseException as exc:
                failed.append(exc)

        writer = threading.Thread(target=write, name="taskmaster-last-checkpoint", daemon=True)
        writer.start()
        writer.join(TICK)
        while writer.is_alive():
            meanwhile()
            writer.join(TICK)
        if failed:
            raise failed[0]

    def checkpoint(self) -> None:
        """Write down where the run is, if that has changed.

        Raises:
            StateUnwritable: the store could not; try again.
        """
        self._look_at_successor()
        self._park()
        with self._lock:
            changes = self._broker.collect()
            prints = b"".join(piece.prints or b"" for piece in changes.recognised)
            self._earlier.settled_again(keys.separate(prints))
            waiting = self._earlier.waiting()
            edge = self._earlier.edge(changes.mark)
        checkpoint = self._as_checkpoint(changes, edge, waiting)
        state = (
            checkpoint.mark,
            checkpoint.bound,
            checkpoint.edge,
            checkpoint.settled,
            checkpoint.failures,
            checkpoint.finished,
        )
        news = (
            changes.cleared or changes.pieces or changes.failed or changes.park or changes.unpark or waiting is not None
        )
        now = self._clock()
        if news or state != self._written or now - self._written_at > IDLE:
            self._writing = now
            try:
                self._store.write(checkpoint)
            finally:
                self._writing = None
            self._written, self._written_at = state, now
            with self._lock:
                self._broker.confirm(changes)
                if waiting is not None and waiting == self._earlier.waiting():
                    self._earlier.written()
        self._reckon(checkpoint)

    def refill(self) -> None:
        """Where failed jobs are run again: bring the next ones from the store, while there is room
        for them.
        """
        with self._lock:
            broker = self._broker
            room = broker.limits.size - broker.returned - broker.waiting
            if not broker.replay.on or broker.replay.exhausted or 2 * room < broker.limits.size:
                return
        page = self._store.failed(self._refilled, max(1, room))
        self._refilled = page[-1].id if page else self._refilled
        with self._lock:
            broker.add_failed([job for job in page if job.payload is not None])
            broker.replay.exhausted = not page

    def _reckon(self, checkpoint: Checkpoint) -> None:
        """See which share is settled; whatever goes wrong in the source, the run goes on without
        that.
        """
        if self._share is None:
            return
        try:
            self._share.update(checkpoint)
        except Exception:
            logger.exception("position(key) or extent(key) of the source failed; the progress is shown without them")
            self._share.settled = None
            self._share = None

    def _as_checkpoint(self, changes: Changes, edge: bytes, waiting: bytes | None) -> Checkpoint:
        return Checkpoint(
            mark=changes.mark,
            bound=changes.bound,
            edge=edge + _existing(b"".join(map(self._prints, changes.edge))),
            add=[row for piece in changes.pieces for row in self._rows(piece)],
            forget_below=changes.cut,
            waiting=waiting,
            failed=changes.failed,
            cleared=changes.cleared,
            park=changes.park,
            unpark=changes.unpark,
            settled=self._record.settled + changes.settled,
            failures=self._record.failures + changes.failures,
            skipped=self._record.skipped + changes.skipped,
            seconds=self._record.seconds + self._clock() - self._began,
            finished=changes.finished,
        )

    def _rows(self, piece: Settled) -> list[Piece]:
        """A piece as the store keeps it: split where the watermark may come to stand, so that no
        row is half passed.
        """
        prints = self._prints(piece)
        cut, end = piece.end - piece.tail, piece.end
        parts = [(piece.first, cut), (cut, end)] if piece.before is not None else [(piece.first, end)]
        size = keys.FINGERPRINT
        return [Piece(a, b, _existing(prints[(a - piece.first) * size : (b - piece.first) * size])) for a, b in parts]

    def _prints(self, piece: Settled) -> bytes:
        if piece.prints is None:
            fingerprints = map(self._identity.fingerprint, piece.jobs or ())
            piece.prints = b"".join(print_ or keys.NO_FINGERPRINT for print_ in fingerprints)
            piece.jobs = None
        return piece.prints

    def _look_at_successor(self) -> None:
        """Let the watermark reach the end of what is settled, if the job after it is known to have
        another key.
        """
        with self._lock:
            self._broker.settle_known()
            low = self._broker.watermark.low
            at_end = self._broker.exhausted and self._broker.read == low
            head = self._broker.head_at_low()
        if at_end:
            successor: str | None = END
        elif head:
            # Outside the lock; whoever is handed the job meanwhile, it stays the job at position
            # low.
            successor = self._identity.text(head[0])
        else:
            return
        with self._lock:
            if self._broker.watermark.low == low:
                self._broker.watermark.settle_successor(successor)

    def _park(self) -> None:
        with self._lock:
            waiting = self._broker.to_park()
        parked: list[tuple[Settled | None, int, ParkedJob]] = []
        for position, job, attempts in waiting:
            if isinstance(job, ParkedJob):
                parked.append((None, position, replace(job, attempts=attempts)))
                continue
            piece = settled_piece(position, [job], self._identity.text)
            fingerprint = self._identity.fingerprint(job)
            if piece.last is None or not fingerprint:
                continue  # without a key it cannot be taken up again
            try:
                payload = pickled(job)
            except BaseException:  # noqa: S112  # it fails, with its traceback, as soon as it is handed out
                continue
            parked.append((piece, position, ParkedJob(-1, piece.last, payload, fingerprint, attempts)))
        if parked:
            with self._lock:
                self._broker.park(parked)

    def trouble(self) -> tuple[float, str]:
        """For how many seconds no checkpoint could be written, and why; 0.0 and "" when all is
        well.

        A write that hangs pauses the run from here: the thread that is in it cannot.
        """
        now, writing, failing = self._clock(), self._writing, self._failing
        if writing is not None and now - writing > SLOW:
            hangs = f"a checkpoint has been under way for {now - writing:.0f} s: the disk hangs, or is very slow."
            self._pause(hangs, writing)
            failing = self._failing if self._writing != writing else min(writing, self._failing or writing)
        return (0.0, "") if failing is None else (now - failing, self._broker.paused)

    def _pause(self, reason: str, writing: float | None = None) -> None:
        """Pause the run, or let it go on if there is no reason.

        Args:
            reason: why it pauses.
            writing: the write that hangs; if it has ended meanwhile, its own thread has said what
                became of it.
        """
        now = self._clock()
        with self._lock:
            if writing is not None and self._writing != writing:
                return
            before, since = self._broker.paused, self._failing
            self._broker.paused = reason
            self._failing = None if not reason else now if since is None else since
        if reason and not before:
            logger.error("the run is paused: %s", reason)
        elif before and not reason and since is not None:
            logger.warning("the run goes on: checkpoints can be written again, after %.0f s.", now - since)


def _existing(prints: bytes) -> bytes:
    """Without the places of jobs that cannot have any."""
    if keys.NO_FINGERPRINT not in prints:
        return prints
    return b"".join(print_ for print_ in keys.separate(prints) if print_ != keys.NO_FINGERPRINT)


def within(seconds: float) -> Callable[[], None]:
    """What raises when it is called after so many seconds; for ``Keeper.last_checkpoint``."""
    deadline = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > deadline:
            raise StateUnwritable("The last checkpoint could not be written in time.")

    return check
