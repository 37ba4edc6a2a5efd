"""Which of the connected slaves a person means. Pure."""

from __future__ import annotations

from collections.abc import Collection

from taskmaster.errors import UsageError

__all__ = ["slaves_named"]


def slaves_named(wanted: str, names: Collection[str]) -> list[str]:
    """Return the names of the slaves that are meant.

    Args:
        wanted: A slave as "host:pid", or a host, which means each slave there.
        names: The names of the connected slaves, "host:pid" each.

    Raises:
        UsageError: There is none; names those that look like it.
    """
    found = [name for name in names if wanted == name] or [
        name for name in names if wanted and wanted == name.rpartition(":")[0]
    ]
    if found:
        return found
    import difflib

    near = difflib.get_close_matches(wanted, list(names), 3, 0.3) or sorted(names)[:3]
    there = f"connected are, among others: {', '.join(near)}" if near else "no slave is connected"
    raise UsageError(f"No slave is called {wanted!r}, and none is on a host of that name; {there}.")
