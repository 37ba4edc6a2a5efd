"""What the paths of the page give, and what is taken for a command."""

from __future__ import annotations

import json

import pytest

from taskmaster.view.web.routes import BadCommand, Route, history_span, route_of, slaves_page, steer_request

REQUEST = {"id": "0123456789", "command": "pause", "arguments": {"for": "10m"}, "reason": "deploy", "user": "anna"}


def test_paths_are_known_exactly():
    """A path is one of the routes, or nothing."""
    assert route_of("/") is Route.PAGE
    assert route_of("/static/page.js") is Route.STATIC
    assert route_of("/api/v1/steer") is Route.STEER
    for path in ("", "/api/v1/steer/", "//", "/API/v1/status", "/static", "/favicon.ico", "/api/v1/status?x"):
        assert route_of(path) is None


def test_a_span_is_one_of_three():
    """What is no span means the shortest."""
    assert [history_span({"span": span}) for span in ("10m", "6h", "all", "", "7d")] == [
        "10m", "6h", "all", "10m", "10m",
    ]  # fmt: skip
    assert history_span({}) == "10m"


def test_a_command_says_who_and_whence():
    """The name is what the person has typed; the address is what the server has seen."""
    found = steer_request(json.dumps(REQUEST).encode(), "10.0.0.9")

    assert found["command"] == "pause"
    assert found["arguments"] == {"for": "10m"}
    assert found["reason"] == "deploy"
    assert found["by"] == {"user": "anna", "host": "10.0.0.9", "pid": 0, "via": "web"}


def test_a_command_says_which_run_is_meant():
    """Another one may have taken the place of the one that the page shows."""
    assert steer_request(json.dumps({**REQUEST, "run": "r1"}).encode(), "")["run"] == "r1"
    assert steer_request(json.dumps(REQUEST).encode(), "")["run"] == ""


def test_nobody_is_somebody():
    """Who gives no name is somebody."""
    found = steer_request(json.dumps({**REQUEST, "user": ""}).encode(), "")

    assert found["by"]["user"] == "somebody"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"1", b'"pause"', b"\xff\xfe", b"[" * 4000,
        json.dumps({**REQUEST, "arguments": []}).encode(),
        json.dumps({**REQUEST, "arguments": {"for": 10}}).encode(),
        json.dumps({**REQUEST, "arguments": {"for": None}}).encode(),
        json.dumps({**REQUEST, "command": ["pause"]}).encode(),
        json.dumps({**REQUEST, "reason": {"a": 1}}).encode(),
        json.dumps({**REQUEST, "reason": "x" * 301}).encode(),
        json.dumps({**REQUEST, "id": 1}).encode(),
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)  # fmt: skip
def test_what_is_no_command_is_refused_in_words(body):
    """Whatever is sent, it is a command of texts, or refused with a sentence."""
    with pytest.raises(BadCommand, match=r"\w+ .*\."):
        steer_request(body, "127.0.0.1")


def test_a_part_of_the_slaves_is_named_by_an_order_and_a_number():
    """What is no number, or none of a list, is the beginning."""
    assert slaves_page({"sort": "rate", "after": "40"}) == ("rate", 40)
    for after in ("", "-1", "x", "1e3", "99999999", "\u0663"):
        assert slaves_page({"sort": "s" * 500, "after": after}) == ("s" * 20, 0)
