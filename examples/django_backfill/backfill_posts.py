"""The same as a script, a post a job: ``python backfill_posts.py``. For what needs Python for each
of them.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from blog.models import Post  # noqa: E402  # after the setup

from taskmaster import Taskmaster  # noqa: E402


def callback(post):
    """Save one post."""
    post.author_name = post.author.name
    post.save(update_fields=["author_name"])


if __name__ == "__main__":
    Taskmaster(callback, Post.objects.select_related("author")).start()
