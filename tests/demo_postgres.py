"""``make demo-postgres``: denormalise 300,000 comments on a server of its own, and have SQL say if
all are right.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from support.postgres_server import server

COMMENTS = 300_000
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "denormalize_comments.py"
TABLES = f"""
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE comments (id bigint PRIMARY KEY, author_id int NOT NULL, body text NOT NULL, author_name text);
INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 5000) n;
INSERT INTO comments SELECT n, 1 + n % 5000, repeat('lorem ipsum ', 12), NULL FROM generate_series(1, {COMMENTS}) n;
ANALYZE
"""
WRONG = "SELECT count(*) FROM comments c JOIN users u ON u.id = c.author_id WHERE c.author_name IS DISTINCT FROM u.name"


def main() -> int:
    """Fill, run, compare."""
    with server() as database:
        print(f"{database.execute('SELECT version()')[0][0].partition(',')[0]} at {database.dsn()}", flush=True)
        database.execute(TABLES)
        print(f"{database.execute(WRONG)[0][0]:,} of {COMMENTS:,} comments lack the name of their author.", flush=True)
        began = time.monotonic()
        command = [str(Path(sys.executable).with_name("tm-run")), str(EXAMPLE), "2", "--reset"]
        code = subprocess.run(command, env={**os.environ, "BLOG": database.dsn()}, check=False).returncode
        took = time.monotonic() - began
        wrong, right = database.execute(WRONG)[0][0], database.execute("SELECT count(author_name) FROM comments")[0][0]
        print(f"Exit code {code} after {took:.1f} s; SQL counts {right:,} names that are right, and {wrong:,} wrong.")
    return 0 if code == 0 and wrong == 0 and right == COMMENTS else 1


if __name__ == "__main__":
    sys.exit(main())
