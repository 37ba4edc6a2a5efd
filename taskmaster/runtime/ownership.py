"""Who owns a file, and who may write to it.

What another user may write is not used where it decides what this process does, or where it would
take what this process writes. Root counts as trusted, as everywhere.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress

__all__ = ["OTHERS_WRITE", "for_its_owner", "is_group_of_container", "is_trusted", "others_write", "user"]

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OWNER_USES = 0o600


def user(number: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return f"user {number}"


def is_trusted(owner: int) -> bool:
    """Return whether a user may decide what this process does: itself and root."""
    return owner in (0, os.geteuid())


def others_write(about: os.stat_result) -> bool:
    """Return whether other users can write to a file or directory."""
    return bool(about.st_mode & stat.S_IWOTH) or bool(about.st_mode & stat.S_IWGRP and not _is_own_group(about.st_gid))


def for_its_owner(descriptor: int) -> int:
    """Let the owner read and write a file that was just made, and return its descriptor. A umask
    such as 0777 takes that away, and who makes the file could not open it again.
    """
    if os.fstat(descriptor).st_mode & OWNER_USES != OWNER_USES:
        os.fchmod(descriptor, OWNER_USES)
    return descriptor


def _is_own_group(number: int) -> bool:
    """Return whether a group is the user's own alone; many systems give each user one, which may
    write.
    """
    try:
        group, me = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return is_group_of_container(number)
    return number == me.pw_gid and group.gr_name == me.pw_name and set(group.gr_mem) <= {me.pw_name}


def is_group_of_container(number: int) -> bool:
    """Return whether a group has the number of the user, and neither has a name, as in a container.

    There, Kubernetes gives all files of a volume to the group (``fsGroup``), with the right to
    write, each time that it is mounted: a state would be refused in the second pod.
    """
    if number != os.geteuid():
        return False
    for look_up in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            look_up(number)
            return False
    return True
