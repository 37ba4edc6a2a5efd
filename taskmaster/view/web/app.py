"""The page's HTTP server: uvicorn, with limits of its own. The only module that imports uvicorn.

uvicorn gives a request any time to arrive, and counts half-open connections among those that it
serves: a hundred of them would shut everybody else out for ever. Here a connection lives for ten
seconds; the page opens a new one.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from taskmaster.errors import ConnectError
from taskmaster.transport.line import LineRefused
from taskmaster.view.web.answers import as_bytes
from taskmaster.view.web.assets import asset
from taskmaster.view.web.feed import Feed
from taskmaster.view.web.guard import HEADERS, REPORT_HEADERS, EarlyAnswer, PageGuard, Visitor
from taskmaster.view.web.routes import (
    MAX_BODY_BYTES,
    BadCommand,
    Route,
    history_span,
    route_of,
    slaves_page,
    steer_request,
)

__all__ = ["Metrics", "PageServer"]

CONNECTION_SECONDS = 10.0
ANSWERED_CONNECTION_SECONDS = 20.0  # of a connection on which an answer is under way
MOST_CONNECTIONS = 64
WRONG_TOKEN_SECONDS = 0.5
MOST_CLIENTS_WAITING = 5  # clients that have shown a wrong token, and are made to wait for it
TEXT, JSON = "text/plain; charset=utf-8", "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
Metrics: TypeAlias = Callable[[dict[str, Any], bool, str], tuple[str, bytes]]
"""Makes ``/metrics``: of a status, of whether the master answers, and of the header ``Accept``."""
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
PageAnswer: TypeAlias = tuple[int, str, bytes]
NOTHING: PageAnswer = (404, TEXT, b"There is nothing here.\n")


class PageRequest(NamedTuple):
    """A request that was let in.

    Attributes:
        method: The HTTP method.
        path: Without the query.
        query: Its parameters.
        headers: By their names in small letters.
        visitor: The kind of visitor that asks.
        host: The address that it came from.
        receive: Gives its body.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    visitor: Visitor
    host: str
    receive: Receive


class ShortLived(H11Protocol):
    """A connection that is closed after a while, whatever has arrived on it; one whose request is
    being answered has a little longer.
    """

    def connection_made(self, transport: Any) -> None:
        """Start its time."""
        super().connection_made(transport)
        self._last_end = self.loop.time() + ANSWERED_CONNECTION_SECONDS
        self._end_of_life = self.loop.call_later(CONNECTION_SECONDS, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._end_of_life.cancel()
        super().connection_lost(exc)

    def _expire(self) -> None:
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete and self.loop.time() < self._last_end:
            self._end_of_life = self.loop.call_later(0.2, self._expire)
        else:
            self.transport.abort()


class PageServer:
    """The HTTP server of the page.

    Args:
        guard: Lets requests in.
        feed: Knows the run.
        metrics: Makes ``/metrics``; None: there is none.
    """

    def __init__(self, guard: PageGuard, feed: Feed, metrics: Metrics | None = None) -> None:
        self._guard = guard
        self._feed = feed
        self._metrics = metrics
        self._waiting = 0
        self._server: uvicorn.Server | None = None

    async def serve(self, listening: socket.socket, certificate: str = "", private_key: str = "") -> None:
        """Serve on a socket until ``stop``."""
        config = uvicorn.Config(
            self,
            loop="asyncio",
            http=ShortLived,
            ws="none",
            lifespan="off",
            log_config=None,
            # A warning of each malformed request would fill the file that has the child's errors.
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16384,
            ssl_certfile=certificate or None,
            ssl_keyfile=private_key or None,
        )
        self._server = uvicorn.Server(config)
        await self._server.serve(sockets=[listening])

    def stop(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.should_exit = True

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        method, path = scope["method"], self._guard.path(scope["path"])
        more: dict[str, str] = {}
        try:
            visitor = self._guard.check(method, path, query, headers)
            host = (scope.get("client") or ("",))[0]
            request = PageRequest(method, path, query, headers, visitor, host, receive)
            status, kind, body = await self._answer(request)
            more = REPORT_HEADERS if path == Route.REPORT else {}
        except EarlyAnswer as exc:
            status, kind, body, more = exc.status, exc.kind, exc.text.encode(), dict(exc.headers)
            if exc.slowly and not await self._had_to_wait():
                status, kind, body, more = 429, TEXT, b"Too many wrong tokens at once.\n", {"Retry-After": "1"}
        except ConnectError as exc:
            status, kind, body = 503, TEXT, f"{exc}\n".encode("utf-8", "replace")
        sent = {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS, **more}
        pairs = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    async def _answer(self, request: PageRequest) -> PageAnswer:
        route = route_of(request.path)
        makers = {
            Route.PAGE: self._page,
            Route.STATIC: self._page,
            Route.STEER: self._steer,
            Route.STATUS: self._status,
            Route.HISTORY: self._history,
            Route.SETTINGS: self._settings,
            Route.SLAVES: self._slaves,
            Route.REPORT: self._report,
            Route.METRICS: self._metrics_text,
            Route.HEALTH: self._health,
        }
        return NOTHING if route is None else await makers[route](request)

    async def _page(self, request: PageRequest) -> PageAnswer:
        found = asset("page.html" if request.path == Route.PAGE else request.path.removeprefix(Route.STATIC))
        return NOTHING if found is None else (200, *found)

    async def _status(self, request: PageRequest) -> PageAnswer:
        await self._feed.fresh()
        return 200, JSON, as_bytes(self._feed.answer(steers=request.visitor is Visitor.STEERS))

    async def _history(self, request: PageRequest) -> PageAnswer:
        return 200, JSON, as_bytes(await self._feed.history(history_span(request.query)))

    async def _settings(self, _: PageRequest) -> PageAnswer:
        return 200, JSON, as_bytes({"settings": await self._feed.settings()})

    async def _slaves(self, request: PageRequest) -> PageAnswer:
        return 200, JSON, as_bytes(await self._feed.slaves(*slaves_page(request.query)))

    async def _report(self, _: PageRequest) -> PageAnswer:
        await self._feed.fresh()
        return 200, HTML, await self._feed.report()

    async def _metrics_text(self, request: PageRequest) -> PageAnswer:
        if self._metrics is None:
            return NOTHING
        await self._feed.fresh(looks=False)
        return (200, *self._metrics(self._feed.status(), not self._feed.gone, request.headers.get("accept", "")))

    async def _health(self, _: PageRequest) -> PageAnswer:
        await self._feed.fresh(looks=False)
        return (503, TEXT, b"gone\n") if self._feed.gone else (200, TEXT, b"ok\n")

    async def _steer(self, request: PageRequest) -> PageAnswer:
        if request.method != "POST":
            return 405, TEXT, b"A command is sent with POST.\n"
        try:
            wanted = steer_request(await _body(request.receive), request.host)
            answer = await self._feed.steer(wanted, self._guard.token(request.headers))
        except BadCommand as exc:
            return 400, TEXT, f"{exc}\n".encode()
        except LineRefused as exc:
            why = {"ok": False, "why": exc.why}
            return 403 if exc.forbidden else 409, JSON, json.dumps(why).encode()
        except ConnectError as exc:
            return 503, JSON, json.dumps({"ok": False, "why": str(exc)}).encode()
        return 200, JSON, as_bytes(answer)

    async def _had_to_wait(self) -> bool:
        """Keep somebody with a wrong token waiting; False if too many wait already."""
        if self._waiting >= MOST_CLIENTS_WAITING:
            return False
        self._waiting += 1
        try:
            await asyncio.sleep(WRONG_TOKEN_SECONDS)
        finally:
            self._waiting -= 1
        return True


async def _body(receive: Receive) -> bytes:
    """Return the body of a request.

    Raises:
        BadCommand: It is too long, or was given up.
    """
    body = b""
    while True:
        message: dict[str, Any] = await receive()
        body += bytes(message.get("body", b""))
        if message["type"] != "http.request":
            raise BadCommand("The request was given up.")
        if len(body) > MAX_BODY_BYTES:
            raise BadCommand(f"A command has at most {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body"):
            return body
