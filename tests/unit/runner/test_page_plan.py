"""Where the page is served, and what it may be called there."""

from __future__ import annotations

import importlib.util

import pytest

from taskmaster.errors import UsageError
from taskmaster.options.commands import MasterOptions
from taskmaster.options.page import PageOptions
from taskmaster.runner.page_plan import plan_of


def plan(web="auto", **more):
    """The plan of these options."""
    return plan_of(PageOptions(web=web, **more))


def test_there_is_none_unless_asked_for():
    """Without --web nothing listens."""
    assert plan_of(PageOptions()) is None


@pytest.mark.parametrize(
    ("given", "address", "exact"),
    [
        ("auto", "127.0.0.1:8050", False), (True, "127.0.0.1:8050", False), ("127.0.0.1:9000", "127.0.0.1:9000", True),
        ("9000", "127.0.0.1:9000", True), (":9000", "127.0.0.1:9000", True), ("localhost", "localhost:8050", True),
        ("[::1]:9000", "[::1]:9000", True), ("::1", "[::1]:8050", True),
    ],
)  # fmt: skip
def test_an_address_is_read_as_others_are(given, address, exact):
    """A host alone has the port of a page; --web alone takes the next free one."""
    found = plan(given)

    assert str(found.address) == address
    assert found.is_exact is exact


@pytest.mark.parametrize("given", ["backfill.py", "a b", "x:y", "127.0.0.1:99999", "http://127.0.0.1:1/"])
def test_what_is_no_address_is_refused(given):
    """A word that was not meant for --web is named, with the cure."""
    if given == "backfill.py":
        with pytest.raises(UsageError):
            plan(given)  # a name of another machine, for all that anybody knows
        return
    with pytest.raises(UsageError, match="no address"):
        plan(given)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "web3.example.org", "[::]"])
def test_other_machines_need_tls(host, tmp_path):
    """An address that others reach is refused without a certificate or a proxy that has one."""
    with pytest.raises(UsageError, match=r"--web-cert.*--web-behind-proxy.*ssh -L 8443:127\.0\.0\.1:8443"):
        plan(f"{host}:8443")
    for name in ("cert", "key"):
        (tmp_path / name).write_text("x")
    found = plan(f"{host}:8443", web_cert=str(tmp_path / "cert"), web_key=str(tmp_path / "key"))
    assert found.url(8443).startswith("https://")
    assert all(origin.startswith("https://") for origin in found.origins(8443))
    assert plan(f"{host}:8443", web_behind_proxy="tm.example.org").url(8443) == "https://tm.example.org/"


def test_loopback_has_three_names():
    """A browser may call this machine by each of them, with the port and not without."""
    assert plan().names(8050) == ["127.0.0.1:8050", "[::1]:8050", "localhost:8050"]
    assert plan().origins(8050) == ["http://127.0.0.1:8050", "http://[::1]:8050", "http://localhost:8050"]
    assert "localhost" in plan("80").names(80)


def test_a_proxy_s_name_is_one_of_ours():
    """Behind a proxy, browsers send its name, and commands come from its origin."""
    found = plan(web_behind_proxy="TM.example.org")

    assert "tm.example.org" in found.names(8050)
    assert "https://tm.example.org" in found.origins(8050)


def test_a_missing_file_is_named(tmp_path):
    """The certificate is looked for before the run begins."""
    with pytest.raises(UsageError, match="nowhere"):
        plan(web_cert=str(tmp_path / "nowhere"), web_key=str(tmp_path / "nowhere"))


def test_a_missing_server_is_said_before_the_run(monkeypatch):
    """Without the extra, --web is refused with the command that installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(UsageError, match=r"pip install '\.\[web\]'"):
        plan()


@pytest.mark.parametrize(
    "given",
    [{"web_readonly": True}, {"web_new_token": True}, {"web_cert": "x", "web_key": "x"}, {"web_open_metrics": True},
     {"web_behind_proxy": "x.org"}, {"web": True, "web_cert": "x"}, {"web": True, "web_key": "x"},
     {"web": 8050}, {"web": True, "web_behind_proxy": "x//y"}],
    ids=str,
)  # fmt: skip
def test_options_that_say_nothing_are_refused(given):
    """An option about the page without a page, and half a certificate, are slips."""
    with pytest.raises(UsageError, match=r"--web"):
        MasterOptions(**given).check()


@pytest.mark.parametrize(
    ("given", "url", "prefix"),
    [
        ("TM.example.org", "https://tm.example.org/", ""),
        ("tm.example.org/", "https://tm.example.org/", ""),
        ("tm.example.org:8443/Run/1/", "https://tm.example.org:8443/Run/1/", "/Run/1"),
    ],
)
def test_a_proxy_is_a_name_and_perhaps_a_path(given, url, prefix):
    """Whatever browsers call the page there; commands come from its origin, which has no path."""
    options = MasterOptions(web="auto", web_behind_proxy=given)
    options.check()
    found = plan_of(options)

    assert (found.url(8050), found.prefix) == (url, prefix)
    assert "https://" + url.split("/")[2] in found.origins(8050)


@pytest.mark.parametrize("given", ["https://tm.example.org", "tm.example.org/a b", "tm.example.org/?x", "a//b"])
def test_what_is_no_name_of_a_proxy_is_refused(given):
    """With what would be one."""
    with pytest.raises(UsageError, match=r"tm\.example\.org/run1"):
        MasterOptions(web="auto", web_behind_proxy=given).check()
