"""Models with all kinds of keys."""

from __future__ import annotations

import uuid

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=50)


class Post(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    slug = models.SlugField(unique=True)
    body = models.TextField(default="")
    score = models.IntegerField(null=True, unique=True)
    year = models.IntegerField(default=2000)
    place = models.IntegerField(default=0)

    class Meta:
        # An order that every query of the model has, and that paging is not to mind.
        ordering = ["slug"]
        indexes = [models.Index(fields=["year", "id"], name="library_by_year")]

    def __str__(self) -> str:
        return self.slug


class Seat(models.Model):
    pk = models.CompositePrimaryKey("hall", "number")
    hall = models.CharField(max_length=10)
    number = models.IntegerField()
    taken = models.BooleanField(default=False)


class Parcel(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    sent = models.DateTimeField(unique=True)
    weight = models.DecimalField(unique=True, max_digits=12, decimal_places=4)


class Odd(models.Model):
    """Its table is made by the tests that use it, with texts in orders that no Python sort has."""

    text = models.TextField()
    number = models.IntegerField()

    class Meta:
        managed = False
        db_table = "odd"
        constraints = [
            models.UniqueConstraint(fields=["text", "number"], name="library_text_number"),
            models.UniqueConstraint(fields=["number", "text"], name="library_number_text"),
        ]


class Word(models.Model):
    """With indexes for LIKE, which sort by bytes, whatever ORDER BY does."""

    text = models.TextField()
    spelt = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["text"], opclasses=["text_pattern_ops"], name="library_word_text")]
        constraints = [
            models.UniqueConstraint(fields=["spelt"], opclasses=["text_pattern_ops"], name="library_word_spelt"),
            models.UniqueConstraint(fields=["text", "spelt"], name="library_word_both"),
        ]
