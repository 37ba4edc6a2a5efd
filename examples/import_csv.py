"""Import a CSV file into PostgreSQL: ``IMPORT_DSN=postgresql://... tm-run examples/import_csv.py 4
path=people.csv``.

The file has the columns ``id``, ``name`` and ``email``. Stop it, kill it, run the same command
again: it goes on where it was.
"""

import os

import psycopg2
from psycopg2.extras import execute_values

from taskmaster import sources

DSN = os.environ.get("IMPORT_DSN", "")  # without it, libpq's own variables: PGHOST, PGDATABASE and so on

TABLE = "CREATE TABLE IF NOT EXISTS people (id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL)"
# The second time changes nothing: a row can come twice, when a worker was killed before the master
# had heard of it.
ROWS = """
    INSERT INTO people (id, name, email) VALUES %s
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email
"""


def get_jobs(path):
    """Each row is a job; the master alone reads the file."""
    return sources.csv_rows(path)


def setup():
    """Once in each worker process: connect."""
    global connection
    connection = psycopg2.connect(DSN)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(5050)")  # two workers cannot create the same table at once
        cursor.execute(TABLE)


def teardown():
    """Once in each worker process, at its end."""
    connection.close()


def handle_jobs(rows):
    """Write many rows with one statement, in one transaction: all of them, or none and the call
    fails.
    """
    if connection.closed:  # the server was restarted
        setup()
    # One statement must not update a row twice, and two that update the same rows must do it in the
    # same order.
    people = {int(row["id"]): (row["name"], row["email"]) for row in rows}
    values = [(number, *people[number]) for number in sorted(people)]
    with connection, connection.cursor() as cursor:
        execute_values(cursor, ROWS, values, page_size=len(values))
