"""The checkpointer: turns what the broker knows into checkpoints, several a second, in a thread of
its own.

Whatever the store cannot write stays with the broker and is in the next attempt; nothing is handed
out meanwhile. One caller at a time: the thread, and after ``stop`` the master itself for the last
checkpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from taskmaster.errors import StateUnwritable
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.watermark import END, SettledRange, settled_range
from taskmaster.master.completion import Completion
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.successor import recorded_successor
from taskmaster.master.records.fingerprints import FINGERPRINT_BYTES, NO_FINGERPRINT, separate
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.pickling import pickled
from taskmaster.master.records.run_record import Checkpoint, RunRecord, SettledRow
from taskmaster.master.steer_service import SteerService
from taskmaster.master.stores.contract import Store
from taskmaster.runtime.backoff import Backoff
from taskmaster.runtime.log import clean_logger

__all__ = ["Checkpointer", "within"]

logger = clean_logger(__name__)

INTERVAL_SECONDS = 0.25  # between checkpoints
FIRST_WRITE_PAUSE_SECONDS, LONGEST_WRITE_PAUSE_SECONDS = 1.0, 10.0  # before a checkpoint that failed is tried again
WRITE_CHECK_SECONDS = 0.1  # between two checks of a last checkpoint that is under way
REST_FACTOR = 20  # times its own duration: the rest after a checkpoint, so that it costs 5 % at most,
LONGEST_REST_SECONDS = 2.0  # but not longer: one that has much to write has the more to write the longer it rests
SLOW_SECONDS = 5.0  # a checkpoint that takes longer makes the run wait for it
LONGEST_UNWRITTEN_SECONDS = 5.0  # longest time without a checkpoint, even if nothing but the clock has changed


class Checkpointer(threading.Thread):
    """Writes checkpoints.

    Args:
        store: the store of the state.
        broker: knows which job is where.
        lock: guards the broker.
        identity: tells jobs apart.
        dedup: what earlier sessions settled and the source has not yielded again.
        record: the run as it was at the start of this session.
        clock: monotonic seconds.
        completion: says which fraction of the work is settled; None: nothing can.
        steers: The changes of operators; None: the run cannot be steered.

    Attributes:
        took: Seconds that the last checkpoint took to be written.
    """

    def __init__(  # noqa: PLR0913  # what it writes from, each part once
        self,
        store: Store,
        broker: Broker,
        lock: threading.Lock,
        identity: JobIdentity,
        dedup: Dedup,
        record: RunRecord,
        clock: Callable[[], float] = time.monotonic,
        completion: Completion | None = None,
        *,
        steers: SteerService | None = None,
    ) -> None:
        super().__init__(name="taskmaster-checkpointer", daemon=True)
        self._store = store
        self._broker = broker
        self._lock = lock
        self._identity = identity
        self._dedup = dedup
        self._record = record
        self._clock = clock
        self._began = clock()
        self._stop_asked = threading.Event()
        self._due = threading.Event()
        self._pressed = threading.Event()
        self._written: tuple[object, ...] = ()
        self._written_at = self._mark_at = self._began
        self.took = 0.0
        self._failing: float | None = None  # since when no checkpoint could be written
        self._writing: float | None = None  # since when one is being written
        self._completion = completion
        self._steers = steers

    def run(self) -> None:
        """Write checkpoints until ``stop`` is called."""
        least, pause = 0.0, INTERVAL_SECONDS
        backoff = Backoff(FIRST_WRITE_PAUSE_SECONDS, LONGEST_WRITE_PAUSE_SECONDS)
        while not self._stop_asked.is_set():
            self._pressed.wait(least)
            self._pressed.clear()
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
                # Without checkpoints, a restart would lose what is done meanwhile: stop handing
                # out, and keep trying.
                least = pause = 5.0
                logger.exception("the checkpoint failed")
                self._pause("the checkpoint failed unexpectedly; its traceback is in the log")
            else:
                backoff.reset()
                least = min(LONGEST_REST_SECONDS, REST_FACTOR * (self._clock() - before))
                pause = max(INTERVAL_SECONDS, least)
                self._pause("")

    def press(self) -> None:
        """Write the next checkpoint now, because no job is handed out before it. After a failed
        write, the pause before the next attempt stays as it is.
        """
        if self._failing is None:
            self._pressed.set()
            self._due.set()

    def hurry(self) -> None:
        """Write the next checkpoint as soon as that may be, because somebody waits for it."""
        self._due.set()

    def stop(self, seconds: float | None = None) -> bool:
        """End the thread; what is not written down is not lost, the caller writes it with
        ``checkpoint``.

        Returns:
            False if it has not ended in that time: it is in a write that hangs, and nobody else may
                write.
        """
        self._stop_asked.set()
        self._pressed.set()
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
        writer.join(WRITE_CHECK_SECONDS)
        while writer.is_alive():
            meanwhile()
            writer.join(WRITE_CHECK_SECONDS)
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
            collected = self._broker.collect()
            prints = b"".join(found.prints or b"" for found in collected.recognised)
            self._dedup.settled_again(separate(prints))
            waiting = self._dedup.waiting()
            edge = self._dedup.edge(collected.checkpoint.mark)
            # What an operator has changed is of use until the session is over: failed jobs of a run
            # that was finished may be run again.
            over = collected.checkpoint.finished and self._broker.over
            news = (
                None
                if self._steers is None
                else self._steers.news(finished=over, successor=recorded_successor(self._broker.watermark))
            )
        checkpoint = replace(
            collected.checkpoint,
            edge=edge + _existing(b"".join(map(self._prints, collected.edge))),
            add=[row for settled in collected.ranges for row in self._rows(settled)],
            waiting=waiting,
            seconds=self._record.seconds + self._clock() - self._began,
            **({} if news is None else news.of_checkpoint()),
        )
        now = self._clock()
        progress = checkpoint.progress()
        if checkpoint.has_news() or progress != self._written or now - self._written_at > LONGEST_UNWRITTEN_SECONDS:
            self._writing = now
            try:
                self._store.write(checkpoint)
            finally:
                self._writing = None
            self.took = self._clock() - now
            if not self._written or self._written[0] != progress[0]:
                self._mark_at = now
            self._written, self._written_at = progress, now
            with self._lock:
                self._broker.confirm(collected)
                if news is not None and self._steers is not None:
                    self._steers.written(news)
                if waiting is not None and waiting == self._dedup.waiting():
                    self._dedup.written()
        self._note_completion(checkpoint)

    def refill(self) -> None:
        """Bring the next failed jobs from the store where they are run again, while there is room
        for them.
        """
        with self._lock:
            room, replay = self._broker.replay_room(), self._broker.replay
            selection, asked = replay.selection, bool(replay.asked)
        if not room:
            return
        page = self._store.failed(selection.after, max(1, min(room, selection.left)), selection.kind)
        chosen = selection.chosen(page)
        last = not page or selection.left <= 0
        with self._lock:
            self._broker.add_failed(chosen, last=last)
        why = selection.came_to_nothing() if asked and last else ""
        if why and self._steers is not None:
            logger.warning("what was to be run again is not: %s", why)
            self._steers.note("retry", why)

    def _note_completion(self, checkpoint: Checkpoint) -> None:
        """Note how much is settled; whatever goes wrong in the source, the run goes on without
        that.
        """
        if self._completion is None:
            return
        try:
            self._completion.update(checkpoint)
        except Exception:
            logger.exception("position(key) or extent(key) of the source failed; the progress is shown without them")
            self._completion.settled = None
            self._completion = None

    def _rows(self, settled: SettledRange) -> list[SettledRow]:
        """Return a settled range as the store keeps it: split where the watermark may come to
        stand, so that no row is half passed.
        """
        prints = self._prints(settled)
        cut, end = settled.end - settled.tail, settled.end
        parts = [(settled.first, cut), (cut, end)] if settled.before is not None else [(settled.first, end)]
        size = FINGERPRINT_BYTES
        offsets = [((a - settled.first) * size, (b - settled.first) * size) for a, b in parts]
        return [SettledRow(*part, _existing(prints[a:b])) for part, (a, b) in zip(parts, offsets, strict=True)]

    def _prints(self, settled: SettledRange) -> bytes:
        if settled.prints is None:
            fingerprints = map(self._identity.fingerprint, settled.jobs or ())
            settled.prints = b"".join(print_ or NO_FINGERPRINT for print_ in fingerprints)
            settled.jobs = None
        return settled.prints

    def _look_at_successor(self) -> None:
        """Let the watermark reach the end of what is settled, if the job after it is known to have
        another key.
        """
        with self._lock:
            intake, watermark = self._broker.intake, self._broker.watermark
            intake.settle_known()
            low = watermark.low
            at_end = intake.exhausted and intake.read == low
            head = intake.head_at_low()
        if at_end:
            successor: str | None = END
        elif head:
            # Outside the lock: the job stays the one at position low, also if a slave is handed it
            # meanwhile.
            successor = self._identity.text(head[0])
        else:
            return
        with self._lock:
            if watermark.low == low:
                watermark.settle_successor(successor)

    def _park(self) -> None:
        with self._lock:
            wanted = self._broker.relief.wanted()
        parked: list[tuple[SettledRange | None, int, ParkedJob]] = []
        for position, job, attempts in wanted:
            if position < 0:  # it is parked; a job that was read may be a ParkedJob, too: see PickledJob
                parked.append((None, position, replace(job, attempts=attempts)))
                continue
            settled = settled_range(position, [job], self._identity.text)
            fingerprint = self._identity.fingerprint(job)
            if settled.last is None or not fingerprint:
                continue  # without a key it cannot be taken up again
            try:
                payload = pickled(job)
            except BaseException:  # noqa: S112  # it fails, with its traceback, as soon as it is handed out
                continue
            parked.append((settled, position, ParkedJob(-1, settled.last, payload, fingerprint, attempts)))
        if parked:
            with self._lock:
                self._broker.relief.park(parked)

    def trouble(self) -> tuple[float, str]:
        """Return for how many seconds no checkpoint could be written, and why; 0.0 and "" when all
        is well.

        A write that hangs pauses the run from here: the thread that is in it cannot.
        """
        now, writing, failing = self._clock(), self._writing, self._failing
        if writing is not None and now - writing > SLOW_SECONDS:
            hangs = f"a checkpoint has been under way for {now - writing:.0f} s: the disk hangs, or is very slow."
            self._pause(hangs, writing)
            failing = self._failing if self._writing != writing else min(writing, self._failing or writing)
        return (0.0, "") if failing is None else (now - failing, self._broker.paused)

    @property
    def failing_seconds(self) -> float:
        """For how long no checkpoint could be written; 0.0 when all is well."""
        since = self._failing
        return 0.0 if since is None else self._clock() - since

    @property
    def age(self) -> float:
        """Seconds since the last checkpoint, or since the start while there is none."""
        return self._clock() - self._written_at

    @property
    def watermark_age(self) -> float:
        """Seconds since a checkpoint has last moved the watermark, or since the start."""
        return self._clock() - self._mark_at

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
            self._broker.pause(reason)
            began = now if writing is None else writing
            self._failing = None if not reason else began if since is None else since
        if reason and not before:
            logger.error("the run is paused: %s", reason)
        elif before and not reason and since is not None:
            logger.warning("the run goes on: checkpoints can be written again, after %.0f s.", now - since)


def _existing(prints: bytes) -> bytes:
    """Return the fingerprints without the gaps of jobs that cannot have any."""
    if NO_FINGERPRINT not in prints:
        return prints
    return b"".join(print_ for print_ in separate(prints) if print_ != NO_FINGERPRINT)


def within(seconds: float) -> Callable[[], None]:
    """Return a time limit for ``Checkpointer.last_checkpoint``: a function that raises when it is
    called after so many seconds.
    """
    deadline = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > deadline:
            raise StateUnwritable("The last checkpoint could not be written in time.")

    return check
