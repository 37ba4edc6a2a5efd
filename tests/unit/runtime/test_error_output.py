"""How an error is shown."""

from __future__ import annotations

import pytest

from taskmaster.errors import SourceError
from taskmaster.runtime.error_output import say_error


@pytest.mark.parametrize(("debug", "own"), [(False, []), (True, ["taskmaster.errors.SourceError: it broke"])])
def test_ours_is_shown_with_debug_alone(capsys, debug, own):
    """The user's traceback always, and the message at the end."""
    say_error("x", SourceError("it broke", user_traceback="theirs\n"), debug=debug)

    assert capsys.readouterr().err.splitlines() == ["theirs", *own, "x: it broke"]
