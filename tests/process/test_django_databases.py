"""Workers use the databases of the process that has started the run, or there is no run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cases import mostly_slow
from support.commands import free_port
from support.django_projects import environment_of
from support.playground import Playground

EXAMPLE = Path(__file__).parents[2] / "examples" / "django_backfill"
Sql = Callable[..., list[tuple]]

JOBS = """
from blog.models import Author
from taskmaster import Taskmaster
from taskmaster.django_orm import QuerySetRanges

def touch(pk):
    assert Author.objects.filter(pk=pk).update(name="touched") == 1, f"no author {pk}"

def run(**options):
    options = {"processes": 1, **options}
    return Taskmaster(touch, Author.objects.values_list("pk", flat=True), **options).start()

def touch_range(authors):
    authors.queryset().update(name="touched")

def run_ranges(**options):
    return Taskmaster(touch_range, QuerySetRanges(Author.objects.all(), rows=2), **options).start()
"""

IN_PROCESS = """
from concurrent.futures import ThreadPoolExecutor
from django.db import connection

class InAThread(TestCase):
    def test_refused(self):
        Author.objects.create(name="new")
        for processes in (0, 1):
            with ThreadPoolExecutor(1) as pool:
                run = pool.submit(jobs.run, processes=processes, state="thread.tmstate")
                in_memory = processes and connection.vendor == "sqlite"
                with self.assertRaisesMessage(UsageError, "in memory" if in_memory else "in a thread of its own"):
                    run.result()

class InProcess:
    def make(self):
        Author.objects.bulk_create(Author(id=n, name="new") for n in range(1, 6))

    def test_rows(self):
        self.make()
        self.assertEqual(jobs.run(processes=0).settled, 5)
        self.assertEqual(Author.objects.filter(name="touched").count(), 5)

    def test_ranges(self):
        self.make()
        self.assertEqual(jobs.run_ranges(processes=0).exit_code, 0)
        self.assertEqual(Author.objects.filter(name="touched").count(), 5)

    def test_failures(self):
        def callback(author):
            with transaction.atomic():
                author.name = "touched"
                author.save()
                if author.pk == 3:
                    Author.objects.create(pk=1)  # IntegrityError
        self.make()
        summary = Taskmaster(callback, Author.objects.all(), processes=0, retries=0).start()
        self.assertEqual((summary.failed, summary.exit_code), (1, 3))
        self.assertEqual(Author.objects.filter(name="touched").count(), 4)

class InProcessTestCase(InProcess, TestCase):
    pass

class InProcessTransactionTestCase(InProcess, TransactionTestCase):
    pass
"""

TESTS = """
import os
from django.conf import settings
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings
from blog import jobs
from blog.models import Author
from taskmaster import Taskmaster
from taskmaster.errors import UsageError

def run():
    return jobs.run(state=os.path.join(os.environ["TMPDIR"], "t.tmstate"), retries=0, reset=True)

class InTransactionTestCase(TransactionTestCase):
    def setUp(self):
        Author.objects.bulk_create(Author(id=n, name="new") for n in range(1, 6))

    def test_importable(self):
        self.assertEqual(run().exit_code, 0)
        self.assertEqual(Author.objects.filter(name="touched").count(), 5)

    @override_settings(WORD="overridden")
    def test_override(self):
        self.assertEqual(jobs.words(), 0)
        self.assertEqual(set(Author.objects.values_list("name", flat=True)), {"overridden"})

class InTestCase(TestCase):
    def test_refused(self):
        with self.assertRaisesMessage(UsageError, "inside of a transaction of the database 'default'"):
            run()
"""

WORDS = """
def word(pk):
    from django.conf import settings
    Author.objects.filter(pk=pk).update(name=settings.WORD)

def words():
    authors = Author.objects.values_list("pk", flat=True)
    return Taskmaster(word, authors, processes=1, state="w.tmstate").start().exit_code
"""


@pytest.fixture
def project(database: str, sql: Sql, playground: Playground) -> dict[str, str]:
    """The example's project, migrated, with 10 authors; gives the environment of its commands."""
    shutil.copytree(EXAMPLE, playground.directory, dirs_exist_ok=True)
    (playground.directory / "blog" / "jobs.py").write_text(JOBS + WORDS)
    with (playground.directory / "config" / "settings.py").open("a") as settings:
        settings.write("\nWORD = 'plain'\n")
    environment = {**environment_of(database), "DJANGO_SETTINGS_MODULE": "config.settings"}
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(migrate, cwd=playground.directory, env={**playground.environment, **environment}, check=True)
    sql("INSERT INTO blog_author SELECT n, 'author ' || n FROM generate_series(1, 10) n")
    return environment


TOUCHED = "SELECT count(*) FROM blog_author WHERE name NOT LIKE 'author %'"


@pytest.mark.slow
def test_a_run_in_django_s_tests_leaves_the_real_database_alone(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """The callback is one that a worker could import: it would find the real rows. With processes=0
    each kind of test has its own.
    """
    playground.write("blog/tests.py", TESTS + IN_PROCESS)
    done = playground.run("python", "manage.py", "test", "--noinput", TMPDIR=str(playground.directory), **project)

    assert done.process.returncode == 0, done.output
    assert "Ran 10 tests" in done.output
    assert sql(TOUCHED) == [(0,)]


SQLITE_TESTS = """
from django.db import transaction
from django.test import TestCase, TransactionTestCase
from blog import jobs
from blog.models import Author
from taskmaster import Taskmaster
from taskmaster.errors import UsageError

class InTransactionTestCase(TransactionTestCase):
    def test_refused(self):
        Author.objects.create(name="new")
        with self.assertRaisesMessage(UsageError, "in memory, which other processes do not have"):
            jobs.run(state="t.tmstate")
"""
SQLITE = """
from config.settings import *
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "real.sqlite3"}}
"""


def test_a_database_in_memory_is_refused_at_once(playground: Playground) -> None:
    """It was tried again for an hour, or what workers wrote was lost."""
    shutil.copytree(EXAMPLE, playground.directory, dirs_exist_ok=True)
    (playground.directory / "blog" / "jobs.py").write_text(JOBS)
    (playground.directory / "blog" / "tests.py").write_text(SQLITE_TESTS + IN_PROCESS)
    playground.write("lite.py", SQLITE)
    done = playground.run("python", "manage.py", "test", "--settings=lite")

    assert done.process.returncode == 0, done.output
    assert "Ran 8 tests" in done.output


CONFIGURED = """
import os, sys
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["blog"], WORD="configured", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}},
)
import django
django.setup()
from blog import jobs

if __name__ == "__main__":
    assert jobs.words() == 0
    jobs.run(state="b.tmstate")
"""


@pytest.mark.slow
def test_a_script_that_configures_the_settings_itself_runs(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """Its workers have what it has; a new process would have no settings."""
    playground.write("script.py", CONFIGURED)
    del project["DJANGO_SETTINGS_MODULE"]
    done = playground.run("python", "script.py", **project)

    assert done.process.returncode == 0, done.output
    assert sql("SELECT DISTINCT name FROM blog_author") == [("touched",)]


ACTIVATED = """
import sys
import django
django.setup()
from django.utils import timezone, translation
from blog import active
from taskmaster import Taskmaster

def get_jobs():
    active.check()
    return active.Author.objects.values_list("pk", flat=True)

def count_jobs():
    active.check()
    return 10

if __name__ == "__main__":
    with timezone.override("America/Los_Angeles"), translation.override("de"):
        run = Taskmaster(active.mark, get_jobs, count_jobs=count_jobs, threads=int(sys.argv[1]), state="a.tmstate")
        sys.exit(run.start().exit_code)
"""

ACTIVE = """
from django.utils import timezone, translation
from blog.models import Author

def check():
    found = timezone.get_current_timezone_name(), translation.get_language()
    assert found == ("America/Los_Angeles", "de"), found

def mark(pk):
    check()
    Author.objects.filter(pk=pk).update(name="marked")
"""


@pytest.mark.parametrize("threads", mostly_slow([1, 3], 3))
def test_the_zone_and_the_language_of_the_script_are_those_of_all_its_threads(
    project: dict[str, str], sql: Sql, playground: Playground, threads: int
) -> None:
    """They decide on which rows ``at__date=...`` finds, in the reader as in the callback, which a
    worker could import.
    """
    playground.write("blog/active.py", ACTIVE)
    playground.write("script.py", ACTIVATED)
    done = playground.run("python", "script.py", str(threads), **project)

    assert done.process.returncode == 0, done.output
    assert "count_jobs failed" not in done.output
    assert sql("SELECT DISTINCT name FROM blog_author") == [("marked",)]


SAVING = """
from django.db.models.signals import post_save
from django.dispatch import receiver
from blog.models import Author

@receiver(post_save, sender=Author)
def mail(instance, **_):
    with open("mails", "a") as file:
        file.write(f"{instance.pk}\\n")

def touch(pk):
    author = Author.objects.get(pk=pk)
    author.name = "touched"
    author.save()
"""

DISCONNECTED = """
import sys
import django
django.setup()
from blog import saving
from taskmaster import Taskmaster

if __name__ == "__main__":
    if sys.argv[1] != "on":
        saving.post_save.disconnect(saving.mail, sender=saving.Author)
    callback = saving.touch if sys.argv[1] != "forked" else lambda pk: saving.touch(pk)
    jobs = saving.Author.objects.values_list("pk", flat=True)
    sys.exit(Taskmaster(callback, jobs, processes=1, state="s.tmstate").start().exit_code)
"""


@pytest.mark.parametrize(("how", "code", "mails"), [("off", 2, 0), ("forked", 0, 0), ("on", 0, 10)])
def test_a_receiver_that_the_script_has_disconnected_is_not_called(
    project: dict[str, str], sql: Sql, playground: Playground, how: str, code: int, mails: int
) -> None:
    """A worker that imported the callback sent the mails, with "All done"."""
    playground.write("blog/saving.py", SAVING)
    playground.write("script.py", DISCONNECTED)
    done = playground.run("python", "script.py", how, **project)

    assert done.process.returncode == code, done.output
    assert ("The script has disconnected blog.saving:mail from post_save of blog.Author" in done.output) is (code != 0)
    sent = playground.directory / "mails"
    assert (len(sent.read_text("utf-8").split()) if sent.exists() else 0) == mails
    assert sql(TOUCHED) == [(0 if code else 10,)]


CHANGED = """
import django
django.setup()
from django.db import connection
from blog import jobs

connection.settings_dict["NAME"] = "OTHER"

if __name__ == "__main__":
    jobs.run(state="b.tmstate")
"""


@pytest.mark.slow
def test_a_database_that_was_changed_under_the_settings_is_noticed_by_the_workers(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """The settings say nothing of it: no job is run."""
    name = project["PGDATABASE"]
    playground.write("script.py", CHANGED.replace("OTHER", name))
    done = playground.run("python", "script.py", **{**project, "PGDATABASE": "postgres"})

    assert done.process.returncode == 2, done.output
    assert "The database 'default' is postgresql postgres at " in done.output
    assert f"and postgresql {name} at " in done.output
    assert sql(TOUCHED) == [(0,)]


TARGET = """
import os
from blog.models import Author

get_jobs = Author.objects.values_list("pk", flat=True)

def handle_job(pk):
    Author.objects.filter(pk=pk).update(name="touched")
"""


@pytest.mark.slow
def test_a_slave_with_another_database_than_the_master_is_refused(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """It says which, and runs nothing; with --other-databases, somebody has thought of it."""
    playground.write("mod.py", TARGET)
    playground.write("lite.py", SQLITE)
    host = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "mod.py", "--progress=lines", host, **project)
    master.wait_for_output("Start slaves with")
    lite = {**project, "DJANGO_SETTINGS_MODULE": "lite"}
    other = playground.run("tm-slave", "mod.py", "--processes=1", host, **lite)
    away = playground.run("tm-slave", "mod.py", "--processes=1", host, **{**project, "PGPORT": "1"})
    assert other.process.returncode == 2, other.output
    assert "The database 'default' is sqlite3 " in other.output
    assert "in the workers', and postgresql " in other.output
    assert "--other-databases" in other.output
    assert away.process.returncode == 2, away.output
    assert sql(TOUCHED) == [(0,)]
    # The same server under another name.
    same = playground.run(
        "tm-slave", "mod.py", "--processes=1", host, "--other-databases", **{**project, "PGHOST": "localhost"}
    )

    assert same.process.returncode == 0, same.output
    assert master.end() == 0, master.output
    assert sql(TOUCHED) == [(10,)]


LEAVES = """
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from blog.models import Author

get_jobs = Author.objects.values_list("pk", flat=True)

def handle_job(pk):
    if pk % 5 == 0:
        transaction.set_autocommit(False)
    elif pk % 10 == 1:
        transaction.atomic().__enter__()
    elif pk % 10 == 6:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
    Author.objects.filter(pk=pk).update(name="touched")

def handle_jobs(pks):
    for pk in pks:
        handle_job(pk)

async def coroutine(pk):
    await sync_to_async(handle_job)(pk)
"""
LEAVES_AT_THE_END = """
def teardown():
    handle_job(5)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    mostly_slow(
        [
            ["mod.py"],
            ["mod.py", "--threads=3"],
            ["mod.py", "--handle-job-callback=handle_jobs"],
            ["mod.py", "--handle-job-callback=coroutine"],
        ],
        ["mod.py"],
    ),
)
def test_a_job_that_leaves_a_transaction_open_fails(
    project: dict[str, str], sql: Sql, playground: Playground, words: list[str]
) -> None:
    """And no other: the rest is written, and the run ends with 3."""
    playground.write("mod.py", LEAVES)
    done = playground.run("tm-run", words[0], "1", *words[1:], "--retries=0", "--progress=lines", **project)

    assert done.process.returncode == 3, done.output
    assert "4 x JobLeftTransaction" in done.output
    assert sql(TOUCHED) == [(6,)]


@pytest.mark.slow
def test_what_teardown_or_one_job_leaves_open_is_no_good_end(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """It is rolled back, and the command does not end with 0."""
    playground.write("mod.py", LEAVES)
    playground.write("end.py", LEAVES.replace("objects.values", "objects.filter(pk=2).values") + LEAVES_AT_THE_END)
    one = playground.run("tm-run", "mod.py", "--job=6", **project)
    end = playground.run("tm-run", "end.py", "1", "--progress=none", **project)

    for done, code in ((one, 3), (end, 1)):
        assert done.process.returncode == code, done.output
        assert "JobLeftTransaction: A transaction of the database 'default' was left open" in done.output
    assert sql(TOUCHED) == [(1,)]


TWO_QUERYSETS = """
import sys
import django
django.setup()
from blog.models import Author
from django.db.models.functions import Concat
from django.db.models import Value
from taskmaster import Taskmaster

def callback(author):
    author.name = f"{author.name}!"
    author.save()

if __name__ == "__main__":
    for queryset in (Author.objects.filter(pk__lte=3), Author.objects.filter(pk__gt=3)):
        print("settled", Taskmaster(callback, queryset, processes=1).start().settled)
"""


@pytest.mark.slow
def test_each_queryset_is_a_run_of_its_own(project: dict[str, str], sql: Sql, playground: Playground) -> None:
    """One script, one callback, two querysets: both are handled, and neither is twice."""
    playground.write("script.py", TWO_QUERYSETS)
    first = playground.run("python", "script.py", **project)
    second = playground.run("python", "script.py", **project)

    assert first.process.returncode == 0, first.output
    assert [line for line in first.output.splitlines() if line.startswith("settled")] == ["settled 3", "settled 7"]
    assert second.process.returncode == 0, second.output
    assert sql(
        "SELECT count(*), count(*) FILTER (WHERE name LIKE 'author %!' AND name NOT LIKE '%!!') FROM blog_author"
    )[0] == (10, 10)


@pytest.mark.slow
def test_one_file_over_another_database_is_another_run(
    project: dict[str, str], sql: Sql, playground: Playground
) -> None:
    """The state of the run over the first one says so: it had nothing to do, and ended with 0."""
    playground.write("mod.py", TARGET)
    playground.write("lite.py", SQLITE)
    lite = {**project, "DJANGO_SETTINGS_MODULE": "lite"}
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(migrate, cwd=playground.directory, env={**playground.environment, **lite}, check=True)
    tried = playground.run("tm-run", "mod.py", "1", "--progress=lines", **lite)
    refused = playground.run("tm-run", "mod.py", "1", "--progress=lines", **project)

    assert tried.process.returncode == 0, tried.output
    assert refused.process.returncode == 5, refused.output
    assert "sqlite3 real.sqlite3" in refused.output
    assert f"postgresql {project['PGDATABASE']}" in refused.output
    assert sql(TOUCHED) == [(0,)]
