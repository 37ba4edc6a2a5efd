"""Posts, which are to have the name of their author beside it: no list of posts should have to
join.
"""

from django.db import models


class Author(models.Model):
    """Somebody who writes."""

    name = models.CharField(max_length=100)

    def __str__(self):
        return self.name


class Post(models.Model):
    """Something written; ``author_name`` is the new, denormalised column."""

    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    title = models.CharField(max_length=200)
    author_name = models.CharField(max_length=100, default="")

    def __str__(self):
        return self.title
