"""Who may come in: Host, origin, token; and the headers that each answer has. Pure.

The cookie only carries the token, and protects nothing by itself: another port of the same host is
the same site to a browser, which sends even a strict cookie with that page's requests. The
protection is that a request has to come from this very origin; browsers tell it by ``Origin`` and
``Sec-Fetch-Site``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum

from taskmaster.view.report_style import STYLE_DIGEST
from taskmaster.view.web.instructions import PageInstructions
from taskmaster.view.web.routes import Route

__all__ = ["HEADERS", "REPORT_HEADERS", "EarlyAnswer", "PageGuard", "Visitor", "digest"]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

REPORT_HEADERS = {
    "Content-Security-Policy": (
        f"sandbox; default-src 'none'; style-src '{STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
}
"""Headers of the report, instead of those of the same name: it runs nothing, and has one style."""

MAX_HEADER_BYTES = 8192
ASK_FOR_ADDRESS = (
    "Open the address that the master printed when it started: it has a token in it. `tm-ctl web-url STATE` prints it "
    "again.\n"
)
LEAD_ON_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Taskmaster</title>'
    '<meta http-equiv="refresh" content="0;url=./"></head><body><p><a href="./">Go on</a></p></body></html>\n'
)
"""The page that leads on from another site's link: a browser sends a strict cookie only with a
request that a page of this origin makes.
"""


class Visitor(StrEnum):
    """Who asks."""

    NOBODY = "nobody"
    """Nobody in particular: the path is open to all."""
    LOOKS = "looks"
    """Has the token for looking."""
    STEERS = "steers"
    """Has the token for steering."""


class EarlyAnswer(Exception):
    """The request is answered with this, and nothing else is done.

    Attributes:
        status: The HTTP status.
        text: A sentence for a person.
        headers: Further headers.
        slowly: Whether to delay the answer, because a wrong token was tried.
        kind: Media type of the text.
    """

    def __init__(
        self,
        status: int,
        text: str,
        headers: Mapping[str, str] | None = None,
        *,
        slowly: bool = False,
        kind: str = "text/plain; charset=utf-8",
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers or {}
        self.slowly, self.kind = slowly, kind


def digest(token: str) -> str:
    """Return what is kept of a token where it is compared."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class PageGuard:
    """Decides on each request whether it is let in, and as whom.

    Args:
        told: Which hosts, origins and tokens are let in, and how the page is reached.
    """

    def __init__(self, told: PageInstructions) -> None:
        self._hosts = frozenset(told.hosts)
        self._origins = frozenset(told.origins)
        steers = Visitor.LOOKS if told.readonly else Visitor.STEERS
        self._tokens = [(told.look_digest, Visitor.LOOKS), (told.steer_digest, steers)]
        self._prefix = told.prefix
        self._secure = told.secure
        self._open = {Route.HEALTH, Route.METRICS} if told.open_metrics else {Route.HEALTH}
        self.cookie = f"taskmaster-{told.port}"

    def path(self, path: str) -> str:
        """Return a path without the prefix that a proxy serves the page under, whether the proxy
        has taken it away or not.
        """
        return path.removeprefix(self._prefix) if path.startswith(f"{self._prefix}/") else path

    def check(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Visitor:
        """Let a request in, or not.

        Args:
            method: The HTTP method.
            path: Without the query.
            query: Its parameters.
            headers: By their names in small letters.

        Raises:
            EarlyAnswer: It is not let in, or only brings a token, which becomes a cookie.
        """
        if headers.get("host", "").lower() not in self._hosts:
            known = ", ".join(sorted(self._hosts))
            raise EarlyAnswer(421, f"This page is not served under that name and port, but as {known}.\n")
        if sum(len(name) + len(value) + 4 for name, value in headers.items()) > MAX_HEADER_BYTES:
            raise EarlyAnswer(431, "The headers of the request are too long.\n")
        if method not in ("GET", "HEAD", "POST"):
            raise EarlyAnswer(405, "Only GET, HEAD and POST are answered.\n", {"Allow": "GET, HEAD, POST"})
        self._check_site(path, headers)
        if method != "POST" and path in self._open:
            return Visitor.NOBODY
        if path == "/" and "token" in query and method == "GET":
            raise self._welcome(query["token"], headers)
        visitor = self._visitor(headers)
        if method == "POST":
            self._check_post(path, headers)
        return visitor

    def token(self, headers: Mapping[str, str]) -> str:
        """Return the token that a request shows; "" if it shows none."""
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return bearer.strip()
        # By hand: a browser sends the cookies of all ports of a host, and Python's parser gives up
        # the whole line at one of another application that it does not like.
        for one in headers.get("cookie", "").split(";"):
            name, _, value = one.strip().partition("=")
            if name == self.cookie:
                return value.strip('"')
        return ""

    def _check_site(self, path: str, headers: Mapping[str, str]) -> None:
        """Refuse a request that a page of another origin has made a browser send, unless it follows
        a link to this page.
        """
        site = headers.get("sec-fetch-site", "none")
        if site in ("none", "same-origin"):
            return
        mode, purpose = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
        if path != "/" or (mode, purpose) != ("navigate", "document"):
            raise EarlyAnswer(403, "That came from another page.\n")

    def _welcome(self, token: str, headers: Mapping[str, str]) -> EarlyAnswer:
        """Return what puts the token of the address into a cookie, and out of the address."""
        if self._known(token) is None:
            return EarlyAnswer(403, "That token is not the one that the master printed.\n", slowly=True)
        secure = "; Secure" if self._secure else ""
        cookie = {"Set-Cookie": f"{self.cookie}={token}; HttpOnly; SameSite=Strict; Path={self._prefix}/{secure}"}
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return EarlyAnswer(303, "", {**cookie, "Location": "./"})
        return EarlyAnswer(200, LEAD_ON_PAGE, cookie, kind="text/html; charset=utf-8")

    def _visitor(self, headers: Mapping[str, str]) -> Visitor:
        token = self.token(headers)
        found = self._known(token) if token else None
        if found is None:
            raise EarlyAnswer(401, ASK_FOR_ADDRESS, {"WWW-Authenticate": "Bearer"}, slowly=bool(token))
        return found

    def _known(self, token: str) -> Visitor | None:
        given = digest(token)
        found = None
        for known, visitor in self._tokens:
            if hmac.compare_digest(given, known):
                found = visitor
        return found

    def _check_post(self, path: str, headers: Mapping[str, str]) -> None:
        if path != Route.STEER:
            raise EarlyAnswer(405, "That can only be read.\n", {"Allow": "GET, HEAD"})
        if headers.get("origin") not in self._origins or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise EarlyAnswer(403, "That came from another page.\n")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" or headers.get("x-taskmaster") != "1":
            raise EarlyAnswer(415, "A command is JSON, and has the header X-Taskmaster: 1.\n")
