"""What earlier sessions settled, until the source has yielded it again."""

from __future__ import annotations

from taskmaster import keys
from taskmaster.master.reading.dedup import Earlier
from taskmaster.master.run_record import RunRecord


def prints(*letters: str) -> bytes:
    return b"".join(letter.encode() * 16 for letter in letters)


def earlier_of(edge: bytes, remembered: bytes, mark: str = "1") -> Earlier:
    return Earlier(RunRecord("run", True, mark, edge, remembered))


def test_each_is_recognised_as_often_as_it_was_recorded() -> None:
    """And the rest is counted."""
    earlier = earlier_of(prints("a"), prints("b", "b"))

    assert len(earlier) == 3
    assert earlier.recognise("1", prints("a"))
    assert not earlier.recognise("1", prints("a"))
    assert earlier.recognise("2", prints("b"))
    assert earlier.recognise("2", prints("b"))
    assert not earlier.recognise("2", prints("b"))
    assert len(earlier) == 0


def test_the_edge_is_met_at_the_beginning_or_never() -> None:
    """The very same job further on is another one: it was never run."""
    earlier = earlier_of(prints("a"), b"")

    assert not earlier.recognise("2", prints("b"))
    assert not earlier.recognise("1", prints("a"))


def test_a_recognised_job_is_kept_until_it_has_its_place() -> None:
    """The source may be at its end long before: what waits in the queue must not be forgotten."""
    earlier = earlier_of(b"", prints("a", "b", "gone"[:1]))
    earlier.recognise("2", prints("a"))
    earlier.recognise("3", prints("b"))
    earlier.forget()

    assert keys.separate(earlier.waiting() or b"") == [prints("a"), prints("b")]

    earlier.settled_again([prints("a")])

    assert earlier.waiting() == prints("b")

    earlier.settled_again([prints("b")])

    assert earlier.waiting() == b""


def test_nothing_is_said_while_nothing_has_changed() -> None:
    """The state has it already."""
    earlier = earlier_of(prints("a"), prints("b"))

    assert earlier.waiting() is None

    earlier.recognise("2", prints("b"))

    assert earlier.waiting() is None

    earlier.settled_again([prints("b")])

    assert earlier.waiting() == b""

    earlier.written()

    assert earlier.waiting() is None


def test_the_edge_matters_while_its_key_is_the_mark() -> None:
    """A source that includes ``last`` may yield it again at the next resume."""
    earlier = earlier_of(prints("a"), b"")

    assert earlier.edge("1") == prints("a")
    assert earlier.edge("2") == b""
