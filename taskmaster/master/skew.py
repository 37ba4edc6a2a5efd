"""Slaves that are not alike: another version of the callback's file, another Python, or another
callback altogether.

Each slave is compared when it says hello. Code that differs is the user's affair: it
is said on both sides, and refused only where ``--strict-code`` asks for that. A slave that was
started for another run is refused always: all masters have the same address unless told otherwise,
and it would count jobs as done that were never run.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from taskmaster.redaction import clean_short
from taskmaster.runtime.log import clean_logger

__all__ = ["Admission", "Skew"]

logger = clean_logger(__name__)

MOST_TOLD = 100  # different files that the log warns of
FEW_SLAVES = 100  # of which nobody is forgotten
LONGEST_PATH = 4096  # characters of a path that a slave tells


class Admission(NamedTuple):
    """What a slave is told when it says hello.

    Attributes:
        refusal: why it is refused; "" if it is let in.
        warning: what it is warned of; "" for nothing.
    """

    refusal: str = ""
    warning: str = ""


class Skew:
    """Compares the slaves of a run.

    Args:
        strict: whether to refuse a slave whose callback is not that of the others.
        code: digest of the callback's file where the master is; "" if there is none.
        callback: the module of the callback that belongs to the jobs; "" if none does.
        target: what slaves are started with, for the message.
        file: real path of the callback's file; "" if it has none.

    Attributes:
        code: digest of the callback's file where the master is.
    """

    def __init__(
        self, *, strict: bool = False, code: str = "", callback: str = "", target: str = "", file: str = ""
    ) -> None:
        self._strict = strict
        self._file = file
        self.code = code
        self._callback = callback.partition(":")[0]
        self._target = target or callback
        self._known: dict[str, tuple[str, str]] = {}  # by session: the slave's name, and the digest
        self._by_code: dict[str, dict[str, None]] = {}  # the sessions, by digest
        self._most = FEW_SLAVES  # beyond that, those that have gone are forgotten
        self._told: set[str] = set()  # digests that the log has been warned of
        self._lock = threading.Lock()

    def compare(self, info: dict[str, Any], name: str, is_connected: Callable[[str], bool]) -> Admission:
        """Compare a slave that says hello with the others.

        Args:
            info: its hello; what is missing in it is not known.
            name: its name.
            is_connected: says whether the slave of a session is connected; others do not count.
        """
        session, code, callback, file = (_text(info, name) for name in ("session", "code", "callback", "place"))
        code = code[:64]
        target = _text(info, "target")[:200] or callback[:200]
        if self._is_of_another_run(callback) or self._is_another_file(callback, code, file, target):
            own = self._target
            if target == own and file:  # the words are the same, and the files are not
                own, target = self._file, clean_short(file, LONGEST_PATH)
            logger.warning("the slave %s is refused: it was started with %s, and the jobs are of %s", name, target, own)
            return Admission(refusal=_other_run(own, target))
        with self._lock:
            came = session not in self._known
            other = self._other_than(session, code, callback, is_connected)
            if other is None or not self._strict:
                self._note(session, name, code, is_connected)
            first = code not in self._told and len(self._told) < MOST_TOLD
            if first and other is not None:
                self._told.add(code)
        if came:
            _compare_python(info, name)
        if other is None:
            return Admission()
        if self._strict:
            logger.warning("the slave %s is refused: its callback is not that of %s (--strict-code)", name, other)
            return Admission(refusal=_refusal(other, code))
        if first:
            logger.warning(
                "the slave %s and %s have different versions of the file with the callback, so that what a job does "
                "depends on where it runs: copy the same file to both machines and start the slaves again "
                "(--strict-code refuses such slaves)",
                name,
                other,
            )
        return Admission(
            warning=f"the file with the callback is not the one that {other} has, so that what a job does "
            "depends on where it runs. Copy the same file to both machines, and start the slaves again."
        )

    def _is_of_another_run(self, callback: str) -> bool:
        """Return whether a slave was started with another module, and not told which of its
        functions to run.

        A person who names a function knows that the module is another one. Where a module is does
        not matter: two machines may have it in different packages or directories.
        """
        return bool(self._callback and callback) and ":" not in callback and callback != self._callback

    def _is_another_file(self, callback: str, code: str, file: str, target: str) -> bool:
        """Return whether a slave runs a different file that only has the same name, as opposed to
        another version of the master's file.

        A file that is on this machine is different if it is not the master's own. One that is on
        another machine is different if it was named with another folder. Files with the same
        content do the same, whatever they are called.
        """
        if ":" in callback or not self._callback or code in ("", self.code):
            return False
        try:
            return bool(self._file and file) and not Path(file).samefile(self._file)
        except (OSError, ValueError):
            own, other = _folders(self._target), _folders(target)
            return bool(own and other) and own != other

    def _note(self, session: str, name: str, code: str, is_connected: Callable[[str], bool]) -> None:
        self._forget(session)
        if len(self._known) >= self._most:
            for gone in [one for one in self._known if not is_connected(one)]:
                self._forget(gone)
            self._most = max(FEW_SLAVES, 2 * len(self._known))
        self._known[session] = (name, code)
        self._by_code.setdefault(code, {})[session] = None

    def _forget(self, session: str) -> None:
        known = self._known.pop(session, None)
        if known is not None:
            sessions = self._by_code[known[1]]
            del sessions[session]
            if not sessions:
                del self._by_code[known[1]]

    def _other_than(self, session: str, code: str, callback: str, is_connected: Callable[[str], bool]) -> str | None:
        """Return the master or a slave whose code is another one, as text; None if there is none. A
        slave that does not tell its code counts as different under ``--strict-code`` only.
        """
        same = not callback or callback.partition(":")[0] == self._callback
        if self.code and same and self._differs(self.code, code):
            return "the master"
        for known in list(self._by_code):
            if self._differs(known, code):
                one = self._first_connected(known, session, is_connected)
                if one is not None:
                    return f"the slave {self._known[one][0]}"
        return None

    def _differs(self, known: str, code: str) -> bool:
        return known != code and (self._strict or bool(known and code))

    def _first_connected(self, code: str, session: str, is_connected: Callable[[str], bool]) -> str | None:
        """Return a connected slave with this code beside that of the session; those that have gone
        are forgotten on the way, so that they are passed once.
        """
        gone, found = [], None
        for one in self._by_code[code]:
            if one != session and is_connected(one):
                found = one
                break
            gone.append(one)
        for one in gone:
            if one != session:
                self._forget(one)
        return found


def _text(info: dict[str, Any], name: str) -> str:
    """Return what a hello says of something; "" if it is no text."""
    found = info.get(name)
    return found[:LONGEST_PATH] if isinstance(found, str) else ""


def _folders(target: str) -> list[str]:
    """Return the folders in a target that was named from the working directory; none for a full
    path.
    """
    where = target.partition(".py")[0] if ".py" in target else target.partition(":")[0].replace(".", "/")
    return [] if Path(where).is_absolute() else os.path.normpath(where).split("/")[:-1]


def _other_run(own: str, target: str) -> str:
    return (
        f"It was started with {target}, and the jobs here are those of {own}, which has a callback of its own. Is it "
        f"the master of another run (--host)? Start the slave with {own}; if it is meant like this, name the function, "
        f"as in {target}:handle_job."
    )


def _refusal(other: str, code: str) -> str:
    what = "is not the one that" if code else "cannot be told from its hello to be the one that"
    return (
        f"The file with its callback {what} {other} has, and the master was started with --strict-code. Copy "
        "the same file (and the same version of Taskmaster) to both machines, and start this slave again."
    )


def _compare_python(info: dict[str, Any], name: str) -> None:
    ours, theirs = platform.python_version(), clean_short(info.get("python"), 50)
    if theirs and theirs.split(".")[:2] != ours.split(".")[:2]:
        logger.warning(
            "the slave %s runs Python %s, and this master %s: if jobs cannot be unpickled there, use one version",
            name,
            theirs,
            ours,
        )
