"""What a state belongs to: what a run reads, with which arguments, and what it calls.

The store writes it into each state and refuses a state that belongs to another run. A file is the
same file if it has the same real path, if it was named by the same path (a link that was turned to
another release), or if its path relative to the state is the same: then both were moved together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from taskmaster.records import record
from taskmaster.redaction import without_password, without_passwords_in

__all__ = ["Comparison", "RunIdentity"]

GIVEN = ("arguments", "words")  # parts that somebody gives on a command line
LONGEST_PART_SHOWN = 300  # characters of one part of an identity, such as a query, in a message


@record()
class Comparison:
    """How an identity fits a state.

    Attributes:
        refusal: why the state is another run's; "" if it is not.
        remark: what a person should know although the state fits; "" for nothing.
    """

    refusal: str = ""
    remark: str = ""


@record()
class RunIdentity:
    """What is read and what is called.

    Attributes:
        what: the parts that make a run another one, such as function, arguments, callback and
            query; plain values, in the order in which messages name them.
        file: real path of the file that says what is read; "" for a module that is installed.
        given: absolute path by which the file was named, links not followed.
        code: digest of that file, to tell an edited copy from a folder that was copied.
        former: what releases before 1.0 wrote into their states for this run.
        former_is_sure: whether ``former`` means this run and no other one in this directory.
        environment: digests of the environment variables that may say on which database it works.
    """

    what: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    given: str = ""
    code: str = ""
    former: str = ""
    former_is_sure: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Leave passwords out: they must not be stored, and with another password it is the same
        run.
        """
        object.__setattr__(self, "what", _without_passwords(self.what))
        object.__setattr__(self, "former", without_password(self.former))

    @classmethod
    def named(cls, name: str) -> RunIdentity:
        """Return the identity of something that has nothing but a name."""
        return cls({"name": name}, former=name)

    def reading(self, source: str) -> RunIdentity:
        """Return the identity of a run that reads what a source says of itself."""
        return replace(self, what={**self.what, "source": source})

    def describe(self) -> str:
        """Return what this is, for a message."""
        return _described(self.file, self.what)

    @staticmethod
    def described(known: str) -> str:
        """Return for a message what ``as_text`` gave.

        Raises:
            ValueError: it is no such text.
        """
        told = _read(known)
        return _described(str(told.get("file") or ""), told["what"])

    @staticmethod
    def file_in(known: str) -> str:
        """Return the real path of the file in what ``as_text`` gave.

        Raises:
            ValueError: it is no such text.
        """
        return str(_read(known).get("file") or "")

    def as_text(self, directory: Path) -> str:
        """Return the text that is kept in a state.

        Args:
            directory: where that state is, links resolved.
        """
        beside = os.path.relpath(self.file, directory) if self.file else ""
        told = {"file": self.file, "given": self.given, "beside": beside, "code": self.code, "what": dict(self.what)}
        return json.dumps(told | {"environment": dict(self.environment)})

    def digest(self, directory: Path) -> str:
        """Return eight characters that differ where runs differ, for the name of a state.

        They stay as they are when file and directory are moved together.
        """
        path = os.path.relpath(self.given or self.file, directory) if self.file else ""
        text = json.dumps([path, dict(self.what)], sort_keys=True)
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()

    def compare(self, known: str, directory: Path) -> Comparison:
        """Compare with what a state says that it belongs to.

        Args:
            known: what ``as_text`` gave when the state was made.
            directory: where the state is now, links resolved.

        Raises:
            ValueError: it is no such text.
        """
        told = _read(known)
        file = str(told.get("file") or "")
        other = _described(file, told["what"])
        # A state of an earlier release may hold the password of that time.
        if json.loads(json.dumps(dict(self.what))) != _without_passwords(told["what"]):
            return Comparison(refusal=other)
        if self.file == file or (self.given and self.given == told.get("given")):
            return Comparison(remark=self._elsewhere(told.get("environment")))
        if not self.file or not file or os.path.relpath(self.file, directory) != told.get("beside"):
            return Comparison(refusal=other)
        if Path(file).exists() and self.code != told.get("code"):
            return Comparison(refusal=f"{other}, of which this is a copy that was changed")
        elsewhere = self._elsewhere(told.get("environment"))
        moved = f"The state was moved or copied together with its file, which was {file}."
        return Comparison(remark=f"{moved} {elsewhere}".rstrip())

    def _elsewhere(self, before: Any) -> str:
        """Say which environment variables have another value than when the state was made; "" for
        none, and for a state that does not know.
        """
        if not isinstance(before, dict):
            return ""
        names = {*before, *self.environment}
        other = sorted(str(name) for name in names if before.get(name) != self.environment.get(name))
        if not other:
            return ""
        return (
            f"The environment has another {' and another '.join(other)} than when this run was begun. If that means "
            "another database, what is settled so far was not done there: give each its own state with --state=FILE, "
            "or begin anew with --reset."
        )


def _read(known: str) -> dict[str, Any]:
    try:
        told = json.loads(known)
    except (RecursionError, TypeError):
        raise ValueError("what it says that it belongs to is not text, or nested too deeply") from None
    if not isinstance(told, dict) or not isinstance(told.get("what"), dict):
        raise ValueError("it does not say what it belongs to")  # noqa: TRY004  # the state is damaged, not the call
    return told


def _without_passwords(what: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts, without the passwords in what was given on a command line. A query is left
    alone: what it looks for makes it another one.
    """
    return {name: without_passwords_in(value) if name in GIVEN else value for name, value in what.items()}


def _described(file: str, what: Mapping[str, Any]) -> str:
    parts = [file] if file else []
    for name, value in what.items():
        if not value:
            continue
        if name in ("name", "module"):
            parts.append(str(value))
        elif name == "function":
            parts[-1:] = [f"{parts[-1] if parts else ''}:{value}"]
        elif isinstance(value, Mapping):
            parts.append("with " + " ".join(f"{key}={text}" for key, text in value.items()))
        elif isinstance(value, list):
            parts.append(" ".join(map(str, value)))
        else:
            text = str(value)
            parts.append(f"({name} {text if len(text) <= LONGEST_PART_SHOWN else text[:LONGEST_PART_SHOWN] + '...'})")
    return without_password(" ".join(parts))
