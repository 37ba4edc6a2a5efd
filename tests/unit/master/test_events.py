"""The ring of events: numbered, the newest thousand."""

from __future__ import annotations

from taskmaster.master.events import KEPT_EVENTS, EventName, Events


def test_events_are_numbered_and_have_what_they_are_about() -> None:
    """Each has the schema, the run, the time, its number, its name and its facts."""
    events = Events("3f2a")

    events.add(EventName.STARTED, 10.0, {})
    event = events.add(EventName.PAUSED, 11.00049, {"by": "anna"})

    assert event == {
        "schema": 1, "event": "paused", "at": 11.0, "seq": 2, "run": "3f2a", "by": "anna",
    }  # fmt: skip
    assert type(event["event"]) is str


def test_the_newest_thousand_are_kept_and_the_others_are_counted() -> None:
    """Whoever asks late is told how many are forgotten; whoever kept up is not."""
    events = Events("3f2a")
    for _ in range(KEPT_EVENTS + 7):
        events.add(EventName.CHANGED, 0.0, {})

    rows, forgotten = events.after(0, 5)

    assert [row["seq"] for row in rows] == [8, 9, 10, 11, 12]
    assert forgotten == 7
    assert events.after(3, 1)[1] == 4
    assert events.after(900, 1)[1] == 0
    assert events.after(events.last, 5) == ([], 0)


def test_an_empty_ring_has_nothing() -> None:
    """Before the first event nothing is there, and nothing forgotten."""
    assert Events("3f2a").after(0, 5) == ([], 0)
