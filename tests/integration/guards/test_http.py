"""The guard that asks a service, with a service of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from taskmaster.errors import UsageError
from taskmaster.guards import http


@contextmanager
def service(status: int, said: bytes = b"", **headers: str) -> Iterator[tuple[str, list[Any]]]:
    """Give the address of a service that always answers alike, and what it was asked."""
    asked: list[Any] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the library calls
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_200_lets_the_run_go_on() -> None:
    """Path, query and password arrive as they were given."""
    with service(200, b"fine") as (where, asked):
        guard = http(f"http://me:s%40crt@{where}/check?app=backfill")

        assert guard() == ""
        assert guard.reason == ""
    assert asked == [("/check?app=backfill", "Basic bWU6c0BjcnQ=")]


@pytest.mark.parametrize("status", [201, 302, 404, 417, 429, 500, 503])
def test_anything_else_holds_it_with_what_was_said(status: int) -> None:
    """Also a redirect, which leads to an address that nobody has given."""
    with service(status, b"replication\nlag on db2" * 100, Location="http://127.0.0.1:1/") as (where, asked):
        reason = http(f"http://{where}")()

    assert reason.startswith(f"the service at 127.0.0.1 answers {status}: replication lag on db2")
    assert len(reason) < 300
    assert asked == [("/", None)]


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/check", "https://127.0.0.1:1", "http://no.such.host.invalid"])
def test_a_service_that_cannot_be_reached_is_unknown(address: str) -> None:
    """The run waits."""
    assert " is unknown: " in http(address)()


def test_what_does_not_speak_http_is_unknown() -> None:
    """A TLS address on a plain port."""
    with service(200) as (where, _):
        assert " is unknown: " in http(f"https://{where}/")()


@pytest.mark.parametrize("path", ["a b", "a\x7fb", "a\u00fcb", "a\nb", " b", "a\x00"])
def test_what_cannot_be_sent_is_refused_and_not_repeated(path: str) -> None:
    """A space, a control character, a letter that is none of ASCII: where it is given."""
    with pytest.raises(UsageError, match="give one like https://throttle") as refused:
        http(f"http://127.0.0.1:1/s3cret{path}?token=s3cret")

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("address", ["", "throttle.example/check", "file:///etc/passwd", "http://", "http://h:port/"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """Where it is given."""
    with pytest.raises(UsageError, match="give one like https://throttle"):
        http(address)
