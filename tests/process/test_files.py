"""Files as sources, with the real commands: a run is killed, and goes on by seeking; a changed file
is refused.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from support.cases import mostly_slow
from support.commands import free_port, wait_for
from support.playground import PREAMBLE, Playground

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/import_csv.py"

SOURCES = "from taskmaster import Taskmaster, sources\n"
FORMS = {
    "what get_jobs returns": ("def get_jobs(path):\n    return sources.lines(path)\n", ["path=rows.txt"]),
    "what get_jobs(last) returns": (
        "def get_jobs(path, last=None):\n    return sources.lines(path)\n",
        ["path=rows.txt"],
    ),
    "get_jobs itself": ("get_jobs = sources.lines('rows.txt')\n", []),
}


@pytest.mark.parametrize("form", mostly_slow(FORMS, "get_jobs itself"))
def test_a_killed_run_over_a_file_goes_on_where_it_was(playground: Playground, form: str) -> None:
    """However the source is given: every line ran, and only those in flight ran twice."""
    text, arguments = FORMS[form]
    playground.write("mod.py", PREAMBLE + SOURCES + text)
    playground.write("rows.txt", "".join(f"row{n}\n" for n in range(400)))
    words = ("tm-run", "mod.py", "2", "--progress=none", *arguments)
    playground.hold(320)
    run = playground.start(*words)
    wait_for("half of the lines", lambda: playground.ledger.ended().total() > 200)
    wait_for("a checkpoint", lambda: playground.in_state() > 100)
    run.kill()
    wait_for("every process to end", lambda: not playground.left())
    playground.let_go()
    again = playground.run(*words)

    assert again.process.returncode == 0, again.output
    assert "Resuming at key (" in again.output
    assert "read again" not in again.output
    ended = playground.ledger.ended()
    assert set(ended) == {f"row{n}" for n in range(400)}
    assert ended.total() - 400 <= 220

    last = playground.run(*words)

    assert last.process.returncode == 0, last.output
    assert "there is nothing new" in last.output


@pytest.mark.slow
def test_a_script_takes_a_file_as_it_is(playground: Playground) -> None:
    """``Taskmaster(callback, lines(...))``, twice: the second time goes on with what was
    appended.
    """
    playground.write(
        "script.py",
        PREAMBLE + SOURCES + "if __name__ == '__main__':\n"
        "    Taskmaster(handle_job, sources.lines('rows.txt'), processes=1, progress='none').start()\n",
    )
    playground.write("rows.txt", "a\nb\n")
    first = playground.run("python", "script.py")
    playground.write("rows.txt", "a\nb\nc\n")
    second = playground.run("python", "script.py")

    assert (first.process.returncode, second.process.returncode) == (0, 0), first.output + second.output
    assert "it goes on with what is new" in second.output
    assert playground.ledger.ended() == Counter("abc")


@pytest.mark.slow
@pytest.mark.quick
def test_a_file_that_was_changed_is_refused_and_the_state_is_left(playground: Playground) -> None:
    """Exit 5 with the file, the byte and the cure; ``--reset`` begins anew."""
    playground.write("mod.py", PREAMBLE + SOURCES + "get_jobs = sources.lines('rows.txt')\n")
    playground.write("rows.txt", "".join(f"row{n}\n" for n in range(50)))
    words = ("tm-run", "mod.py", "2", "--progress=none")
    stopped = playground.run(*words, "--limit=30")

    assert stopped.process.returncode == 75, stopped.output

    state = next(playground.directory.glob("*.tmstate"))
    before = state.read_bytes()
    playground.write("rows.txt", "".join(f"row{n}\n" for n in range(50)).replace("row7\n", "ROW7\n"))
    refused = playground.run(*words)

    assert refused.process.returncode == 5, refused.output
    assert f"{playground.directory}/rows.txt is not the file with which this run was begun" in refused.output
    assert "--reset" in refused.output
    assert "Traceback" not in refused.output
    assert state.read_bytes() == before

    anew = playground.run(*words, "--reset")

    assert anew.process.returncode == 0, anew.output
    assert playground.ledger.ended()["ROW7"] == 1


@pytest.mark.slow
@pytest.mark.quick
def test_a_missing_file_and_a_bad_line_are_explained(playground: Playground) -> None:
    """Exit 2 with the whole path, and exit 1 with the byte: Taskmaster's own traceback helps
    nobody.
    """
    playground.write("mod.py", PREAMBLE + SOURCES + "get_jobs = sources.jsonl('rows.jsonl')\n")
    words = ("tm-run", "mod.py", "1", "--progress=none")
    missing = playground.run(*words)

    assert missing.process.returncode == 2, missing.output
    assert f"The file {playground.directory}/rows.jsonl cannot be read: No such file" in missing.output
    assert "Traceback" not in missing.output

    playground.write("rows.jsonl", '1\n2\n{"half": \n3\n')
    bad = playground.run(*words)

    assert bad.process.returncode == 1, bad.output
    assert "begins at byte 4: this is not JSON" in bad.output
    assert "Traceback" not in bad.output
    assert playground.ledger.ended() == Counter("12"), "what came before is finished"

    playground.write("rows.jsonl", '1\n2\n"mended"\n3\n')
    mended = playground.run(*words)

    assert mended.process.returncode == 0, mended.output
    assert playground.ledger.ended() == Counter(["1", "2", "mended", "3"])


def test_a_slave_does_not_need_the_file(playground: Playground) -> None:
    """It imports the module somewhere else."""
    host = f"127.0.0.1:{free_port()}"
    playground.write("mod.py", PREAMBLE + SOURCES + "get_jobs = sources.lines('rows.txt')\n")
    playground.write("rows.txt", "a\nb\nc\n")
    master = playground.start("tm-master", "mod.py", f"--host={host}", "--progress=none")
    elsewhere = playground.directory / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(playground.directory / "mod.py", elsewhere)
    playground.directory = elsewhere
    slave = playground.start("tm-slave", "mod.py", f"--host={host}", "--processes=1")

    assert master.end() == 0, master.output
    assert slave.end() == 0, slave.output
    assert playground.ledger.ended() == Counter("abc")


def write_people(path: Path, count: int) -> list[tuple[int, str, str]]:
    """A CSV file whose fields hold all that makes CSV difficult."""
    names = ['Ann "the first"', "Bo,\nor B.", "\u00c9ve", "\u4e2d\u6587", "line\r\nbreak", "", " "]
    people = [(n, f"{names[n % len(names)]}{n}", f"{n}@example.com") for n in range(1, count + 1)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "name", "email"))
        writer.writerows(people)
    return people


@pytest.mark.slow
def test_the_example_imports_a_file_although_it_is_killed(playground: Playground, database: str) -> None:
    """Kill -9 in the middle, run again: the table holds what the file holds, row by row."""
    count = 6000
    people = write_people(playground.directory / "people.csv", count)
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:

            def ask(statement: str) -> list[tuple[int, str, str]]:
                cursor.execute(statement)
                return cursor.fetchall()

            # Half of the rows have to wait: else all might be done before anybody can kill
            # anything.
            cursor.execute("CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL)")
            cursor.execute(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$;"
                f"CREATE TRIGGER slow BEFORE INSERT ON people FOR EACH ROW WHEN (NEW.id > {count // 2}) "
                "EXECUTE FUNCTION slow(); SELECT pg_advisory_lock(1)"
            )
            words = ("tm-run", str(EXAMPLE), "2", "path=people.csv", "--progress=none", "--batch=100")
            run = playground.start(*words, IMPORT_DSN=database)
            wait_for("a third of the rows", lambda: len(ask("SELECT id FROM people")) > count // 3)
            wait_for("a checkpoint", playground.in_state)
            run.kill()
            wait_for("every process to end", lambda: not playground.left())

            assert len(ask("SELECT id FROM people")) < count

            cursor.execute("SELECT pg_advisory_unlock(1)")
            again = playground.run(*words, IMPORT_DSN=database)

            assert again.process.returncode == 0, again.output
            assert "Resuming at key (" in again.output
            assert ask("SELECT id, name, email FROM people ORDER BY id") == people


def test_bad_lines_are_listed_at_the_end_of_the_run(playground: Playground) -> None:
    """Left out because that was asked for, and still said; without it, the run stops there."""
    (playground.directory / "rows.txt").write_bytes(b"one\nb\xe9d\ntwo\n")
    text = "def get_jobs(skip=''):\n    return sources.lines('rows.txt', skip_bad=bool(skip))\n"
    playground.write("mod.py", PREAMBLE + SOURCES + text)
    strict = playground.run("tm-run", "mod.py", "1", "--progress=none")
    lenient = playground.run("tm-run", "mod.py", "1", "--progress=none", "skip=yes")

    assert strict.process.returncode == 1, strict.output
    assert "byte 5 (0xe9) is no utf-8" in strict.output
    assert lenient.process.returncode == 0, lenient.output
    assert "1 bad line or row of rows.txt was left out" in lenient.output
    assert "byte 5 (0xe9)" in lenient.output
    assert set(playground.ledger.ended()) == {"one", "two"}
