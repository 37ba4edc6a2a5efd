"""The documents and the commands agree: what there is, is documented, and what is documented, is
there.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from taskmaster.cli.ctl import tm_ctl
from taskmaster.cli.master import tm_master
from taskmaster.cli.run import tm_run
from taskmaster.cli.slave import tm_slave, tm_spawn
from taskmaster.cli.web import tm_web
from taskmaster.master.events import EventName

ROOT = Path(__file__).resolve().parents[1]
TOOLS: dict[str, click.Command] = {
    "tm-master": tm_master,
    "tm-slave": tm_slave,
    "tm-spawn": tm_spawn,
    "tm-run": tm_run,
    "tm-ctl": tm_ctl,
    "tm-web": tm_web,
}
COMMANDS = {**TOOLS, **{f"tm-ctl {name}": command for name, command in tm_ctl.commands.items()}}
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)
CHANGELOG = (ROOT / "CHANGELOG.rst").read_text("utf-8")

# Every option of release 0.8.2, and the two names of functions, which were options of its tm-run.
OPTIONS_OF_0_8_2 = {
    "tm-master": ["TARGET", "key=value", "--get-jobs-callback", "--address", "--size", "--reset", "--log-level"],
    "tm-slave": [
        "TARGET", "--handle-job-callback", "--address", "--timeout", "--retries", "--log-level", "--no-progress",
    ],
    "tm-spawn": ["TARGET N", "--address", "--timeout", "--retries", "--log-level"],
    "tm-run": [
        "TARGET N", "key=value", "--get-jobs-callback", "--handle-job-callback", "--address", "--size", "--reset",
        "--timeout", "--retries", "--log-level",
    ],
}  # fmt: skip


def long_names(command: click.Command) -> Iterator[str]:
    """Every long spelling of every option that the command's help lists."""
    for param in [*command.params, command.get_help_option(click.Context(command, **command.context_settings))]:
        if isinstance(param, click.Option) and not param.hidden:
            yield from (name for name in param.opts if name.startswith("--"))


def console_lines(text: str) -> list[str]:
    """The commands that a page tells to type: indented, after a dollar sign, with what continues in
    the next line.
    """
    return re.findall(r"^ +\$ (.+)$", text.replace("\\\n", " "), re.MULTILINE)


def examples(command: click.Command) -> list[str]:
    """The commands that a help text shows."""
    return re.findall(r"^ {2,}(tm-\w+ .+)$", command.help or "", re.MULTILINE)


def check(words: list[str]) -> None:
    """Parse a command line with the command that it names, without running it."""
    command, name, rest = TOOLS[words[0]], words[0], words[1:]
    if {"-h", "--help", "--version"} & set(rest):
        return
    if isinstance(command, click.Group):
        assert rest[0] in command.commands, rest
        name, command, rest = rest[0], command.commands[rest[0]], rest[1:]
    command.make_context(name, list(rest))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name):
    """The README or a page of docs/ names it."""
    assert f"``{name}" in TEXT or f"$ {name}" in TEXT


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name):
    """The README or a page of docs/ names each of its long spellings."""
    missing = [option for option in long_names(COMMANDS[name]) if not re.search(rf"{option}(?![\w-])", TEXT)]

    assert missing == []


@pytest.mark.parametrize("name", TOOLS)
def test_documented_command_lines_parse(name):
    """Whatever the pages tell to type is understood as it stands."""
    for line in console_lines(TEXT):
        if line.startswith(f"{name} "):
            check(shlex.split(line, comments=True))


def test_readme_has_commands_to_type():
    """The console blocks are found by these tests, which cannot pass for want of anything to look
    at.
    """
    typed = {shlex.split(line, comments=True)[0] for line in console_lines(TEXT)}

    assert {"tm-run", "tm-master", "tm-slave", "tm-ctl", "make"} <= typed


def test_every_typed_command_exists():
    """What the pages tell to type is one of the commands, a target of the Makefile, or a program
    that everybody has.
    """
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for line in console_lines(TEXT):
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert set(words[1:]) <= targets, line
        elif words[0].startswith("tm-"):
            assert words[0] in TOOLS, line
        else:
            assert Path(words[0]).name in ("python3", "python", "pip", "kill", "scp", "git", "cd", "dask", "ray"), line


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_parses(name):
    """An example of this very command can be copied from its help."""
    found = examples(COMMANDS[name])

    assert [line for line in found if line.startswith(name)]
    for line in found:
        check(shlex.split(line))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name):
    """Help says what an option does, as a sentence."""
    for param in COMMANDS[name].params:
        if isinstance(param, click.Option) and not param.hidden:
            assert param.help, param.name
            assert param.help.partition("  [default")[0].endswith("."), param.help


def test_one_option_has_one_help_text():
    """An option that several commands have says the same in each, but for the few that mean another
    thing.
    """
    differ = {"host", "state", "no_progress"}
    texts: dict[str, set[str | None]] = {}
    for command in COMMANDS.values():
        for param in command.params:
            if isinstance(param, click.Option) and param.name not in differ:
                texts.setdefault(str(param.name), set()).add(param.help)

    assert {name: said for name, said in texts.items() if len(said) > 1} == {}


def coming_from(name: str) -> str:
    """The part of the changelog for those who come from 0.8.2 that is about one command."""
    section = CHANGELOG.partition("\nComing from 0.8.2\n")[2].partition("\n---")[0]
    return section.partition(f"\n**{name}**\n")[2].partition("\n**tm-")[0]


@pytest.mark.parametrize("name", OPTIONS_OF_0_8_2)
def test_changelog_lists_every_option_of_0_8_2(name):
    """Each has a row of the command's table, which says what became of it."""
    rows = re.findall(r"^``(.+?)`` ", coming_from(name), re.MULTILINE)

    assert sorted(rows) == sorted(OPTIONS_OF_0_8_2[name])


@pytest.mark.parametrize("name", OPTIONS_OF_0_8_2)
def test_options_of_0_8_2_are_known_or_called_gone(name):
    """What the changelog does not call gone is still an option of the command."""
    for row in re.findall(r"^``(--.+?)`` +(.+)$", coming_from(name), re.MULTILINE):
        assert (" gone" in row[1]) != (row[0] in set(long_names(TOOLS[name]))), row


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.rst"], ids=lambda page: page.name)
def test_tables_are_whole(page):
    """No cell but the last of a row is longer than its column, which would break the table."""
    columns: list[tuple[int, int]] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if re.fullmatch(r"=+( +=+)+", line):
            columns = [match.span() for match in re.finditer("=+", line)]
        elif not line.strip():
            columns = []
        else:
            for (_, end), (begin, _) in itertools.pairwise(columns):
                assert not line[end:begin].strip(), f"{page.name}:{number}: {line}"


def test_readme_s_worked_example_is_the_real_one():
    """The code in the README is the file in examples/, word for word."""
    example = (ROOT / "examples/index_python.py").read_text("utf-8")
    shown = "\n".join(line.removeprefix("    ") for line in TEXT.splitlines())

    assert example.strip() in shown


# -- where things are ------------------------------------------------------------------------------

CONTRIBUTING = (ROOT / "CONTRIBUTING.rst").read_text("utf-8")
PROSE_WIDTH = 100


def test_every_path_in_contributing_is_there():
    """The map leads to files: of the repository, or of the package below its name."""
    named = set(re.findall(r"``([\w/.-]+(?:\.(?:py|rst|toml)|/\w+))``", CONTRIBUTING))
    named |= set(re.findall(r"^``(\w+(?:/\w+)*)``  ", CONTRIBUTING, re.MULTILINE)) - {"1"}

    assert len(named) > 40
    roots = (ROOT, ROOT / "taskmaster")
    missing = [path for path in sorted(named) if not any((root / path).exists() for root in roots)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_is_there(page):
    """A promise is proved by a test that can be run: no page names one that has moved."""
    named = set(re.findall(r"\btests/[\w/]+(?:\.py\b|/)?", page.read_text("utf-8")))

    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_index_leads_to_every_page():
    """No page is found by chance only."""
    index = (ROOT / "docs/index.rst").read_text("utf-8")

    pages = {page.name for page in PAGES} - {"index.rst", "README.rst"}

    assert {name for name in pages if f"<{name}>" not in index} == set()


FILLED = [*(str(page.relative_to(ROOT)) for page in PAGES), "CONTRIBUTING.rst", "CHANGELOG.rst"]


@pytest.mark.parametrize("name", FILLED)
def test_prose_has_one_width(name: str):
    """Paragraphs are filled to 100 columns; tables, code and what cannot be broken may be wider."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    tables, inside = set(), False
    for number, line in enumerate(lines):
        if re.fullmatch(r"\s*=+( +=+)+\s*", line):
            tables.add(number)
            inside = number + 1 < len(lines) and bool(lines[number + 1].strip())
        elif inside:
            tables.add(number)
    wide = [
        f"{name}:{number + 1}: {line}"
        for number, line in enumerate(lines)
        if len(line) > PROSE_WIDTH
        and number not in tables
        and not line.startswith(("    ", "   * -", ".."))
        and " " in line.strip()
    ]

    assert wide == []


def test_the_table_of_events_is_that_of_the_code():
    """Each event has its row in docs/events.rst, and there is no other."""
    page = (ROOT / "docs" / "events.rst").read_text("utf-8")
    table = page[page.index("``started``") : page.index("``stopped``  ")] + "``stopped``  "

    assert re.findall(r"^``([a-z-]+)``  ", table, re.MULTILINE) == [str(name) for name in EventName]
