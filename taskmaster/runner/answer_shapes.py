"""What a master's answers look like, as far as ``tm-ctl`` and the page read them: a master of
another version, or what only says that it is one, may answer anything. Pure.
"""

from __future__ import annotations

import contextlib
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from itertools import chain, repeat
from typing import Any, NamedTuple

from taskmaster import __version__
from taskmaster.errors import ConnectError
from taskmaster.redaction import clean
from taskmaster.view.snapshot import Snapshot

__all__ = ["making_sense_of", "readable"]

MOST_LEVELS = 20  # of lists and mappings in each other; what is shown as JSON has three
LARGEST = 1e18  # of a number, in either direction; of times, sizes and counts


class _Kind(NamedTuple):
    """A kind of value.

    Attributes:
        name: For people.
        fits: Whether a value is one.
    """

    name: str
    fits: Callable[[Any], bool]


class _Row(NamedTuple):
    """A list of values that are each of a shape of their own; more may follow."""

    shapes: tuple[Any, ...]


class _Some(NamedTuple):
    """A list with one element or more of a shape."""

    shape: Any


class _Maybe(NamedTuple):
    """A value that may be None, and may be missing."""

    shape: Any
    missing: bool = True


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST < value < LARGEST and math.isfinite(value)


def _is_why(value: Any) -> bool:
    """Return whether a value is what a master says when it is looked at; a slave's status, or an
    older one, has only the code.
    """
    return not any(
        _faults("why", value, {"code": A_TEXT, "sentence": A_TEXT, "cure": A_TEXT, "since_at": MAYBE_NUMBER})
    )


A_TEXT = _Kind("a text", lambda value: isinstance(value, str))
A_NUMBER = _Kind("a number", _is_number)
A_COUNT = _Kind("a whole number", lambda value: type(value) is int and _is_number(value))
YES_OR_NO = _Kind("yes or no", lambda value: isinstance(value, bool))
A_LIST = _Kind("a list", lambda value: isinstance(value, list | tuple))
MAYBE_TEXT, MAYBE_NUMBER = _Maybe(A_TEXT), _Maybe(A_NUMBER)
BY_TYPE = {"str": MAYBE_TEXT, "int": _Maybe(A_COUNT), "float": MAYBE_NUMBER, "bool": _Maybe(YES_OR_NO)}
TRAIL_TEXTS = ("command", "user", "host", "via", "reason", "before", "after")
SLAVE_NUMBERS = ("workers", "in_hand", "done", "failed", "rate")
SLAVE_MAYBE_NUMBERS = ("gone_at", "longest_seconds", "busy_share", "heard_seconds", "p50", "p95")

OF_STATUS = ("attempts_failed", "clock", "holder", "job_seconds", "pace", "rates", "settled_by_outcome", "source")
# A mapping has at least these names, a list has nothing else than what its one element is.
STATUS = {
    **{one.name: BY_TYPE.get(str(one.type).removesuffix(" | None"), MAYBE_TEXT) for one in fields(Snapshot)},
    "why": _Maybe(_Kind("why the run is no faster", lambda value: isinstance(value, str) or _is_why(value))),
    **dict.fromkeys(OF_STATUS, _Maybe({})),
    "eta_detail": _Maybe({"seconds": MAYBE_NUMBER}),
    "release": MAYBE_TEXT,
    "incarnation": MAYBE_TEXT,
    "trail": _Maybe(A_COUNT),
    "trail_saved": _Maybe(A_COUNT),
    "kinds": _Maybe([{}]),
}
SHAPES: Mapping[str, Any] = {
    "status": STATUS,
    "slaves": {
        "rows": [
            {
                **dict.fromkeys(("name", "state", "longest", "release"), A_TEXT),
                **dict.fromkeys(SLAVE_NUMBERS, A_NUMBER),
                **dict.fromkeys(SLAVE_MAYBE_NUMBERS, _Maybe(A_NUMBER, missing=False)),
            }
        ],
        "slaves": A_COUNT,
        "gone_before": A_COUNT,
    },
    "trail": {"rows": [{"seq": A_COUNT, "at": A_NUMBER, **dict.fromkeys(TRAIL_TEXTS, A_TEXT)}]},
    "settings": [
        {
            **dict.fromkeys(("name", "value", "default", "source"), A_TEXT),
            "by": _Maybe(A_TEXT, missing=False),
            "at": MAYBE_NUMBER,
        }
    ],
    "events": {"forgotten": A_COUNT, "rows": [{"at": A_NUMBER, "event": A_TEXT, "text": A_TEXT, "seq": A_COUNT}]},
    "kinds": {"rows": [{}], "kinds": _Maybe(A_COUNT), "others": _Maybe(A_COUNT)},
    "history": {"columns": [A_TEXT], "rows": [[MAYBE_NUMBER]], "seq": A_COUNT, "left": A_COUNT, "held": [A_TEXT]},
    "steer": {"ok": YES_OR_NO, "why": MAYBE_TEXT},
    "steered": {"say": A_TEXT, "changed": YES_OR_NO, "trail": A_COUNT},
    "failures": [
        _Row((A_COUNT, MAYBE_TEXT, A_TEXT, _Some(_Row((A_NUMBER, A_TEXT, A_TEXT, A_TEXT, A_TEXT, YES_OR_NO)))))
    ],
}


def readable(what: str, answer: Any, host: str, release: str = "") -> Any:
    """Return an answer that can be read.

    Args:
        what: The request: "steer", "failures", or that of ``look``.
        answer: What it has said.
        host: The address of the master.
        release: The version that it has told; "" for none.

    Raises:
        ConnectError: The answer cannot be read.
    """
    if what == "steer" and isinstance(answer, dict) and answer.get("ok") is True:
        what = "steered"
    faults = chain(_faults(what, answer, SHAPES.get(what, _ANYTHING)), _beyond_json(what, answer, 0))
    wrong = next(faults, "")
    if wrong:
        theirs = f"runs Taskmaster {release}" if release else "may run another version"
        raise ConnectError(
            f"The master at {host} has answered what Taskmaster {__version__} cannot read: {wrong}. It {theirs}: "
            "install the same version on both machines, and check --host."
        )
    return answer


@contextlib.contextmanager
def making_sense_of(host: str) -> Iterator[None]:
    """Turn errors about the shape of a master's answers, in the ``with`` block, into a
    ConnectError.

    Raises:
        ConnectError: An answer has not the shape that the block expects.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as exc:
        raise ConnectError(
            f"What the master at {host} has answered makes no sense to Taskmaster {__version__}: "
            f"{type(exc).__name__}: {clean(str(exc))[:200]}. It may run another version: install the same version on "
            "both machines, and check --host. --debug shows where."
        ) from exc


_ANYTHING = _Kind("anything", lambda _: True)


def _faults(name: str, value: Any, shape: Any) -> Iterator[str]:
    """Yield what is not as its shape says."""
    if isinstance(shape, _Maybe):
        if value is not None:
            yield from _faults(name, value, shape.shape)
    elif isinstance(shape, _Kind):
        if not shape.fits(value):
            yield _other(name, value, shape.name)
    elif isinstance(shape, dict):
        yield from _faults_by_name(name, value, shape)
    elif not isinstance(value, list | tuple):
        yield _other(name, value, "a list")
    elif isinstance(shape, _Some) and not value:
        yield _other(name, value, "a list that has something")
    elif isinstance(shape, _Row) and len(value) < len(shape.shapes):
        yield _other(name, value, f"a list of {len(shape.shapes)}")
    else:
        shapes = (
            shape.shapes if isinstance(shape, _Row) else repeat(shape.shape if isinstance(shape, _Some) else shape[0])
        )
        for number, (part, inner) in enumerate(zip(value, shapes, strict=False)):
            yield from _faults(f"{name}[{number}]", part, inner)


def _faults_by_name(name: str, value: Any, shapes: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _other(name, value, "a mapping")
        return
    for part, shape in shapes.items():
        if part not in value and not (isinstance(shape, _Maybe) and shape.missing):
            yield f"{name}.{part} is missing"
        else:
            yield from _faults(f"{name}.{part}", value.get(part), shape)


def _beyond_json(name: str, value: Any, level: int) -> Iterator[str]:
    """Yield which parts of an answer cannot be shown as JSON."""
    if isinstance(value, bytes | bytearray):
        yield _other(name, value, "a text")
    elif type(value) is int and not -LARGEST < value < LARGEST:
        yield f"{name[:100]} is an integer of that size that no clock or counter has"
    elif isinstance(value, list | tuple | dict) and level >= MOST_LEVELS:
        yield f"{name[:100]}... is nested more than {MOST_LEVELS} times"
    elif isinstance(value, list | tuple | dict):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for part, inner in parts:
            yield from _beyond_json(f"{name}.{part}", inner, level + 1)


def _other(name: str, value: Any, wanted: str) -> str:
    return clean(f"{name[:100]} is {reprlib.repr(value)}, and not {wanted}")
