"""Options from the command line, the environment and a file, in real commands: who counts, where
each value comes from, and that the state is the same.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from support.commands import wait_for
from support.playground import PREAMBLE, Playground

WORK = PREAMBLE + "def get_jobs(last=-1):\n    yield from range(last + 1, 300)\n"


@pytest.mark.slow
def test_each_value_comes_from_where_it_is_said_strongest(playground: Playground) -> None:
    """Command line, environment, file, default; tm-ctl settings says which."""
    playground.write("work.py", WORK)
    playground.write(
        "taskmaster.toml", 'retries = 1\ncrashes = 7\nsize = 500\n[run]\nprocesses = 1\nprogress = "none"\n'
    )
    playground.hold(0)
    run = playground.start("tm-run", "work.py", "--retries=4", TASKMASTER_CRASHES="6")
    wait_for("a job to be held", playground.held)

    asked = playground.run("tm-ctl", "settings", "work.py", "--json")
    playground.let_go()

    assert run.end() == 0, run.output
    rows = {row["name"]: (row["value"], row["source"]) for row in json.loads(asked.output)["settings"]}
    assert rows["retries"] == ("4", "command line")
    assert rows["crashes"] == ("6", "environment")
    assert rows["size"] == ("500", "file")
    assert rows["span"] == ("100000", "default")
    assert "Rate:" not in run.output


@pytest.mark.slow
@pytest.mark.parametrize("way", ["command line", "environment", "file", "pyproject"])
def test_the_state_is_the_same_whichever_way_an_option_is_given(playground: Playground, way: str) -> None:
    """A run that was begun in one way is resumed in any other."""
    playground.write("work.py", WORK)
    first = playground.run("tm-run", "work.py", "1", "--limit=20", "--size=50", "--progress=none")
    given = ["--size=70", "--progress=none"] if way == "command line" else []
    environment = {"TASKMASTER_SIZE": "70", "TASKMASTER_PROGRESS": "none"} if way == "environment" else {}
    if way == "file":
        playground.write("taskmaster.toml", 'size = 70\nprogress = "none"\n')
    if way == "pyproject":
        playground.write("pyproject.toml", '[tool.taskmaster]\nsize = 70\nprogress = "none"\n')

    again = playground.run("tm-run", "work.py", "1", *given, **environment)

    assert first.process.returncode == 75, first.output
    assert again.process.returncode == 0, again.output
    assert "Resuming at key" in again.output
    (state,) = playground.directory.glob("*.tmstate")
    with closing(sqlite3.connect(state)) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (1,)
    assert playground.ledger.ended() == {str(n): 1 for n in range(300)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("retrys = 1", [], "did you mean retries"),
        ("size = 'many'", [], "That stands in taskmaster.toml"),
        ("size = 0", [], "That stands in taskmaster.toml"),
        ("rate = 'fast'", [], "That stands in taskmaster.toml"),
        ("retrys = 1", ["--config=night.toml"], "--config is night.toml"),
    ],
)
def test_a_file_that_is_wrong_is_named(playground: Playground, text: str, words: list[str], message: str) -> None:
    """Exit code 2, before the run begins; --no-config does without it, and so does --help."""
    playground.write("work.py", WORK)
    playground.write("taskmaster.toml", text)

    refused = playground.run("tm-run", "work.py", *words)
    shown = playground.run("tm-run", "--help")
    without = playground.run("tm-run", "work.py", "--no-config", "--dry-run=1")

    assert refused.process.returncode == 2, refused.output
    assert message in refused.output
    assert shown.process.returncode == 0
    assert without.process.returncode == 0, without.output
