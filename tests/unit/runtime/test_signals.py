"""Signals that are counted, in this very process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from taskmaster.runtime import signals as module
from taskmaster.runtime.signals import ENDING, Signals


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave handlers and mask as they were."""
    handlers = {number: signal.getsignal(number) for number in ENDING}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_the_first_signal_is_noted_and_wakes(number: int) -> None:
    """Afterwards the handler is the former one again."""
    heard: list[int] = []
    former = signal.signal(number, lambda *_: None)
    handler = signal.getsignal(number)
    with Signals(lambda: heard.append(1)) as signals:
        signal.raise_signal(number)
        signal.raise_signal(number)

        assert (signals.received, signals.repeated, heard) == (number, False, [1, 1])
    assert signal.getsignal(number) is handler
    signal.signal(number, former)


@pytest.mark.parametrize("number", ENDING)
def test_a_blocked_signal_is_heard(number: int) -> None:
    """As one that was blocked when the process started; afterwards the mask is the former one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    with Signals() as signals:
        signal.raise_signal(number)

        assert signals.received == number
    assert number in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_hangup_that_was_ignored_stays_ignored() -> None:
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Signals() as signals:
        signal.raise_signal(signal.SIGHUP)

        assert signals.received == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_comes_after_a_process_has_done_everything_is_ignored(number: int) -> None:
    """Its exit code is the one that says how it went."""
    former = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with Signals(final=True):
            pass
        signal.raise_signal(number)
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


def test_a_second_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it comes later than the same key press would."""
    monkeypatch.setattr(module, "SAME_SIGNAL_SECONDS", -1.0)
    monkeypatch.setattr(module, "_end_for_sure", lambda *_: None)
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)

        assert (signals.received, signals.repeated, signals.name) == (signal.SIGTERM, True, "SIGTERM")


def test_who_asks_for_the_end_is_named_in_the_place_of_a_signal() -> None:
    """It is a SIGTERM for all else; and a signal that comes later is the second one."""
    signals = Signals()
    signals.ask("Stopped by anna@bastion")

    assert (signals.received, signals.repeated) == (signal.SIGTERM, False)
    assert (signals.name, signals.who) == ("Stopped by anna@bastion", "stopped by anna@bastion")
    signals.ask("Stopped by bo@web")
    assert signals.name == "Stopped by anna@bastion"
    assert not signals.repeated


def test_who_asks_for_the_end_wakes_what_a_signal_wakes() -> None:
    """From any thread, inside of the handler in the main one, where a job may run; it counts once,
    and after the run nothing is sent any more.
    """
    heard: list[bool] = []
    with Signals(lambda: heard.append(threading.current_thread() is threading.main_thread())) as signals:
        asks = threading.Thread(target=signals.ask, args=("Stopped by anna@bastion",))
        asks.start()
        asks.join()

        assert heard == [True]
        assert (signals.received, signals.repeated, signals.name) == (signal.SIGTERM, False, "Stopped by anna@bastion")
    signals.ask("Stopped by bo@web")
    assert heard == [True]


@pytest.mark.parametrize("command", [True, False])
def test_a_script_that_goes_on_after_its_run_is_not_ended(command: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a notebook, when somebody has stopped its run at once: only a process that hangs is."""
    ended: list[int] = []
    monkeypatch.setattr(module, "is_command", lambda: command)
    monkeypatch.setattr(module, "AT_ONCE_SECONDS", 0.01 if command else 60.0)
    monkeypatch.setattr(module.os, "_exit", ended.append)
    with Signals() as signals:
        signals.ask("Stopped by anna", at_once=True)
        threads = [one for one in threading.enumerate() if one.name == "taskmaster-end"]  # none if it has ended already
    for thread in threads:
        thread.join(10)

    assert not any(thread.is_alive() for thread in threads)
    assert ended == ([128 + signal.SIGTERM] if command else [])


@pytest.mark.parametrize("number", ENDING)
def test_what_comes_while_a_command_lets_go_of_signals_is_ignored(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As what comes afterwards is; the former handler would end the process, or raise."""
    former: list[int] = []
    signal.signal(number, lambda *_: former.append(number))
    signals = Signals(final=True)
    signals.__enter__()
    set_handler = signal.signal

    def late(one: int, handler: signal.Handlers) -> None:
        signal.raise_signal(number)
        set_handler(one, handler)

    with monkeypatch.context() as patched:
        patched.setattr(module.signal, "signal", late)
        signals.__exit__(None, None, None)

    assert former == []
