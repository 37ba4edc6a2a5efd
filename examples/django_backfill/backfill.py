"""Give every post the name of its author, a range of posts an UPDATE: ``tm-run backfill.py 4``.

Run it where ``manage.py`` is, with ``--django-settings=config.settings`` or DJANGO_SETTINGS_MODULE.
It can be interrupted at any moment; the same command goes on.
"""

from blog.models import Author, Post
from django.db.models import OuterRef, Subquery

from taskmaster.django_orm import QuerySetRanges

get_jobs = QuerySetRanges(Post.objects.all())


def handle_job(posts):
    """Update the posts of one range."""
    name = Author.objects.filter(pk=OuterRef("author_id")).values("name")
    posts.queryset().update(author_name=Subquery(name))
