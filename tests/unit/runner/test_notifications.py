"""Which events are sent, and that nothing waits for those who send them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any

import pytest

from taskmaster.options.telling import NOTIFIED
from taskmaster.runner.notifications import MOST_EVENTS_WAITING, Notifications, _EventSender


class Notifier:
    """Remembers what it is told; may be held up."""

    shown = "https://chat.example/…"

    def __init__(self, why: str = "") -> None:
        self.sent: list[dict[str, Any]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.why = why

    def send(self, event: Any, hurry: threading.Event) -> str:
        """Remember it, when the gate is open or there is no more time."""
        self.began.set()
        while not (self.gate.wait(0.01) or hurry.is_set()):
            pass
        self.sent.append(event)
        return self.why


def event(name: str, **facts: Any) -> dict[str, Any]:
    """An event of a run."""
    return {"event": name, "target": "backfill.py", "text": "It is so.", "failed": 0, **facts}


def told(*events: dict[str, Any], **about: Any) -> list[dict[str, Any]]:
    """What is sent of these events."""
    notifier = Notifier()
    notifications = Notifications([notifier], NOTIFIED, {"state_file": "/s", "resume": "again"}, **about)
    for one in events:
        notifications.tell(one)
    notifications.close()
    return notifier.sent


def test_what_is_sent_has_all_that_a_stranger_needs() -> None:
    """The target before the sentence, the state's file, and the command that goes on."""
    (sent,) = told(event("paused", seq=4))

    assert sent == {
        **event("paused"), "seq": 4, "text": "backfill.py: It is so.", "state_file": "/s", "resume": "again",
    }  # fmt: skip


def test_only_what_is_wanted_is_sent_in_its_order() -> None:
    """As it has happened."""
    sent = told(event("started"), event("slave-lost"), event("stalled"), event("finished", exit_code=0))

    assert [one["event"] for one in sent] == ["started", "stalled", "finished"]


def test_failures_are_told_at_the_first_and_at_ten_times_as_many() -> None:
    """Whatever their kinds are: two hundred kinds are no two hundred messages."""
    counts = [1, 2, 9, 10, 11, 99, 150, 1000]

    assert [one["failed"] for one in told(*(event("failure", failed=n) for n in counts))] == [1, 10, 150]
    assert [one["failed"] for one in told(*(event("failure", failed=n) for n in counts), failed=12)] == [150]


def test_a_notifier_that_hangs_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the run nor another notifier; the oldest are dropped, and the end is bounded."""
    slow, quick = Notifier(), Notifier()
    slow.gate.clear()
    notifications = Notifications([slow, quick], NOTIFIED, {}, seconds=0.2)
    notifications.tell(event("paused", seq=0))
    assert slow.began.wait(10)

    for seq in range(1, 4 * MOST_EVENTS_WAITING):
        notifications.tell(event("paused", seq=seq))
        if seq % 50 == 0:
            quick_sent(quick, seq)
    quick_sent(quick, 4 * MOST_EVENTS_WAITING - 1)
    with caplog.at_level(logging.WARNING, "taskmaster"):
        notifications.close()

    assert len(slow.sent) == 1
    assert quick.sent[-1]["seq"] == 4 * MOST_EVENTS_WAITING - 1
    assert f"{4 * MOST_EVENTS_WAITING - 1} notifications by https://chat.example/… were not sent" in caplog.text


def quick_sent(notifier: Notifier, seq: int) -> None:
    """Wait until the notifier has sent the event with that number."""
    patience = threading.Event()
    for _ in range(1000):
        if notifier.sent and notifier.sent[-1]["seq"] >= seq:
            return
        patience.wait(0.01)
    raise AssertionError("not sent")


def test_who_wants_the_end_at_once_gets_it() -> None:
    """A second Ctrl-C waits for no notification."""
    notifier = Notifier()
    notifier.gate.clear()
    notifications = Notifications([notifier], NOTIFIED, {}, seconds=60.0)
    notifications.tell(event("paused"))

    notifications.close(hurry=lambda: True)

    assert len(notifier.sent) <= 1


def test_a_notifier_that_fails_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the reason, and that the run goes on."""
    notifications = Notifications([Notifier("it answers with 404")], NOTIFIED, {})
    with caplog.at_level(logging.WARNING, "taskmaster"):
        for _ in range(5):
            notifications.tell(event("paused"))
        notifications.close()

    assert [record.getMessage() for record in caplog.records] == [
        "a notification by https://chat.example/… failed: it answers with 404. The run goes on"
    ]


def test_a_system_without_threads_ends_no_run(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while it goes on nor at its end, when the last events are sent."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    notifications = Notifications([Notifier()], NOTIFIED, {})
    notifications.tell(event("paused"))
    notifications.tell(event("finished", exit_code=0))
    with caplog.at_level(logging.WARNING, "taskmaster"):
        notifications.close()

    assert "2 notifications by https://chat.example/… were not sent" in caplog.text


def test_a_run_without_notifications_has_no_thread() -> None:
    """Nothing is started for nobody."""
    before = set(threading.enumerate())
    notifications = Notifications([], NOTIFIED, {})
    notifications.tell(event("started"))

    assert set(threading.enumerate()) <= before
    notifications.close()


def test_an_event_that_is_just_taken_to_be_sent_is_not_sent_yet() -> None:
    """Nobody ends between the two: whoever asks then, waits for the answer."""
    notifier, answers = Notifier(), []
    sender = _EventSender(notifier)
    asking = threading.Thread(target=lambda: answers.append(sender.busy))

    class Waiting(deque[dict[str, Any]]):
        """Somebody asks when it has just become empty."""

        def popleft(self) -> dict[str, Any]:
            found = super().popleft()
            asking.start()
            asking.join(0.05)
            return found

    notifier.gate.clear()
    sender._waiting = Waiting()
    sender.add(event("paused"))
    assert notifier.began.wait(30)
    asking.join()
    sender.give_up()

    assert answers == [True]
