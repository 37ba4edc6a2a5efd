"""What a shell says of the line that is to be completed."""

from __future__ import annotations

import pytest

from taskmaster.cli.completing import without_equals_signs


@pytest.mark.parametrize(
    ("line", "at", "words", "place"),
    [
        ("tm-run --progress = l", "3", "tm-run --progress l", "2"),
        ("tm-run --size = 5 --progress = l mod", "6", "tm-run --size 5 --progress l mod", "4"),
        ("tm-run --progress =", "2", "tm-run --progress =", "2"),
        ("tm-run --state = 'a b' m", "4", "tm-run --state 'a b' m", "3"),
        ("tm-run mod a = l", "4", "tm-run mod a = l", "4"),
        ("tm-run --pro", "1", "tm-run --pro", "1"),
    ],
)
def test_the_equals_sign_of_an_option_is_no_word(line: str, at: str, words: str, place: str) -> None:
    """Bash makes it one, so that nothing was offered for ``--progress=l``."""
    environment = {"COMP_WORDS": line, "COMP_CWORD": at}
    without_equals_signs(environment)

    assert environment == {"COMP_WORDS": words, "COMP_CWORD": place}


def test_what_no_shell_says_is_left_as_it_is() -> None:
    """Somebody may call a command with the variable of a completion alone."""
    environment = {"COMP_WORDS": "tm-run", "COMP_CWORD": "x"}
    without_equals_signs(environment)

    assert environment == {"COMP_WORDS": "tm-run", "COMP_CWORD": "x"}
