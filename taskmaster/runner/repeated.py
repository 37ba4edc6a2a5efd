"""Two runs of one process that cannot be told apart by their names.

A loop that defines ``get_jobs`` anew for each table gives each run the same state. What a process
has run is remembered here, so that the second one is refused instead of being taken for the first.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MethodType
from typing import Any

from taskmaster.errors import StateRefused
from taskmaster.records import changing
from taskmaster.runtime.invocation import is_interactive

__all__ = ["note_run", "refuse_repeated"]


@changing(slots=False, compared=True)
class _Former:
    """What a state was used for.

    Attributes:
        given: Callback and jobs.
        finished: Whether the run is over.
    """

    given: tuple[Any, ...]
    finished: bool


_formers: dict[str, _Former] = {}


def note_run(state: Path, given: tuple[Any, ...], *, finished: bool) -> None:
    """Remember that this process runs what it was given with a state.

    Args:
        state: The state file.
        given: Callback and jobs; empty for a command.
        finished: Whether the run is over.
    """
    if given:
        _formers[os.path.realpath(state)] = _Former(given, finished)


def refuse_repeated(state: Path, given: tuple[Any, ...], *, chosen: bool) -> None:
    """Refuse another callback or other jobs with a state that this process has used by its default
    name.

    Somebody who types defines functions again and again: only a finished run is refused there.

    Args:
        state: The state file.
        given: Callback and jobs; empty for a command.
        chosen: Whether the user has named this state, or has given it up.

    Raises:
        StateRefused: The run would be taken for the former one.
    """
    former = _formers.get(os.path.realpath(state))
    if former is None or chosen or not given or all(map(_same, former.given, given)):
        return
    if is_interactive() and not former.finished:
        return
    raise StateRefused(
        f"This process has already run another callback or other jobs of the same name with the state {state}, and "
        "what comes now would be taken for that run. Give each run a state of its own, such as "
        "--state=NAME.tmstate, or begin this one anew with --reset."
    )


def _same(former: Any, now: Any) -> bool:
    if former is now:
        return True
    if isinstance(now, MethodType | range | list | tuple):
        return bool(type(former) is type(now) and former == now)
    identity, other = getattr(now, "identity", None), getattr(former, "identity", None)
    return callable(identity) and callable(other) and identity() == other()
