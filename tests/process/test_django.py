"""Real runs in real Django projects over a real PostgreSQL server, which are interrupted and run
again.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cases import mostly_slow
from support.commands import free_port, wait_for
from support.django_projects import environment_of
from support.playground import Playground
from support.postgres_server import Server

EXAMPLE = Path(__file__).parents[2] / "examples" / "django_backfill"
Sql = Callable[..., list[tuple]]
WRONG = (
    "SELECT count(*) FROM blog_post p, blog_author a WHERE a.id = p.author_id AND p.author_name IS DISTINCT FROM a.name"
)
DONE = "SELECT count(*) FROM blog_post WHERE author_name <> ''"


@pytest.fixture
def project(database: str, sql: Sql, playground: Playground) -> dict[str, str]:
    """The example's project, migrated, with 2,000 posts with gaps; gives the environment of its
    commands.
    """
    return migrated(playground, database, sql)


def migrated(playground: Playground, dsn: str, sql: Sql) -> dict[str, str]:
    """The same in a database of one's own."""
    shutil.copytree(EXAMPLE, playground.directory, dirs_exist_ok=True)
    environment = environment_of(dsn)
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(migrate, cwd=playground.directory, env={**playground.environment, **environment}, check=True)
    sql("INSERT INTO blog_author SELECT n, 'author ' || n FROM generate_series(1, 50) n")
    sql(
        "INSERT INTO blog_post (id, author_id, title, author_name) "
        "SELECT 3 * n, 1 + n % 50, 'post ' || n, '' FROM generate_series(1, 2000) n"
    )
    sql("ANALYZE")
    sql("CREATE TABLE ledger (id bigint, backend int)")
    return environment


# The last posts are changed when the test's own connection has given up its lock.
HELD = """
CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END';
CREATE TRIGGER held BEFORE UPDATE ON blog_post FOR EACH ROW WHEN (NEW.id > ABOVE) EXECUTE FUNCTION held();
SELECT pg_advisory_lock(1)
"""


def interrupted(
    playground: Playground, words: list[str], environment: dict[str, str], sql: Sql, some: int = 200, above: int = 1500
) -> None:
    """Run a command, and interrupt it when ``some`` posts are done; those with a key ``above``
    cannot be before.
    """
    sql(HELD.replace("ABOVE", str(above)))
    run = playground.start(*words, **environment)
    wait_for("some posts", lambda: sql(DONE)[0][0] > some or run.process.poll() is not None)
    run.signal_group(signal.SIGINT)
    run.wait_for_output("the same signal again ends at once")
    sql("SELECT pg_advisory_unlock(1)")

    assert run.end() == 130, run.output


SCRIPT = """
import django
django.setup()

from blog.models import Post
from django.db import connection
from taskmaster import Taskmaster

def callback(obj):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO ledger VALUES (%s, pg_backend_pid())", [obj.pk])
    obj.author_name = obj.author.name
    obj.save()

Taskmaster(callback, Post.objects.all()).start()
"""


@pytest.mark.slow
def test_the_blog_s_script_runs_word_for_word(project: dict[str, str], sql: Sql, playground: Playground) -> None:
    """A queryset alone: interrupted in the middle, the same script goes on at its key."""
    playground.write("script.py", SCRIPT)
    words = ["python", "script.py"]
    project["DJANGO_SETTINGS_MODULE"] = "config.settings"
    sql("DELETE FROM blog_post WHERE id > 1500")
    interrupted(playground, words, project, sql, some=100, above=900)
    before = sql(DONE)[0][0]
    again = playground.run(*words, **project)

    assert again.process.returncode == 0, again.output
    assert "Resuming at key" in again.output
    assert 100 < before < 500
    assert (sql(WRONG), sql(DONE)) == ([(0,)], [(500,)])
    # What lies before the key is not done again. Of what was done beyond it, a row that the
    # callback has changed is another job: at most what one worker did while the other was at a
    # batch.
    assert sql("SELECT count(*) FROM ledger")[0][0] < 500 + before
    assert sql("SELECT count(DISTINCT id) FROM ledger") == [(500,)]


SNIPPET = """
from blog.models import Post
from taskmaster.django_orm import RangeQuerySetWrapper

def get_jobs(last=0):
    for obj in RangeQuerySetWrapper(Post.objects.all(), min_id=last):
        yield obj

def handle_job(obj):
    obj.author_name = obj.author.name
    obj.save()
"""


@pytest.mark.slow
def test_the_snippet_runs_word_for_word(project: dict[str, str], sql: Sql, playground: Playground) -> None:
    """With tm-run, in the project that the environment names."""
    playground.write("mod.py", SNIPPET)
    project["DJANGO_SETTINGS_MODULE"] = "config.settings"
    words = ["tm-run", "mod.py", "2", "--progress=lines"]
    interrupted(playground, words, project, sql)
    assert sql(DONE)[0][0] < 2000
    again = playground.run(*words, **project)

    assert again.process.returncode == 0, again.output
    assert "Resuming at key" in again.output
    assert (sql(WRONG), sql(DONE)) == ([(0,)], [(2000,)])


@pytest.mark.slow
def test_the_example_s_script_gives_every_post_its_author(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """Interrupted and run again, as it is shipped."""
    interrupted(playground, ["python", "backfill_posts.py"], project, sql)
    again = playground.run("python", "backfill_posts.py", **project)

    assert again.process.returncode == 0, again.output
    assert (sql(WRONG), sql(DONE)) == ([(0,)], [(2000,)])


@pytest.mark.slow
def test_the_example_s_ranges_give_every_post_its_author(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """With --django-settings: a range an UPDATE, with a master and a slave of their own,
    interrupted and run again.
    """
    sql(
        "INSERT INTO blog_post (id, author_id, title, author_name) "
        "SELECT 3 * n, 1 + n % 50, 'post ' || n, '' FROM generate_series(2001, 20000) n"
    )
    text = (playground.directory / "backfill.py").read_text()
    assert "QuerySetRanges(Post.objects.all())" in text
    playground.write("backfill.py", text.replace("Post.objects.all())", "Post.objects.all(), rows=250, target=None)"))
    words = ["tm-run", "backfill.py", "2", "--progress=lines", "--django-settings=config.settings"]
    interrupted(playground, words, project, sql, 2_000, 30_000)
    assert sql(DONE)[0][0] < 20_000
    port = free_port()
    where = [f"--host=127.0.0.1:{port}", "--django-settings=config.settings"]
    master = playground.start("tm-master", "backfill.py", "--progress=lines", *where, **project)
    slave = playground.start("tm-slave", "backfill.py", "--processes=2", *where, **project)

    assert master.end() == 0, master.output
    assert slave.end() == 0, slave.output
    assert (sql(WRONG), sql(DONE)) == ([(0,)], [(20_000,)])
    listed = playground.run("tm-ctl", "failures", "backfill.tmstate", "--json")
    assert json.loads(listed.output or "[]") in ([], {"failures": []})


PARENT = """
import os
import django
django.setup()

from blog.models import Post
from django.db import connection
from taskmaster import Taskmaster

def backend():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]

ours = backend()

def callback(post_id):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO ledger VALUES (%s, pg_backend_pid())", [post_id])
        # The first jobs wait for each other: else one worker may have done all before another has begun.
        while not os.path.exists("all"):
            cursor.execute("SELECT count(DISTINCT backend) FROM ledger")
            if cursor.fetchone()[0] >= 2 * THREADS:
                open("all", "w").close()

if __name__ == "__main__":
    Taskmaster(callback, Post.objects.values_list("pk", flat=True), processes=2, threads=THREADS).start()
    print("parent", ours, backend())
"""


@pytest.mark.slow
@pytest.mark.parametrize("threads", mostly_slow([1, 3], 1))
def test_no_connection_is_shared_over_a_fork(
    project: dict[str, str], sql: Sql, playground: Playground, threads: int
) -> None:
    """A script that has used its connection gives it to no worker, and can go on itself; at the end
    none is left.
    """
    playground.write("script.py", PARENT.replace("THREADS", str(threads)))
    done = playground.run("python", "script.py", DJANGO_SETTINGS_MODULE="config.settings", **project)

    assert done.process.returncode == 0, done.output
    _, ours, later = next(line for line in done.output.splitlines() if line.startswith("parent")).split()
    backends = {backend for (backend,) in sql("SELECT DISTINCT backend FROM ledger")}
    assert len(backends) == 2 * threads
    assert not backends & {int(ours), int(later)}
    assert sql("SELECT count(DISTINCT id) FROM ledger") == [(2000,)]
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_for("every connection to end", lambda: sql(others) == [(0,)])


@pytest.mark.slow
def test_a_server_that_restarts_costs_a_pause(postgres: Server, playground: Playground) -> None:
    """The master's pages and the workers' connections find it again: no job is lost, and none fails
    for good.
    """
    postgres.execute("CREATE DATABASE django_restarts")
    sql = lambda text: postgres.execute(text, database="django_restarts")  # noqa: E731
    environment = migrated(playground, postgres.dsn("django_restarts"), sql)
    playground.write("mod.py", SNIPPET.replace("min_id=last", "50, min_id=last"))
    words = ["--progress=lines", "--backoff=0.2", "--retries=20", "--size=100", "--max-failures=1000"]
    run = playground.start("tm-run", "mod.py", "2", "--django-settings=config.settings", *words, **environment)
    wait_for("some posts", lambda: sql(DONE)[0][0] > 200)
    postgres.restart()

    assert run.end() == 0, run.output
    assert (sql(WRONG), sql(DONE)) == ([(0,)], [(2000,)])


LOST = """
from django.db import connection
from blog.models import Post
from taskmaster.django_orm import RangeQuerySetWrapper

get_jobs = Post.objects.values_list("pk", flat=True)

def handle_job(post_id):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO ledger VALUES (%s, pg_backend_pid())", [post_id])
        if post_id % 600 == 0:
            cursor.execute("SELECT count(*) FROM ledger WHERE id = %s", [post_id])
            if cursor.fetchone()[0] == 1:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
"""


@pytest.mark.slow
@pytest.mark.parametrize("threads", mostly_slow([1, 3], 1))
def test_a_lost_connection_costs_its_job_an_attempt_and_no_other(
    project: dict[str, str], sql: Sql, playground: Playground, threads: int
) -> None:
    """The next job of the batch gets a new one; and a queryset that is called get_jobs is a source,
    too.
    """
    playground.write("mod.py", LOST)
    words = ["tm-run", "mod.py", "2", f"--threads={threads}", "--progress=lines", "--backoff=0.1", "--batch=500"]
    done = playground.run(*words, "--django-settings=config.settings", **project)

    assert done.process.returncode == 0, done.output
    assert sql("SELECT count(DISTINCT id) FROM ledger") == [(2000,)]
    assert sql("SELECT count(*) FROM ledger WHERE id % 600 = 0") == [(20,)]
    # With threads, the connection of a thread is its own, too.
    assert sql("SELECT count(*) FROM ledger WHERE id % 600 <> 0") == [(1990,)]


THROTTLED = """
from django.db import connection
from jobs import handle_job

def get_jobs():
    return [1, 2, 3]

def throttle():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO ledger VALUES (1, pg_backend_pid())")
        cursor.execute("SELECT count(*) FROM ledger")
        if cursor.fetchone()[0] == 1:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
"""


@pytest.mark.slow
def test_a_throttle_s_lost_connection_does_not_hold_the_run_for_ever(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """It raises once, and is asked in a new connection."""
    playground.write("mod.py", THROTTLED)
    done = playground.run("tm-run", "mod.py", "1", "--progress=lines", "--django-settings=config.settings", **project)

    assert done.process.returncode == 0, done.output
    assert "throttle() raised" in done.output
    assert sql("SELECT count(*) > 1, count(DISTINCT backend) > 1 FROM ledger") == [(True, True)]


HANGS = """
from django.db import connection

def get_jobs():
    return range(4)

def handle_job(number):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO ledger VALUES (%s, pg_backend_pid())", [number])
        if number == 2:
            cursor.execute("SELECT pg_sleep(600)")
"""


@pytest.mark.slow
def test_a_statement_does_not_outlive_its_worker(project: dict[str, str], sql: Sql, playground: Playground) -> None:
    """With the setting that the example has, the server notices that the worker was killed."""
    playground.write("mod.py", HANGS)
    words = ["tm-run", "mod.py", "2", "--progress=lines", "--job-timeout=4", "--crashes=1"]
    done = playground.run(*words, "--django-settings=config.settings", **project)

    assert done.process.returncode == 3, done.output
    assert "1 x TimedOut" in done.output
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    wait_for("the server to notice", lambda: sql(sleeping) == [(0,)])


UNKNOWN = (
    "tm-run: DIRECTORY/mod.py cannot be imported: it raised ImproperlyConfigured. It uses Django, whose settings are "
    "not known: name them with --django-settings=config.settings, or with DJANGO_SETTINGS_MODULE in the environment."
)
SET_UP = "The Django project with the settings NAME (--django-settings, or DJANGO_SETTINGS_MODULE) cannot be set up: django.setup() raised"  # noqa: E501


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tm-run", "mod.py", "1", "--django-settings=confg.settings"], "no module 'confg'.*mean config.settings"),
        (["tm-run", "mod.py", "1", "--django-settings=config.setings"], "no module 'config.setings'"),
        (["tm-run", "mod.py", "1", "--django-settings=broken"], "ZeroDivisionError.*django.setup\\(\\) raised"),
        (["tm-run", "mod.py", "1", "--django-settings=lacking"], "isn't in.*INSTALLED_APPS.*settings are lacking"),
        (["tm-run", "mod.py", "1"], "ImproperlyConfigured.*--django-settings=config.settings"),
        (["tm-master", "mod.py", "--host=127.0.0.1:0"], "ImproperlyConfigured.*--django-settings"),
    ],
)
def test_a_project_that_is_not_found_is_explained(playground: Playground, words: list[str], expected: str) -> None:
    """Exit code 2, the cure, and a traceback only of the user's own code."""
    shutil.copytree(EXAMPLE, playground.directory, dirs_exist_ok=True)
    playground.write("broken.py", "1 / 0\n")
    playground.write("lacking.py", "from config.settings import *\nINSTALLED_APPS = []\n")
    playground.write("mod.py", SNIPPET)
    done = playground.run(*words)
    assert done.process.returncode == 2, done.output
    assert re.search(f"(?s){expected}", done.output), done.output
    assert "taskmaster/django_orm" not in done.output
    assert "frozen" not in done.output


@pytest.mark.parametrize(
    ("settings", "said", "shown"),
    mostly_slow(
        [
            (None, UNKNOWN, "mod.py"),
            ("no_app", f"tm-run: {SET_UP} ModuleNotFoundError: No module named 'blug'", ""),
            ("no_backend", f"tm-run: {SET_UP} ImproperlyConfigured: .*No module named 'nothing'\\)", "blog/models.py"),
            ("no_log", f"tm-run: {SET_UP} ValueError: .*No such file or directory: '/none/log'\\)", ""),
        ],
        None,
        "no_app",
    ),
)
def test_settings_that_cannot_be_used_are_one_line(
    playground: Playground, settings: str | None, said: str, shown: str
) -> None:
    """The last one: which ones, and what is wrong. The way there is shown from a line of the user's
    on, if one took part; else it tells nobody anything, except with --debug.
    """
    shutil.copytree(EXAMPLE, playground.directory, dirs_exist_ok=True)
    head = "from config.settings import *\n"
    playground.write("no_app.py", head + "INSTALLED_APPS += ['blug']\n")
    playground.write("no_backend.py", head + "DATABASES['default']['ENGINE'] = 'nothing'\n")
    handler = {"class": "logging.FileHandler", "filename": "/none/log"}
    playground.write("no_log.py", head + f"LOGGING = {{'version': 1, 'handlers': {{'file': {handler}}}}}\n")
    playground.write("mod.py", SNIPPET)
    words = ["tm-run", "mod.py", "1", *([f"--django-settings={settings}"] if settings else [])]
    done, debugged = playground.run(*words), playground.run(*words, "--debug")

    assert done.process.returncode == 2, done.output
    line = re.escape(said).replace(r"\.\*", ".*").replace(r"\\", "")
    line = line.replace("DIRECTORY", re.escape(str(playground.directory.resolve()))).replace("NAME", str(settings))
    *traced, last = done.output.strip().splitlines()
    assert re.fullmatch(line, last), done.output
    assert bool(traced) is bool(shown), done.output
    assert shown in "\n".join(traced)
    assert "Traceback" in debugged.output


READS = """
from blog.models import Post
from taskmaster.django_orm import QuerySetRanges

def ranges():
    return QuerySetRanges(Post.objects.all())

def queryset():
    return Post.objects.all()

def loop():
    for post in Post.objects.iterator():
        yield post.pk

def handle_job(job):
    pass
"""


@pytest.mark.parametrize(
    "how", mostly_slow(["ranges", "queryset", "loop", "dry run", "script", "import"], "queryset", "loop")
)
def test_a_database_without_the_tables_is_one_line(playground: Playground, database: str, how: str) -> None:
    """The last; it says what to do. Where the user's own code has asked, it is shown where."""
    shutil.copytree(EXAMPLE, playground.directory, dirs_exist_ok=True)
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings", **environment_of(database)}
    playground.write("mod.py", READS)
    playground.write("imported.py", READS + "\nget_jobs = list(Post.objects.all())\n")
    playground.write("script.py", SCRIPT)
    words = {
        "dry run": ["tm-run", "mod.py:loop", "--dry-run"],
        "script": ["python", "script.py"],
        "import": ["tm-run", "imported.py", "1"],
    }.get(how, ["tm-run", f"mod.py:{how}", "1"])
    done = playground.run(*words, **environment)

    assert done.process.returncode == (1 if "loop" in " ".join(words) else 2), done.output
    last = done.output.strip().splitlines()[-1]
    assert 'lacks what the models have: relation "blog_post" does not exist.' in last
    assert "`python manage.py migrate`" in last
    asks = {
        "loop": "Post.objects.iterator()",
        "dry run": "Post.objects.iterator()",
        "import": "list(Post.objects.all())",
    }
    assert ("Traceback" in done.output) is (how in asks)
    assert asks.get(how, "") in done.output
    if how != "script":
        assert "Traceback" in playground.run(*words, "--debug", **environment).output


WRONG_SQL = """
from django.db import connection

def get_jobs():
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM posts")
        yield from cursor.fetchall()

def handle_job(job):
    pass
"""


def test_a_statement_of_the_users_own_is_shown_where_it_is(playground: Playground, database: str) -> None:
    """A table that it names wrongly is no migration that was forgotten."""
    shutil.copytree(EXAMPLE, playground.directory, dirs_exist_ok=True)
    playground.write("mod.py", WRONG_SQL)
    done = playground.run("tm-run", "mod.py", "1", DJANGO_SETTINGS_MODULE="config.settings", **environment_of(database))

    assert done.process.returncode == 1, done.output
    assert 'cursor.execute("SELECT id FROM posts")' in done.output
    assert "migrate" not in done.output


NONE = """
import sys

def get_jobs():
    return range(10)

def handle_job(number):
    if any(name.partition(".")[0] in ("django", "psycopg2", "psycopg") for name in sys.modules):
        raise RuntimeError("imported")
"""


def test_django_is_not_imported_where_nobody_uses_it(playground: Playground) -> None:
    """Neither in workers nor in the master."""
    playground.write("mod.py", NONE + "\nhandle_job(0)\n")
    done = playground.run("tm-run", "mod.py", "1", "--progress=lines")

    assert done.process.returncode == 0, done.output


@pytest.mark.slow
def test_a_worker_of_another_machine_needs_the_settings_too(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """tm-spawn without them says which option is missing; with them, it does the work."""
    playground.write("mod.py", SNIPPET)
    host = f"--host=127.0.0.1:{free_port()}"
    settings = "--django-settings=config.settings"
    master = playground.start("tm-master", "mod.py", "--progress=lines", host, settings, **project)
    master.wait_for_output("Start slaves with")
    without = playground.run("tm-spawn", "mod.py", "1", host, "--wait=5", **project)
    spawned = playground.start("tm-spawn", "mod.py", "2", host, settings, **project)

    assert without.process.returncode == 2, without.output
    assert "--django-settings=config.settings" in without.output
    assert master.end() == 0, master.output
    assert spawned.end() == 0, spawned.output
    assert (sql(WRONG), sql(DONE)) == ([(0,)], [(2000,)])
