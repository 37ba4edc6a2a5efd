"""The line of what goes out again: its order, its numbers, and what is cut out of it."""

from __future__ import annotations

from taskmaster.master.broker.batches import Batch
from taskmaster.master.broker.returned import Returned


def line_of(*batches: Batch) -> Returned:
    """A line of these, in their order."""
    line = Returned()
    for batch in batches:
        line.append(batch)
    return line


def jobs_of(line: Returned) -> list[list[int]]:
    """The jobs of each batch, in the order of the line."""
    return [batch.jobs for batch in line]


def cut_out(line: Returned, position: int) -> Batch:
    holder = line.holder(position)
    assert holder is not None
    return line.cut_out(holder, position)


def test_a_job_is_cut_out_of_its_batch() -> None:
    """What stood before it comes next, what stood behind it keeps its place; no job is lost."""
    line = line_of(Batch(0, [0, 1]), Batch(2, [2, 3, 4, 5]))

    single = cut_out(line, 4)

    assert (single.first, single.jobs) == (4, [4])
    assert jobs_of(line) == [[2, 3], [0, 1], [5]]
    assert line.jobs == 5
    assert line.holder(4) is None
    assert [cut_out(line, position).jobs for position in (0, 1, 2, 3, 5)] == [[0], [1], [2], [3], [5]]
    assert (len(line), line.jobs) == (0, 0)


def test_the_head_of_a_batch_is_taken() -> None:
    """The rest keeps its place, and is found at its positions."""
    line = line_of(Batch(0, [0, 1, 2]), Batch(7, [7]))

    assert line.split(next(iter(line)), 2).jobs == [0, 1]
    assert jobs_of(line) == [[2], [7]]
    assert line.holder(1) is None
    assert line.holder(2) is next(iter(line))


def test_one_line_takes_over_another() -> None:
    """Behind its own, with all that is counted."""
    suspect = Batch(9, [9], company=2)
    one, other = line_of(Batch(0, [0, 1])), line_of(suspect, Batch(5, [5]))
    one.take_over(other)

    assert jobs_of(one) == [[0, 1], [9], [5]]
    assert (one.jobs, one.companies) == (4, 1)
    assert (len(other), other.jobs, other.companies) == (0, 0, 0)
    assert {batch.first for batch in one.between(5, 10)} == {5, 9}


def test_what_no_slave_may_have_is_passed_to_the_end() -> None:
    """So that others are looked at the next time."""
    first = Batch(0, [0])
    line = line_of(first, Batch(1, [1]))
    line.postpone(first)

    assert jobs_of(line) == [[1], [0]]
