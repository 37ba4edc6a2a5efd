"""The key of the environment, once it was taken."""

from __future__ import annotations

import os

import pytest

from taskmaster.runner import control


def test_a_forked_child_has_no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers never see it."""
    monkeypatch.setattr(control.client, "connect", lambda *_: None)
    monkeypatch.setenv("TASKMASTER_KEY", "secret")
    control.connect("127.0.0.1:5050", None, None)
    child = os.fork()
    if not child:
        os._exit(len(control._of_environment))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert control._of_environment == ["secret"]
    control._of_environment.clear()
