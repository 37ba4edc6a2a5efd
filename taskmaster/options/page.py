"""The options of the page that shows a run in a browser: ``--web`` and what goes with it."""

from __future__ import annotations

import re
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.options.option import Section, flag, text
from taskmaster.records import record

__all__ = ["PageOptions"]


def _check_web(option: str, value: Any) -> None:
    if value is not True and not isinstance(value, str):
        raise UsageError(f"{option} is {value!r}: give HOST:PORT, such as '127.0.0.1:8050', or True.")


def _check_name(option: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(
        r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?(/[\w.~-]+)*/?", value, re.ASCII
    ):
        raise UsageError(
            f"{option} is {value!r}: give what browsers call the page there, like tm.example.org or "
            "tm.example.org/run1."
        )


@record(slots=False)
class PageOptions:
    """The options of the page."""

    web: str | bool | None = text(
        Section.PAGE,
        None,
        "[HOST:PORT]",
        "Serve a page that shows and steers the run in a browser; without an address, on a free port of this machine "
        "from 8050 on. Its address, with a token, is printed. Needs the extra `web`.",
        check=_check_web,
        alone="auto",
    )
    web_readonly: bool = flag(Section.PAGE, "The page only shows the run: nobody can steer there.")
    web_new_token: bool = flag(Section.PAGE, "Make new tokens for the page: former addresses stop working.")
    web_cert: str | None = text(
        Section.PAGE, None, "PATH", "File with the certificate of the page, which is then served with TLS."
    )
    web_key: str | None = text(Section.PAGE, None, "PATH", "File with the private key of that certificate.")
    web_behind_proxy: str | None = text(
        Section.PAGE,
        None,
        "NAME[/PATH]",
        "Name under which browsers reach the page through a proxy, which has the certificate.",
        check=_check_name,
    )
    web_open_metrics: bool = flag(Section.PAGE, "Serve /metrics without a token, to all that can reach the page.")

    def check_page(self) -> None:
        """Check that the options go together.

        Raises:
            UsageError: Some exclude each other, or one needs another.
        """
        for option, given in (
            ("--web-readonly", self.web_readonly),
            ("--web-new-token", self.web_new_token),
            ("--web-cert", self.web_cert),
            ("--web-key", self.web_key),
            ("--web-behind-proxy", self.web_behind_proxy),
            ("--web-open-metrics", self.web_open_metrics),
        ):
            if given and self.web is None:
                raise UsageError(f"{option} is given, and no page is asked for: add --web, or leave it out.")
        if bool(self.web_cert) != bool(self.web_key):
            raise UsageError("--web-cert and --web-key belong together: give both, or neither.")
