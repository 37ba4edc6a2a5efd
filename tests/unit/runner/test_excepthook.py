"""What becomes of an error that a script does not catch."""

from __future__ import annotations

import sys

import pytest

from taskmaster.errors import CallError, SourceError, UsageError
from taskmaster.runner.excepthook import for_scripts


def test_an_error_stays_what_it_is(monkeypatch):
    """With its class, its exit code and the user's traceback; a larger program can catch it."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(SourceError, match=r"^Raise span=\.$") as caught, for_scripts(debug=False):
        raise SourceError("Raise --span.", user_traceback="theirs")

    assert (caught.value.exit_code, caught.value.user_traceback) == (1, "theirs")


def test_a_notebook_shows_no_traceback_of_ours(monkeypatch):
    """IPython asks the exception itself for what it shows: the user's lines, and the sentence."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(SourceError) as caught, for_scripts(debug=False):
        raise SourceError("Raise --span.", user_traceback="theirs\n")
    with pytest.raises(SourceError) as debugged, for_scripts(debug=True):
        raise SourceError("Raise --span.")

    assert caught.value._render_traceback_() == ["theirs", "taskmaster: Raise span=."]
    assert not hasattr(debugged.value, "_render_traceback_")


def test_a_wrong_call_is_a_type_error_too():
    """As Python's own for an argument that there is not."""
    error = CallError("no such option")

    assert isinstance(error, TypeError)
    assert isinstance(error, UsageError)
    assert error.exit_code == 2


def test_somebody_who_types_stays(monkeypatch, capsys):
    """At Python's prompt the line is all: it is not ended."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(UsageError), for_scripts(debug=False):
        raise UsageError("--limit is 0.")
    hook, error = sys.excepthook, UsageError("limit= is 0.")
    with pytest.raises(SystemExit) as ended:
        hook(UsageError, error, None)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    hook(UsageError, error, None)

    assert ended.value.code == 2
    assert capsys.readouterr().err == 2 * "taskmaster: limit= is 0.\n"
