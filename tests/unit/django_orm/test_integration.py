"""Where the core makes room for Django: only where there is some, and with the cure where it is
missing.
"""

from __future__ import annotations

import logging
import re
import sys
import types

import pytest
from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured

from taskmaster.django_orm import integration
from taskmaster.errors import TargetError
from taskmaster.options.commands import MasterOptions
from taskmaster.options.keywords import from_keywords
from taskmaster.user_code import target


def test_settings_without_django_are_explained(monkeypatch, module_file):
    """With the interpreter that lacks it."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings")
    for name in [name for name in sys.modules if name.partition(".")[0] == "django"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "django", None)

    with pytest.raises(TargetError, match=f"Django is not installed for {sys.executable}"):
        target.load(target.parse(str(module_file("def get_jobs(): ..."))))


UNSET = "Requested setting INSTALLED_APPS, but settings are not configured. You must define DJANGO_SETTINGS_MODULE."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImproperlyConfigured(UNSET), "settings are not known: name them with --django-settings=shop.settings"),
        (
            AppRegistryNotReady("Apps aren't loaded yet."),
            "before the project is set up.*--django-settings=shop.settings",
        ),
        (ImproperlyConfigured("The SECRET_KEY setting must not be empty."), None),
        (ValueError("DJANGO_SETTINGS_MODULE"), None),
    ],
)
def test_a_target_that_wants_settings_is_told_the_option(monkeypatch, module_file, error, said):
    """With the settings that are nearby; other errors are no lack of settings."""
    module_file("", "shop/settings.py")
    monkeypatch.chdir(module_file("").parent)

    found = integration.explanation(error)

    assert bool(found) is bool(said)
    assert re.search(said or "^$", found)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImproperlyConfigured("The SECRET_KEY setting must not be empty."), True),
        (RuntimeError("Model class shop.Cart isn't in an application in INSTALLED_APPS."), True),
        (ZeroDivisionError(), False),
    ],
)
def test_an_error_that_may_come_from_the_settings_names_them(monkeypatch, error, said):
    """They may be others than one believes; of errors that have nothing to do with them, they are
    not said.
    """
    assert integration.settings_of(error) == ""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")

    assert ("settings are shop.settings (--django-settings, or DJANGO" in integration.settings_of(error)) is said


def test_a_script_sets_its_project_up_itself():
    """The option is one of the commands: a script has imported its models by then."""
    with pytest.raises(TypeError, match=r"django_settings is an option of the commands alone.*django.setup\(\)"):
        from_keywords(MasterOptions, {"django_settings": "config.settings"})


def test_a_project_s_logging_leaves_ours_on():
    """DictConfig switches off all loggers that there are, unless it is told not to."""
    from taskmaster.django_orm.project import _keep_our_logging

    ours, other = logging.getLogger("taskmaster.somewhere"), logging.getLogger("taskmasters")
    ours.disabled = other.disabled = True
    _keep_our_logging()
    other_disabled, other.disabled = other.disabled, False

    assert (ours.disabled, other_disabled) == (False, True)


def test_a_library_that_imports_django_needs_no_project(monkeypatch):
    """Where no settings are set up there are no connections, and looking after them is nothing."""
    conf = types.SimpleNamespace(settings=types.SimpleNamespace(configured=False))
    monkeypatch.setitem(sys.modules, "django.db", types.ModuleType("django.db"))
    monkeypatch.setitem(sys.modules, "django.conf", conf)

    integration.refresh_connections()
    integration.close_connections()
    integration.close_before_fork()
    integration.drop_after_fork()
    assert integration.failing_if_open(lambda job: job + 1)(1) == 2
