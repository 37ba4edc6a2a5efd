"""A project in this process, whose database is a new one for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.conf import settings
from django.db import connections
from support.django_projects import database_of

settings.configure(
    INSTALLED_APPS=["support.library"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Give a function that makes Django use a database, and makes the tables of models in it."""

    def change(database: dict[str, Any], *models: Any) -> None:
        connections["default"].close()
        # As at the first use of the project, with what the settings leave out.
        whole = connections.configure_settings({"default": database})["default"]
        monkeypatch.setitem(connections.settings, "default", whole)
        del connections["default"]
        with connections["default"].schema_editor() as editor:
            for model in models:
                editor.create_model(model)

    before = connections["default"]
    yield change
    connections["default"].close()
    connections["default"] = before


@pytest.fixture
def also() -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    """Give a function that makes Django know another database too, under a name, and gives its
    connection.
    """
    names = []

    def add(name: str, database: dict[str, Any]) -> Any:
        connections.settings[name] = connections.configure_settings({"default": {}, name: database})[name]
        names.append(name)
        return connections[name]

    yield add
    for name in names:
        connections[name].close()
        del connections[name]
        del connections.settings[name]


@pytest.fixture(params=["postgresql", "sqlite"])
def tables(request: pytest.FixtureRequest, use: Callable[..., None]) -> str:
    """Make all tables, on PostgreSQL and on SQLite; gives which of them it is."""
    from support.library.models import Author, Parcel, Post, Profile, Review, Seat

    models = (Author, Post, Seat, Parcel, Review, Profile)

    if request.param == "sqlite":
        path = request.getfixturevalue("tmp_path") / "library.sqlite"
        use({"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}, *models)
    else:
        use(database_of(request.getfixturevalue("database")), *models)
    return str(request.param)
