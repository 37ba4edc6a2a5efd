"""Options as a script spells them."""

from __future__ import annotations

import pytest

from taskmaster.options.script_spelling import as_keywords


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
