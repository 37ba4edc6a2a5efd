"""Texts, and orders of them that no sort of Python has. Used by the property tests of this folder."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

TEXTS = st.text(st.sampled_from("aAbBéz-_ '\"\\%{\u00df\u4e2d\U0001f600"), max_size=4)
# Blanks that do not count and, where the server was built with them, collations that look late or not at all at case,
# accents and punctuation.
ORDERS = (
    'text COLLATE "C"',
    'text COLLATE "C.utf8"',
    "char(4)",
    "text COLLATE icu",
    "text COLLATE nocase",
    "text COLLATE plain",
)
MADE = {
    "icu": "provider = icu, locale = 'en-US'",
    "nocase": "provider = icu, locale = 'und-u-ks-level2', deterministic = false",
    "plain": "provider = icu, locale = 'und-u-ka-shifted-ks-level1', deterministic = false",
}


def make_collations(sql: Callable[..., list[tuple]]) -> list[str]:
    """Make what there is not, and give the orders that this server has."""
    if sql("SELECT count(*) FROM pg_collation WHERE collprovider = 'i' AND collname LIKE '%%-x-icu'")[0][0]:
        for name, how in MADE.items():
            sql(f"CREATE COLLATION IF NOT EXISTS {name} ({how})")
    known = {name for (name,) in sql("SELECT collname FROM pg_collation")}
    return [order for order in ORDERS if order.rpartition(" ")[2].strip('"') in {*known, "char(4)"}]
