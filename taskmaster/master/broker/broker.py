"""The broker: which job is where. It hands batches out, and says what a report settles.

Always called under the master's one lock (but for ``Intake.add``). Pure: no thread, socket, file or
clock inside, and none of the user's code; ``now`` is passed in. ::

    source ─► intake ──take──► lease ──report──► settlement ─► watermark ──► checkpoint
                 ▲               │                   │
                 └─ redelivery ◄─┴────── failed ─────┘

``Broker`` is the face; each part says in its module what it is for. Code outside this room calls
methods and reads; it notes something on three kinds of values alone that it was given:
``ConnectedSlave.told`` and ``turn``, ``Batch.separate``, and fingerprints of a ``SettledRange``.

Guarantees: a job is in one of the parts at a time; a report counts only while its token is the
newest of the job; the queue, what was returned, what waits and what is parked together stay within
``size``; what was read and is not behind the watermark stays within ``span``.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Collection, Sequence, Sized

from taskmaster.master.broker.batch_limit import BatchLimit
from taskmaster.master.broker.counts import Collected, Counts
from taskmaster.master.broker.failure_policy import FailurePolicy
from taskmaster.master.broker.hand_out import HandOut
from taskmaster.master.broker.intake import Intake
from taskmaster.master.broker.leases import Lease, LeaseTable
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.outage import Outage
from taskmaster.master.broker.parking import Parking
from taskmaster.master.broker.prepared import Preparation, Prepared
from taskmaster.master.broker.recalls import Recalls
from taskmaster.master.broker.redelivery import Redelivery
from taskmaster.master.broker.relief import Relief
from taskmaster.master.broker.replay import Replay
from taskmaster.master.broker.settlement import Settlement
from taskmaster.master.broker.slaves import ConnectedSlave, ConnectedSlaves
from taskmaster.master.broker.takeover import Takeover
from taskmaster.master.broker.watermark import Watermark
from taskmaster.master.records.job_records import FailedJob
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.model import Report, Want

__all__ = ["Broker"]

LOST_LEASES_A_TICK = 5_000  # about: when a whole fleet falls silent, others are heard in between
UNWRITTEN_BYTES = 16 * 1024 * 1024  # of failed and parked jobs that wait for a checkpoint


class Broker:
    """The jobs of a session, from the intake to the settlement; the face of this room's parts.

    Args:
        incarnation: random text of this start of the master; part of every token.
        limits: the caps.
        record: the run as it was at the start of this session; None: a new one.
    """

    def __init__(self, incarnation: str, limits: Limits, record: RunRecord | None = None) -> None:
        record = record or RunRecord("", resumed=False)
        parked = sorted(record.parked, key=lambda job: bool(job.attempts))  # those that have been tried come last
        self.limits = limits
        self.draining = False
        self.paused = ""
        self._record = record.without_jobs()
        self.watermark = Watermark(record.mark)
        self.slaves = ConnectedSlaves(limits)
        self.leases = LeaseTable(incarnation, self.slaves)
        self.batch_limit = BatchLimit(limits, self.slaves)
        self.replay = Replay()
        self.parking = Parking(record.parked)
        self.redelivery = Redelivery(limits, self.slaves, self.leases, self.batch_limit, self.parking.came_back)
        self.intake = Intake(
            limits, self.watermark, self.parking, self.redelivery, bound=record.bound, parked=parked,
            in_hand=lambda: self.leases.open,
        )  # fmt: skip
        self.outage = Outage(limits)
        policy = FailurePolicy(limits, self.intake.write_ahead, self.outage, random.Random(incarnation))
        self._preparation = Preparation(policy, self.parking)
        moved = (self.watermark, self.leases, self.redelivery, self.parking, self.replay, self.intake)
        self.settlement = Settlement(policy, *moved)
        self.hand_out = HandOut(self.slaves, self.leases, self.redelivery, self.intake, self.batch_limit, self.outage)
        self.takeover = Takeover(self.leases, self.parking, self.redelivery)
        self.recalls = Recalls(self.slaves, self.leases, self.intake, self.redelivery, self.watermark)
        self.relief = Relief(self.watermark, self.leases, self.intake, self.redelivery, self.parking)

    # -- slaves ------------------------------------------------------------------------------------

    def enter(self, slave: ConnectedSlave, held: Collection[str]) -> None:
        """Note that a slave says hello, for the first time or again after it lost its connection.

        Args:
            slave: the slave; it takes the place of what was known of it.
            held: tokens of the batches that it has. The answer that carried any other batch was
                lost on its way: its jobs would wait for ever. A batch that ended with the slave's
                silence is its again while nobody else was given one of the jobs.
        """
        known, kept = self.slaves.get(slave.id), set(held)
        if known is not None:
            slave.leases, slave.asked, slave.long = known.leases, known.asked, known.long
            slave.connections += known.connections
            if known.told != slave.told:
                slave.connections -= 1  # it was asked to say hello again, over the same one
            for lease in self.leases.held_by(slave):
                if lease.token not in kept:
                    self.redelivery.release(lease)
        self.slaves.add(slave)
        for token in held:
            self.redelivery.revive(slave, token)

    def leave(self, slave: ConnectedSlave) -> None:
        """Note that a slave says goodbye: what it holds goes back at once, without blame."""
        for lease in self.leases.held_by(slave):
            self.redelivery.release(lease)
        self.slaves.drop(slave.id)
        self.slaves.silence(slave.id, None)

    def take(self, slave: ConnectedSlave, want: Want) -> Lease | None:
        """Hand out a batch, None if there is nothing to hand out now."""
        if self.draining or self.paused or self.settlement.stop or self.is_behind:
            return None
        return self.hand_out.take(slave, want)

    def prepare(self, slave: ConnectedSlave, report: Report) -> Prepared | None:
        """Return what a report comes to, None if its lease is not, or no longer, the slave's."""
        lease = self.leases.held_as(slave, report.token)
        return None if lease is None else self._preparation.of(lease, report)

    def apply(self, prepared: Prepared) -> bool:
        """Apply a report.

        Returns:
            False if a job of the batch has moved since then; nothing was changed.
        """
        if not (self.leases.is_current(prepared.lease) and self._preparation.is_current(prepared)):
            return False
        self.settlement.apply(prepared)
        self.takeover.note(prepared.lease, prepared.report)
        return True

    def tick(self, now: float) -> list[str]:
        """Take the jobs of lost slaves back; called several times a second.

        Returns:
            The names of the slaves that were lost with jobs in their hands.
        """
        self.redelivery.tick(now)
        self.leases.tick(now)
        self.intake.write_ahead.tick(now)
        self.outage.tick(now)
        self.settlement.stop = self.settlement.stop or self.outage.stop
        lost, leases = [], 0
        for slave in self.slaves.tick(now):
            if leases >= LOST_LEASES_A_TICK:
                break  # the others are gone the next time, too, unless they have come back
            if slave.leases:
                lost.append(slave.name)
                leases += len(slave.leases)
            self.redelivery.lose(slave)
        self.recalls.ask_back(all_unstarted=self.outage.holding)
        return lost

    # -- what the run is told ----------------------------------------------------------------------

    def pause(self, reason: str) -> None:
        """Hand out nothing until this is called with ""."""
        self.paused = reason

    def drain(self) -> None:
        """Hand out nothing more in this session."""
        self.draining = True

    def refuse(self) -> None:
        """Hand out nothing more: a job cannot be run, or not resumed. The run cannot finish, only
        stop.
        """
        self.intake.refuse()
        self.draining = True

    def replay_only(self) -> None:
        """Run failed jobs again in this session, and nothing else: what is parked stays so."""
        self.replay.start(was_finished=self._record.finished is not None)
        self.intake.seeking.note(on=False)  # nothing is read
        self.redelivery.clear()
        self.parking.clear()

    def replay_room(self) -> int:
        """Return how many failed jobs to bring now."""
        return self.replay.room(self.limits.size, self.redelivery.jobs + len(self.redelivery.waiting))

    def add_failed(self, jobs: Sequence[FailedJob], *, last: bool) -> None:
        """Hand out failed jobs again, before anything new; ``last``: no more of them will come."""
        self.redelivery.append(*self.replay.add(jobs, last=last))

    # -- how the run stands ------------------------------------------------------------------------

    def unfinished(self) -> tuple[Sized, ...]:
        """Return the parts with jobs that have not ended: queue, leases, redelivery."""
        return (range(self.intake.queued), self.leases, self.redelivery)

    @property
    def at_rest(self) -> bool:
        """Whether nothing that was read waits or runs."""
        return not any(map(len, self.unfinished()))

    @property
    def stuck(self) -> bool:
        """Whether the span is full although all that was read is settled: the keys allow no cut."""
        return self.intake.span >= self.intake.span_limit and self.at_rest

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for a checkpoint that nothing more is handed out before it."""
        return self.settlement.failed.size + self.parking.to_write.size > UNWRITTEN_BYTES

    def is_full(self, most: int) -> bool:
        """Return whether the jobs that wait to be handed out again take ``most`` bytes or more."""
        again = self.redelivery
        return len(again) * self.batch_limit.bytes_per_job + again.texts + again.waiting.texts >= most

    @property
    def spent(self) -> bool:
        """Whether all jobs that this session may hand out are settled."""
        return self.settlement.settled >= (sys.maxsize if self.limits.limit is None else self.limits.limit)

    @property
    def finished(self) -> bool:
        """Whether the source is exhausted, and nothing is queued, handed out, waiting or parked;
        never what was limited.
        """
        done = self.intake.exhausted and not self.intake.refused and not self.spent
        return done and self.at_rest and not len(self.parking) and not self.replay.asked

    @property
    def reading_is_over(self) -> bool:
        """Whether the source is not asked for anything any more, not even to split a job."""
        return self.intake.exhausted and (self.finished or not self.intake.write_ahead.splits)

    @property
    def over(self) -> bool:
        """Whether this session has nothing left to do."""
        return self.finished or self.replay.over

    def counts(self) -> Counts:
        """Return the numbers that a snapshot shows; no lease is looked at."""
        settled, record = self.settlement, self._record
        return Counts(
            settled=record.settled + settled.settled,
            failed=record.failures + settled.failures - self.replay.mended,
            skipped=record.skipped + settled.skipped,
            settled_here=settled.settled + self.replay.ended,
            queued=self.intake.queued + self.redelivery.jobs,
            leased=self.leases.open,
            parked=len(self.parking),
            waiting=len(self.redelivery.waiting),
            slaves=self.slaves.connected,
            workers=self.slaves.workers,
            batch=self.batch_limit.last,
            batch_reason=self.batch_limit.reason,
            mark=self.watermark.mark,
            oldest=self.leases.running(),
            alone=self.intake.exhausted and not self.intake.queued and not self.redelivery.jobs,
            next_due=self.redelivery.next_due,
        )

    # -- checkpoints -------------------------------------------------------------------------------

    def collect(self) -> Collected:
        """Return all that the next checkpoint has to say; ``confirm`` it once it is durable."""
        self.intake.settle_known()
        mark, settled, counts = self.watermark, self.settlement, self.counts()
        fresh = self.intake.read or self.intake.write_ahead.made
        still_finished = self._record.finished is not None and not fresh and self.at_rest
        checkpoint = Checkpoint(
            mark=mark.mark,
            bound=self.intake.bound,
            forget_below=mark.cut,
            failed=settled.failed.all(),
            cleared=list(self.replay.cleared),
            park=self.parking.to_write.all(),
            unpark=list(self.parking.to_forget),
            settled=counts.settled,
            failures=counts.failed,
            skipped=counts.skipped,
            finished=self.finished or self.replay.was_finished or still_finished,
        )
        return Collected(checkpoint, mark.edge(), mark.unwritten(), self.intake.recognised())

    def confirm(self, collected: Collected) -> None:
        """Note that the store has what was collected."""
        checkpoint = collected.checkpoint
        for settled in collected.ranges:
            settled.written = True
        self.parking.written(checkpoint.park, checkpoint.unpark)
        self.redelivery.append(*self.intake.write_ahead.written(self.parking.ticket))
        del self.replay.cleared[: len(checkpoint.cleared)]
        self.settlement.failed.written(len(checkpoint.failed))
