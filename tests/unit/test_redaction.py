"""What may come before a person's eyes: texts from elsewhere are cleaned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.redaction import clean, clean_lines, clean_message, without_password

HOSTILE = "n\x1b]0;PWN\x07\x1b[31m\nFAKE LINE: all is well\r\u202e\x9b2J\ud800\u2028\x85\0\x7f"


@given(st.text(st.characters()))
def test_what_is_cleaned_moves_no_cursor(text: str) -> None:
    """Nothing is left that is not shown as it is."""
    for cleaned in (clean(text), *clean_lines(text).split("\n")):
        assert all(char.isprintable() or char.isspace() for char in cleaned)
        assert not set(cleaned) & set("\n\r\t\x0b\x0c\x1b\x9b\x85\u2028\u2029\u202e\x7f\0")


@pytest.mark.parametrize("text", ["plain", "Grüße, 世界, \U0001f600", "1\u00a0000 \u202f%", ""])
def test_what_can_be_shown_stays(text: str) -> None:
    """Also spaces that do not break."""
    assert clean(text) == clean_lines(text) == clean_message(text) == text


def test_a_text_can_be_written_to_any_stream_that_shows_unicode() -> None:
    """Lone surrogates are gone."""
    assert clean(HOSTILE).encode()


def test_no_line_of_a_message_looks_like_another_message() -> None:
    """All but the first are indented."""
    lines = clean_message(f"tm-run: lost the slave {HOSTILE}").split("\n")

    assert [line.startswith("    ") for line in lines[1:]] == [True] * (len(lines) - 1)
    assert clean_message("Traceback:\n  in f\nValueError\n") == "Traceback:\n      in f\n    ValueError"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@h/b?sslmode=require", "postgresql://me:***@h/b?sslmode=require"),
        ("postgres://me:sec@ret@h/b", "postgres://me:***@h/b"),
        ("postgres://me:sec ret@h/b", "postgres://me:***@h/b"),
        ("postgresql://h/b?user=me&password=secret&port=1", "postgresql://h/b?user=me&password=***&port=1"),
        ("host=h password=secret dbname=b", "host=h password=*** dbname=b"),
        ("host=h password = 'sec ret\\' x' dbname=b", "host=h password = *** dbname=b"),
        (r"host=h password=sec\ ret dbname=b", "host=h password=*** dbname=b"),
        ("--guard=locks_waiting=0@postgresql://me:secret@h/b", "--guard=locks_waiting=0@postgresql://me:***@h/b"),
        ("--host=tcp://127.0.0.1:5050", "--host=tcp://127.0.0.1:5050"),
        ("postgresql://me@h/b", "postgresql://me@h/b"),
    ],
)
def test_passwords_are_hidden_wherever_a_dsn_is_shown(text: str, shown: str) -> None:
    """And nothing else."""
    assert without_password(text) == shown


@pytest.mark.parametrize("dsn", ["postgresql://me:s%40crt@h/b", "password='s@crt' host=h", "password=s@crt"])
def test_a_password_is_hidden_in_what_others_say_of_it(dsn: str) -> None:
    """As it stands in the DSN, and as it is meant."""
    assert "crt" not in without_password("role s@crt and s%40crt", dsn)
