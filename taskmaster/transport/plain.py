"""Plain values as pickles, and back.

Guarantees: nothing but None, bool, int, float, str, bytes, bytearray, tuple, list, dict and sets of
these is ever pickled or unpickled; what is unpickled takes less than a second and a few times the
memory that it had as a pickle, also if a stranger has written it.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["MAX_OPCODES", "TooManyValues", "check_plain", "plain_dumps", "plain_loads"]

MAX_OPCODES = 600_000
"""Most steps of a pickle; a value takes one to three. Millions of them, in a pickle of a few
megabytes, would take seconds in which the master answers nobody, and sets of one byte each 200
bytes of memory. A slave's reports have up to 550,000 (``taskmaster.slave.in_flight``).
"""

SET_STEPS = 4  # a set counts as four values: it takes four times the memory of another value


class TooManyValues(pickle.PicklingError, pickle.UnpicklingError):
    """A pickle has more steps than are taken."""


class _PlainPickler(pickle.Pickler):
    """Refuses what the receiver would refuse."""

    def reducer_override(self, obj: Any) -> Any:
        # Called for whatever is not exactly one of the plain types.
        raise pickle.PicklingError(f"refused to pickle a {type(obj).__name__}: only plain values can be sent")


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that refuses every class and function, because one could run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"refused to unpickle {module}.{name}: only plain values are accepted here")

    def persistent_load(self, _: Any) -> Any:
        raise pickle.UnpicklingError("refused to unpickle a persistent id: only plain values are accepted here")


def _opcodes() -> tuple[list[int], list[int]]:
    """Return, for each opcode of a plain pickle, the bytes that it takes, and how many of them tell
    a length that follows.
    """
    fixed = {b"N\x88\x89)\x85\x86\x87t(]ae}su\x8f\x90\x91\x94\x97\x98": 0, b"\x80Kh": 1, b"M": 2, b"Jj": 4, b"G\x95": 8}
    counted = {b"\x8a\x8cC": 1, b"\x8bXB": 4, b"\x8d\x8e\x96": 8}
    sizes, lengths = [0] * 256, [0] * 256
    for codes, width in [*fixed.items(), *counted.items()]:
        for code in codes:
            sizes[code] = 1 + width
    for codes, width in counted.items():
        for code in codes:
            lengths[code] = width
    return sizes, lengths


_SIZES, _LENGTHS = _opcodes()
SHORT_TEXT_BYTES = 40
# Opcodes of a fixed length and short texts, as many as follow each other. Possessive: nothing is
# kept to go back.
_USUAL = re.compile(
    rb"(?:[N\x88\x89)\x85\x86\x87t(\]ae}su\x90\x94\x97\x98]|[\x80Kh].|M..|[Jj].{4}|[G\x95].{8}|\x8c(?:%b))*+"
    % b"|".join(re.escape(bytes([n])) + b".{%d}" % n for n in range(SHORT_TEXT_BYTES)),
    re.DOTALL,
).match
_STOP = ord(".")
_UNPACK = {4: struct.Struct("<I").unpack_from, 8: struct.Struct("<Q").unpack_from}
_SETS = frozenset(b"\x8f\x91")  # EMPTY_SET and FROZENSET


def check_plain(data: bytes | bytearray) -> None:
    """Refuse a pickle with an opcode that ``plain_dumps`` never writes, a length beyond its end, or
    more opcodes than are taken.

    ``find_class`` stops code from being run, but not harm: nine bytes that store a memo entry of a
    high number make the unpickler allocate gigabytes, until Python 3.14 at least, and so do
    millions of empty sets of one byte each; and it holds the interpreter's lock meanwhile.

    Raises:
        pickle.UnpicklingError: it is not plain, or too much.
    """
    if len(data) <= MAX_OPCODES and _is_plain(data):  # with fewer bytes, there cannot be too many opcodes
        return
    sizes, lengths, sets = _SIZES, _LENGTHS, _SETS
    at, end, left = 0, len(data) - 1, MAX_OPCODES
    while at < end:
        code = data[at]
        size = sizes[code]
        if not size:
            raise pickle.UnpicklingError(f"refused to unpickle opcode {code:#04x}: only plain values are accepted here")
        left -= 1 if code not in sets else SET_STEPS
        if left < 0:
            raise TooManyValues(f"more than {MAX_OPCODES:,} values at once")
        width = lengths[code]
        if not width:
            at += size
        elif at + width < end:
            at += size + (data[at + 1] if width == 1 else _UNPACK[width](data, at + 1)[0])
        else:
            break
    if at != end or data[at] != _STOP:
        raise pickle.UnpicklingError("not a pickle of plain values: it is cut off, or something follows it")


def _is_plain(data: bytes | bytearray) -> bool:
    """Return whether a pickle is certainly plain: without a set, which counts for more. Ten times
    as fast as to look at one opcode after the other.
    """
    at, end = 0, len(data) - 1
    while (found := _USUAL(data, at, end)) is not None:
        at = found.end()
        if at >= end:
            break
        width = _LENGTHS[data[at]]
        if not width or at + width >= end:
            return False
        at += 1 + width + (data[at + 1] if width == 1 else _UNPACK[width](data, at + 1)[0])
        if at > end:
            return False
    return at == end and data[at] == _STOP


def plain_dumps(value: Any, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle plain values.

    Raises:
        pickle.PicklingError: something in it is not plain, or there are too many.
    """
    file = io.BytesIO()
    _PlainPickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
    data = file.getvalue()
    if len(data) > MAX_OPCODES:  # with fewer bytes, there cannot be too many
        check_plain(data)
    return data


def plain_loads(data: bytes | bytearray, buffers: Sequence[Any] = ()) -> Any:
    """Unpickle plain values, as ``plain_dumps`` writes them.

    Raises:
        pickle.UnpicklingError: it is no pickle, or holds anything else, or too many values.
    """
    check_plain(data)
    try:
        return _PlainUnpickler(io.BytesIO(data), buffers=buffers).load()
    except pickle.UnpicklingError:
        raise
    except RecursionError:
        raise pickle.UnpicklingError("refused to unpickle a value that is nested too deeply") from None
    except Exception as exc:
        raise pickle.UnpicklingError(f"not a pickle of plain values: {type(exc).__name__}") from exc
