"""Texts, and orders of them that no sort of Python has: for the property tests, and their fixture
``text_types``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st

TEXTS = st.text(st.sampled_from("aAbBéz-_ '\"\\%{\u00df\u4e2d\U0001f600"), max_size=4)
# Every server has these; blanks at the end of a char do not count.
PLAIN = ('text COLLATE "C"', 'text COLLATE "C.utf8"', "char(4)")
# Those of ICU look late or not at all at case, accents and punctuation.
MADE = {
    "icu": "provider = icu, locale = 'en-US'",
    "nocase": "provider = icu, locale = 'und-u-ks-level2', deterministic = false",
    "plain": "provider = icu, locale = 'und-u-ka-shifted-ks-level1', deterministic = false",
}
# Those of the C library: these languages if the machine has them, else whichever; a machine may
# have hundreds.
LANGUAGES = ("en_US", "de_DE", "cs_CZ", "da_DK")
UTF8 = 6  # an encoding, as the server numbers them; -1 is any


def make_orders(sql: Callable[..., list[tuple]]) -> list[str]:
    """Make what there is not, and give the types of texts, each with its order, that this server
    can have.
    """
    if sql("SELECT count(*) FROM pg_collation WHERE collprovider = 'i' AND collname LIKE '%%-x-icu'")[0][0]:
        for name, how in MADE.items():
            sql(f"CREATE COLLATION IF NOT EXISTS {name} ({how})")
    known = {name for (name,) in sql("SELECT collname FROM pg_collation WHERE collencoding IN (-1, %s)", UTF8)}
    spoken = sorted(name for name in known if re.fullmatch(r"[a-z]+_[A-Z]+\.(utf8|UTF-8)", name))
    spoken.sort(key=lambda name: name.partition(".")[0] not in LANGUAGES)
    plain = [order for order in PLAIN if order.rpartition(" ")[2].strip('"') in {*known, "char(4)"}]
    named = [*spoken[: len(LANGUAGES)], *(name for name in MADE if name in known)]
    return plain + [f'text COLLATE "{name}"' for name in named]


def told(orders: list[str]) -> str:
    """What was tried, and what was not, as a line for whoever runs the tests."""
    found = ", ".join(order.removeprefix("text COLLATE ") for order in orders)
    if set(orders) <= set(PLAIN):
        found += "; none of a language: the server has no ICU, and `locale -a` none that it could use"
    elif not any(f'"{name}"' in found for name in MADE):
        found += "; none of ICU, which the server does not have"
    return found
