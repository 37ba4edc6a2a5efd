"""Row-level security hides no row of a queryset in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from django.db import connection
from support.django_projects import database_of
from support.library.models import Author, Post

from taskmaster.django_orm import QuerySetRanges, RangeQuerySetWrapper
from taskmaster.errors import UsageError

Sql = Callable[..., list[tuple]]


@pytest.mark.parametrize("make", [RangeQuerySetWrapper, QuerySetRanges])
@pytest.mark.parametrize(("role", "seen"), [("", False), ("BYPASSRLS", True)])
def test_rows_that_are_hidden_are_said(
    use: Any, database: str, sql: Sql, caplog: pytest.LogCaptureFixture, make: Any, role: str, *, seen: bool
) -> None:
    """A role that may not see all rows is refused, also where they are those of a joined table;
    unless OPTIONS say that this is wanted.
    """
    name = f"reader_{psycopg2.extensions.parse_dsn(database)['dbname']}"
    use(database_of(database), Author, Post)
    sql(f"CREATE ROLE {name} LOGIN {role}")
    try:
        sql("INSERT INTO library_author SELECT n, repeat('mine', (n % 3)::int) FROM generate_series(0, 8) AS n")
        sql("ALTER TABLE library_author ENABLE ROW LEVEL SECURITY")
        sql("CREATE POLICY p ON library_author USING (name = 'mine')")
        sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        use({**database_of(database), "USER": name})
        for queryset in (Author.objects.all(), Post.objects.filter(author__name="")):
            source = make(queryset)
            if seen:
                source.bounds(None)
                continue
            with pytest.raises(UsageError, match=r"active on library_author .*'OPTIONS': .*row_security=on"):
                source.bounds(None)
        assert "Row-level security" not in caplog.text

        use({**database_of(database), "USER": name, "OPTIONS": {"options": "-c row_security=on"}})
        make(Author.objects.all()).bounds(None)
        assert ("Row-level security is active on library_author" in caplog.text) is not seen
    finally:
        connection.close()
        sql(f"DROP OWNED BY {name}; DROP ROLE {name}")
