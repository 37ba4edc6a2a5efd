"""Which run a state file belongs to, as it is written into the file and compared at each start.

Releases before 1.0 wrote a name alone; it is still written, so that such a release refuses the
state of another run.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple

from taskmaster.errors import StateRefused
from taskmaster.master.records.run_identity import Comparison, RunIdentity
from taskmaster.master.stores.sqlite.file import RESTORE
from taskmaster.redaction import without_password

__all__ = ["Belonging", "write_owner"]


def write_owner(connection: sqlite3.Connection, former: str, belongs: str) -> None:
    """Write what a state belongs to.

    Args:
        connection: in a transaction.
        former: the name that releases before 1.0 compare.
        belongs: what ``RunIdentity.as_text`` gave.
    """
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('identity', ?), ('belongs', ?)", (former, belongs))


class Belonging(NamedTuple):
    """What a state says that it belongs to.

    Attributes:
        former: the name that releases before 1.0 compare; None: the file is damaged.
        belongs: what ``RunIdentity.as_text`` gave; None: a release before 1.0 made the state.
    """

    former: str | None
    belongs: str | None

    def describe(self) -> str:
        """Return what the state belongs to, for a person.

        Raises:
            ValueError: the file does not hold what was written.
        """
        if self.belongs is not None:
            return RunIdentity.described(self.belongs)
        return without_password(str(self.former or "?"))

    def is_of_file(self, file: str) -> bool:
        """Return whether it is a run of a file, whatever its arguments were.

        Args:
            file: real path.
        """
        return self.belongs is not None and RunIdentity.file_in(self.belongs) == file

    def may_be(self, identity: RunIdentity, state: Path) -> bool:
        """Return whether the state belongs to a run, or an earlier release can have made it for
        that.
        """
        if self.belongs is None:
            return without_password(str(self.former)) == identity.former
        return not identity.compare(self.belongs, state.parent).refusal

    def check(self, state: Path, identity: RunIdentity, target: str, *, adopt: bool = False) -> str:
        """Refuse the state of another run.

        Args:
            state: the state file, links resolved.
            identity: the identity of the run that wants the state.
            target: the name of that run in messages.
            adopt: whether to take the state over, whatever it belongs to.

        Returns:
            What a person should know although the state fits; "" for nothing.

        Raises:
            StateRefused: the state is another run's; names both.
            ValueError: the file does not hold what was written.
        """
        if self.former is None:
            raise StateRefused(f"The state {state} is damaged: it does not say what it belongs to. {RESTORE}")
        known = self.belongs
        found = _by_name(self.former, identity) if known is None else identity.compare(known, state.parent)
        if not found.refusal:
            return found.remark
        if adopt:
            return f"The state belonged to {found.refusal}; from now on it belongs to {identity.describe()}."
        raise StateRefused(
            f"The state {state} belongs to {found.refusal}, not to {identity.describe()} ({target}). Give this run a "
            "state of its own with --state=PATH; or, if it is the same run, and was only renamed, moved or changed, "
            "let it take this state over, once, with --adopt."
        )


def _by_name(former: str, identity: RunIdentity) -> Comparison:
    """Compare with a state that holds no more than a name."""
    if without_password(former) != identity.former:
        return Comparison(refusal=without_password(former))
    if identity.former_is_sure:
        return Comparison(remark=f"The state was made by an earlier release for {former}, and is taken over.")
    return Comparison(
        refusal=f"{without_password(former)}, a name that an earlier release gave to several runs, so that nobody can "
        "tell whose it is"
    )
