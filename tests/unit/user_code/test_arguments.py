"""``key=value`` words: converted by the annotations of the function that gets them."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import pathlib
from collections.abc import Iterable
from typing import Annotated, Any, Optional

import pytest

from taskmaster.errors import UsageError
from taskmaster.user_code.arguments import converted, texts_of


class Colour(enum.Enum):
    """Stand for a class of the user's."""

    RED = "r"


class Level(enum.IntEnum):
    """Stand for one with numbers, of which one is false."""

    LOW = 0
    HIGH = 2


def get_jobs(  # noqa: PLR0917  # a parameter of each kind
    limit: int = 5,
    share: float | None = None,
    quick: bool = False,
    since: Optional[dt.date] = None,  # noqa: UP045  # as older code has it
    at: dt.datetime | None = None,
    place: pathlib.Path = pathlib.Path(),
    price: Annotated[decimal.Decimal, "of a post"] = decimal.Decimal(0),
    either: int | str = 0,
    text: str = "",
    plain=None,
    anything: Any = None,
    colour: Colour | None = None,
    level: Level = Level.LOW,
    ids: list[int] | None = None,
    names: Iterable[str] = (),
):
    """Stand for a source."""


def of_defaults(number=3, share=0.5, quick=True, since=dt.date(2024, 1, 1), text="", nothing=None, several=(), **more):
    """Stand for a source without annotations."""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("limit", "10", 10), ("share", "0.5", 0.5), ("quick", "yes", True), ("quick", "False", False),
        ("since", "2024-01-01", dt.date(2024, 1, 1)), ("place", "a/b", pathlib.Path("a/b")),
        ("at", "2024-01-01T10:00", dt.datetime(2024, 1, 1, 10)),  # noqa: DTZ001  # the text has none
        ("price", "1.10", decimal.Decimal("1.10")), ("either", "7", 7), ("either", "seven", "seven"),
        ("text", "10", "10"), ("plain", "10", "10"), ("anything", "10", "10"),
        ("colour", "RED", Colour.RED), ("colour", "r", Colour.RED),
        ("level", "HIGH", Level.HIGH), ("level", "2", Level.HIGH), ("level", "0", Level.LOW),
    ],
)  # fmt: skip
def test_values_have_the_type_that_is_annotated(name, text, value):
    """A text where nothing is, or where no text can be made into it."""
    found = converted(get_jobs, {name: text})[name]

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("limit", "ten"), ("limit", "1.5"), ("quick", "perhaps"), ("since", "x"), ("colour", "blue"), ("level", "1")],
)
def test_what_is_no_such_value_is_refused(name, text):
    """With the word, the function and the type."""
    with pytest.raises(UsageError, match=rf"{name}={text} cannot be passed to get_jobs, .* is of the type \w+"):
        converted(get_jobs, {name: text})


@pytest.mark.parametrize(("function", "name"), [(get_jobs, "ids"), (get_jobs, "names"), (of_defaults, "several")])
def test_a_text_is_not_taken_for_several_values(function, name):
    """``yield from ids`` would run a job for each of its characters, and "All done"."""
    with pytest.raises(UsageError, match=rf"{name}=1,2 cannot be passed to {function.__name__}, .* several values"):
        converted(function, {name: "1,2"})


def test_annotations_that_only_a_type_checker_knows_leave_texts():
    """They are strings with names that are not there."""

    def jobs(rows: Nowhere = None, limit: int = 5):  # noqa: F821  # that is the point
        """Stand for a source."""

    assert converted(jobs, {"rows": "a"}) == {"rows": "a"}


def test_texts_are_told_for_a_hint():
    """Those without an annotation are what surprises."""
    assert texts_of(get_jobs, {"plain": "10", "text": "10", "limit": 10}) == ["plain"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("number", "5", 5), ("share", "1", 1.0), ("quick", "false", False), ("quick", "no", False),
        ("since", "2025-02-03", dt.date(2025, 2, 3)), ("text", "5", "5"), ("nothing", "5", "5"), ("other", "5", "5"),
    ],
)  # fmt: skip
def test_a_default_value_says_the_type_where_no_annotation_does(name, text, value):
    """A number as text is equal to no number, and "false" is true."""
    found = converted(of_defaults, {name: text})[name]

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("name", "text"), [("number", "x"), ("quick", "perhaps"), ("since", "today")])
def test_what_a_default_value_does_not_fit_is_refused(name, text):
    """With the cure, where texts are meant, too."""
    with pytest.raises(UsageError, match=rf"default value .*def of_defaults\({name}: str\)"):
        converted(of_defaults, {name: text})
