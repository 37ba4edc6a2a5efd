"""What earlier sessions settled, until the source has yielded it again."""

from __future__ import annotations

from taskmaster import keys
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.records.fingerprints import separate
from taskmaster.master.records.run_record import RunRecord


def prints(*letters: str) -> bytes:
    return b"".join(letter.encode() * 16 for letter in letters)


def dedup_of(edge: bytes, remembered: bytes, mark: str = "1") -> Dedup:
    return Dedup(RunRecord("run", True, mark, edge, remembered))


def test_each_is_recognised_as_often_as_it_was_recorded() -> None:
    """And the rest is counted."""
    dedup = dedup_of(prints("a"), prints("b", "b"))

    assert len(dedup) == 3
    assert dedup.recognise("1", prints("a"))
    assert not dedup.recognise("1", prints("a"))
    assert dedup.recognise("2", prints("b"))
    assert dedup.recognise("2", prints("b"))
    assert not dedup.recognise("2", prints("b"))
    assert len(dedup) == 0


def test_the_edge_is_met_at_the_beginning_or_never() -> None:
    """The very same job further on is another one: it was never run."""
    dedup = dedup_of(prints("a"), b"")

    assert not dedup.recognise("2", prints("b"))
    assert not dedup.recognise("1", prints("a"))


def test_the_edge_may_have_several_spellings_of_one_key() -> None:
    """A source that includes ``last`` yields all that compares equal with it."""
    dedup = dedup_of(prints("a", "b"), b"", mark=keys.encode(3.0))

    assert dedup.recognise(keys.encode(3), prints("a"))
    assert dedup.recognise(keys.encode(3.0), prints("b"))


def test_a_recognised_job_is_kept_until_it_has_its_place() -> None:
    """The source may be at its end long before: what waits in the queue must not be forgotten."""
    dedup = dedup_of(b"", prints("a", "b", "gone"[:1]))
    dedup.recognise("2", prints("a"))
    dedup.recognise("3", prints("b"))
    dedup.forget()

    assert separate(dedup.waiting() or b"") == [prints("a"), prints("b")]

    dedup.settled_again([prints("a")])

    assert dedup.waiting() == prints("b")

    dedup.settled_again([prints("b")])

    assert dedup.waiting() == b""


def test_nothing_is_said_while_nothing_has_changed() -> None:
    """The state has it already."""
    dedup = dedup_of(prints("a"), prints("b"))

    assert dedup.waiting() is None

    dedup.recognise("2", prints("b"))

    assert dedup.waiting() is None

    dedup.settled_again([prints("b")])

    assert dedup.waiting() == b""

    dedup.written()

    assert dedup.waiting() is None


def test_the_edge_matters_while_its_key_is_the_mark() -> None:
    """A source that includes ``last`` may yield it again at the next resume."""
    dedup = dedup_of(prints("a"), b"")

    assert dedup.edge("1") == prints("a")
    assert dedup.edge("2") == b""
