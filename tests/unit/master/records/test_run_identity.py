"""What a state belongs to: which runs it fits, and how both are named where it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taskmaster.master.records.run_identity import Comparison, RunIdentity

WHAT = {"function": "get_jobs", "arguments": {"since": "2024"}}


def made_for(file: Path, what=WHAT, code: str = "c1", given: Path | None = None) -> RunIdentity:
    """Give the identity of a run of a file."""
    return RunIdentity(what, file=str(file), given=str(given or file), code=code)


def test_a_run_fits_its_own_state(tmp_path: Path) -> None:
    """Also when the file was edited."""
    known = made_for(tmp_path / "a.py").as_text(tmp_path)

    assert made_for(tmp_path / "a.py", code="c2").compare(known, tmp_path) == Comparison()


@pytest.mark.parametrize(
    "what",
    [
        {"function": "get_orders", "arguments": {"since": "2024"}},
        {"function": "get_jobs", "arguments": {"since": "2025"}},
        {"function": "get_jobs"},
        WHAT | {"callback": "handle_order"},
        WHAT | {"source": "another query"},
        WHAT | {"words": ["orders"]},
    ],
)
def test_another_part_is_another_run(tmp_path: Path, what) -> None:
    """Function, arguments, callback, source and words each tell runs apart; the refusal names the
    other run.
    """
    known = made_for(tmp_path / "a.py").as_text(tmp_path)
    refusal = made_for(tmp_path / "a.py", what).compare(known, tmp_path).refusal

    assert refusal == f"{tmp_path}/a.py:get_jobs with since=2024"
    assert made_for(tmp_path / "a.py", what).describe() != refusal


def test_a_file_of_the_same_name_elsewhere_is_another_run(tmp_path: Path) -> None:
    """However alike the two are."""
    known = made_for(tmp_path / "service-a" / "backfill.py").as_text(tmp_path)

    assert made_for(tmp_path / "service-b" / "backfill.py").compare(known, tmp_path).refusal


def test_a_folder_that_was_moved_with_its_state_keeps_it(tmp_path: Path) -> None:
    """The file lies where it lay as seen from the state; edited meanwhile or not."""
    old, new = tmp_path / "old", tmp_path / "new"
    known = made_for(old / "a.py").as_text(old)
    found = made_for(new / "a.py", code="c2").compare(known, new)

    assert found.refusal == ""
    assert str(old / "a.py") in found.remark


def test_a_copy_that_was_changed_is_another_run(tmp_path: Path) -> None:
    """Beside the original, a copied state would leave out what only the original has done; a copy
    of the same content goes on.
    """
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "a.py").touch()
    known = made_for(old / "a.py").as_text(old)

    assert "a copy that was changed" in made_for(new / "a.py", code="c2").compare(known, new).refusal
    assert made_for(new / "a.py").compare(known, new).refusal == ""


def test_a_link_that_leads_to_another_release_keeps_the_state(tmp_path: Path) -> None:
    """The path by which the file is named is the same."""
    link = tmp_path / "current" / "a.py"
    known = made_for(tmp_path / "release1" / "a.py", given=link).as_text(tmp_path)

    assert made_for(tmp_path / "release2" / "a.py", given=link).compare(known, tmp_path).refusal == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"what": 5}', "no json"])
def test_what_was_never_written_is_an_error(tmp_path: Path, text: str) -> None:
    """The store says that the state is damaged."""
    with pytest.raises(ValueError, match=r"."):
        RunIdentity.named("a").compare(text, tmp_path)


def test_digests_differ_where_runs_differ_and_survive_a_move(tmp_path: Path) -> None:
    """They are part of the names of states, which move with the files."""
    one = made_for(tmp_path / "x" / "a.py").digest(tmp_path / "x")

    assert one == made_for(tmp_path / "y" / "a.py").digest(tmp_path / "y")
    assert one != made_for(tmp_path / "y" / "a.py").digest(tmp_path)
    assert one != made_for(tmp_path / "x" / "a.py", {"function": "other"}).digest(tmp_path / "x")


WITH_PASSWORDS = [
    {"arguments": {"dsn": "host=x password={}"}},
    {"arguments": {"dsn": "host=x PASSWORD = '{} and more' user=y"}},
    {"arguments": {"dsn": "postgresql://joe:{}@db:5432/shop?sslmode=require"}},
    {"arguments": {"url": "mysql+pymysql://joe:{}@p@db/shop"}},
    {"arguments": {"password": "{}"}},
    {"arguments": {"db_passwd": "{}"}},
    {"words": ["--pwd", "{}", "rest"]},
    {"words": ["--db-password={}", "rest"]},
    {"words": ["redis://:{}@cache/0"]},
]


def filled(value: Any, secret: str) -> Any:
    return json.loads(json.dumps(value).replace("{}", secret))


@pytest.mark.parametrize("what", WITH_PASSWORDS)
def test_no_password_is_kept_or_shown_and_a_new_one_makes_no_other_run(tmp_path: Path, what: dict) -> None:
    """Neither in the state nor in its name, by which guesses could be tried; it resumes when the
    password was changed.
    """
    one, other = (RunIdentity(filled(what, secret), file="/a.py") for secret in ("s3cret", "0ther"))
    known = one.as_text(tmp_path)

    assert "s3cret" not in one.describe() + known
    assert one.digest(tmp_path) == other.digest(tmp_path)
    assert other.compare(known, tmp_path).refusal == ""


def test_a_state_that_holds_a_password_is_taken_over(tmp_path: Path) -> None:
    """Earlier releases wrote it down; the next start writes the state's belongings without it."""
    what = {"arguments": {"dsn": "host=x password=s3cret"}}
    known = json.dumps({"file": "/a.py", "what": what})

    assert RunIdentity(what, file="/a.py").compare(known, tmp_path).refusal == ""
    assert "s3cret" not in RunIdentity.described(known)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"arguments": {"dsn": "host=x password=a"}}, {"arguments": {"dsn": "host=y password=a"}}),
        ({"arguments": {"u": "pg://joe:a@h/d"}}, {"arguments": {"u": "pg://ann:a@h/d"}}),
        ({"arguments": {"u": "pg://joe:a@h/d"}}, {"arguments": {"u": "pg://joe:a@h/e"}}),
        ({"arguments": {"u": "http://h:80/a@1"}}, {"arguments": {"u": "http://h:80/b@1"}}),
        ({"arguments": {"token": "a"}}, {"arguments": {"token": "b"}}),
        ({"words": ["--password", "a", "b"]}, {"words": ["--password", "a", "c"]}),
        ({"source": "WHERE password = 'a'"}, {"source": "WHERE password = 'b'"}),
    ],
)
def test_what_is_no_password_makes_another_run(tmp_path: Path, one: dict, other: dict) -> None:
    """No more is left out of the comparison than passwords."""
    assert RunIdentity(other, file="/a.py").compare(RunIdentity(one, file="/a.py").as_text(tmp_path), tmp_path).refusal


def test_another_environment_is_said(tmp_path: Path) -> None:
    """Each variable that has another value, came, or went; a state of old says nothing."""
    first = RunIdentity({"function": "f"}, file="/a.py", environment={"DATABASE_URL": "1", "PGHOST": "2"})
    same = RunIdentity({"function": "f"}, file="/a.py", environment=dict(first.environment))
    other = RunIdentity({"function": "f"}, file="/a.py", environment={"DATABASE_URL": "3", "PGPORT": "2"})
    former = json.loads(first.as_text(tmp_path))
    del former["environment"]
    known = first.as_text(tmp_path)

    assert same.compare(known, tmp_path) == Comparison()
    assert other.compare(json.dumps(former), tmp_path) == Comparison()

    found = other.compare(known, tmp_path)
    assert found.refusal == ""
    assert "DATABASE_URL and another PGHOST and another PGPORT" in found.remark
    assert "--reset" in found.remark
