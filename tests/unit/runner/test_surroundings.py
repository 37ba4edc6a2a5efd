"""Environment variables that say on which database a run works."""

from __future__ import annotations

import os

import pytest

from taskmaster.runner.surroundings import surroundings


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "name",
    ["DATABASE_URL", "SHOP_DATABASE_URL", "PGDATABASE", "PGHOST", "DB_NAME", "DJANGO_SETTINGS_MODULE", "MONGO_URI",
     "SENTRY_DSN", "APP_ENV", "REPORTS_DSN", "MYSQL_HOST"],
)  # fmt: skip
def test_another_value_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without the value itself being kept."""
    found = []
    for value in ("one", "two"):
        monkeypatch.setenv(name, value)
        found.append(surroundings())

    assert found[0].keys() == found[1].keys() == {name}
    assert found[0] != found[1]
    assert "one" not in str(found)


def test_another_password_is_the_same_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may change every day."""
    found = []
    for password in ("geheim", "other"):
        monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{password}@h/d")
        found.append(surroundings())

    assert found[0] == found[1]


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "PGPASSWORD", "TASKMASTER_KEY", "TERM", "SSH_AUTH_SOCK", "HOST", "PORT"]
)
def test_what_says_nothing_of_a_database_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A warning at each resume would be read by nobody."""
    monkeypatch.setenv(name, "x")

    assert surroundings() == {}
