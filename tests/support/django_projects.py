"""What the tests of querysets share."""

from __future__ import annotations

from typing import Any

import psycopg2

from taskmaster import keys


def database_of(dsn: str) -> dict[str, Any]:
    """Django's settings for a database, as a DSN says where it is."""
    parts = psycopg2.extensions.parse_dsn(dsn)
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    found = {names[key]: value for key, value in parts.items() if key in names}
    return {"ENGINE": "django.db.backends.postgresql", **found}


def environment_of(dsn: str) -> dict[str, str]:
    """The same for libpq's variables."""
    parts = psycopg2.extensions.parse_dsn(dsn)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    return {names[key]: str(value) for key, value in parts.items() if key in names}


def key_of(source: Any, job: Any) -> Any:
    """A job's key, as the state gives it back."""
    return keys.decode(keys.check(source.job_key(job)))
