"""A guard that asks a service over HTTP whether the run may go on, such as a company's own throttle
service.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import unquote, urlsplit

from taskmaster.errors import UsageError
from taskmaster.guards.guard import Unknown

__all__ = ["HttpGuard", "http"]

REQUEST_SECONDS = 3.0
LONGEST_SAID = 200  # characters of an answer that are shown
GO = 200


class HttpGuard:
    """See ``http``.

    Attributes:
        what: How messages call it; without what may be secret in the address.
        reason: Why the run has to wait; "" if it may go on.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            host, self._port = parts.hostname, parts.port
        except ValueError:
            host = None
        # A character that must not stand in a request would be refused at every request, with the
        # whole address in the message.
        sendable = url.isascii() and url.isprintable() and " " not in url
        if parts.scheme not in ("http", "https") or not host or not sendable:
            raise UsageError("the address of the guard http is none: give one like https://throttle.example/check.")
        self._headers = {"User-Agent": "taskmaster-guard", "Connection": "close"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode('ascii')}"
        self._host = host
        self._secure = parts.scheme == "https"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.what = f"the service at {host}"
        self.reason = f"{self.what} is not known yet"

    def __repr__(self) -> str:
        return f"<Guard of {self.what}>"

    def __call__(self) -> str:
        """Ask the service; gives the reason to wait, "" if it allows the run to go on."""
        try:
            status, said = self._answer()
        except Unknown as exc:
            self.reason = f"{self.what} is unknown: {exc}"
            return self.reason
        self.reason = "" if status == GO else f"{self.what} answers {status}{said and ': '}{said}"
        return self.reason

    def _answer(self) -> tuple[int, str]:
        import http.client as http_client  # with TLS and mail, a quarter of the time of a worker's start

        kind = http_client.HTTPSConnection if self._secure else http_client.HTTPConnection
        connection = kind(self._host, self._port, timeout=REQUEST_SECONDS)
        try:
            connection.request("GET", self._path, headers=self._headers)
            answer: Any = connection.getresponse()
            # Redirects are not followed: where they lead to, nobody has given the address.
            text = answer.read(4 * LONGEST_SAID).decode("utf-8", "replace")
        except http_client.InvalidURL as exc:
            raise Unknown(type(exc).__name__) from None  # it repeats the path, and what is secret in it
        except (OSError, http_client.HTTPException, ValueError) as exc:
            raise Unknown(str(exc) or type(exc).__name__) from None
        finally:
            connection.close()
        return answer.status, " ".join(text.split())[:LONGEST_SAID]


def http(url: str) -> HttpGuard:
    """Wait unless a service answers 200 OK.

    It is asked about once a second, with GET; anything else than 200 holds the run, and what it
    answers is shown as the reason. A service that does not answer within 3 seconds, or cannot be
    reached, is unknown: the run waits.

    Args:
        url: ``http://`` or ``https://``, with ``user:password@`` where needed; messages show
            its host alone.

    Raises:
        UsageError: it is no such address.

    Example::

        throttle = http("https://throttle.example/check?app=backfill")
    """
    return HttpGuard(url)
