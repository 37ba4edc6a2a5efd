"""Keys: there and back without loss, and the same in every process."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster import keys
from taskmaster.errors import KeyUnstorable
from taskmaster.model import Job

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), ZoneInfo("Europe/Berlin")])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.characters(categories=["Cs"])
    | st.binary()
    | st.decimals()
    | st.datetimes(timezones=st.none() | ZONES)
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
)
KEYS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple))


def alike(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and one == other
    return str(one) == str(other) if isinstance(one, Decimal) else bool(one == other)


@given(KEYS)
def test_every_key_comes_back_as_it_was(key: Any) -> None:
    """Value and type; and the text can be stored anywhere."""
    text = keys.check(key)

    assert alike(keys.decode(text), key)
    assert text
    assert text.isascii()


@given(KEYS, KEYS)
def test_different_keys_have_different_texts(one: Any, other: Any) -> None:
    """1, 1.0 and True are three keys."""
    if not alike(one, other):
        assert keys.encode(one) != keys.encode(other)


def test_plain_keys_look_plain() -> None:
    """A person may look into the state."""
    assert keys.encode(5) == "5"
    assert keys.encode("a") == '"a"'
    assert keys.encode((1, "a")) == '{"tuple":[1,"a"]}'


@given(st.lists(st.integers(-(10**18) - 2, 10**18 + 2) | st.sampled_from([10**18, -(10**18), True]), max_size=3))
def test_ints_and_tuples_of_them_have_the_text_that_they_always_had(parts: list[int]) -> None:
    """They take a shorter way; what a state has was written by either."""
    plain = [part if abs(part) < 10**18 else {"int": hex(part)} for part in parts]

    assert json.loads(keys.check(tuple(parts))) == {"tuple": plain}
    assert [json.loads(keys.encode(part)) for part in parts] == plain


@pytest.mark.parametrize("text", ["5 ", " 5", "5,6", "", '"a', '{"tuple":[1]}]'])
def test_what_is_no_text_of_a_key_is_refused(text: str) -> None:
    """A state that somebody has written into says so."""
    with pytest.raises(ValueError, match=r"not an encoded key|Expecting|Unterminated"):
        keys.decode(text)


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize("key", [object(), {1: 2}, {1}, Colour.RED, print, SimpleNamespace(), (1, object())])
def test_what_cannot_be_stored_is_refused_with_the_cure(key: Any) -> None:
    """Subclasses too: they would come back as something else."""
    with pytest.raises(KeyUnstorable, match=r"Job\(key, payload\)"):
        keys.check(key)


class Row(NamedTuple):
    id: int
    name: str


def test_where_a_jobs_key_is_looked_for() -> None:
    """Job, job_key, pk, id, the job itself."""
    assert keys.key_of(Job(7, "x")) == 7
    assert keys.key_of(Job(7, "x"), lambda job: "asked") == 7
    assert keys.key_of("abc", lambda job: job[::-1]) == "cba"
    assert keys.key_of(SimpleNamespace(pk=1, id=2)) == 1
    assert keys.key_of(SimpleNamespace(id=2)) == 2
    assert keys.key_of({"pk": 1, "id": 2}) == 1
    assert keys.key_of({"id": 0}) == 0
    assert keys.key_of(Row(3, "x")) == 3
    assert keys.key_of(("a", 1)) == ("a", 1)
    assert keys.key_of(["a", (1,)]) == ["a", (1,)]
    assert keys.key_of("") == ""
    assert keys.key_of(0) == 0
    assert keys.key_of(()) == ()
    assert keys.key_of(None) is None


def test_the_row_of_a_database_has_its_id() -> None:
    """A row that is no mapping but has keys."""
    with sqlite3.connect(":memory:") as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("SELECT 'a' AS name, 9 AS id").fetchone()
    connection.close()

    assert keys.key_of(row) == 9


@pytest.mark.parametrize("job", [{"name": 1}, object(), SimpleNamespace(pk=None), print, int, {1, 2}, ("a", object())])
def test_a_job_without_a_key_is_refused_with_the_cure(job: Any) -> None:
    """An unsaved row has none, and a class is nobody's row."""
    with pytest.raises(KeyUnstorable, match="job_key"):
        keys.check(keys.key_of(job))


def test_keys_are_shown_without_what_steers_a_terminal() -> None:
    """And not at any length."""
    assert keys.show(keys.encode("a\x1b[31m")) == "'a\\x1b[31m'"
    assert keys.show(keys.encode(date(2026, 1, 2))) == "datetime.date(2026, 1, 2)"
    assert len(keys.show(keys.encode("x" * 1000))) == 200


def test_folded_and_zoned_times_come_back() -> None:
    """The hour that comes twice, in a named zone."""
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    back = keys.decode(keys.check(moment))

    assert (back, back.fold, back.tzinfo) == (moment, 1, moment.tzinfo)

    alarm = time(2, 30, fold=1)

    assert keys.decode(keys.check(alarm)).fold == 1
    assert keys.decode(keys.check(UUID(int=5))) == UUID(int=5)


@pytest.mark.parametrize(
    ("key", "spellings"),
    [
        ("/usr/lib/a b.py", ("'/usr/lib/a b.py'", "/usr/lib/a b.py")),
        (7, ("7",)),
        ("7", ("'7'", "7")),
        (Decimal("1.50"), ("Decimal('1.50')", "1.50")),
        ("", ("''", "")),
        ((1, "x"), ("(1, 'x')",)),
    ],
)
def test_a_key_can_be_written_as_shown_or_as_a_shell_leaves_it(key, spellings):
    """The most exact first; the stored form is one, too."""
    text = keys.encode(key)
    found = [one for one in keys.spellings(text) if one != text or one in spellings]

    assert found == list(spellings)
    assert text in keys.spellings(text)


def test_a_job_without_a_key_can_be_named():
    """As it is listed."""
    assert keys.spellings(None) == ("(none)",)


class Generic:
    """Stands in for numpy's scalars, which the tests do without."""

    def __init__(self, value: Any, kind: str) -> None:
        self.dtype = SimpleNamespace(kind=kind)
        self._value = value

    def item(self) -> Any:
        return self._value


def test_scalars_of_numpy_and_paths_are_keys_as_what_they_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key, and so ``last``, is a plain value; a moment of numpy's, which may be one that Python
    has not, is none.
    """
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace(generic=Generic))
    for job, key in (
        (Generic(5, "i"), 5),
        (Generic(0.5, "f"), 0.5),
        (Generic("a", "U"), "a"),
        (PurePosixPath("/a/b"), "/a/b"),
        ((Generic(1, "u"), "a"), (1, "a")),
        (Job(Generic(7, "i"), "x"), 7),
        ({"id": Generic(8, "i")}, 8),
    ):
        found = keys.key_of(job)
        assert (found, type(found)) == (key, type(key))
        assert keys.decode(keys.check(found)) == key
    with pytest.raises(KeyUnstorable, match="has no key: it is a Generic"):
        keys.key_of(Generic(1, "M"))
