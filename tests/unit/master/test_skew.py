"""Slaves that are not alike: what is logged, what they are told, and who is refused."""

from __future__ import annotations

import logging
import platform

import pytest
import support.master

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.skew import Skew
from taskmaster.model import PROTOCOL


class Master:
    """A service whose slaves say hello."""

    def __init__(self, skew: Skew) -> None:
        self.broker = Broker("i", Limits())
        self.now = 0.0
        self.service = support.master.Master(self.broker, skew=skew, clock=lambda: self.now).service

    def hello(self, name, **about):
        info = {"protocol": PROTOCOL, "session": name, "name": name, "workers": 1, "slots": 1, **about}
        return self.service.hello({key: value for key, value in info.items() if value is not None})


@pytest.fixture
def master(caplog):
    caplog.set_level(logging.WARNING)
    return lambda **skew: Master(Skew(**skew))


def test_slaves_with_the_same_code_hear_nothing(master, caplog):
    """Nor does the log."""
    slaves = master()

    assert [slaves.hello(name, code="c1")["warn"] for name in ("a", "b", "a")] == ["", "", ""]
    assert caplog.records == []


def test_another_code_is_warned_of_on_both_sides(master, caplog):
    """With the names of both slaves; the log has it once, the slave is told whenever it says
    hello.
    """
    slaves = master()
    slaves.hello("a", code="c1")

    assert "the slave a has" in slaves.hello("b", code="c2")["warn"]
    assert "the slave a has" in slaves.hello("b", code="c2")["warn"]
    assert [record.getMessage()[:20] for record in caplog.records] == ["the slave b and the "]


@pytest.mark.parametrize("code", [None, "", 5, b"c2", ["c2"]])
def test_a_slave_that_does_not_tell_its_code_is_let_in(master, caplog, code):
    """It may be older, or its callback may have no file."""
    slaves = master()
    slaves.hello("a", code="c1")

    assert slaves.hello("b", code=code)["ok"]
    assert caplog.records == []


@pytest.mark.parametrize("code", ["c2", "", None])
def test_strict_code_refuses_the_newcomer(master, code):
    """With a sentence that names the other slave and the cure; also where the code is not known."""
    slaves = master(strict=True)

    assert slaves.hello("a", code="c1")["ok"]
    refused = slaves.hello("b", code=code)
    assert not refused["ok"]
    for part in ("the slave a has", "--strict-code", "Copy the same file"):
        assert part in refused["why"]
    assert len(slaves.broker.slaves) == 1
    assert slaves.hello("c", code="c1")["ok"]


def test_strict_code_lets_all_in_that_do_not_tell(master):
    """A module without a file is the same everywhere, as far as one can see."""
    slaves = master(strict=True)

    assert slaves.hello("a")["ok"]
    assert slaves.hello("b", code="")["ok"]


def test_a_slave_that_comes_back_is_not_compared_with_itself(master):
    """Nor with one that has gone: whoever replaces all slaves may replace the code."""
    slaves = master(strict=True)
    slaves.hello("a", code="c1")

    assert slaves.hello("a", code="c2")["ok"]
    slaves.service.closed("a")
    slaves.service.closed("a")
    assert slaves.hello("b", code="c3")["ok"]


def test_the_masters_own_file_comes_first(master):
    """Whoever is faster, it is the others that are refused."""
    slaves = master(strict=True, code="c1", callback="jobs")
    refused = slaves.hello("b", code="c2", callback="jobs")

    assert not refused["ok"]
    assert "the one that the master has" in refused["why"]
    assert slaves.hello("own", code="c1", callback="jobs")["ok"]


def test_a_slave_of_another_run_is_refused(master):
    """It would do other things with these jobs, and they would count as done. What it is told can
    be typed.
    """
    slaves = master(callback="jobs", target="pkg/jobs.py")
    refused = slaves.hello("b", callback="others", target="some/others.py")

    assert not refused["ok"]
    for part in ("started with some/others.py,", "those of pkg/jobs.py", "some/others.py:handle_job", "--host"):
        assert part in refused["why"]
    assert not slaves.broker.slaves


def test_a_file_of_the_same_name_is_told_from_the_masters_by_its_path(master, tmp_path):
    """That it was started with jobs.py, where the jobs are those of jobs.py, said nothing."""
    for folder in ("own", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "jobs.py").write_text(f"# {folder}")
    own, other = (str(tmp_path / folder / "jobs.py") for folder in ("own", "other"))
    slaves = master(callback="jobs", target="jobs.py", code="c1", file=own)
    refused = slaves.hello("b", callback="jobs", target="jobs.py", code="c2", place=other)

    assert not refused["ok"]
    for part in (f"started with {other},", f"those of {own},", f"Start the slave with {own};", f"{other}:handle_job"):
        assert part in refused["why"]


@pytest.mark.parametrize("callback", ["jobs", "jobs:other", "others:handle_job", "", None, 5])
def test_a_slave_that_is_meant_is_let_in(master, callback):
    """The module may lie elsewhere on its machine, and who names a function knows what it does."""
    assert master(callback="jobs").hello("b", callback=callback)["ok"]


def test_jobs_without_a_callback_of_their_own_are_anybodys(master):
    """As with a module that has get_jobs alone."""
    assert master().hello("b", callback="others")["ok"]


def test_another_file_on_purpose_is_not_compared_with_the_masters(master, caplog):
    """Nor refused by --strict-code."""
    assert master(strict=True, code="c1", callback="jobs").hello("b", code="c2", callback="others:handle_job")["ok"]
    assert caplog.records == []


def test_another_python_is_logged_once_for_each_slave(master, caplog):
    """Another patch release is not another Python; one that is not told, or is no text, is none
    either.
    """
    slaves = master()
    major, minor, _ = platform.python_version_tuple()
    slaves.hello("same", python=f"{major}.{minor}.99")
    slaves.hello("silent")
    for _ in range(2):
        slaves.hello("old", python="3.2.1")
        slaves.hello("odd", python=7)

    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "the slave old runs Python 3.2.1",
    ]


@pytest.mark.parametrize("info", [{"protocol": 0, "version": "0.9"}, {"version": "0.9"}])
def test_another_protocol_is_refused_with_both_versions(master, info):
    """And what to install where."""
    refused = master().service.hello(info)

    assert not refused["ok"]
    for part in ("Taskmaster 0.9,", f"protocol {PROTOCOL}", "Install Taskmaster "):
        assert part in refused["why"]


@pytest.mark.parametrize("info", [None, 5, [], {}, {"protocol": PROTOCOL}, {"protocol": PROTOCOL, "session": 5}])
def test_a_hello_that_lacks_something_is_refused(master, info):
    """With a sentence, not an exception."""
    refused = master().service.hello(info)

    assert not refused["ok"]
    assert refused["why"].endswith(".")
