"""Copy the name of each author into their comments: ``tm-run examples/denormalize_comments.py 4``.

The database is that of the environment variable BLOG. A range of comments is one UPDATE, in a
transaction of its own; the second time, it changes nothing.
"""

import os

from taskmaster import postgres

BLOG = os.environ.get("BLOG", "dbname=blog")

get_jobs = postgres.ranges(BLOG, "comments", target=0.5)  # ranges that take half a second each
throttle = [postgres.locks_waiting(10, BLOG)]  # nobody else is to wait for it


def handle_job(comments):
    """Update the comments of one range of keys."""
    with postgres.connect(BLOG) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE comments c SET author_name = u.name FROM users u
            WHERE u.id = c.author_id AND c.author_name IS DISTINCT FROM u.name AND {comments.where("c.id")}
            """,
            comments.values,
        )
