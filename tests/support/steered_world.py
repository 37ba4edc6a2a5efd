"""A world whose run somebody steers all the time: holds, settings, quiet slaves, retries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from support.file_disk import FileDisk
from support.world import Disk, SimSlave, Violation, World
from taskmaster.errors import UsageError
from taskmaster.master.broker.limits import Limits
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.master.steering.steering import News, Steering
from taskmaster.model import Answer

BY = {"user": "anna", "host": "bastion", "via": "script"}
SETTINGS = {"retries": ["0", "1", "5"], "size": ["1", "3", "40"], "crashes": ["1", "3"]}


class SteeredWorld(World):
    """See the module; it stands where ``SteerService`` stands for the checkpointer."""

    def __init__(self, seed: int, disk: Disk | None = None) -> None:
        self.live: list = []  # as the disk has it
        self.trail: list = []
        self.asked = 0
        self.holds = 0
        self.retried = 0
        super().__init__(seed, disk)
        write = self.disk.write

        def kept(checkpoint: Checkpoint) -> None:
            write(checkpoint)
            self.live = self.live if checkpoint.live is None else list(checkpoint.live)
            self.trail += checkpoint.trail

        self.disk.write = kept

    def start_master(self) -> None:
        self.start_limits = replace(self.limits)
        super().start_master()
        # The broker changes its limits in place; the next master begins with those of its command.
        self.broker.limits.follow(self.start_limits)
        self.steering = Steering(self.broker, self, self, live=self.live, trail=self.trail[-5:])
        self.checkpointer._steers = self
        self._check_record()

    def _check_record(self) -> None:
        if not isinstance(self.disk, FileDisk) or self.disk._store is None:
            return
        record: RunRecord = self.disk._store.load()
        if sorted(record.live) != sorted(self.live) or list(record.trail) != self.trail:
            raise Violation("other changes are in force in the file than were written")

    # -- as the service that steers ----------------------------------------------------------------

    def news(self, *, finished: bool, successor: str = "") -> News:
        if finished:
            self.steering.forget()
        return self.steering.news(successor)

    def written(self, news: News) -> None:
        self.steering.written(news)

    def set_rate(self, rate: float | None, because: str) -> None:
        """No clock ticks for it here."""

    def also_holds(self) -> str:
        return ""

    def stop(self, by: str, *, at_once: bool) -> None:
        """Signals are none of this world's."""

    def own_slave(self) -> str:
        return "s1"

    @property
    def engine(self) -> str:
        return ""

    def start_value(self, name: str) -> str:
        if name not in SETTINGS:
            raise UsageError(name)
        return str(getattr(self.start_limits, name))

    def change(self, values: Mapping[str, str]) -> None:
        limits: Limits = replace(self.start_limits, **{name: int(value) for name, value in values.items()})
        self.broker.intake.allow_more(limits.limit)
        self.broker.limits.follow(limits)
        self.broker.settlement.change_budget(limits)

    # -- what happens ------------------------------------------------------------------------------

    def ask(self, command: str, **arguments: str) -> dict:
        """Somebody asks for something; now and then the answer is lost, and it is asked again."""
        self.asked += 1
        request = {"id": f"request-{self.asked}", "command": command, "by": BY, "arguments": arguments}
        with self.lock:
            answer = self.steering.apply(request, "peer", self.now)
            if self.random.random() < 0.2 and self.steering.apply(request, "peer", self.now) != answer:
                raise Violation(f"the same request was answered otherwise: {answer}")
        return answer

    def step(self) -> None:
        if self.random.random() < 0.12:
            self.steer()
        before = self.limits.size
        super().step()
        self.limits.size = max(before, self.limits.size)

    def steer(self) -> None:
        r = self.random
        what = r.random()
        if what < 0.35:
            self.holds += 1
            self.ask("pause", **({"for": "20s"} if r.random() < 0.5 else {}))
        elif what < 0.60:
            self.ask("resume")
        elif what < 0.70:
            self.ask("rate", rate=r.choice(["5", "off", "default"]))
        elif what < 0.80 and self.slaves:
            self.ask("quiet", slave=r.choice(self.slaves).id, **r.choice([{}, {"undo": "yes"}, {"stay": "yes"}]))
        elif what < 0.90:
            name = r.choice(list(SETTINGS))
            self.ask("set", **{name: r.choice([*SETTINGS[name], "default"])})
        else:
            self.retried += self.ask("retry", **r.choice([{"all": "yes"}, {"kind": "ValueError"}]))["ok"]

    def pass_time(self, seconds: float) -> None:
        super().pass_time(seconds)
        self.steering.tick(self.now)

    def checkpoint(self) -> None:
        super().checkpoint()
        if not self.disk.broken:
            self.refill()

    def refill(self) -> None:
        """As the checkpointer brings failed jobs, from the simulated disk."""
        room, selection = self.broker.replay_room(), self.broker.replay.selection
        if not room:
            return
        found = [self.disk.failed[number] for number in sorted(self.disk.failed) if number > selection.after]
        page = [job for job in found if selection.kind in (None, job.type)][: max(1, min(room, selection.left))]
        self._meanwhile_but_checkpoints()
        if self.broker.replay.selection is selection and self.broker.replay.wants_more:
            self.broker.add_failed(selection.chosen(page), last=not page or selection.left <= 0)

    def _meanwhile_but_checkpoints(self) -> None:
        """Whatever happens while a page is read: checkpoints are the same thread's."""
        self.busy.add("checkpointer")
        self._meanwhile()
        self.busy.discard("checkpointer")

    def took(self, slave: SimSlave, answer: Answer, *, held: bool) -> None:
        """A held run, or a quiet slave, is given nothing."""
        known = self.broker.slaves.get(slave.id)
        # The time of a hold may come while the user's code runs in the exchange.
        if answer.batches and held and known is not None and self.broker.hand_out.asks_all_back(known):
            raise Violation(f"{slave.id} was given {answer.batches} although the run is held, or it is quiet")

    def drain(self) -> None:
        """The operator lets everything go on, too."""
        self.faults = False
        if self.source_failed:
            self.start_master()
        self.ask("resume")
        for ident in [*self.broker.slaves.quieted, *(slave.id for slave in self.broker.slaves)]:
            self.broker.slaves.silence(ident, None)
        super().drain()

    def _check_attempts(self) -> None:
        """How often a job may be tried was changed, and failed ones were tried again."""

    def _check_caps(self) -> None:
        """The caps were changed, too."""

    def check_end(self) -> None:
        super().check_end()
        if self.live:
            raise Violation(f"a finished run has changes in force: {self.live}")
        if [row.seq for row in self.trail] != list(range(1, len(self.trail) + 1)):
            raise Violation(f"the trail has gaps: {[row.seq for row in self.trail]}")
