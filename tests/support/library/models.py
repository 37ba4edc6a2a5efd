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


class ProxyPost(Post):
    class Meta:
        proxy = True
        ordering = ["-year"]

    def shout(self) -> str:
        return self.slug.upper()


class Review(Post):
    """A child with a table of its own."""

    stars = models.IntegerField(default=0)


class Profile(models.Model):
    """Its primary key is a foreign key."""

    author = models.OneToOneField(Author, primary_key=True, on_delete=models.CASCADE)
    friends = models.ManyToManyField(Author, related_name="admirers")


class Seat(models.Model):
    pk = models.CompositePrimaryKey("hall", "number")
    hall = models.CharField(max_length=10)
    number = models.IntegerField()
    taken = models.BooleanField(default=False)


class Parcel(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    sent = models.DateTimeField(unique=True)
    weight = models.DecimalField(unique=True, max_digits=12, decimal_places=4)


class ThingQuerySet(models.QuerySet):
    """Marks what is deleted, and knows why."""

    reason = ""

    def _clone(self) -> models.QuerySet:
        clone = super()._clone()
        clone.reason = self.reason
        return clone

    def delete(self) -> tuple[int, dict[str, int]]:
        return self.update(deleted=True), {}

    def alive(self) -> models.QuerySet:
        return self.filter(deleted=False)


class ThingManager(models.Manager.from_queryset(ThingQuerySet)):
    def get_queryset(self) -> models.QuerySet:
        return super().get_queryset().alive()


class Thing(models.Model):
    number = models.IntegerField(default=0)
    deleted = models.BooleanField(default=False)

    objects = ThingManager()
    everything = models.Manager()


class Label:
    """A value of a class that no state can keep."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Label) and other.number == self.number

    def __hash__(self) -> int:
        return hash(self.number)


class LabelField(models.CharField):
    def from_db_value(self, value: str | None, *_: object) -> Label | None:
        return None if value is None else self.to_python(value)

    def to_python(self, value: object) -> Label:
        return value if isinstance(value, Label) else Label(int(str(value)[2:]))

    def get_prep_value(self, value: object) -> str:
        return f"l-{value.number:05}" if isinstance(value, Label) else str(value)


class Level(models.IntegerChoices):
    LOW = 1
    HIGH = 7


class Labelled(models.Model):
    label = LabelField(max_length=20, primary_key=True)


class Boxed(models.Model):
    """It has a unique field whose values are no keys."""

    box = models.JSONField(unique=True)


class Money(models.Model):
    amount = models.DecimalField(max_digits=17, decimal_places=2, primary_key=True)


class AuthorView(models.Model):
    """Posts by the id of their author: the key repeats, though the model says that it does not."""

    slug = models.CharField(max_length=50)

    class Meta:
        managed = False
        db_table = "library_author_view"


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
