"""Who comes in to the page, and who does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taskmaster.view.web.guard import HEADERS, EarlyAnswer, PageGuard, Visitor, digest
from taskmaster.view.web.instructions import PageInstructions

HOST = "127.0.0.1:8050"
ORIGIN = f"http://{HOST}"
LOOK, STEER = "look-token", "steer-token"


def guard(**changes) -> PageGuard:
    """A guard of a page on this machine."""
    given = PageInstructions(
        listening=0,
        line=0,
        hosts=[HOST, "localhost:8050"],
        origins=[ORIGIN, "http://localhost:8050"],
        port=8050,
        look_digest=digest(LOOK),
        steer_digest=digest(STEER),
    )
    return PageGuard(replace(given, **changes))


def ask(
    path: str = "/", method: str = "GET", query: dict | None = None, *, guarded: PageGuard | None = None, **headers
):
    """Whether a request comes in: who asks, or how it is refused."""
    given = {name.replace("_", "-"): value for name, value in {"host": HOST, **headers}.items() if value is not None}
    try:
        return (guarded or guard()).check(method, path, query or {}, given)
    except EarlyAnswer as exc:
        return exc


def steer(**headers):
    """What becomes of a command of the page, with other headers."""
    proper = {
        "cookie": f"taskmaster-8050={STEER}",
        "origin": ORIGIN,
        "sec_fetch_site": "same-origin",
        "content_type": "application/json",
        "x_taskmaster": "1",
    }
    return ask("/api/v1/steer", "POST", **{**proper, **headers})


def test_tokens_say_who_asks():
    """A cookie or a bearer token lets in, each in its role."""
    assert ask(cookie=f"taskmaster-8050={LOOK}") is Visitor.LOOKS
    assert ask(cookie=f"other=1; taskmaster-8050={STEER}") is Visitor.STEERS
    assert ask("/api/v1/status", authorization=f"Bearer {LOOK}") is Visitor.LOOKS
    assert ask("/metrics", authorization=f"bearer {STEER}") is Visitor.STEERS


@pytest.mark.parametrize("other", ['j={"a":"b c"}', "x=a b", "x=\u00e9", "bare", "a@b=1", "a[0]=1", "path=/x", "a=1;;"])
def test_cookies_of_other_ports_shut_nobody_out(other):
    """Whatever another application of this host has put into the browser."""
    for line in (f"{other}; taskmaster-8050={STEER}", f"taskmaster-8050={STEER}; {other}"):
        assert ask(cookie=line) is Visitor.STEERS


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/api/v1/status", "/api/v1/history", "/metrics", "/nothing"])
@pytest.mark.parametrize("shown", [{}, {"cookie": "taskmaster-8051=steer-token"}, {"cookie": "\x00;;=="}])
def test_without_a_token_nothing_is_shown(path, shown):
    """Whatever the path is, somebody without a token is told where to find the address."""
    refused = ask(path, **shown)

    assert refused.status == 401
    assert "web-url" in refused.text
    assert not refused.slowly


@pytest.mark.parametrize("token", ["look-toke", "look-tokenn", "LOOK-TOKEN", "\udcff", "é" * 99, digest(LOOK)])
def test_a_wrong_token_has_to_wait(token):
    """A wrong token is refused, in the address and as a bearer's, and whoever tries it waits."""
    for refused in (ask(query={"token": token}), ask(authorization=f"Bearer {token}")):
        assert refused.status in (401, 403)
        assert refused.slowly


def test_health_is_for_everybody_and_metrics_if_it_was_said():
    """/healthz needs no token; /metrics needs one unless it was opened."""
    assert ask("/healthz") is Visitor.NOBODY
    assert ask("/metrics").status == 401
    assert ask("/metrics", guarded=guard(open_metrics=True)) is Visitor.NOBODY
    assert ask("/healthz", "POST").status == 401


def test_the_token_leaves_the_address():
    """The printed address puts its token into a cookie that scripts cannot read, and leads to the
    page without it.
    """
    welcome = ask(query={"token": STEER}, sec_fetch_site="none")

    assert welcome.status == 303
    assert welcome.headers["Location"] == "./"
    assert welcome.headers["Set-Cookie"] == f"taskmaster-8050={STEER}; HttpOnly; SameSite=Strict; Path=/"
    secure = ask(query={"token": STEER}, guarded=guard(secure=True))
    assert secure.headers["Set-Cookie"].endswith("; Secure")


def test_a_proxy_may_serve_it_under_a_path():
    """Which it takes away from what it hands on, or not; the cookie goes nowhere else there."""
    behind = guard(prefix="/run/1")

    assert [behind.path(path) for path in ("/run/1/", "/run/1/metrics", "/metrics", "/run/12/x", "/run/1")] == [
        "/", "/metrics", "/metrics", "/run/12/x", "/run/1",
    ]  # fmt: skip
    assert guard().path("/metrics") == "/metrics"
    assert "; Path=/run/1/" in ask(query={"token": STEER}, guarded=behind).headers["Set-Cookie"]


def test_a_link_of_another_site_leads_to_the_page():
    """A browser sends no strict cookie after a redirect that another site began, so the page makes
    the next request itself.
    """
    fetched = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    welcome = ask(query={"token": LOOK}, **fetched)

    assert welcome.status == 200
    assert 'http-equiv="refresh"' in welcome.text
    assert LOOK not in welcome.text
    assert LOOK in welcome.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "host",
    ["evil.test", "evil.test:8050", "127.0.0.1.evil.test:8050", "127.0.0.1", "127.0.0.1:8051", "", None, "[::1]:8050",
     f"{HOST}, {HOST}", f"user@{HOST}", f"{HOST}/"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/status"])
def test_another_host_is_refused_before_all_else(host, path):
    """A name that was made to point here gets nothing, with whatever token."""
    assert ask(path, host=host, cookie=f"taskmaster-8050={STEER}").status == 421


def test_hosts_are_compared_without_case():
    """Names of hosts have no case."""
    assert ask(host="LocalHost:8050", cookie=f"taskmaster-8050={LOOK}") is Visitor.LOOKS


@pytest.mark.parametrize("site", ["same-site", "cross-site", "nonsense", ""])
@pytest.mark.parametrize("path", ["/api/v1/status", "/static/page.js", "/metrics", "/healthz", "/"])
def test_what_another_page_makes_a_browser_send_is_refused(site, path):
    """Another port of this host is the same site to a browser, which sends the cookie along; it is
    refused all the same, GET too.
    """
    assert ask(path, cookie=f"taskmaster-8050={STEER}", sec_fetch_site=site).status == 403
    framed = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}
    assert ask(path, cookie=f"taskmaster-8050={STEER}", sec_fetch_site=site, **framed).status == 403


def test_a_command_of_the_page_comes_in():
    """With all that a browser sends from the page, and without what only browsers send."""
    assert steer() is Visitor.STEERS
    assert steer(sec_fetch_site=None, cookie=None, authorization=f"Bearer {STEER}") is Visitor.STEERS
    assert steer(content_type="application/json; charset=utf-8") is Visitor.STEERS
    # Who only looks is refused by the master, which alone can say it for sure.
    assert steer(cookie=f"taskmaster-8050={LOOK}") is Visitor.LOOKS


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": None}, {"origin": "null"}, {"origin": "http://127.0.0.1:8051"}, {"origin": "https://127.0.0.1:8050"},
        {"origin": "http://evil.test"}, {"origin": f"{ORIGIN}.evil.test"}, {"origin": ORIGIN.upper()},
        {"sec_fetch_site": "same-site"}, {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "none"},
        {"content_type": "text/plain"}, {"content_type": "application/x-www-form-urlencoded"}, {"content_type": None},
        {"content_type": "text/plain; application/json"}, {"x_taskmaster": None}, {"x_taskmaster": "0"},
        {"cookie": None}, {"cookie": "taskmaster-8050=x"},
    ],
    ids=str,
)  # fmt: skip
def test_a_command_from_elsewhere_does_not(changed):
    """One thing that is not as the page sends it, and nothing is done."""
    assert steer(**changed).status in (401, 403, 415)


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", ""])
def test_other_methods_are_not_known(method):
    """No preflight is answered, so that no other origin may send headers of its own."""
    refused = ask("/api/v1/steer", method, cookie=f"taskmaster-8050={STEER}")

    assert refused.status == 405
    assert "Access-Control-Allow-Origin" not in refused.headers


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/static/page.js", "/healthz", "/metrics"])
def test_only_commands_are_posted(path):
    """Nothing else is changed by a POST."""
    proper = {"origin": ORIGIN, "content_type": "application/json", "x_taskmaster": "1"}

    assert ask(path, "POST", cookie=f"taskmaster-8050={STEER}", **proper).status == 405


def test_nobody_steers_a_page_that_only_shows():
    """With --web-readonly, the token for steering is one for looking."""
    assert ask(cookie=f"taskmaster-8050={STEER}", guarded=guard(readonly=True)) is Visitor.LOOKS


def test_long_headers_are_refused():
    """All headers together have at most 8 KB."""
    assert ask(cookie=f"taskmaster-8050={STEER}", x_long="x" * 9000).status == 431


def test_the_policy_allows_the_page_s_own_files_only():
    """Scripts and styles come from this origin alone, no text becomes markup, and nobody frames
    the page.
    """
    policy = HEADERS["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert not any(name.lower().startswith("access-control") for name in HEADERS)
    assert HEADERS["Cache-Control"] == "no-store"
