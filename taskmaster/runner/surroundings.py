"""Environment variables that say which database a module works on.

The same command with another ``DATABASE_URL`` would go on behind the last key in another database.
Nobody can tell for what a variable is used, so that this is no part of a run's identity; but that
one of them has changed is said.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b

from taskmaster.redaction import without_password

__all__ = ["surroundings"]

_DATABASE_VARIABLES = re.compile(
    r"(.*_)?(DATABASE|DB|POSTGRES|POSTGRESQL|MYSQL|MONGO|MONGODB|REDIS)_?(URL|URI|DSN|HOST|PORT|NAME|DB|DATABASE)?"
    r"|(.*_)?(DSN|SCHEMA)"
    r"|PG(HOST|HOSTADDR|PORT|DATABASE|SERVICE|OPTIONS)"
    r"|DJANGO_(SETTINGS_MODULE|CONFIGURATION)|AWS_(PROFILE|REGION|ENDPOINT_URL)|ENVIRONMENT|APP_ENV"
)


def surroundings() -> dict[str, str]:
    """Return the variables of that kind, with a digest of each value, in which no password has a
    part.
    """
    return {
        name: blake2b(without_password(value).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        for name, value in sorted(os.environ.items())
        if _DATABASE_VARIABLES.fullmatch(name)
    }
