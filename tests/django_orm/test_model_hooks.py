"""What a script has changed of the models' signals and of fields that set themselves is noticed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models
from django.db.models.signals import post_save, pre_delete
from support.library.models import Author, Post

from taskmaster.django_orm import integration
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
    assert changed_hooks(found, hooks(), hooks()) == ""


@pytest.mark.parametrize(
    "undo", [lambda: post_save.disconnect(mail, sender=Author), lambda: pre_delete.disconnect(INDEX.add)]
)
def test_what_a_script_has_disconnected(undo: Any) -> None:
    """Workers would call it."""
    worker = hooks()
    undo()
    said = changed_hooks(hooks(), worker, worker)
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
        script, worker, worker
    )
    monkeypatch.delitem(sys.modules, __name__)
    assert changed_hooks(script, worker, worker) == ""


@pytest.mark.parametrize(("name", "attribute"), [("at", "auto_now"), ("born", "auto_now_add")])
def test_a_field_that_no_longer_sets_itself(monkeypatch: pytest.MonkeyPatch, name: str, attribute: str) -> None:
    """In a worker it would."""
    worker = hooks()
    monkeypatch.setattr(STAMP._meta.get_field(name), attribute, False)
    assert f"auto_now or auto_now_add of library.Stamp.{name}, which would set itself" in changed_hooks(
        hooks(), worker, worker
    )


def test_another_machine_may_have_another_version() -> None:
    """Of versions that differ, the slave is told otherwise."""
    script = {**hooks(), "host": "elsewhere", "receivers": [], "fields": []}
    assert changed_hooks(script, hooks(), hooks()) == ""


def test_what_a_worker_has_added_itself_was_switched_off_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """As setup() does, or a module that a job imports; and setup() may take something back."""
    script = hooks()
    post_save.connect(mail, sender=Post)
    try:
        assert changed_hooks(script, hooks(), script) == ""
        monkeypatch.setattr(integration, "_hooks_at_first", script)
        masters = {**(integration.project_facts() or {}), "script": script}
        assert integration.other_project(masters) == ""
        integration.note_hooks()
        assert "has disconnected" in integration.other_project(masters)
        at_first = hooks()
    finally:
        post_save.disconnect(mail, sender=Post)
    assert changed_hooks(script, hooks(), at_first) == ""


def test_a_receiver_that_has_no_name_is_not_called() -> None:
    """An object, or a function with some arguments filled in: only a reference is asked for what
    it leads to.
    """
    called: list[Any] = []

    class Receiver:
        def __call__(self, *_: Any, **named: Any) -> None:
            called.append(named)

    receivers = [Receiver(), functools.partial(called.append)]
    for one in receivers:
        post_save.connect(one, sender=Post, weak=False)
    try:
        assert changed_hooks(hooks(), hooks(), hooks()) == ""
    finally:
        for one in receivers:
            post_save.disconnect(one, sender=Post)
    assert called == []
