"""Plain values as pickles, and back.

Guarantees: nothing but None, bool, int, float, str, bytes, bytearray, tuple, list and dict is ever
unpickled, with texts as the keys of a dict, integers of 255 bytes at most, and no deeper than 2,000
levels; what is unpickled takes less than a second and a few times the memory that it had as a
pickle, also if a stranger has written it.
"""

from __future__ import annotations

import io
import marshal
import pickle
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["MAX_OPCODES", "TooManyValues", "check_plain", "plain_dumps", "plain_loads"]

MAX_OPCODES = 600_000
"""Most steps of a pickle; a value takes one to three. Millions of them, in a pickle of a few
megabytes, would take seconds in which the master answers nobody. A slave's reports have up to
550,000 (``taskmaster.slave.pool.in_flight``).
"""

SHALLOW_BYTES = 16_384
"""Bytes of a pickle that cannot be nested so deeply that to hash or to compare its value runs out
of the stack, which would end the process: each level takes a byte.
"""


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
    fixed = {b"N\x88\x89)\x85\x86\x87t(]ae}su\x94\x97\x98": 0, b"\x80Kh": 1, b"M": 2, b"Jj": 4, b"G\x95": 8}
    counted = {b"\x8a\x8cC": 1, b"XB": 4, b"\x8d\x8e\x96": 8}
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
# Opcodes of a fixed length and short texts, as many as follow each other, without those that fill a
# dict. Possessive: nothing is kept to go back.
_USUAL = re.compile(
    rb"(?:[N\x88\x89)\x85\x86\x87t(\]ae}\x94\x97\x98]|[\x80Kh].|M..|[Jj].{4}|[G\x95].{8}|\x8c(?:%b))*+"
    % b"|".join(re.escape(bytes([n])) + b".{%d}" % n for n in range(SHORT_TEXT_BYTES)),
    re.DOTALL,
).match
_STOP = ord(".")
_UNPACK = {4: struct.Struct("<I").unpack_from, 8: struct.Struct("<Q").unpack_from}
_FILLS = frozenset(b"su")  # SETITEM and SETITEMS
_TEXTS = frozenset(b"\x8cX\x8d")
_GETS = {ord("h"): struct.Struct("<B").unpack_from, ord("j"): struct.Struct("<I").unpack_from}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}  # how many values each takes
_SILENT = frozenset(b"\x80\x95\x98")  # PROTO, FRAME and READONLY_BUFFER leave the stack as it is


def check_plain(data: bytes | bytearray) -> None:
    """Refuse a pickle with an opcode that ``plain_dumps`` never writes, a length beyond its end, a
    long integer, a key that is no text, or more opcodes than are taken.

    ``find_class`` stops code from being run, but not harm: nine bytes that store a memo entry of a
    high number make the unpickler allocate gigabytes, until Python 3.14 at least; a key that is a
    tuple of a tuple of a tuple ends the process, and ten thousand integers with one hash keep it
    busy for seconds; and it holds the interpreter's lock meanwhile.

    Raises:
        pickle.UnpicklingError: it is not plain, or too much.
    """
    # With fewer bytes, there cannot be too many opcodes.
    fills = _fills_if_plain(data) if len(data) <= MAX_OPCODES else None
    if fills is None:
        fills = _fills(data)
    if fills:
        _check_keys(data)


def _fills(data: bytes | bytearray) -> bool:
    """Return whether a pickle fills a dict; refuse it if it is not plain, or has too many
    opcodes.
    """
    sizes, lengths = _SIZES, _LENGTHS
    at, end, left, fills = 0, len(data) - 1, MAX_OPCODES, False
    while at < end:
        code = data[at]
        size = sizes[code]
        if not size:
            raise pickle.UnpicklingError(f"refused to unpickle opcode {code:#04x}: only plain values are accepted here")
        left -= 1
        if left < 0:
            raise TooManyValues(f"more than {MAX_OPCODES:,} values at once")
        width = lengths[code]
        if not width:
            at += size
            fills = fills or code in _FILLS
        elif at + width < end:
            at += size + (data[at + 1] if width == 1 else _UNPACK[width](data, at + 1)[0])
        else:
            break
    if at != end or data[at] != _STOP:
        raise pickle.UnpicklingError("not a pickle of plain values: it is cut off, or something follows it")
    return fills


def _fills_if_plain(data: bytes | bytearray) -> bool | None:
    """Return whether a pickle fills a dict; None if it is perhaps not plain. Ten times as fast as
    to look at one opcode after the other.
    """
    at, end, fills = 0, len(data) - 1, False
    while (found := _USUAL(data, at, end)) is not None:
        at = found.end()
        if at >= end:
            break
        if data[at] in _FILLS:
            fills = True
            at += 1
            continue
        width = _LENGTHS[data[at]]
        if not width or at + width >= end:
            return None
        at += 1 + width + (data[at + 1] if width == 1 else _UNPACK[width](data, at + 1)[0])
        if at > end:
            return None
    return fills if at == end and data[at] == _STOP else None


def _check_keys(data: bytes | bytearray) -> None:
    """Refuse a pickle with a key that is no text: its opcodes, which were checked, are followed
    with nothing on the stack but whether a value is a text.
    """
    stack: list[bool] = []
    marks: list[int] = []
    memo: list[bool] = []
    at, end = 0, len(data) - 1
    try:
        while at < end:
            code = data[at]
            _step(code, data, at, stack, marks, memo)
            width = _LENGTHS[code]
            at += _SIZES[code]
            if width:
                at += data[at - 1] if width == 1 else _UNPACK[width](data, at - width)[0]
    except IndexError:
        raise pickle.UnpicklingError("not a pickle of plain values: it takes what it has not made") from None


def _step(code: int, data: bytes | bytearray, at: int, stack: list[bool], marks: list[int], memo: list[bool]) -> None:
    """Do to the stack what an opcode does."""
    if code in _TEXTS:
        stack.append(True)
    elif code == 0x94:  # MEMOIZE
        memo.append(stack[-1])
    elif code == 0x28:  # MARK
        marks.append(len(stack))
    elif code in b"teu":  # TUPLE, APPENDS and SETITEMS take what is above the last mark
        mark = marks.pop()
        if code == 0x75:
            _check_texts(stack[mark::2])
        stack[mark:] = [False] if code == 0x74 else []
    elif code in b"sa":  # SETITEM and APPEND
        if code == 0x73:
            _check_texts(stack[-2:-1])
            stack.pop()
        stack.pop()
    elif code in _TUPLES:
        stack[-_TUPLES[code] :] = [False]
    elif code in _GETS:
        stack.append(memo[_GETS[code](data, at + 1)[0]])
    elif code not in _SILENT:
        stack.append(False)


def _check_texts(keys: list[bool]) -> None:
    if not all(keys):
        raise pickle.UnpicklingError("refused to unpickle a key that is no text")


def plain_dumps(value: Any, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle plain values.

    Raises:
        pickle.PicklingError: something in it is not plain, or there are too many.
    """
    file = io.BytesIO()
    _PlainPickler(file, 5, True, buffer_callback).dump(value)  # names of arguments take a tenth of the time
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
        if not buffers and len(data) <= SHALLOW_BYTES:  # nearly all that slaves say
            return _PlainUnpickler(io.BytesIO(data)).load()
        value = None if len(data) <= SHALLOW_BYTES else _load(data, [b""] * len(buffers))
        if len(data) > SHALLOW_BYTES:
            _check_depth(value)
        return _load(data, buffers) if buffers else value
    except pickle.UnpicklingError:
        raise
    except Exception as exc:
        raise pickle.UnpicklingError(f"not a pickle of plain values: {type(exc).__name__}") from exc


def _load(data: bytes | bytearray, buffers: Sequence[Any]) -> Any:
    return _PlainUnpickler(io.BytesIO(data), buffers=buffers).load()


def _check_depth(value: Any) -> None:
    """Refuse a value that is nested too deeply. ``marshal`` is asked, as it is the fastest way to
    visit all parts, and has a limit of its own.
    """
    try:
        marshal.dumps(value)
    except ValueError:
        raise pickle.UnpicklingError("refused to unpickle a value that is nested too deeply") from None
