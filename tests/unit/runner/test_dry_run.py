"""Looking at the first jobs of a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskmaster.errors import KeyUnstorable, SourceError, StateRefused, UsageError
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.model import Job
from taskmaster.runner.dry_run import preview, resume_point


class Odd:
    def __repr__(self) -> str:
        return "two\nlines\x1b[31m"


@pytest.fixture
def look(capsys):
    """Preview a source; gives what is on standard output and on standard error."""

    def call(jobs: Any, count: int = 10) -> tuple[str, str]:
        assert preview(Source(jobs), JobIdentity(), count, "STATE").exit_code == 0
        said = capsys.readouterr()
        return said.out, said.err

    return call


def test_jobs_come_with_their_keys_one_a_line(look):
    """Whatever their repr does to a terminal, and however long it is."""
    out, err = look([Job((1, "a"), Odd()), Job("k", "x" * 10_000)])
    lines = out.split("\n")

    assert lines[0] == "(1, 'a')\ttwo lines?[31m"
    assert lines[1].startswith("'k'\t'xxx")
    assert len(lines[1]) < 250
    assert lines[2:] == [""]
    assert "there are no more" in err


def test_no_more_is_read_than_is_shown(look):
    """And the generator is closed."""
    closed = []

    def get_jobs(last: int = 0) -> Iterator[int]:
        try:
            yield from (1, 2)
            raise AssertionError("read too far")
        finally:
            closed.append(True)

    out, err = look(get_jobs, 2)

    assert out == "1\t1\n2\t2\n"
    assert closed == [True]
    assert "no more" not in err


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([1, 2, 3], "Their keys are distinct."),
        ([Job(1, "a"), Job(1, "b"), Job(2, "c")], "They have 2 different keys"),
        ([1, 2, 1], "The key 1 comes back after other keys"),
        ([], "yielded no job"),
        ([1], "the first job of"),
        ([1], "takes no `last`"),
        (lambda last=0: [1], "can go on after a key"),
        ([1], "STATE"),
    ],
)
def test_what_there_is_to_say_is_said(look, jobs, said):
    """On standard error, in a sentence."""
    assert said in look(jobs)[1]


def test_what_was_seen_before_an_error_is_shown(capsys):
    """The user's traceback begins with a line of the user's."""

    def get_jobs() -> Iterator[int]:
        yield 1
        raise LookupError("gone")

    with pytest.raises(SourceError, match="raised LookupError after 1 job") as error:
        preview(Source(get_jobs), JobIdentity(), 5, "")
    assert "LookupError: gone" in str(error.value.user_traceback)
    assert capsys.readouterr().out == "1\t1\n"


@pytest.mark.parametrize("jobs", [[object()], [Job(object(), 1)], [Job(1, lambda: 0)], [{"id": {1, 2}}]])
def test_a_job_that_could_not_be_run_is_refused(jobs):
    """For its key or for its payload."""
    with pytest.raises(UsageError):
        preview(Source(jobs), JobIdentity(), 5, "")


def test_a_job_key_that_raises_is_shown_with_its_traceback():
    """It is the user's."""

    def job_key(job: Any) -> Any:
        return job["number"]

    with pytest.raises(UsageError, match="KeyError") as error:
        preview(Source([{}]), JobIdentity(job_key), 5, "")
    assert not isinstance(error.value, KeyUnstorable)
    assert 'job["number"]' in str(error.value.user_traceback)


def test_without_a_state_a_run_begins_at_the_first_job(tmp_path):
    """Nothing is made where there is nothing."""
    said = resume_point(tmp_path / "no.tmstate", "x", "x")

    assert "begin at the first job" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        (None, "holds no settled job"),
        (Checkpoint(mark="7", settled=8), "resume at key 7 (8 jobs settled so far)"),
        (Checkpoint(mark=None, settled=1), "resume at the beginning"),
        (Checkpoint(mark="7", settled=8, finished=True), "has finished, with 8 jobs settled"),
    ],
)
def test_a_state_is_read_and_not_touched(tmp_path, checkpoint, said):
    """While a master holds it as well as afterwards."""
    path = tmp_path / "x.tmstate"
    store = SqliteStore.open(path, RunIdentity.named("x"), "x")
    if checkpoint is not None:
        store.write(checkpoint)
    during = {file: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith("-shm")}

    assert said in resume_point(path, RunIdentity.named("x"), "x")
    assert {file: file.read_bytes() for file in during} == during

    store.close()
    content = path.read_bytes()

    assert said in resume_point(path, RunIdentity.named("x"), "x")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == content


def test_a_state_without_a_directory_is_refused_as_the_run_would_be(tmp_path):
    """A dry run said that a run would begin at the first job, and ended with 0."""
    with pytest.raises(StateRefused, match=r"There is no directory .*none for the state"):
        resume_point(tmp_path / "none" / "x.tmstate", RunIdentity.named("x"), "x")
