"""What the system says of processes."""

from __future__ import annotations

from pathlib import Path

from support.commands import children_of

__all__ = ["zombies_of"]


def zombies_of(first: int) -> list[int]:
    """Children whose end was not taken note of."""
    found = []
    for child in children_of(first):
        try:
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                found.append(child)
        except OSError:
            continue
    return found
