"""Compare the accounts of a shard with those of its copy: ``tm-run examples/check_shards.py 4
shard=3``.

What differs is written to the table ``differences`` of the copy. SHARD and COPY are the DSNs, with
``{shard}`` in the place of the number. Each shard is a run of its own, with a state of its own;
``check_all_shards.py`` runs all of them.

Rows of the copy above the highest key that the shard had at the beginning are not looked at. A row
that is changed in one place while it is compared may be written down although it is right a moment
later: compare those once more.
"""

import os

from taskmaster import postgres

SHARD = os.environ.get("SHARD", "host=shard{shard} dbname=accounts")
COPY = os.environ.get("COPY", "host=copy{shard} dbname=accounts")


def get_jobs(shard):
    """Give ranges of keys; the label tells the workers which shard they are of."""
    return postgres.ranges(SHARD.format(shard=shard), "accounts", rows=5_000, label=shard)


def handle_job(accounts):
    """Compare one range: as a whole, and row by row only where that differs."""
    digest = f"SELECT md5(string_agg(a::text, ';' ORDER BY id)) FROM accounts a WHERE {accounts.where()}"
    shard, copy = SHARD.format(shard=accounts.label), COPY.format(shard=accounts.label)
    with postgres.connect(shard) as ours, postgres.connect(copy) as theirs:
        if ask(ours, digest, accounts.values) != ask(theirs, digest, accounts.values):
            here, there = (dict(accounts.fetch(one, "id, accounts::text")) for one in (ours, theirs))
            wrong = [(key, here.get(key), there.get(key)) for key in here | there if here.get(key) != there.get(key)]
            with theirs.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO differences (id, here, there) VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE "
                    "SET here = excluded.here, there = excluded.there",
                    wrong,
                )


def ask(connection, query, values):
    """Give the one value of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchone()[0]
