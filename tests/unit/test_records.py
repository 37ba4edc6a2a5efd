"""Records: what they have in common with frozen dataclasses, whose place they take."""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import asdict, field, fields, replace

import pytest

from taskmaster import records
from taskmaster.records import changing, record


@record()
class Point:
    """A record as most are."""

    x: int
    y: int = 0
    names: list[str] = field(default_factory=list, repr=False)


@record(slots=False, shown=False)
class Secret:
    """A record that may be a base, and shows nothing."""

    key: str = "s3cret"


@record(slots=False)
class Both(Secret):
    """A record with a base."""

    n: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Both)

    __hash__ = None


@changing()
class Moving:
    """A record whose values change."""

    x: int
    y: int = 0


@changing(slots=False, compared=True)
class Compared:
    """One that is equal to another one with the same values."""

    x: int = 0


def test_records_are_equal_by_their_fields():
    """Two records of one class with the same values are equal, and one key of a dict."""
    assert Point(1, 2) == Point(1, 2) != Point(2, 1)
    assert Point(1) != (1, 0, [])
    assert {Secret("a"): 1}[Secret("a")] == 1
    assert hash(Secret("a")) != hash(Secret("b"))


def test_a_record_is_a_dataclass():
    """What works with dataclasses works with records; each has its own defaults."""
    assert [one.name for one in fields(Point)] == ["x", "y", "names"]
    assert asdict(replace(Point(1), y=5)) == {"x": 1, "y": 5, "names": []}
    assert Point(1).names is not Point(1).names
    assert pickle.loads(pickle.dumps(Point(3, 4))) == Point(3, 4)
    assert Both("k", 3).key == "k"


def test_a_record_shows_its_fields_unless_they_are_secret():
    """repr() has the fields by name, but for those that are left out, and none of a secret."""
    assert repr(Point(1, 2, ["a"])) == "Point(x=1, y=2)"
    assert "s3cret" not in repr(Secret())


def test_a_record_takes_nothing_but_its_fields():
    """A misspelt name is an error, not a new attribute."""
    with pytest.raises(AttributeError):
        Point(1).z = 3
    with pytest.raises(TypeError):
        Point(1, z=3)


def test_what_a_class_says_of_itself_stays():
    """An own ``__eq__`` and ``__hash__`` are not replaced."""
    assert Both("a", 1) == Both("b", 2)
    with pytest.raises(TypeError):
        hash(Both())


def test_values_of_a_changing_record_change():
    """It is equal only to itself, unless it is compared by its values: then it is no key of a
    dict.
    """
    one = Moving(1)
    one.x = 5
    assert repr(one) == "Moving(x=5, y=0)"
    assert one != Moving(5)
    assert {one: 1}[one] == 1
    assert Compared(2) == Compared(2) != Compared(3)
    with pytest.raises(TypeError):
        hash(Compared())


def often_made(made: type, *args: object) -> None:
    """Make objects of a class until its constructor has been compiled."""
    for _ in range(records._FEW + 1):
        made(*args)


def test_no_signature_is_looked_up_for_a_constructor(monkeypatch):
    """It takes a third of the time in which a constructor is compiled, and is for a docstring that
    nobody reads.
    """

    @record()
    class Used:
        """What it is."""

        x: int = 0

    asked = []
    monkeypatch.setattr(dataclasses.inspect, "signature", lambda *args, **_: asked.append(args))
    waiting = Used.__init__

    often_made(Used, 3)

    assert Used(3).x == 3
    assert Used.__init__ is not waiting
    assert asked == []


def test_a_constructor_is_compiled_when_it_has_been_used_often():
    """Until then it takes no time; afterwards it is that of a dataclass, without a step between,
    for a class and for one with it as its base.
    """

    @record(slots=False)
    class Base:
        """Made first."""

        names: list[str] = field(default_factory=list)

    @record(slots=False)
    class Derived(Base):
        """Made later."""

        n: int = 0

        def __post_init__(self) -> None:
            self.names.append("checked")

    waiting = Base.__init__.__code__, Derived.__init__.__code__
    assert Derived(["a"], n=3).names == ["a", "checked"]
    assert Derived.__init__.__code__ in waiting
    often_made(Derived)
    assert Derived(["a"], n=3).names == ["a", "checked"]
    assert Derived.__init__.__code__ not in waiting
    assert Base.__init__.__code__ in waiting
    often_made(Base)
    assert Base().names == []
    assert Base.__init__.__code__.co_varnames == ("self", "names")
    with pytest.raises(TypeError, match="n"):
        Base(n=1)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1,), {"x": 2}), ((1, 2, [], 4), {}), ((1,), {"z": 3}), ((1,), {"y": 2, "z": 3})]
)
def test_the_first_objects_take_what_later_ones_take(args, kwargs):
    """What is missing, given twice, too much, or of another name is the error that dataclasses say,
    also before the constructor is compiled.
    """

    @dataclasses.dataclass
    class Plain:
        x: int
        y: int = 0
        names: list[str] = field(default_factory=list, repr=False)

    @record()
    class Point(Plain):
        """The same as a record."""

    with pytest.raises(TypeError) as said:
        Plain(*args, **kwargs)
    with pytest.raises(TypeError) as first:
        Point(*args, **kwargs)

    assert str(first.value).partition(")")[2] == str(said.value).partition(")")[2]
    assert Point(1, names=["a"]) == Point(1, 0, ["a"])
