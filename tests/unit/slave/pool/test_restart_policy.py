"""How often starting a worker may fail."""

from __future__ import annotations

import pytest

from taskmaster.slave.ipc.unusable import Cause, Unusable
from taskmaster.slave.pool.restart_policy import (
    FIRST_RESTART_PAUSE_SECONDS,
    LONGEST_RESTART_PAUSE_SECONDS,
    MOST_FORK_SERVERS,
    MOST_SETUP_RETRIES,
    MOST_STILLBORN,
    MOST_WORKER_STARTS,
    RestartPolicy,
)


def test_a_worker_that_did_nothing_is_replaced_later_and_later() -> None:
    """One that had worked is replaced at once."""
    policy = RestartPolicy()
    policy.ready()
    waits = []
    for _ in range(10):
        policy.died("exited with status 1", 100.0, worked=False)
        waits.append(policy.until - 100.0)

    assert waits[0] == pytest.approx(FIRST_RESTART_PAUSE_SECONDS)
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_RESTART_PAUSE_SECONDS

    policy.died("crashed by SIGSEGV", 100.0, worked=True)

    assert policy.until == 0.0


def test_workers_that_die_before_any_was_ready_end_the_slave() -> None:
    """With the way in which the last one has died; later deaths do not count."""
    policy = RestartPolicy()
    for _ in range(MOST_STILLBORN - 1):
        policy.died("crashed by SIGSEGV", 0.0, worked=False)
    with pytest.raises(Unusable, match="crashed by SIGBUS") as found:
        policy.died("crashed by SIGBUS", 0.0, worked=False)

    assert found.value.cause == Cause.SETUP

    policy = RestartPolicy()
    policy.ready()
    for _ in range(2 * MOST_STILLBORN):
        policy.died("crashed by SIGSEGV", 0.0, worked=False)


def test_fork_servers_that_end_at_once_end_the_slave() -> None:
    """Unless a worker was ready in between."""
    policy = RestartPolicy()
    for _ in range(MOST_FORK_SERVERS - 1):
        policy.fork_server_ended(0.0)
    policy.ready()
    for _ in range(MOST_FORK_SERVERS - 1):
        policy.fork_server_ended(0.0)
    with pytest.raises(Unusable) as found:
        policy.fork_server_ended(0.0)

    assert found.value.cause == Cause.FORK_SERVER


@pytest.mark.parametrize("cause", Cause)
def test_what_never_worked_is_not_tried_again(cause: Cause) -> None:
    """The user's traceback comes along."""
    with pytest.raises(Unusable, match="it raised") as found:
        RestartPolicy().cannot_run(cause, "it raised", "Traceback", 0.0)

    assert (found.value.cause, found.value.traceback) == (cause, "Traceback")


def test_a_setup_that_worked_before_is_tried_again_for_a_while() -> None:
    """As while a database is being restarted; its success counts anew."""
    policy = RestartPolicy()
    policy.ready()
    for _ in range(2):
        pauses = [policy.cannot_run(Cause.SETUP, "setup() raised", "", 10.0) for _ in range(MOST_SETUP_RETRIES)]

        assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]
        assert policy.until == 26.0

        policy.ready()
    for _ in range(MOST_SETUP_RETRIES):
        policy.cannot_run(Cause.SETUP, "setup() raised", "", 10.0)
    with pytest.raises(Unusable):
        policy.cannot_run(Cause.SETUP, "setup() raised", "", 10.0)


def test_a_limit_that_leaves_room_for_no_worker_ends_the_slave() -> None:
    """With what the system said; it is tried later and later until then."""
    policy = RestartPolicy()
    why = "No worker can be started: Too many open files."
    pauses = [policy.cannot_start(why, 0.0) for _ in range(MOST_WORKER_STARTS - 1)]

    assert pauses == sorted(pauses)
    with pytest.raises(Unusable, match=r"Too many open files\. It was tried"):
        policy.cannot_start(why, 0.0)


def test_a_limit_that_is_reached_later_is_waited_for() -> None:
    """Something else may have taken what the workers need, and give it back."""
    policy = RestartPolicy()
    policy.ready()
    for _ in range(3 * MOST_WORKER_STARTS):
        policy.cannot_start("No worker can be started: Too many open files.", 0.0)

    assert policy.until == LONGEST_RESTART_PAUSE_SECONDS
