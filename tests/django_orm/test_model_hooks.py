"""What a script has changed of the models' signals and of fields that set themselves is noticed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models
from django.db.models.signals import post_save, pre_delete
from support.library.models import Author, Post

from taskmaster.django_orm.model_hooks import changed_hooks, hooks

STAMP: Any = type(
    "Stamp",
    (models.Model,),
    {
        "__module__": __name__,
        "at": models.DateTimeField(auto_now=True),
        "born": models.DateField(auto_now_add=True),
        "Meta": type("Meta", (), {"app_label": "library"}),
    },
)


def mail(**_: Any) -> None:
    """A receiver."""


class Index:
    """It has another one."""

    def add(self, **_: Any) -> None:
        """Another receiver."""


INDEX = Index()


@pytest.fixture(autouse=True)
def connected() -> Iterator[None]:
    """Connect both, as modules of a project do."""
    post_save.connect(mail, sender=Author)
    pre_delete.connect(INDEX.add)
    yield
    post_save.disconnect(mail, sender=Author)
    pre_delete.disconnect(INDEX.add)


def test_the_same_project_has_the_same_hooks() -> None:
    """In every process; Django's own receivers are not listed."""
    found = hooks()
    assert ("post_save", "library.Author", f"{__name__}:mail") in found["receivers"]
    assert ("pre_delete", "every model", f"{__name__}:Index.add") in found["receivers"]
    assert not [one for one in found["receivers"] if one[2].startswith("django.")]
    assert {"library.Stamp.at", "library.Stamp.born"} <= set(found["fields"])
    assert changed_hooks(found, hooks()) == ""


@pytest.mark.parametrize(
    "undo", [lambda: post_save.disconnect(mail, sender=Author), lambda: pre_delete.disconnect(INDEX.add)]
)
def test_what_a_script_has_disconnected(undo: Any) -> None:
    """Workers would call it."""
    worker = hooks()
    undo()
    said = changed_hooks(hooks(), worker)
    assert said.startswith("The script has disconnected ")
    assert "which would be called in workers. Workers import the callback" in said


def test_what_a_script_has_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker would call it; of a module that only the script has loaded, nothing is known."""
    worker = hooks()
    post_save.connect(mail, sender=Post)
    try:
        script = hooks()
    finally:
        post_save.disconnect(mail, sender=Post)
    assert f"has connected {__name__}:mail to post_save of library.Post, which no worker" in changed_hooks(
        script, worker
    )
    monkeypatch.delitem(sys.modules, __name__)
    assert changed_hooks(script, worker) == ""


@pytest.mark.parametrize(("name", "attribute"), [("at", "auto_now"), ("born", "auto_now_add")])
def test_a_field_that_no_longer_sets_itself(monkeypatch: pytest.MonkeyPatch, name: str, attribute: str) -> None:
    """In a worker it would."""
    worker = hooks()
    monkeypatch.setattr(STAMP._meta.get_field(name), attribute, False)
    assert f"auto_now or auto_now_add of library.Stamp.{name}, which would set itself" in changed_hooks(hooks(), worker)


def test_another_machine_may_have_another_version() -> None:
    """Of versions that differ, the slave is told otherwise."""
    script = {**hooks(), "host": "elsewhere", "receivers": [], "fields": []}
    assert changed_hooks(script, hooks()) == ""
