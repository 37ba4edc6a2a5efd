"""Paging against brute force: random tables, texts in odd orders, rows that come and go between the
pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.django_projects import database_of, key_of
from support.library.models import Odd
from support.text_orders import TEXTS

from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper

Sql = Callable[..., list[tuple]]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.sets(st.tuples(TEXTS, st.integers(-3, 3)), max_size=30),
    step=st.integers(1, 8),
    order=st.permutations(["text", "number"]),
    data=st.data(),
)
@pytest.mark.slow
def test_pages_are_brute_force(
    use: Any,
    database: str,
    sql: Sql,
    text_types: list[str],
    rows: set,
    step: int,
    order: list[str],
    data: st.DataObject,
) -> None:
    """Of what was there all the time, each row comes once, in the server's order; from each key the
    rest follows.
    """
    # Not char(4): no field of Django's makes such a column.
    type_ = data.draw(st.sampled_from([one for one in text_types if one.startswith("text")]))
    down = data.draw(st.booleans())
    sql("DROP TABLE IF EXISTS odd")
    sql(
        f"CREATE TABLE odd (id bigserial PRIMARY KEY, text {type_} NOT NULL, number int NOT NULL, "
        f"UNIQUE ({', '.join(order)}))"
    )
    for row in rows:
        sql("INSERT INTO odd (text, number) VALUES (%s, %s) ON CONFLICT DO NOTHING", *row)
    use(database_of(database))
    direction = "DESC" if down else "ASC"
    ordered = f"SELECT id, text, number FROM odd ORDER BY {', '.join(f'{name} {direction}' for name in order)}"
    expected = [id_ for id_, *_ in sql(ordered)]
    wrapper = RangeQuerySetWrapper(Odd.objects.all(), step, key=order, descending=down)
    whole = list(wrapper.iterate(None))

    assert [row.id for row in whole] == expected
    if whole:
        at = data.draw(st.integers(0, len(whole) - 1))
        assert [row.id for row in wrapper.iterate(key_of(wrapper, whole[at]))] == expected[at + 1 :]
    ranges = list(QuerySetRanges(Odd.objects.all(), rows=step, target=None, key=order).iterate(None))
    drawn = [row.id for job in ranges for row in job.payload.queryset().order_by(*order)]
    assert drawn == (expected[::-1] if down else expected)

    seen, changed = [], set()
    for row in RangeQuerySetWrapper(Odd.objects.all(), step, key=order, descending=down):
        seen.append(row.id)
        if data.draw(st.booleans()):
            other = data.draw(st.sampled_from(expected))
            changed.add(other)
            sql("DELETE FROM odd WHERE id = %s", other)
            new = (data.draw(TEXTS), data.draw(st.integers(-3, 3)))
            added = sql("INSERT INTO odd (text, number) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING id", *new)
            changed.update(id_ for (id_,) in added)
        if len(seen) > 200:
            break  # rows that come above the newest one could keep it going
    assert len(seen) == len(set(seen))
    if len(seen) <= 200:
        assert [id_ for id_ in seen if id_ not in changed] == [id_ for id_ in expected if id_ not in changed]
