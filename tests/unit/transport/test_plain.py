"""Plain pickles: how much they may hold."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.model import MAX_BATCH, Failure, Report, ReportEnd
from taskmaster.transport import plain
from taskmaster.transport.frames import FrameReader, FrameTooLarge, frame
from taskmaster.transport.plain import plain_dumps, plain_loads
from taskmaster.transport.server import MAX_REQUEST_BYTES

MARK, TUPLE = b"\x80\x05(", b"t."
MANY = 20_000


@pytest.mark.parametrize(
    "values",
    [b"]" * MANY, b"}" * MANY, b")" * MANY, b"N" * MANY, b"(" * MANY, b"K\0" * MANY, b"]\x94" * MANY,
     b"\x8c\x00" * MANY, b"G\0\0\0\0\0\0\0\0" * MANY, b"\x8e" + bytes(8) + b"\x96\0\0\0\0\0\0\0\0" * MANY],
    ids=["lists", "dicts", "tuples", "nothing", "marks", "numbers", "remembered", "texts", "floats", "bytes"],
)  # fmt: skip
def test_a_pickle_of_very_many_values_is_refused(values: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any of them is made, whatever they are."""
    monkeypatch.setattr(plain, "MAX_OPCODES", 10_000)
    monkeypatch.setattr(plain, "_PlainUnpickler", None)  # is not even asked

    with pytest.raises(pickle.UnpicklingError, match="more than 10,000 values"):
        plain_loads(MARK + values + TUPLE)


def test_the_longest_honest_report_is_taken() -> None:
    """Each job of the largest batch has failed, with a text of its own."""
    failures = (Failure(n, "ValueError", f"bad row {n}", f"left out {n}", worker=n) for n in range(MAX_BATCH))
    report = Report("token", MAX_BATCH, failures=tuple(failures), end=ReportEnd.FINISHED)

    (piece,) = frame(("queue", "exchange", ("session", [report.to_wire()], (1, 1, 0, "")), {}), MAX_REQUEST_BYTES)
    assert plain_loads(piece[8:])[2][1][0][0] == "token"


def test_a_key_is_a_text() -> None:
    """A tuple of a tuple of a tuple would end the process when it is hashed, and integers with one
    hash would be compared with each other for minutes.
    """
    for key in (b"N", b"K\0", b")", b")\x85", b"G\0\0\0\0\0\0\0\0", b"C\1a", b"\x8c\1a\x85", b"\x8c\1a\x940h\0\x85"):
        for data in (b"}" + key + b"Ns", b"}(" + key + b"Nu", b"}(\x8c\1aN" + key + b"Nu"):
            with pytest.raises(pickle.UnpicklingError):
                plain_loads(b"\x80\x05" + data + b".")
    for value in ({"a": {"b": ()}}, [{"a": 1, "b": "a"}, {"a": "b"}], {"a" * 300: ("a", "b"), "b" * 70_000: b"c"}):
        assert plain_loads(plain_dumps(value)) == value


def test_a_key_that_was_said_before_is_looked_up() -> None:
    """A memo tells of a text as well as of a tuple."""
    said = b"\x80\x05(\x8c\1a\x94)\x85\x94}"
    assert plain_loads(said + b"h\0h\1st.") == ("a", ((),), {"a": ((),)})
    assert plain_loads(said + b"j\0\0\0\0Nst.") == ("a", ((),), {"a": None})
    with pytest.raises(pickle.UnpicklingError, match="a key that is no text"):
        plain_loads(said + b"h\1Nst.")
    with pytest.raises(pickle.UnpicklingError, match="what it has not made"):
        plain_loads(said + b"h\7Nst.")


@pytest.mark.parametrize("value", [{1, 2}, frozenset(), {(1,): 2}, {1: 2}, 2**2040, -(2**4000), [2**100_000]])
def test_what_no_message_has_is_refused(value: object) -> None:
    """It would give a peer more to do harm with than it is worth."""
    with pytest.raises(pickle.UnpicklingError):
        plain_loads(pickle.dumps(value, 5))


@pytest.mark.parametrize("number", [0, -1, 255, 2**31, 2**63, -(2**64), 2**2000])
def test_a_count_is_taken(number: int) -> None:
    """Whatever a program counts."""
    assert plain_loads(plain_dumps([number])) == [number]


@pytest.mark.parametrize("buffers", [[], [b"x" * 5000]])
@pytest.mark.parametrize("inner", [b"\x85", b"\x85\x94", b"\x85\x94\x86"])
def test_a_value_is_not_nested_too_deeply(inner: bytes, buffers: list[bytes]) -> None:
    """To hash it or to compare it would run out of the stack."""
    deep = b"\x80\x05" + b"N" * 9000 + (b"\x97" if buffers else b")") + inner * (plain.SHALLOW_BYTES // len(inner))
    deep = deep.replace(b"N" * 9000, b"N" * 9000 if b"\x86" in inner else b"")
    with pytest.raises(pickle.UnpicklingError, match="nested too deeply"):
        plain_loads(deep + b".", buffers)


def test_a_long_value_is_not_a_deep_one() -> None:
    """Also where parts of it have come beside it."""
    value = [("token", n, {"name": [n]}) for n in range(3000)]
    assert plain_loads(plain_dumps(value)) == value
    beside = pickle.dumps([*value, pickle.PickleBuffer(bytearray(b"x"))], 5, buffer_callback=lambda _: False)
    assert plain_loads(beside, [bytearray(b"long")])[-1] == b"long"


def test_too_many_values_are_refused_by_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a byte of them is sent; the connection goes on."""
    monkeypatch.setattr(plain, "MAX_OPCODES", 1000)

    with pytest.raises(FrameTooLarge, match="1,000 values"):
        frame(list(range(2000)))
    assert plain_dumps(["x" * 3000])


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**2000), 2**2000)
    | st.floats()
    | st.text(max_size=60)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3))
def test_the_usual_check_takes_nothing_that_the_whole_one_refuses(
    value: object, changes: list[tuple[int, int]]
) -> None:
    """Whatever is changed in the bytes; and it knows what the pickler writes."""
    data = bytearray(plain_dumps(value))
    assert plain._fills_if_plain(data) is not None
    for at, byte in changes:
        data[at % len(data)] = byte

    usual = plain._fills_if_plain(data)
    if usual is not None:
        assert plain._fills(data) is usual  # keys are looked at after either of them


def test_memory_grows_with_what_arrives() -> None:
    """What is announced costs next to nothing, and what arrives at most twice itself."""
    size = 60 * 1024 * 1024
    reader = FrameReader()
    head = frame(["x"])[0][:8]
    reader.space()[:8] = size.to_bytes(4) + bytes(4)
    assert reader.filled(8) == (False, None)
    assert reader.unfinished <= 300_000
    arrived = 0
    for _ in range(1000):
        space = reader.space()
        count = min(len(space), 5000)
        space[:count] = bytes(count)
        arrived += count
        assert reader.filled(count) == (False, None)
        assert reader.unfinished <= 2 * arrived + 300_000
    assert arrived > 1_000_000
    assert len(head) == 8


def test_the_memory_of_many_parts_counts() -> None:
    """A frame's parts that have arrived whole are held until all have."""
    reader = FrameReader()
    data = (1).to_bytes(4) + (3).to_bytes(4) + b"".join(n.to_bytes(8) for n in (50_000, 50_000, 50_000)) + b"N"
    data += bytes(100_001)
    while data:
        space = reader.space()
        count = min(len(space), len(data))
        space[:count], data = data[:count], data[count:]
        assert reader.filled(count) == (False, None)

    assert 100_000 <= reader.unfinished <= 200_000
