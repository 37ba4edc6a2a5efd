"""Where slaves on an engine reach the master, and what is refused."""

from __future__ import annotations

import threading

import pytest

from taskmaster.engine.reach import check_secrecy, reached_from, within
from taskmaster.errors import UsageError
from taskmaster.transport.address import Address


@pytest.mark.parametrize("scheduler", ["tls://10.0.0.1:8786", "tcp://127.0.0.1:8786", "tcp://[::1]:8786", "inproc://x"])
def test_the_key_may_travel_in_secret_or_on_this_machine(scheduler):
    """TLS, or loopback."""
    check_secrecy(scheduler, insecure=False)


@pytest.mark.parametrize("scheduler", ["tcp://10.0.0.1:8786", "ws://cluster:8786", "tcp://[fd00::1]:8786"])
def test_the_key_is_not_sent_in_clear_unless_that_is_accepted(scheduler):
    """The message names both cures."""
    with pytest.raises(UsageError, match=r"tls://.*--insecure-engine") as caught:
        check_secrecy(scheduler, insecure=False)

    assert caught.value.exit_code == 2
    check_secrecy(scheduler, insecure=True)


def test_a_master_that_only_this_machine_reaches_is_refused():
    """Slaves elsewhere would try their own machine."""
    with pytest.raises(UsageError, match="--host"):
        reached_from("tls://10.0.0.1:8786", Address("127.0.0.1", 5050), None)

    assert reached_from("tcp://127.0.0.1:8786", Address("127.0.0.1", 5050), None) == Address("127.0.0.1", 5050)
    assert reached_from("tcp://127.0.0.1:8786", Address("0.0.0.0", 5050), None) == Address("127.0.0.1", 5050)


def test_what_is_advertised_is_told():
    """As behind a gateway; port 0 is that of the master."""
    listening = Address("0.0.0.0", 5050)

    assert reached_from("tls://10.0.0.1:8786", listening, "gate:7000") == Address("gate", 7000)
    assert reached_from("tls://10.0.0.1:8786", listening, "gate:0") == Address("gate", 5050)
    assert reached_from("tls://10.0.0.1:8786", Address("10.0.0.5", 5050), None) == Address("10.0.0.5", 5050)


def test_what_an_engine_says_or_raises_in_time_comes_back():
    """From the thread in which it is asked."""
    assert within(5.0, threading.current_thread, "asking").name == "asking"
    with pytest.raises(ZeroDivisionError):
        within(5.0, lambda: 1 // 0, "asking")


def test_an_engine_that_says_nothing_is_not_waited_for():
    """It may say it for ever."""
    never = threading.Event()
    with pytest.raises(TimeoutError, match="has said nothing for 0 s"):
        within(0.0, lambda: never.wait(30.0), "asking")
    never.set()
