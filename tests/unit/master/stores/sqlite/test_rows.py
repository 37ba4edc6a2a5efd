"""Rows that carry a checksum."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from taskmaster.master.stores.sqlite.rows import sealed

VALUES = st.none() | st.integers() | st.floats() | st.binary() | st.text() | st.characters(categories=["Cs"])


@given(st.lists(VALUES, max_size=8))
def test_a_checksum_is_of_each_value_with_its_kind_and_length(values: list[Any]) -> None:
    """Whatever way it is taken: states of years ago have theirs."""
    digest = blake2b(digest_size=8)
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")
        digest.update(b"%c%d:" % (type(value).__name__[0].encode(), len(data)) + data)

    assert sealed(*values) == (*values, digest.digest())
