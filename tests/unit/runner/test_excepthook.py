"""Options as a script spells them."""

from __future__ import annotations

import sys

import pytest

from taskmaster.errors import CallError, SourceError, UsageError
from taskmaster.runner.excepthook import as_keywords, for_scripts, say_error


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("--limit is 0: give 1 or more.", "limit= is 0: give 1 or more."),
        ("begin anew with --reset or --state=PATH.", "begin anew with reset=True or state=PATH."),
        ("choose another port with --host=127.0.0.1:5051.", "choose another port with host='127.0.0.1:5051'."),
        ("give --host=HOST:PORT, as in --host=[::1]:5050.", "give host=HOST:PORT, as in host='[::1]:5050'."),
        ("--guard='a=5s@host=x dbname=y' or --guard=b", "guard=['a=5s@host=x dbname=y'] or guard=['b']"),
        ("--limit (limit= in a script) stops", "limit= stops"),
        ("(--state-timeout): why", "(state_timeout=): why"),
        ("--batch=5, no more", "batch=5, no more"),
        # What is for a terminal, and what is no option of a script.
        ("with: tm-ctl restore 7 --state x.tmstate", "with: tm-ctl restore 7 --state x.tmstate"),
        ("`tm-slave x --host=y` and --reset", "`tm-slave x --host=y` and reset=True"),
        ("esume it with: python x.py --reset", "esume it with: python x.py --reset"),
        ("--django-settings, --wait and --unknown", "--django-settings, --wait and --unknown"),
        ("a--reset", "a--reset"),
    ],
)
def test_options_are_spelled_as_keywords(text, spelled):
    """In whatever sentence; a command that is quoted stays one."""
    assert as_keywords(text) == spelled


def test_an_error_stays_what_it_is(monkeypatch):
    """With its class, its exit code and the user's traceback; a larger program can catch it."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(SourceError, match=r"^Raise span=\.$") as caught, for_scripts(debug=False):
        raise SourceError("Raise --span.", user_traceback="theirs")

    assert (caught.value.exit_code, caught.value.user_traceback) == (1, "theirs")


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


@pytest.mark.parametrize(("debug", "own"), [(False, []), (True, ["taskmaster.errors.SourceError: it broke"])])
def test_ours_is_shown_with_debug_alone(capsys, debug, own):
    """The user's traceback always, and the message at the end."""
    say_error("x", SourceError("it broke", user_traceback="theirs\n"), debug=debug)

    assert capsys.readouterr().err.splitlines() == ["theirs", *own, "x: it broke"]
