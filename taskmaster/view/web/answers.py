"""What the master has said, as the page has it. Pure.

Keys, messages, tracebacks and names come from users' data and from strangers: each text is cleaned
of what moves a cursor or turns the reading direction, and cut. Guarantees: an answer is plain JSON
without NaN, and its size is bounded, whatever the number of jobs, failures and slaves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from taskmaster.redaction import clean, clean_lines
from taskmaster.view.snapshot import Snapshot
from taskmaster.view.status import Rate, to_json

__all__ = ["MOST_ANSWER_BYTES", "as_bytes", "cleaned", "status_answer"]

MOST_ANSWER_BYTES = 64 * 1024
LONGEST_ANSWER_TEXT = 300
MAX_LINES_TEXT = 4000  # characters of a traceback
LINES = {"traceback"}  # names of texts that have several lines
WHOLE = {"resume", "slave_command"}  # names of commands that somebody copies: cut, they would be others
MAX_WHOLE = 4000  # characters; a longer one is left out
SHORTENED_OF_ANSWER = ("slaves", "trail", "kinds", "settings", "longest")
"""Lists of an answer that are cut, the longest first, when it would be too large."""


def cleaned(value: Any, *, lines: bool = False, whole: bool = False) -> Any:
    """Return plain values for JSON: texts cleaned and cut, no number that JSON does not have."""
    if isinstance(value, str):
        return _text(value, lines=lines, whole=whole)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {
            clean(str(name))[:LONGEST_ANSWER_TEXT]: cleaned(part, lines=name in LINES, whole=name in WHOLE)
            for name, part in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [cleaned(part) for part in value]
    return clean(str(value))[:LONGEST_ANSWER_TEXT]


def _text(value: str, *, lines: bool, whole: bool) -> str:
    if whole:
        return clean(value) if len(value) <= MAX_WHOLE else ""
    most = MAX_LINES_TEXT if lines else LONGEST_ANSWER_TEXT
    text = clean_lines(value[-most:]) if lines else clean(value[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"


def status_answer(status: Mapping[str, Any] | None, rate: Rate, page: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``/api/v1/status`` gives: what ``tm-ctl status --json`` shows, and ``page``.

    Args:
        status: What the master has said last; None if it has not said anything yet.
        rate: The rate that the statuses so far have given.
        page: What the page shows beside the status.
    """
    known = {} if status is None else {**to_json(Snapshot.from_wire(status), rate), **status}
    found: dict[str, Any] = cleaned({**known, "page": page})
    return found


def as_bytes(answer: dict[str, Any]) -> bytes:
    """Return an answer as it is sent, its lists cut until it is small enough."""
    text = _dumped(answer)
    while len(text) > MOST_ANSWER_BYTES:
        parts = [part for part in (answer, answer.get("page")) if isinstance(part, dict)]
        lists = [(part, name) for part in parts for name in SHORTENED_OF_ANSWER if isinstance(part.get(name), list)]
        part, name = max(lists, key=lambda one: len(_dumped(one[0][one[1]])), default=(answer, ""))
        if not part.get(name):
            break
        part[name] = part[name][: len(part[name]) * 2 // 3]
        text = _dumped(answer)
    return text


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
