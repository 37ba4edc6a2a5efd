"""How many slaves a fleet wants, and when it gives up."""

from __future__ import annotations

import pytest

from taskmaster.engine.ended import Ended
from taskmaster.engine.fleet import Fleet, FleetStatus
from taskmaster.slave.last_words import NOT_HEARD, TOLD_TO_END

CANNOT = "backfill.py cannot be imported: it raised ModuleNotFoundError."


def test_there_is_one_slave_for_each_worker_as_they_come_and_go():
    """Without --slaves, the fleet follows the engine; what runs nowhere is withdrawn first."""
    fleet = Fleet("r", None)
    fleet.seen(0, 0)

    first = fleet.due(1.0)
    assert len(first) == 1, "an adaptive engine without workers has a reason to grow"
    fleet.seen(3, 1)
    more = fleet.due(2.0)
    assert len(more) == 2
    fleet.seen(1, 1)

    assert fleet.surplus({*more}) == more
    assert list(fleet.tasks) == first


def test_a_number_of_slaves_is_kept():
    """--slaves N: one that is lost is started again, no sooner than its pause."""
    fleet = Fleet("r", 2)
    fleet.seen(40, 0)
    names = fleet.due(0.0)
    assert len(names) == len(set(names)) == 2

    fleet.ended(names[0], Ended(None, "", "KilledWorker"), 100.0)

    assert fleet.due(100.5) == []
    assert len(fleet.due(101.0)) == 1


def test_a_drained_slave_is_started_again_at_once():
    """That its worker was retired is nobody's fault."""
    fleet = Fleet("r", 1)
    fleet.seen(2, 0)
    fleet.ended(fleet.due(0.0)[0], Ended(143, "w1"), 5.0)

    assert len(fleet.due(5.0)) == 1
    assert fleet.last_problem == ""


def test_nothing_is_started_when_the_run_is_over():
    """One slave that has heard it is enough."""
    fleet = Fleet("r", 2)
    fleet.seen(2, 0)
    fleet.ended(fleet.due(0.0)[0], Ended(0, "w1"), 5.0)

    assert fleet.over
    assert fleet.due(100.0) == []


def test_a_slave_that_an_operator_ends_is_no_end_of_the_run():
    """The others work on; none is started in its place, which would get jobs."""
    fleet = Fleet("r", 2)
    fleet.seen(2, 2)
    fleet.ended(fleet.due(0.0)[0], Ended(0, "w1", "tm-slave: an operator wants this slave to end: 3 jobs done."), 5.0)

    assert fleet.over
    assert not fleet.heard_end
    assert len(fleet.tasks) == 1
    assert fleet.due(100.0) == []


def test_a_slave_that_an_operator_ends_and_that_ends_badly_is_no_sign_that_none_can_work():
    """It ends with 1; its master has heard why, and may have been told that it is fine."""
    fleet = Fleet("r", 3)
    fleet.seen(3, 3)
    for name in fleet.due(0.0):
        fleet.ended(name, Ended(1, name, f"tm-slave: {TOLD_TO_END}: 3 jobs done.", lived=5.0), 5.0)

    assert not fleet.failure
    assert fleet.due(100.0) == []
    assert not fleet.unfinished


def test_the_run_is_over_also_where_no_worker_ends_well():
    """Its slaves end with 1 then, each, and none is started for another run."""
    fleet = Fleet("r", 3)
    fleet.seen(3, 0)
    for name in fleet.due(0.0):
        fleet.ended(name, Ended(1, name, "tm-slave: the run is over: 0 jobs done by this slave."), 1.0)

    assert fleet.over
    assert fleet.heard_end
    assert fleet.unfinished
    assert not fleet.failure
    assert fleet.due(100.0) == []


def test_what_a_slave_could_not_tell_its_master_is_known_by_its_exit_code():
    """It was ended when the master had gone; it could have worked on."""
    fleet = Fleet("r", 1)
    fleet.seen(1, 1)
    fleet.ended(fleet.due(0.0)[0], Ended(1, "w1", f"tm-slave: stopped: 3 jobs done by this slave. {NOT_HEARD}"), 5.0)

    assert fleet.unfinished
    assert not fleet.heard_end
    assert not Ended(1, "w1", NOT_HEARD).cannot_work


def test_pauses_grow_while_slaves_fail():
    """One second, then two, then four, and at most a minute."""
    fleet = Fleet("r", 1)
    fleet.seen(40, 0)
    now, pauses = 0.0, []
    for _ in range(9):
        name = fleet.due(now)[0]
        fleet.ended(name, Ended(None, "", "the engine has lost it"), now)
        began = now
        while not fleet.due(now):
            now += 0.5
        fleet.ended(f"taskmaster-slave-r-{fleet._number}", Ended(143), now)
        pauses.append(now - began)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("workers", [1, 2, 3, 40])
def test_it_gives_up_when_three_slaves_say_that_they_cannot_work(workers):
    """From as many workers, or from all that there are; with what they have said."""
    fleet = Fleet("r", None)
    fleet.seen(workers, 0)
    now = 0.0
    for number in range(3):
        assert not fleet.failure
        now += 100.0
        fleet.ended((fleet.due(now) or list(fleet.tasks))[0], Ended(2, f"w{number % workers}", CANNOT), now)

    assert fleet.failure == CANNOT
    assert fleet.due(now + 1000.0) == []


def test_what_a_slave_says_is_told_without_its_greeting_and_at_last_in_a_line():
    """The traceback has been shown with the first one."""
    fleet = Fleet("r", None)
    fleet.seen(1, 0)
    why = "Traceback (most recent call last):\nImportError: no such module\ntm-slave: user.py cannot be imported"
    said = f"tm-slave: connected to the master at 10.0.0.5:5050: run 1, 1 worker process here.\n{why}\n"
    for number in range(3):
        fleet.ended((fleet.due(100.0 * number) or list(fleet.tasks))[0], Ended(2, "w", said), 100.0 * number)

    assert fleet.last_problem == why
    assert fleet.failure == "tm-slave: user.py cannot be imported"


def test_one_broken_worker_among_many_ends_nothing():
    """However often it says that it cannot: others may be able to."""
    fleet = Fleet("r", 1)
    fleet.seen(5, 1)
    now = 0.0
    for _ in range(20):
        now += 100.0
        fleet.ended(fleet.due(now)[0], Ended(2, "w1", CANNOT), now)

    assert not fleet.failure


def test_a_slave_that_works_is_a_reason_not_to_give_up():
    """Three workers that cannot are no reason to end what a fourth one does."""
    fleet = Fleet("r", 4)
    fleet.seen(4, 1)
    names = fleet.due(0.0)
    for number, name in enumerate(names[:3]):
        fleet.ended(name, Ended(2, f"w{number}", CANNOT), 20.0)

    assert not fleet.failure


def test_a_scheduler_that_is_away_is_told_and_waited_for():
    """Nothing is submitted meanwhile; the status says since when."""
    fleet = Fleet("r", 40)
    fleet.seen(20, 12)
    fleet.away(100.0, "it does not answer")
    fleet.away(120.0, "it does not answer")

    assert fleet.due(130.0) == []
    assert fleet.status().show(130.0) == "engine: 12 of 40 slaves; scheduler away since 30 s"
    fleet.seen(20, 12)
    assert fleet.status() == FleetStatus(12, 40)
    assert fleet.status().show(131.0) == "engine: 12 of 40 slaves"


def test_a_scheduler_that_answers_and_takes_no_task_is_away_since_it_took_none():
    """However often it says how it stands meanwhile; until it takes one, or none is needed."""
    fleet = Fleet("r", 2)
    for now in (100.0, 110.0, 120.0):
        fleet.seen(2, 0)
        names = fleet.due(now)
        assert len(names) == 2, "it is asked again"
        fleet.unsubmitted(names)
        fleet.away(now, "no connection")
        assert fleet.status().show(130.0) == "engine: 0 of 2 slaves; scheduler away since 30 s"
    fleet.seen(2, 0)
    fleet.due(131.0)
    fleet.unsubmitted([])
    fleet.seen(2, 2)
    assert fleet.status().show(132.0) == "engine: 2 of 2 slaves"

    fleet.ended(next(iter(fleet.tasks)), Ended(143), 140.0)
    fleet.unsubmitted(fleet.due(140.0))
    fleet.away(140.0, "no connection")
    fleet.slaves = 1
    assert fleet.due(141.0) == []
    fleet.seen(2, 1)
    assert fleet.status().show(142.0) == "engine: 1 of 1 slaves"


def test_what_was_withdrawn_is_not_waited_for():
    """At the end, only those slaves are still to end of which the engine says so."""
    fleet = Fleet("r", 3)
    fleet.seen(3, 2)
    names = fleet.due(0.0)

    fleet.draining(names[:1])

    assert list(fleet.tasks) == names[:1]


@pytest.mark.parametrize("lived", [0.0, 3600.0])
def test_slaves_that_do_not_reach_the_master_are_not_started_for_ever(lived):
    """Neither those that ended at once nor those that waited for an hour: exit code 6, with the
    address.
    """
    fleet = Fleet("r", 3)
    fleet.seen(3, 0)
    for number, name in enumerate(fleet.due(0.0)):
        fleet.ended(name, Ended(6, f"w{number}", "w1 cannot reach the master at 10.0.0.5:5050", lived=lived), 4000.0)

    assert fleet.failure == "w1 cannot reach the master at 10.0.0.5:5050"
    assert fleet.exit_code == 6
    assert fleet.due(9000.0) == []


def test_slaves_that_cannot_import_their_target_end_the_run_with_2():
    """Also where one of them did not reach the master."""
    fleet = Fleet("r", 3)
    fleet.seen(3, 0)
    for number, (name, code) in enumerate(zip(fleet.due(0.0), (6, 2, 2), strict=True)):
        fleet.ended(name, Ended(code, f"w{number}", CANNOT, lived=1.0), 5.0)

    assert (fleet.failure, fleet.exit_code) == (CANNOT, 2)


def test_a_slave_that_has_waited_for_a_worker_has_not_worked_meanwhile():
    """How long it lived counts, not how long ago it was submitted."""
    fleet = Fleet("r", 1)
    fleet.seen(1, 0)
    now = 0.0
    for _ in range(3):
        name = fleet.due(now)[0]
        now += 100.0
        fleet.ended(name, Ended(2, "w1", CANNOT, lived=1.0), now)
        now += 100.0

    assert fleet.failure == CANNOT


def test_slaves_that_are_lost_together_make_one_pause():
    """As with a scheduler, or a pool that breaks: all of them are back after a second."""
    fleet = Fleet("r", 40)
    fleet.seen(40, 40)
    for name in fleet.due(0.0):
        fleet.ended(name, Ended(None, "", "BrokenProcessPool"), 100.0)

    assert fleet.due(100.9) == []
    assert len(fleet.due(101.0)) == 40
