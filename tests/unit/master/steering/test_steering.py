"""What an operator asks for, applied to the real broker: what is in force, answered and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from taskmaster.errors import UsageError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave, Quieted
from taskmaster.master.records.steering_records import HOLD, NOTHING_LOST, RATE, LiveChange, SessionCommand
from taskmaster.master.steering.request import Command
from taskmaster.master.steering.steering import Steering
from taskmaster.master.steering.trail import MOST_TRAIL_ROWS_IN_MEMORY
from taskmaster.model import Want

ANNA = {"user": "anna", "host": "bastion", "pid": 7, "via": "tm-ctl"}
ONE = Want(1, 10, 10, "")


class World:
    """A broker with jobs and two slaves, and all else that is steered."""

    def __init__(self, live: list[LiveChange] | None = None, rate: float | None = None, run: str = "") -> None:
        self.broker = Broker("i", Limits())
        self.broker.intake.add(range(1000))
        self.broker.batch_limit.note(1.0)
        self.slaves = [ConnectedSlave(f"id{n}", f"web{n}:1", 2, 2, 0.0) for n in (1, 2)]
        for slave in self.slaves:
            self.broker.enter(slave, ())
        self.rates: list[tuple[float | None, str]] = []
        self.stops: list[tuple[str, bool]] = []
        self.values: dict[str, str] = {}
        self.waits = ""
        self.own = ""
        self.engine = ""
        self.steering = Steering(self.broker, self, self, live=live or [], rate=rate, run=run)
        self.number = 0

    def ask(self, command: str, reason: str = "", now: float = 100.0, **arguments: str) -> dict[str, Any]:
        """A request of Anna's with an id of its own."""
        self.number += 1
        request = {"id": f"request-{self.number}", "command": command, "by": ANNA, "reason": reason}
        return self.steering.apply({**request, "arguments": arguments}, "10.0.0.9", now)

    # -- what is steered ---------------------------------------------------------------------------

    def set_rate(self, rate: float | None, because: str) -> None:
        self.rates.append((rate, because))

    def also_holds(self) -> str:
        return self.waits

    def stop(self, by: str, *, at_once: bool) -> None:
        self.stops.append((by, at_once))

    def own_slave(self) -> str:
        return self.own

    def start_value(self, name: str) -> str:
        if name not in ("retries", "size"):
            raise UsageError(f"There is no setting {name!r}")
        return "3"

    def change(self, values: Mapping[str, str]) -> None:
        if "bad" in values.values():
            raise UsageError("--retries is 'bad': give a whole number.")
        self.values = dict(values)


def test_a_paused_run_hands_out_nothing_and_asks_back_what_has_not_begun() -> None:
    """Until it is resumed; what is running is not touched."""
    world = World()
    lease = world.broker.take(world.slaves[0], ONE)
    answer = world.ask("pause", "deploy")

    assert answer["ok"]
    assert answer["say"] == "The run is paused; 4 jobs run on to the end."
    assert lease is not None
    assert world.broker.take(world.slaves[1], ONE) is None
    assert all(map(world.broker.hand_out.asks_all_back, world.slaves))
    assert world.steering.describe_hold().startswith("by anna@bastion since ")
    assert world.steering.describe_hold().endswith(": deploy")
    assert world.steering.reason_for_hold().startswith("deploy (by anna@bastion since ")  # a narrow line is cut

    assert world.ask("resume")["say"] == "The run goes on."
    assert not any(map(world.broker.hand_out.asks_all_back, world.slaves))
    assert world.broker.take(world.slaves[1], ONE) is not None


def test_the_next_good_checkpoint_does_not_lift_an_operators_hold() -> None:
    """The hold is a field of its own, beside that of a state that cannot be written."""
    world = World()
    world.ask("pause")
    world.broker.pause("the disk is full")
    world.broker.pause("")

    assert world.broker.take(world.slaves[0], ONE) is None


def test_a_resume_says_what_else_holds_the_run() -> None:
    """A guard, for instance."""
    world = World()
    world.ask("pause")
    world.waits = "replication lag 7.2 s, above 5 s"

    assert world.ask("resume")["say"] == "The run goes on. It still waits: replication lag 7.2 s, above 5 s."


def test_a_hold_for_a_time_ends_at_that_time() -> None:
    """By the time of day, which goes on while no master runs; and the trail says so."""
    world = World()
    world.ask("pause", now=100.0, **{"for": "10m"})
    world.steering.tick(699.0)

    assert world.broker.hand_out.held

    world.steering.tick(700.0)

    assert not world.broker.hand_out.held
    assert world.steering.hold is None
    last = world.steering.trail.after(0, 1)[0]
    assert (last.command, last.who, last.reason) == ("resume", "master", "the time of the hold is over")


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"for": "soon"}, "--for is 'soon'"),
        ({"for": "0"}, "--for is '0'"),
        ({"for": "400d"}, "a year at most"),
        ({"until": "50"}, "is over already"),
        ({"until": "nan"}, "give a time"),
        ({"until": "inf"}, "give a time"),
        ({"until": "-1e300"}, "is over already"),
        ({"for": "1m", "until": "200"}, "both given"),
        ({"whatever": "1"}, "takes no 'whatever'"),
    ],
)
def test_a_time_that_cannot_be_is_refused(arguments: dict[str, str], wrong: str) -> None:
    """Nothing is changed, and nothing is in the trail."""
    world = World()
    answer = world.ask("pause", **arguments)

    assert not answer["ok"]
    assert wrong in answer["why"]
    assert not world.broker.hand_out.held
    assert world.steering.trail.after(0, 9) == []


def test_the_same_request_again_is_one_request() -> None:
    """Its answer may have been lost: asked for again, it gives the same and changes nothing."""
    world = World()
    request = {"id": "the-same-id", "command": "pause", "by": ANNA, "arguments": {"for": "1m"}}
    first = world.steering.apply(request, "p", 100.0)
    world.ask("resume")

    assert world.steering.apply(request, "p", 130.0) == first
    assert not world.broker.hand_out.held
    assert len(world.steering.trail.after(0, 9)) == 2


def test_a_request_for_another_run_changes_nothing() -> None:
    """Another master may have taken the place of the one that was meant."""
    world = World(run="r2")
    request = {"id": "the-same-id", "command": "pause", "by": ANNA, "run": "r1"}

    assert "The run r1 is not at work here any more" in world.steering.apply(request, "p", 100.0)["why"]
    assert not world.broker.hand_out.held
    assert world.steering.apply({**request, "run": "r2"}, "p", 100.0)["ok"]
    assert world.steering.apply({**request, "id": "another-id", "run": ""}, "p", 100.0)["ok"]


def test_two_clients_that_pause_leave_one_hold_and_two_rows() -> None:
    """The second one says that it was paused already; one resume lifts it."""
    world = World()
    world.ask("pause", "first")

    assert "was paused already" in world.ask("pause", "second")["say"]
    assert world.steering.hold is not None
    assert world.steering.hold.reason == "second"
    world.ask("resume")
    assert not world.broker.hand_out.held
    assert world.ask("resume") == {
        "ok": True, "changed": False, "before": "", "after": "", "trail": 0,
        "say": "The run was not paused by anybody.",
    }  # fmt: skip


def test_a_rate_is_set_and_taken_back() -> None:
    """Read as ``--rate`` is; what slaves hold at the former one is asked back."""
    world = World(rate=500.0)
    lease = world.broker.take(world.slaves[0], ONE)

    assert world.ask("rate", rate="30/m")["say"] == "The rate is 0.5/s from now on; it was 500/s."
    assert world.rates == [(0.5, "0.5/s, set by anna@bastion")]
    assert lease is not None
    assert world.broker.recalls.of(world.slaves[0]) == ((lease.token, 1),)
    assert world.ask("rate", rate="off")["say"] == "The rate has no limit from now on; it was 0.5/s."
    assert world.rates[-1] == (None, "")
    assert world.ask("rate", rate="60")["say"] == "The rate is 60/s from now on; it had no limit."
    assert world.ask("rate", rate="default")["after"] == "500/s"
    assert world.rates[-1] == (500.0, "--rate 500 a second")
    assert not world.ask("rate", rate="default")["changed"]
    assert RATE not in world.steering.live


@pytest.mark.parametrize(("rate", "wrong"), [("0", "tm-ctl pause"), ("", "missing"), ("x", "'x'"), ("-1", "'-1'")])
def test_a_rate_that_is_none_is_refused(rate: str, wrong: str) -> None:
    """With what to do instead."""
    world = World()

    assert wrong in world.ask("rate", rate=rate)["why"]
    assert world.rates == []


def test_stop_names_who_stopped() -> None:
    """At once only where that is asked for."""
    world = World()
    world.ask("stop")
    world.steering.apply({"id": "another-id", "command": "stop", "by": ANNA, "arguments": {"now": "yes"}}, "p", 101.0)

    assert world.stops == [("Stopped by anna@bastion", False), ("Stopped by anna@bastion", True)]


def test_a_quiet_slave_gets_nothing_and_ends_when_it_holds_nothing() -> None:
    """Others go on; what it holds and has not begun is asked back."""
    world = World()
    lease = world.broker.take(world.slaves[0], ONE)
    answer = world.ask("quiet", slave="web1:1")
    slave = world.slaves[0]

    assert answer["say"].startswith("web1:1 gets no more jobs")
    assert world.broker.take(slave, ONE) is None
    assert world.broker.hand_out.asks_all_back(slave)
    assert not slave.may_end
    assert world.broker.take(world.slaves[1], ONE) is not None
    assert lease is not None
    world.broker.redelivery.release(lease)
    assert slave.may_end

    back = ConnectedSlave(slave.id, slave.name, 2, 2, 1.0)
    world.broker.enter(back, ())
    assert back.quiet
    assert back.may_end

    world.ask("quiet", slave="web1", undo="yes")
    assert not back.quiet
    assert not back.may_end


def test_a_quiet_slave_is_quiet_when_it_comes_back_after_it_was_lost() -> None:
    """However long it was away, and gets jobs again when somebody says so meanwhile."""
    world = World()
    world.ask("quiet", slave="web1")
    world.ask("quiet", slave="web2", stay="yes")
    world.broker.slaves.closed("id1", 1.0)
    world.broker.tick(100.0)
    assert world.broker.slaves.get("id1") is None
    assert world.broker.slaves.get("id2") is None

    back = [ConnectedSlave(slave.id, slave.name, 2, 2, 101.0) for slave in world.slaves]
    for slave in back:
        world.broker.enter(slave, ())
        assert world.broker.take(slave, ONE) is None
    assert [slave.may_end for slave in back] == [True, False]

    world.broker.tick(300.0)
    assert world.ask("quiet", slave="web1", undo="yes")["changed"]
    again = ConnectedSlave("id1", "web1:1", 2, 2, 301.0)
    world.broker.enter(again, ())
    assert world.broker.take(again, ONE) is not None


def test_a_quiet_slave_is_quiet_for_a_master_that_is_restarted() -> None:
    """That one says so at its start, and forgets a slave that has said goodbye."""
    world = World()
    world.ask("quiet", reason="new disk", slave="web1")
    kept = world.steering.news().live
    assert kept is not None

    restarted = World(live=list(kept))
    first, second = restarted.slaves
    assert restarted.broker.take(first, ONE) is None
    assert first.may_end
    assert restarted.broker.take(second, ONE) is not None
    (said,) = restarted.steering.at_start("work.py")
    assert said.startswith("web1:1 gets no more jobs, by anna@bastion on ")
    assert said.endswith('("new disk"); `tm-ctl quiet web1:1 work.py --undo` lets it work again.')
    assert restarted.ask("set", retries="5")["ok"]  # not taken for a setting
    assert restarted.values == {"retries": "5"}

    restarted.broker.leave(first)
    restarted.steering.tick(101.0)
    assert list(restarted.steering.live) == ["retries"]


def test_a_run_that_is_ending_tries_no_failed_jobs_again() -> None:
    """It would say that they are, and hand out none of them."""
    world = World()
    world.broker.drain()

    assert "--failed" in world.ask("retry", all="yes")["why"]


def test_slaves_of_one_name_are_quieted_together() -> None:
    """Containers may have the same host name and the same process number."""
    world = World()
    twin = ConnectedSlave("id3", "web1:1", 2, 2, 0.0)
    world.broker.enter(twin, ())
    world.ask("quiet", slave="web1:1")

    assert world.broker.take(twin, ONE) is None
    assert world.broker.take(world.slaves[0], ONE) is None


def test_quieted_slaves_are_spoken_of_as_many_and_a_second_undo_says_that_it_changes_nothing() -> None:
    """The trail has a row for the first of these alone."""
    world = World()
    world.broker.enter(ConnectedSlave("id3", "web1:2", 2, 2, 0.0), ())
    said = world.ask("quiet", slave="web1")["say"]
    again, second = world.ask("quiet", slave="web1", undo="yes"), world.ask("quiet", slave="web1", undo="yes")

    assert said == "web1:1, web1:2 get no more jobs, give back what they have not begun, and then end."
    assert (again["say"], again["changed"]) == ("web1:1, web1:2 get jobs again.", True)
    assert (second["say"], second["changed"]) == ("web1:1, web1:2 were not quiet: nothing is changed.", False)


def test_no_more_than_a_thousand_slaves_that_are_away_are_remembered() -> None:
    """The oldest is forgotten, and none that is connected."""
    slaves = World().broker.slaves
    for number in range(1, 1002):
        slaves.silence(f"id{number}", Quieted(f"web{number}:1", ends=True))

    assert len(slaves.quieted) == 1000
    assert slaves["id1"].quiet
    assert "id3" not in slaves.quieted


def test_the_runs_own_slave_stays_when_it_is_made_quiet() -> None:
    """Its end would end the run; and who takes the last slave out is told so."""
    world = World()
    world.own = "web1:1"
    world.ask("quiet", slave="web2")

    assert "No other slave is connected" in world.ask("quiet", slave="web1")["say"]
    assert not world.slaves[0].may_end
    assert world.slaves[1].may_end


def test_a_slave_of_the_runs_own_engine_stays_when_it_is_made_quiet() -> None:
    """Its end would be taken for that of the run, and no other be started; one is told so."""
    world = World()
    world.engine = "engine: 2 of 2 slaves"

    said = world.ask("quiet", slave="web1")["say"]

    assert "stays connected, for the engine" in said
    assert world.slaves[0].quiet
    assert not world.slaves[0].may_end
    world.ask("quiet", slave="web1", undo="yes")
    assert not world.slaves[0].quiet


def test_a_slave_that_is_not_there_is_refused_with_the_nearest() -> None:
    """Also a part of a name is none."""
    world = World()

    assert "web1:1" in world.ask("quiet", slave="web")["why"]
    assert not world.slaves[0].quiet


def test_settings_are_set_together_or_not_at_all() -> None:
    """A value that is refused leaves all as it was; ``default`` takes one back."""
    world = World()

    assert world.ask("set", retries="5", size="9")["after"] == "retries=5, size=9"
    assert world.values == {"retries": "5", "size": "9"}
    assert "--retries is 'bad'" in world.ask("set", retries="bad")["why"]
    assert "no setting 'retrys'" in world.ask("set", retrys="5")["why"]
    assert world.values == {"retries": "5", "size": "9"}
    assert world.ask("set", retries="default")["before"] == "retries=5"
    assert world.values == {"size": "9"}
    assert not world.ask("set", size="9")["changed"]
    assert "Nothing is to be set" in world.ask("set")["why"]


def test_a_note_is_a_row_of_the_trail() -> None:
    """Who, where, from which address, with what, and the text."""
    world = World()

    assert world.ask("note", "deploy\x1b[31m 1.4.2")["trail"] == 1
    (row,) = world.steering.trail.after(0, 9)
    assert (row.who, row.peer, row.via, row.reason) == ("anna@bastion", "10.0.0.9", "tm-ctl", "deploy?[31m 1.4.2")
    assert "empty" in world.ask("note", "  ")["why"]


def test_a_note_says_that_a_bad_end_has_lost_nothing() -> None:
    """No other does, and only until the next bad end."""
    world = World()

    assert "ended badly" in world.ask("note", "all are there", fine="yes")["why"]

    world.steering.note(100.0, SessionCommand.ENDED_BADLY, "the disk was full")
    world.ask("note", "nothing is lost")

    assert world.steering.trail.bad_end is not None
    assert world.ask("note", "all are there", fine="yes")["after"] == NOTHING_LOST
    assert world.steering.trail.bad_end is None

    world.steering.note(100.0, SessionCommand.ENDED_BADLY, "once more")

    assert world.steering.trail.bad_end is not None


def test_a_bad_end_is_known_however_much_has_happened_since() -> None:
    """The newest rows alone are kept in memory, and a script may change a run each minute."""
    world = World()
    world.steering.note(100.0, SessionCommand.ENDED_BADLY, "the disk was full")
    for number in range(MOST_TRAIL_ROWS_IN_MEMORY + 1):
        world.ask("note", str(number))

    assert world.steering.trail.bad_end is not None
    assert world.steering.trail.bad_end.reason == "the disk was full"


def test_what_is_too_long_is_not_cut_unsaid() -> None:
    """A note is refused; a reason, for which nothing must fail, shows that it was cut."""
    world = World()

    assert "longer than the 300 characters" in world.ask("note", "x" * 301)["why"]
    assert world.ask("pause", "y" * 400)["ok"]
    assert world.steering.trail.after(0, 9)[-1].reason == "y" * 299 + "\N{HORIZONTAL ELLIPSIS}"


def test_what_is_in_force_is_news_until_it_was_written() -> None:
    """A change that comes while it is written is news again."""
    world = World()
    world.ask("pause")
    news = world.steering.news()
    world.ask("rate", rate="5")
    world.steering.written(news)
    again = world.steering.news()

    assert [change.name for change in news.live or ()] == [HOLD]
    assert world.steering.trail.saved == 1
    assert [row.command for row in again.trail] == ["rate"]
    assert {change.name for change in again.live or ()} == {HOLD, RATE}
    world.steering.written(again)
    assert world.steering.news()[:2] == ([], None)


def test_what_an_earlier_session_left_is_in_force_and_said() -> None:
    """Against the command line; with the command that takes it back."""
    left = [
        LiveChange(HOLD, "", "anna@bastion", 50.0, "deploy", 1000.0),
        LiveChange(RATE, "100.0", "bo@web", 40.0, "db2 is dying"),
        LiveChange("retries", "5", "bo@web", 30.0),
    ]
    world = World(left, rate=500.0)
    said = world.steering.at_start("x.tmstate")

    assert world.broker.hand_out.held
    assert world.rates == [(100.0, "100/s, set by bo@web")]
    assert (
        World([LiveChange(RATE, "off", "bo@web", 40.0)])
        .steering.at_start("x")[0]
        .startswith("The rate has no limit, set")
    )
    assert world.values == {"retries": "5"}
    assert world.steering.news().live is None
    assert "`tm-ctl resume x.tmstate`" in said[0]
    assert '("deploy")' in said[0]
    assert "The rate is 100/s, set by bo@web" in said[1]
    assert "otherwise it would be 500/s" in said[1]
    assert "`tm-ctl rate default x.tmstate`" in said[1]
    assert "`tm-ctl set retries=default x.tmstate`" in said[2]
    world.steering.tick(1000.0)
    assert not world.broker.hand_out.held


def test_what_cannot_be_put_in_force_again_is_said() -> None:
    """A setting that this release does not allow any more."""
    world = World([LiveChange("retries", "bad", "bo@web", 30.0)])

    assert "which is not in force now: --retries is 'bad'" in world.steering.at_start("x")[0]
    assert world.steering.live == {}


def test_failed_jobs_are_asked_for_once_and_exactly() -> None:
    """Not where none has failed, and not without saying which."""
    world = World()

    assert "no job" in world.ask("retry", all="yes")["why"].lower()
    world.broker.settlement.failures = 3
    assert "--kind=CLASS" in world.ask("retry")["why"]
    assert "--kind=CLASS" in world.ask("retry", all="yes", kind="KeyError")["why"]
    assert world.ask("retry", kind="KeyError")["after"] == "again: those that failed with KeyError"
    assert world.broker.replay.selection.kind == "KeyError"
    assert world.broker.replay_room() > 0


@pytest.mark.parametrize(
    "request_",
    [
        None, 7, [], {}, {"id": "x"}, {"id": 7, "command": "pause"}, {"id": "12345678", "command": "puase"},
        {"id": "12345678", "command": "pause", "arguments": {"for": 7}},
        {"id": "12345678", "command": "pause", "arguments": {"for": "1" * 301}},
        {"id": "12345678", "command": "pause", "arguments": {str(n): "" for n in range(99)}},
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_a_sentence(request_: Any) -> None:
    """Who has the key may still send anything."""
    world = World()
    answer = world.steering.apply(request_, "p", 1.0)

    assert not answer["ok"]
    assert answer["why"]
    assert not world.broker.hand_out.held


def test_every_command_can_be_asked_for() -> None:
    """None is refused as unknown."""
    world = World()

    for command in Command:
        assert "knows no command" not in world.ask(command).get("why", "")


def test_answers_are_remembered_up_to_a_number() -> None:
    """Not without end."""
    world = World()
    for _ in range(300):
        world.ask("note", "x")

    assert len(world.steering._answers) == 256
