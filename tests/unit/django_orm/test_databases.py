"""Whether two processes have the same settings and databases, and whether a new process would."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from django.conf import LazySettings, Settings
from django.db.utils import ConnectionHandler
from django.test.utils import override_settings, setup_test_environment, teardown_test_environment

from taskmaster.django_orm import databases
from taskmaster.django_orm.databases import changed_settings, difference, facts

POSTGRES = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "u", "PASSWORD": "secret", "HOST": "db"}


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Let Django have the settings of a module; gives that."""
    module = types.ModuleType("shop_settings")
    module.DATABASES = {"default": dict(POSTGRES)}
    module.MEDIA_URL = "media/"
    module.DEBUG = True
    monkeypatch.setitem(sys.modules, "shop_settings", module)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop_settings")
    lazy = LazySettings()
    lazy._wrapped = Settings("shop_settings")
    monkeypatch.setattr("django.conf.settings._wrapped", lazy._wrapped)
    monkeypatch.setattr(databases, "connections", ConnectionHandler(module.DATABASES))
    return module


def test_facts_have_no_password(project: Any) -> None:
    """Engine, name, server and what says which rows there are."""
    project.DATABASES["default"] |= {"PORT": 5433, "OPTIONS": {"options": "-c search_path=t1", "password": "secret"}}
    project.DATABASES["other"] = {"ENGINE": "django.db.backends.mysql", "NAME": "m"}

    assert facts() == {
        "settings": "shop_settings",
        "databases": {"default": "postgresql shop at db:5433 options=-c search_path=t1", "other": "mysql m"},
    }


def test_what_libpq_takes_from_the_environment_counts(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the settings are silent."""
    project.DATABASES["default"] = {"ENGINE": "django.db.backends.postgresql"}
    monkeypatch.setenv("PGHOST", "10.0.0.7")
    monkeypatch.setenv("PGDATABASE", "d")
    monkeypatch.setenv("PGSERVICE", "s")

    assert facts()["databases"] == {"default": "postgresql d at 10.0.0.7 service=s"}


def test_settings_that_cannot_be_used_are_nobody_s(project: Any) -> None:
    """Whatever asks for a connection is told what is wrong with them."""
    project.DATABASES.clear()
    project.DATABASES["other"] = {}

    assert facts() is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"NAME": "test_shop"}, "'default' is postgresql test_shop at db in here, and postgresql shop at db in there"),
        ({"HOST": "db2"}, "postgresql shop at db2"),
        ({"PORT": "6432"}, "at db:6432"),
        ({"ENGINE": "django.db.backends.mysql"}, "mysql shop"),
        ({"USER": "somebody else", "PASSWORD": "x", "CONN_MAX_AGE": 5}, ""),
        ({"OPTIONS": {"service": "s"}}, "service=s"),
    ],
)
def test_a_difference_is_said(project: Any, change: dict[str, Any], expected: str) -> None:
    """With what is used here and there; users and ages of connections may differ."""
    there = facts()
    project.DATABASES["default"].update(change)
    found = difference(there, facts(), theirs="there", ours="here")

    assert bool(found) is bool(expected)
    assert expected in found
    assert "secret" not in found


def test_another_module_and_an_alias_more_are_differences(project: Any) -> None:
    """What is not there could be asked for."""
    there = facts()
    assert "settings are shop_settings in here, and a.b in there" in difference(
        {**there, "settings": "a.b"}, there, theirs="there", ours="here"
    )
    assert "'more' is not there in here, and sqlite3 /x in there" in difference(
        {**there, "databases": {**there["databases"], "more": "sqlite3 /x"}}, there, theirs="there", ours="here"
    )


def test_settings_as_the_module_has_them_are_not_changed(project: Any) -> None:
    """Nor by what Django makes of them, or by a test's database that is not there."""
    from django.conf import settings

    assert settings.MEDIA_URL == "/media/"
    assert changed_settings() == ""


def test_changed_settings_are_noticed(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overridden, assigned, of a test, or of another module than the environment names."""
    from django.conf import settings

    with override_settings(DEBUG=False):
        assert "override_settings" in changed_settings()
    setup_test_environment()
    try:
        assert changed_settings() == "are those of a test"
    finally:
        teardown_test_environment()
    assert changed_settings() == ""
    monkeypatch.setattr(settings, "DEBUG", False)
    assert changed_settings() == "were changed by an assignment to settings.DEBUG"
    monkeypatch.undo()


@pytest.mark.parametrize("said", [None, "other.settings"])
def test_settings_that_the_environment_does_not_name_are_noticed(
    project: Any, monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    """A new process would have none, or others."""
    if said is None:
        monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    else:
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", said)

    assert changed_settings() == "are shop_settings, which DJANGO_SETTINGS_MODULE does not say"
