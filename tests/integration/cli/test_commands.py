"""The commands: what they call, and how they end. What they call is replaced by a recorder."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import types
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import pytest

import taskmaster
from taskmaster import cli
from taskmaster.cli import ctl, master, run, slave
from taskmaster.cli.command import run_command
from taskmaster.cli.options import parse_arguments
from taskmaster.errors import Interrupted, StateLocked, TargetError, UsageError
from taskmaster.master.records.run_record import RunRecord
from taskmaster.options.commands import MasterOptions, RunOptions, SlaveOptions
from taskmaster.options.keywords import from_keywords
from taskmaster.options.workers import usable_cpus
from taskmaster.runner import control, prefork, remote_slave, steer_client

MAINS = {
    "tm-master": master.main,
    "tm-slave": slave.main,
    "tm-spawn": slave.spawn_main,
    "tm-run": run.main,
    "tm-ctl": ctl.main,
}


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Api:
    """Stands in for what the commands call: keeps what it is called with, and returns or raises
    what a test says.
    """

    def __init__(self) -> None:
        self.called: list[tuple[object, ...]] = []
        self.result: object = 0
        self.error: BaseException | None = None

    def __getattr__(self, name: str) -> object:
        def call(*args: object) -> object:
            self.called.append((name, *args))
            if self.error is not None:
                raise self.error
            return types.SimpleNamespace(exit_code=self.result) if name in ("serve", "run") else self.result

        return call


@pytest.fixture(autouse=True)
def exit_codes_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process does not end with the command."""
    monkeypatch.setattr("taskmaster.cli.command.keep_exit_code", lambda _: None)


@pytest.fixture
def api(monkeypatch):
    stand_in = Api()
    monkeypatch.setitem(sys.modules, "taskmaster.api", stand_in)
    monkeypatch.setattr(taskmaster, "api", stand_in, raising=False)
    monkeypatch.setattr(remote_slave, "work", stand_in.work)
    monkeypatch.setattr(control, "runs_of", stand_in.runs)
    monkeypatch.setattr(control, "restore", stand_in.restore)
    monkeypatch.setattr(steer_client, "status_of", stand_in.status)
    monkeypatch.setattr(prefork, "prepare", lambda: None)
    return stand_in


@pytest.fixture
def command(capsys):
    """Run a command in this process."""
    logger = logging.getLogger("taskmaster")
    level = logger.level

    def call(name: str, *words: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            MAINS[name](words)
        captured = capsys.readouterr()
        return Ended(ended.value.code, captured.out, captured.err)

    yield call
    logger.setLevel(level)


# -- what is handed on -----------------------------------------------------------------------------


def test_master_serves_the_target_with_its_arguments(api, command):
    """TARGET and key=value words arrive as they were given, all else has its default."""
    assert command("tm-master", "path/file.py:get_jobs", "key=value", "limit=10=3").code == 0
    assert api.called == [("serve", "path/file.py:get_jobs", {"key": "value", "limit": "10=3"}, MasterOptions())]


def test_blog_post_s_master_command_is_understood(api, command):
    """Word for word."""
    command("tm-master", "taskmaster.example", "--reset", "--key=foo", "--host=0.0.0.0:5050")

    assert api.called == [
        ("serve", "taskmaster.example", {}, MasterOptions(host="0.0.0.0:5050", key="foo", reset=True))
    ]


def test_every_master_option_arrives(api, command):
    """Each option sets the field of its name."""
    command(
        "tm-master", "mod", "--address=tcp://0.0.0.0:3050", "--key-file=tm.key", "--size=1", "--span=2", "--state=s",
        "--total=3", "--no-progress", "--grace=4", "--lease=5", "--lease-grace=6", "--get-jobs-callback=g",
        "--log-level=ERROR", "--debug", "--run-time=1h30m", "--limit=7", "--dry-run=8", "--sample=0.5%",
        "--strict-code", "--rate=30/m", "--guard=locks_waiting=0@dbname=a b", "--guard=locks_waiting=1@dbname=b",
    )  # fmt: skip

    assert api.called[0][3] == MasterOptions(
        host="tcp://0.0.0.0:3050", key_file="tm.key", size=1, span=2, state="s", total=3, progress="none", grace=4.0,
        lease=5.0, lease_grace=6.0, get_jobs_callback="g", log_level="error", debug=True, run_time=5400.0, limit=7,
        dry_run=8, sample=0.005, strict_code=True, rate=0.5,
        guard=("locks_waiting=0@dbname=a b", "locks_waiting=1@dbname=b"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "having"),
    [
        (("tm-master", "mod", "--engine=dask"), "'--engine': it is one of tm-run and tm-slave."),
        (("tm-run", "mod", "--executor", "pools:make"), "'--executor': it is one of tm-slave."),
        (("tm-slave", "mod", "--max-failures=3"), "'--max-failures': it is one of tm-run and tm-master."),
        (("tm-master", "mod", "--foo"), "No such option '--foo'"),
        (("tm-ctl", "status", "--state", "x"), "'--state': STATE is a word of its own"),
    ],
)
def test_an_option_of_another_command_is_refused_with_those_that_have_it(api, command, words, having):
    """And not with one that is spelled alike."""
    ended = command(*words)

    assert ended.code == 2
    assert having in ended.err
    assert not api.called


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("tm-master", "mod", "2"), "`tm-run` in place of tm-master runs them on this machine, in 2 worker processes"),
        (("tm-run", "mod", "limit=10", "2"), "right behind TARGET"),
        (("tm-ctl", "status", "mod", "2"), "leave the number of worker processes out"),
        (("tm-slave", "mod", "2"), "--processes=2"),
        (("tm-slave", "mod", "limit=10"), "is for tm-master"),
        (("tm-spawn", "mod", "2", "3"), "one word too many"),
        (("tm-spawn", "mod", "0"), "give 1 or more"),
    ],
)
def test_a_word_that_another_command_takes_is_refused_with_the_cure(api, command, words, cure):
    """It was said to be no argument of get_jobs, or an unexpected extra argument."""
    ended = command(*words)

    assert ended.code == 2
    assert cure in ended.err
    assert not api.called


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("rate", "mod.py", "5"), "mod.py stands where RATE is expected: write `tm-ctl rate 5 mod.py`."),
        (("rate", "mod.py"), "write `tm-ctl rate RATE mod.py`"),
        (("quiet", "mod.py", "web1"), "write `tm-ctl quiet web1 mod.py`"),
        (("note", "mod.py", "deployed"), "write `tm-ctl note deployed mod.py`"),
        (("note", "mod.py"), "has left a key"),  # it may be a note
        (("rate", "mod.py", "--host=127.0.0.1:15099"), "has left a key"),  # the master says what is wrong
    ],
)
def test_a_run_that_is_named_too_early_is_told_its_place(command, tmp_path, monkeypatch, words, cure):
    """`tm-ctl rate mod.py 5` said that 5 is not a target."""
    monkeypatch.setenv("TASKMASTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mod.py").write_text("def get_jobs():\n    return []\n")

    ended = command("tm-ctl", *words)

    assert ended.code in (2, 6)
    assert cure in ended.err


@pytest.mark.parametrize("second", ["--pace=3x@dbname=standby", "--pace=1.5x@dbname=blog"])
def test_a_pace_is_given_once(api, command, second):
    """One of two would be spared, and the other one not, without a word."""
    ended = command("tm-master", "taskmaster.example", "--pace=1.5x@dbname=blog", second)

    assert ended.code == 2
    assert "--pace is given twice" in ended.err
    assert "--guard" in ended.err
    assert not api.called


def test_guards_of_the_environment_stand_in_a_line_each(api, command, monkeypatch):
    """A DSN may have blanks in it."""
    monkeypatch.setenv("TASKMASTER_GUARD", "locks_waiting=0@host=h dbname=b\nlocks_waiting=1@dbname=b")
    command("tm-run", "mod")

    assert api.called[0][3].guard == ("locks_waiting=0@host=h dbname=b", "locks_waiting=1@dbname=b")


@pytest.mark.parametrize(
    ("words", "number"), [(("--dry-run",), 10), (("--dry-run", "--reset"), 10), (("--dry-run", "3"), 3), ((), None)]
)
def test_dry_run_may_have_a_number(api, command, words, number):
    """Ten jobs are looked at where none is given."""
    command("tm-run", "mod", *words)

    assert api.called[0][3].dry_run == number


def test_dry_run_that_takes_the_target_for_its_number_says_where_to_write_it(api, command):
    """Exit 2, with the word that was taken."""
    ended = command("tm-run", "--dry-run", "mod", "2")

    assert ended.code == 2
    assert "'mod'" in ended.err
    assert "last word" in ended.err
    assert api.called == []


def test_slave_works_for_the_target(api, command):
    """Each option sets the field of its name; --no-progress of release 0.8.2 changes nothing."""
    command(
        "tm-slave", "mod:handle", "--host=h:1", "--key=k", "--processes=2", "--threads=3", "--concurrency=4",
        "--batch=5", "--wait=0", "--grace=6", "--handle-job-callback=h", "--no-progress", "--log-level=info",
        "--jobs-per-worker=1000", "--memory-per-worker=500M",
    )  # fmt: skip

    assert api.called == [
        (
            "work",
            "mod:handle",
            SlaveOptions(
                host="h:1", key="k", processes=2, threads=3, concurrency=4, batch=5, wait=0.0, grace=6.0,
                handle_job_callback="h", log_level="info", jobs_per_worker=1000, memory_per_worker=500 * 2**20,
            ),
        )
    ]  # fmt: skip


def test_the_address_of_notifications_is_taken_out_of_the_environment_of_workers(api, command, monkeypatch):
    """A slave may have been started with all variables of its master; the address is a secret."""
    for tool in ("tm-slave", "tm-master"):
        monkeypatch.setenv("TASKMASTER_NOTIFY", "https://hooks.example/secret")
        assert command(tool, "mod").code == 0

        assert "TASKMASTER_NOTIFY" not in os.environ


def test_spawn_is_a_slave_with_n_processes(api, command):
    """The second word is the number of workers."""
    command("tm-spawn", "mod", "8")

    assert api.called == [("work", "mod", SlaveOptions(processes=8))]


@pytest.mark.parametrize(
    ("words", "processes", "arguments"),
    [
        ((), None, {}),
        (("8",), 8, {}),
        (("8", "key=value"), 8, {"key": "value"}),
        (("key=8", "b=2"), None, {"key": "8", "b": "2"}),
        (("--processes=3", "key=8"), 3, {"key": "8"}),
    ],
)
def test_run_takes_n_and_arguments_or_either(api, command, words, processes, arguments):
    """N may be left out; a word with = is no N."""
    command("tm-run", "mod", *words)

    assert api.called == [("run", "mod", arguments, RunOptions(processes=processes), None)]


def test_run_knows_both_callbacks(api, command):
    """As in release 0.8.2, the functions of one module can be named apart from it."""
    command("tm-run", "path/file.py", "2", "--get-jobs-callback=rows", "--handle-job-callback=work")

    assert api.called[0][3] == RunOptions(processes=2, get_jobs_callback="rows", handle_job_callback="work")


def test_exit_code_is_the_api_s(api, command):
    """A run with failed jobs ends with 3, a slave with what it says."""
    api.result = 3
    assert command("tm-master", "mod").code == command("tm-run", "mod").code == command("tm-slave", "mod").code == 3


def test_exit_code_is_that_also_where_sys_exit_was_replaced(api, command, monkeypatch):
    """By the user's module: a run that was stopped must not look like one that is done."""
    monkeypatch.setattr(sys, "exit", lambda *_: None)
    api.result = 75
    assert command("tm-run", "mod").code == 75


@pytest.mark.parametrize("words", [("0",), ("two",), ("-1",), ("2", "limit"), ("2", "3"), ("2", "--processes=3")])
def test_run_refuses_what_is_neither_n_nor_an_argument(api, command, words):
    """With exit 2 and a sentence, before anything starts."""
    ended = command("tm-run", "mod", *words)

    assert ended.code == 2
    assert len(ended.err) > 20
    assert api.called == []


@pytest.mark.parametrize(
    "words",
    [
        ("tm-master",),
        ("tm-spawn", "mod"),
        ("tm-spawn", "mod", "many"),
        ("tm-master", "mod", "--size=many"),
        ("tm-master", "mod", "--progress=maybe"),
        ("tm-slave", "mod", "--no-such-option"),
        ("tm-ctl", "no-such-command"),
        ("tm-ctl", "restore", "3f2a"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2(api, command, words):
    """With a message on standard error and nothing on standard output."""
    ended = command(*words)

    assert (ended.code, ended.out) == (2, "")
    assert "Error" in ended.err
    assert api.called == []


@pytest.mark.parametrize(
    ("name", "option"),
    [("tm-run", "--timeout=2500")]
    + [(name, option) for name in ("tm-slave", "tm-spawn") for option in ("--timeout=2500", "--retries=3")],
)
def test_network_options_of_0_8_2_are_refused_with_what_replaces_them(api, command, name, option):
    """They would otherwise be taken for options about jobs."""
    ended = command(name, "mod", *(["2"] if name != "tm-slave" else []), option)

    assert ended.code == 2
    assert "--wait" in ended.err
    assert api.called == []


# -- key=value -------------------------------------------------------------------------------------


def test_arguments_are_split_at_the_first_equals_sign():
    """All that follows is the value, also if it is empty."""
    assert parse_arguments(("a=1", "limit=10=3", "empty=", "naïve=é")) == {
        "a": "1", "limit": "10=3", "empty": "", "naïve": "é",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["limit", "=1", "1a=2", "a-b=2", "a b=2", ""])
def test_other_words_are_refused_with_the_form(word):
    """The message shows how it is written."""
    with pytest.raises(UsageError, match="key=value"):
        parse_arguments((word,))


def test_an_argument_is_given_once():
    """Which of two is meant cannot be known."""
    with pytest.raises(UsageError, match="given twice"):
        parse_arguments(("a=1", "a=1"))


def test_last_is_reserved():
    """It is what get_jobs gets on a resume, and the message says so."""
    with pytest.raises(UsageError, match="resumed"):
        parse_arguments(("last=5",))


# -- environment -----------------------------------------------------------------------------------


def options_of(tool: click.Command) -> list[click.Option]:
    return [param for param in tool.params if isinstance(param, click.Option) and not param.hidden]


COMMANDS = [
    master.tm_master,
    slave.tm_slave,
    slave.tm_spawn,
    run.tm_run,
    *(ctl.tm_ctl.commands[name] for name in ("status", "runs", "restore")),
]


@pytest.mark.parametrize("tool", COMMANDS, ids=lambda tool: tool.name)
def test_every_option_but_the_key_has_its_variable(tool):
    """TASKMASTER_ and the option's name; the key's variable belongs to the one that takes it out of
    the environment.
    """
    for option in options_of(tool):
        name = option.opts[0].removeprefix("--").replace("-", "_").upper()
        expected = None if name in ("KEY", "VERSION", "HELP") else f"TASKMASTER_{name}"
        assert option.envvar == expected, option.name


def test_variables_are_read_and_the_command_line_wins(api, command, monkeypatch):
    """A number of processes in the environment does not quarrel with N."""
    monkeypatch.setenv("TASKMASTER_SIZE", "77")
    monkeypatch.setenv("TASKMASTER_PROCESSES", "3")
    monkeypatch.setenv("TASKMASTER_LOG_LEVEL", "Info")
    command("tm-run", "mod")
    command("tm-run", "mod", "8", "--size=5")

    assert api.called[0][3] == RunOptions(size=77, processes=3, log_level="info")
    assert api.called[1][3] == RunOptions(size=5, processes=8, log_level="info")


def test_key_in_the_environment_is_not_an_option(api, command, monkeypatch):
    """It stays where it is until the key is resolved, and is no part of the options."""
    monkeypatch.setenv("TASKMASTER_KEY", "secret")
    command("tm-master", "mod")

    assert api.called[0][3].key is None
    assert os.environ["TASKMASTER_KEY"] == "secret"


def test_log_level_is_that_of_taskmaster_s_own_logger(api, command):
    """The user's logging is left alone."""
    before = logging.getLogger().level
    command("tm-master", "mod", "--log-level=DEBUG")

    assert logging.getLogger("taskmaster").level == logging.DEBUG
    assert logging.getLogger().level == before


# -- how commands end ------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "code"), [(UsageError("a sentence."), 2), (StateLocked("a sentence."), 5)])
def test_errors_are_sentences_with_the_command_s_name(api, command, error, code):
    """And the exit code is that of the error's class."""
    api.error = error
    ended = command("tm-master", "mod")

    assert (ended.code, ended.out, ended.err) == (code, "", "tm-master: a sentence.\n")


def test_users_traceback_is_always_shown_and_comes_first(api, command):
    """The user's own line is what cures the error."""
    api.error = TargetError("it cannot be imported.", user_traceback="Traceback: user's line\n")

    assert command("tm-run", "mod").err == "Traceback: user's line\ntm-run: it cannot be imported.\n"


def test_own_traceback_is_shown_with_debug_only(api, command):
    """Also for errors that Taskmaster can explain."""
    api.error = StateLocked("another master has it.")

    assert "Traceback" not in command("tm-master", "mod").err
    assert "Traceback" in command("tm-master", "mod", "--debug").err


def test_debug_is_known_of_a_subcommand_too(api, command):
    """tm-ctl takes it before its command."""
    api.error = StateLocked("another master has it.")

    assert "Traceback" in command("tm-ctl", "--debug", "runs", "x.tmstate").err


def test_unexpected_error_is_one_line_that_names_debug(api, command):
    """A newline in its text does not make two of it."""
    api.error = ZeroDivisionError("by\n  zero")
    ended = command("tm-master", "mod")

    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "ZeroDivisionError: by zero" in ended.err
    assert "--debug" in ended.err
    assert "Traceback" in command("tm-master", "mod", "--debug").err


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_process_that_may_have_no_more_says_where_to_look(api, command, error):
    """A limit of the system is no error of Taskmaster's, and has a cure."""
    api.error = error
    ended = command("tm-master", "mod")

    assert ended.code == 1
    assert "ulimit -a" in ended.err
    assert type(error).__name__ in ended.err
    assert "unexpected" not in ended.err


def test_error_without_a_readable_text_is_named(api, command):
    """A broken __str__ does not hide the error."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    api.error = Broken()

    assert "Broken" in command("tm-master", "mod").err


@pytest.mark.parametrize(("signum", "code"), [(2, 130), (15, 143)])
def test_interrupted_run_exits_with_the_signal(api, command, signum, code):
    """The message is the command that resumes; an empty one prints nothing."""
    api.error = Interrupted("resume it with: tm-master mod", signum)
    ended = command("tm-master", "mod")

    assert (ended.code, ended.err) == (code, "tm-master: resume it with: tm-master mod\n")

    api.error = Interrupted("", signum)
    assert command("tm-master", "mod").err == ""


def test_ctrl_c_where_nobody_listens_is_130(api, command):
    """Without a traceback."""
    api.error = KeyboardInterrupt()
    ended = command("tm-slave", "mod")

    assert ended.code == 130
    assert "Traceback" not in ended.err


def test_ctrl_c_while_a_class_is_made_is_130_too(api, command):
    """Python 3.11 gives it another name, which was told as an unexpected error."""
    api.error = RuntimeError("Error calling __set_name__ on 'Field' instance")
    api.error.__cause__ = KeyboardInterrupt()
    ended = command("tm-run", "mod")

    assert (ended.code, ended.err) == (130, "")


def test_reader_who_goes_away_is_no_error_to_talk_about(api, command):
    """`tm-ctl runs x | head -1` is quiet."""
    api.error = BrokenPipeError(32, "Broken pipe")

    assert command("tm-ctl", "runs", "x.tmstate").err == ""


@pytest.mark.parametrize("name", MAINS)
def test_on_windows_commands_name_wsl(monkeypatch, capsys, name):
    """Before anything that needs a Unix is imported, with exit 2."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        MAINS[name](["--help"])

    assert ended.value.code == 2
    assert "WSL" in capsys.readouterr().err


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_help_and_version_need_no_api(command, monkeypatch, name, option):
    """They are there at once, on standard output, and name the command."""
    monkeypatch.setitem(sys.modules, "taskmaster.api", None)
    monkeypatch.setitem(sys.modules, "taskmaster.runner.remote_slave", None)
    ended = command(name, option)

    assert (ended.code, ended.err) == (0, "")
    assert name in ended.out
    if option == "--version":
        assert ended.out == f"{name} {taskmaster.__version__}\n"


def test_command_that_returns_nothing_exits_with_0():
    """As any program."""
    with pytest.raises(SystemExit) as ended:
        run_command(click.Command("x", callback=lambda: None), "x", [])

    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("name", "handler", "quiet"),
    [
        ("/usr/bin/tm-run", signal.default_int_handler, True),
        ("tm-ctl", signal.default_int_handler, True),
        ("tm-slave", signal.SIG_IGN, False),
        ("/srv/app.py", signal.default_int_handler, False),
        ("/srv/tm-app/app.py", signal.default_int_handler, False),
        ("", signal.default_int_handler, False),
    ],
)
def test_ctrl_c_while_a_command_is_loaded_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, name: str, handler: Any, quiet: bool
):
    """It ends as the system has it; in the command it is heard, and stays ignored where it was."""
    seen: list[Any] = []
    former = signal.signal(signal.SIGINT, handler)
    try:
        monkeypatch.setattr(sys, "argv", [name])
        cli._end_quietly()
        assert (signal.getsignal(signal.SIGINT) is signal.SIG_DFL) is quiet
        with pytest.raises(SystemExit):
            run_command(click.Command("x", callback=lambda: seen.append(signal.getsignal(signal.SIGINT))), "x", [])
    finally:
        signal.signal(signal.SIGINT, former)

    assert seen == [handler]


def test_a_working_directory_that_is_removed_while_a_command_works_is_said(tmp_path: Path, monkeypatch, capsys):
    """It is no unexpected error: where it was missed is of no interest."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def body() -> None:
        here.rmdir()
        os.getcwd()  # whatever is relative

    with pytest.raises(SystemExit) as ended:
        run_command(click.Command("x", callback=body), "tm-run", [])

    assert ended.value.code == 2
    assert "tm-run: The working directory is not there any more" in capsys.readouterr().err


# -- tm-ctl ----------------------------------------------------------------------------------------

STATUS = {
    "run": "3f2a", "target": "backfill.py", "state": "paused", "reason": "disk full", "settled": 120, "failed": 2,
    "settled_here": 100, "elapsed": 20.0, "total": 240, "queued": 7, "leased": 6, "parked": 5, "slaves": 4,
    "workers": 8, "batch": 499, "batch_reason": "0.5 s of work, at 1 ms a job",
    "watermark": "'k\u00e9y'", "address": "10.0.0.1:5050",
}  # fmt: skip


def test_keygen_makes_a_key_and_says_how_to_use_it(command, tmp_path, monkeypatch):
    """The path alone is on standard output, for scripts; the default name is tm.key."""
    monkeypatch.chdir(tmp_path)
    ended = command("tm-ctl", "keygen")

    assert ended.code == 0
    assert ended.out == f"{tmp_path / 'tm.key'}\n"
    assert "--key-file=tm.key" in ended.err
    assert (tmp_path / "tm.key").stat().st_mode & 0o777 == 0o600
    assert command("tm-ctl", "keygen").code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["pause"], ["resume"], ["stop"], ["rate", "5"], ["set", "retries=5"], ["retry", "--all"],
        ["note", "x"], ["quiet", "web1"], ["why"], ["slaves"], ["trail"], ["settings"], ["events"], ["report"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_order_is_for_one_master(words, command, tmp_path, monkeypatch):
    """Not for that of a state of this machine while another one is named: who stops a run means
    that one.
    """
    monkeypatch.chdir(tmp_path)
    ended = command("tm-ctl", *words, "x.tmstate", "--host=10.0.0.1:5050", "--key-file=tm.key")

    assert ended.code == 2
    assert "The state x.tmstate and --host both name a master" in ended.err


def test_status_is_text_for_people(api, command):
    """With the state and its reason."""
    api.result = STATUS
    ended = command("tm-ctl", "status", "--host=10.0.0.1:5050", "--key-file=tm.key")

    assert api.called == [("status", "10.0.0.1:5050", None, "tm.key")]
    assert "Current Job: 120 | Rate:    5.00/s" in ended.out
    assert "State:     paused: disk full" in ended.out
    assert "Watermark: 'kéy'" in ended.out
    assert "Batch:     499 jobs (0.5 s of work, at 1 ms a job)" in ended.out


def test_status_of_another_release_is_shown_as_far_as_it_goes(api, command):
    """A field that is new or missing breaks nothing."""
    api.result = {"settled": 5, "elapsed": 1.0, "invented": "later"}

    assert "Current Job: 5" in command("tm-ctl", "status").out


def test_status_as_json_has_its_schema(api, command):
    """All fields, as the master gave them; and what is reckoned from them."""
    api.result = STATUS
    shown = json.loads(command("tm-ctl", "status", "--json").out)

    assert shown.items() >= {"schema": 1, **STATUS}.items()
    assert shown["eta"] is None
    assert shown["eta_detail"]["if_resumed"]


def test_runs_are_listed_with_the_current_one_marked(api, command):
    """One line each, with times for people."""
    api.result = [
        RunRecord("bbbb", resumed=True, mark="7", settled=10, failures=1, started=2e9),
        RunRecord("aaaa", resumed=False, settled=0, started=1e9, finished=1e9 + 60),
    ]
    lines = command("tm-ctl", "runs", "x.tmstate").out.splitlines()

    assert api.called == [("runs", "x.tmstate")]
    assert lines[0].split() == ["RUN", "STARTED", "FINISHED", "EXIT", "SETTLED", "FAILED", "KEY"]
    assert lines[1].startswith("*  bbbb  2033-05-")
    assert lines[1].split()[-5:] == ["-", "-", "10", "1", "7"]
    assert lines[2].startswith("   aaaa  2001-09-")
    assert lines[2].split()[-4:] == ["0", "0", "0", "-"]


def test_runs_of_a_target_are_those_of_its_state_here(api, command, tmp_path, monkeypatch):
    """However the target is written; arguments belong to the name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backfill.py").touch()
    api.result = []
    for words in (
        ("backfill.py",),
        ("backfill",),
        ("backfill:get_jobs",),
        ("backfill.py", "--get-jobs-callback=get_jobs"),
    ):
        command("tm-ctl", "runs", *words)
    command("tm-ctl", "runs", "backfill.py", "since=2024")

    assert {call[1] for call in api.called[:4]} == {str(tmp_path / "backfill.tmstate")}
    assert api.called[4][1].startswith(str(tmp_path / "backfill-"))


def test_restore_names_the_run_and_what_to_do(api, command):
    """It ends with how to resume."""
    api.result = RunRecord("3f2a", resumed=True, mark="7", settled=10)
    ended = command("tm-ctl", "restore", "3f", "--state", "x.tmstate")

    assert api.called == [("restore", "x.tmstate", "3f")]
    assert "3f2a" in ended.out
    assert "without --reset" in ended.out


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [MasterOptions, SlaveOptions, RunOptions])
def test_defaults_are_allowed(cls):
    """Nobody has to give anything."""
    cls().check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (MasterOptions(size=0), "--size is 0"),
        (MasterOptions(span=-1), "--span is -1"),
        (MasterOptions(total=-1), "--total is -1"),
        (MasterOptions(grace=-0.5), "--grace is -0.5"),
        (MasterOptions(grace=float("nan")), "--grace is nan"),
        (MasterOptions(lease=0.0), "--lease is 0.0"),
        (MasterOptions(lease=float("inf")), "--lease is inf"),
        (MasterOptions(lease_grace=-1.0), "--lease-grace is -1.0"),
        (MasterOptions(progress="maybe"), "--progress is 'maybe'"),
        (MasterOptions(log_level="loud"), "--log-level is 'loud'"),
        (MasterOptions(size="10"), "--size is '10'"),
        (MasterOptions(size=True), "--size is True"),
        (MasterOptions(host=None), "--host is None"),
        (SlaveOptions(processes=0), "--processes is 0"),
        (SlaveOptions(threads=0), "--threads is 0"),
        (SlaveOptions(concurrency=0), "--concurrency is 0"),
        (SlaveOptions(batch=0), "--batch is 0"),
        (SlaveOptions(batch=10**9), "--batch is 1000000000"),
        (SlaveOptions(jobs_per_worker=0), "--jobs-per-worker is 0"),
        (SlaveOptions(memory_per_worker=0), "--memory-per-worker is 0"),
        (SlaveOptions(wait=-1.0), "--wait is -1.0"),
        (RunOptions(processes=0, jobs_per_worker=5), "--processes 0 runs jobs"),
        (RunOptions(processes=0, memory_per_worker=5 * 2**20), "--processes 0 runs jobs"),
        (RunOptions(size=0), "--size is 0"),
        (RunOptions(processes=-1), "--processes is -1"),
        (RunOptions(key=5), "--key is 5"),
        (RunOptions(run_time=0), "--run-time is 0"),
        (RunOptions(run_time=float("nan")), "--run-time is nan"),
        (RunOptions(run_time="soon"), "--run-time is 'soon'"),
        (MasterOptions(limit=0), "--limit is 0"),
        (MasterOptions(dry_run=0), "--dry-run is 0"),
        (MasterOptions(sample=0.0), "--sample is 0.0"),
        (MasterOptions(sample=1.5), "--sample is 1.5"),
        (MasterOptions(sample=0.5, limit=5), "--sample and --limit are both given"),
        (RunOptions(failed=True, limit=5), "--failed runs the failed jobs"),
        (RunOptions(failed=True, sample=0.5), "--failed runs the failed jobs"),
        (RunOptions(failed=True, dry_run=5), "--failed runs the failed jobs"),
        (RunOptions(sample=0.5, dry_run=5), "--sample and --dry-run are both given"),
        (RunOptions(sample=0.5, run_time=5.0), "--sample and --run-time are both given"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_out_of_range_are_named_with_their_option(options, message):
    """As it is spelled on the command line, with the value."""
    with pytest.raises(UsageError, match=f"^{message}"):
        options.check()


def test_waiting_and_grace_may_be_endless_or_nothing():
    """Both ends make sense; so does a log level in capitals, as release 0.8.2 had it."""
    SlaveOptions(wait=float("inf"), grace=0, log_level="ERROR").check()
    SlaveOptions(wait=0, grace=float("inf")).check()


def test_processes_default_to_the_usable_cpus():
    """Given ones are taken as they are."""
    assert SlaveOptions().workers == RunOptions().workers == usable_cpus() >= 1
    assert SlaveOptions(processes=3).workers == RunOptions(processes=3).workers == 3


def test_keywords_make_options():
    """Names are those of tm-run with underscores, its second spellings too."""
    assert from_keywords(RunOptions, {"processes": 8, "state": "x"}) == RunOptions(processes=8, state="x")
    assert from_keywords(RunOptions, {"address": "h:1", "no_progress": True}) == RunOptions(host="h:1", progress="none")
    assert from_keywords(RunOptions, {"no_progress": False}) == RunOptions()
    assert from_keywords(RunOptions, {"run_time": "2h", "sample": "0.1%"}) == RunOptions(run_time=7200.0, sample=0.001)
    assert from_keywords(RunOptions, {"run_time": 5, "sample": 0.5}) == RunOptions(run_time=5, sample=0.5)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"proceses": 8}, "'proceses'; did you mean 'processes'"),
        ({"zzz": 8}, "'zzz'; there are: .*processes"),
        ({"get_jobs_callback": "x"}, "the function itself"),
        ({"host": "a", "address": "b"}, "the same option"),
        ({"progress": "bar", "no_progress": True}, "give one of them"),
        ({"wait": 5}, "'wait'"),
        ({"runtime": 5}, "'runtime'; did you mean 'run_time'"),
    ],
)
def test_unknown_keywords_are_refused_with_the_nearest(keywords, message):
    """A slip of the finger is not silently without effect."""
    with pytest.raises(TypeError, match=message):
        from_keywords(RunOptions, keywords)


def test_run_options_are_those_of_master_and_slave():
    """A local run can be told all that its two halves can, but for how long to wait for itself, and
    the executor of one slave; and to run one job alone, and where slaves on an engine reach it.
    """
    defaults = {
        cls: {one.name: one.default for one in fields(cls)} for cls in (MasterOptions, SlaveOptions, RunOptions)
    }
    both = {**defaults[SlaveOptions], **defaults[MasterOptions], "host": None, "job": None, "advertise": None}
    for name in ("wait", "executor", "in_flight"):
        del both[name]

    assert defaults[RunOptions] == both


@pytest.mark.parametrize("word", ["1.5x {}", "last={}", "dsn={0} dsn={0}"])
@pytest.mark.parametrize("dsn", ["postgresql://me:s3crt9@127.0.0.1/blog", "host=h password=s3crt9"])
def test_a_word_that_is_refused_tells_no_password(word, dsn):
    """Of an argument that is none, of one that is not allowed, and of one that comes twice."""
    words = [part.replace("{0}", dsn).replace("{}", dsn) for part in word.split()]

    with pytest.raises(UsageError) as refused:
        parse_arguments(words)

    assert "s3crt9" not in str(refused.value)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (run.tm_run, ["{}"]),
        (run.tm_run, ["nums.py", "{}"]),
        (run.tm_run, ["nums.py", "1", "--rate={}"]),
        (run.tm_run, ["nums.py", "1", "--chunk={}"]),
        (ctl.tm_ctl, ["status", "{}"]),
        (ctl.tm_ctl, ["probe", "1.5x", "{}"]),
    ],
)
def test_a_dsn_in_a_wrong_place_tells_no_password(command, words, capsys):
    """Whichever argument or option it is taken for, by us or by click."""
    dsn = "postgresql://me:s3crt9@127.0.0.1/blog"
    with pytest.raises(SystemExit) as ended:
        run_command(command, "tm-run", [word.format(dsn) for word in words])

    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "s3crt9" not in said
    assert said
