"""The page in a real browser, against real runs: what it shows, what its buttons do, and who is
kept out.
"""

from __future__ import annotations

import html
import http.server
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from support.browser import DESKTOP, PHONE, axe_violations, chromium, watched
from support.commands import Command, free_port, wait_for
from support.playground import Playground

from taskmaster.control import Run

# A browser is slow on a machine that has other work: what hangs is found by these, not by a wait.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
expect.set_options(timeout=30_000)

JOBS = """
import os, time
N = int(os.environ.get("TOTAL", "100000"))

def count_jobs():
    return N

def get_jobs(last=0):
    for n in range(last + 1, N + 1):
        while os.path.exists("source-waits"):
            time.sleep(0.05)
        yield n

def throttle():
    return "replication lag 7.2 s, above 5 s" if os.path.exists("throttled") else None

def handle_job(n):
    time.sleep(0.05 if os.path.exists("slowly") else 0.005)
    if n % 50 == 0:
        raise ValueError(f"bad title of {n}")
    if n % 180 == 0:
        {}["nothing"]
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests here; each has tabs of its own."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def going(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page whose run goes on, for tests that leave it as it is."""
    ground = Playground(tmp_path_factory.mktemp("going"))
    try:
        yield begun(ground, TOTAL="10000000")[1]
    finally:
        ground.close()


@pytest.fixture(autouse=True)
def _home(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the keys of masters where these leave them."""
    monkeypatch.setenv("TASKMASTER_HOME", playground.environment["TASKMASTER_HOME"])


def begun(playground: Playground, *words: str, command: str = "tm-run", **environment: str) -> tuple[Command, str]:
    """A run with a page, and the page's address with the token for steering."""
    if not (playground.directory / "work.py").exists():
        playground.write("work.py", JOBS)
    given = words if any(word.startswith("--web") for word in words) else (*words, f"--web=127.0.0.1:{free_port()}")
    workers = ["2"] if command == "tm-run" else []
    run = playground.start(command, "work.py", *workers, *given, "--progress=none", "--retries=0", **environment)
    return run, address(run)


def address(run: Command) -> str:
    """The address that a command has printed."""
    run.wait_for_output("?token=")
    return re.search(r"https?://\S+", run.output)[0]


def looking(url: str) -> str:
    """The address for looking only."""
    home, origin = Path(os.environ["TASKMASTER_HOME"]), url.partition("?")[0]
    kept = [json.loads(path.read_text()) for path in home.glob("page-*.json")]
    return f"{origin}?token={next(one['look'] for one in kept if one['url'] == origin)}"


def ask(url: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    """Ask the page's server as a program does, with the token of an address."""
    origin, _, token = url.partition("/?token=")
    sent = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(origin + path, data, sent)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def command(url: str, name: str, **arguments: str) -> tuple[int, str]:
    """Ask for a change as the page does."""
    origin = url.partition("/?")[0]
    request = {"id": f"request-{time.time()}", "command": name, "arguments": arguments, "reason": "", "user": "eve"}
    more = {"Origin": origin, "Content_Type": "application/json", "X_Taskmaster": "1"}
    return ask(url, "/api/v1/steer", request, **more)


def status(url: str) -> dict[str, Any]:
    """What the page is told."""
    code, text = ask(url, "/api/v1/status")
    assert code == 200, text
    found: dict[str, Any] = json.loads(text)
    return found


def click(page: Page, button: str, *, reason: str = "", field: str | None = None, check: bool = False) -> None:
    """Press a button, fill its dialog in, and confirm it."""
    page.locator(button).first.click()
    dialog = page.locator("#dialog")
    expect(dialog).to_be_visible()
    if field is not None:
        page.locator("#field").fill(field)
    if check:
        page.locator("#check").check()
    page.locator("#reason").fill(reason)
    page.locator("#user").fill("anna")
    page.locator("#go").click()
    expect(dialog).to_be_hidden()


def test_every_button_does_what_it_says(playground: Playground, browser: Browser) -> None:
    """Pause, resume, rate, retry, quiet and stop are in force in the run, are seen on the page with
    who asked for them and why, and the run ends with the command that resumes it.
    """
    run, url = begun(playground)
    with watched(browser) as page:
        page.goto(url)
        assert "token" not in page.url
        expect(page.locator("#word")).to_have_text("running")
        expect(page.locator("#failed")).to_have_text(re.compile("^[1-9]"))
        click(page, "#pause", reason="deploy <b>1.4</b>")
        expect(page.locator("#word")).to_contain_text("by anna@")
        expect(page.locator("#why")).to_contain_text("deploy <b>1.4</b>")
        expect(page.locator("#resume")).to_be_visible()
        expect(page.locator("#trail li").first).to_contain_text("anna@127.0.0.1")
        assert status(url)["hold"]["reason"] == "deploy <b>1.4</b>"
        click(page, "#resume")
        expect(page.locator("#word")).to_have_text("running")
        click(page, "#rate", field="40")
        expect(page.locator("#trail li").first).to_contain_text("rate")
        click(page, "#rate", field="off")
        click(page, "#retry-all", reason="mended")
        expect(page.locator("#trail li").first).to_contain_text("retry")
        click(page, "#slaves button", check=True)
        expect(page.locator("#slaves li").first).to_contain_text("quiet")
        click(page, "#slaves button")
        expect(page.locator("#slaves li").first).not_to_contain_text("quiet")
        page.locator("#settings-fold summary").click()
        expect(page.locator("#settings")).to_contain_text("retries")
        page.locator("#table-fold summary").click()
        expect(page.locator("#rows tr").nth(2)).to_be_visible()
        page.locator("#rate").click()
        page.locator("#field").fill("0")
        page.locator("#go").click()
        expect(page.locator("#dialog-error")).to_contain_text("pause")
        page.keyboard.press("Escape")
        expect(page.locator("#dialog")).to_be_hidden()
        click(page, "#stop", reason="enough")
        expect(page.locator("#word")).to_have_text("stopped")
        expect(page.locator("#why")).to_contain_text("Exit code 143")
        expect(page.locator("#extra-command")).to_contain_text("tm-run work.py")
        expect(page.locator("#bar")).to_be_hidden()
        page.allowed.append("ERR_CONNECTION_REFUSED")
        assert run.end() == 143, run.output
        time.sleep(2)  # in which the page asks nobody, and stays as it is
        expect(page.locator("#word")).to_have_text("stopped")


def test_the_page_is_for_everybody(going: str, browser: Browser) -> None:
    """On a desktop and on a phone, light and dark, axe finds nothing wrong, with all folds open and
    in a dialog; no text leaves the screen sideways, and what is pressed is large enough.
    """
    for size, scheme in ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")):
        with watched(browser, size, scheme) as page:
            page.goto(going)
            expect(page.locator("#word")).to_have_text("running")
            expect(page.locator("#plot .line")).to_be_visible()
            for fold in page.locator("summary").all():
                if fold.is_visible():
                    fold.click()
            expect(page.locator("#settings tr").first).to_be_visible()
            assert axe_violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            for button in page.locator("button:visible").all():
                box = button.bounding_box()
                assert box is None or box["height"] >= (44 if size is PHONE else 24)
            page.locator("#pause").focus()
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.id") == "reason"
            if (size, scheme) in ((DESKTOP, "light"), (PHONE, "dark")):
                assert axe_violations(page) == []
            page.keyboard.press("Escape")
            assert page.evaluate("document.activeElement.id") == "pause"


WAITS_FOR = {
    "throttled": ("throttled", "throttled", "eplication lag 7.2 s"),
    "source-waits": ("source-waits", "waiting for jobs", "get_jobs"),
}


def test_the_states_of_a_run_are_seen(playground: Playground, browser: Browser) -> None:
    """A master without slaves tells the command that starts one; what holds a run is told in its
    own words; a run that has ended is seen to have ended.
    """
    port = free_port()
    slowly = playground.write("slowly", "")  # else the run may be over before a slow browser has seen it run
    run, url = begun(playground, f"--host=127.0.0.1:{port}", "--size=50", command="tm-master", TOTAL="3000")
    with watched(browser) as page:
        page.goto(url)
        expect(page.locator("#word")).to_have_text("waiting for slaves")
        expect(page.locator("#extra-command")).to_contain_text("tm-slave")
        expect(page.locator("#left")).to_have_text("no job has been settled yet")
        slave = playground.start("tm-slave", "work.py", "--processes=2", f"--host=127.0.0.1:{port}")
        expect(page.locator("#word")).to_have_text("running")
        for name, word, why in WAITS_FOR.values():
            place = playground.write(name, "")
            expect(page.locator("#word")).to_have_text(word)
            expect(page.locator("#why")).to_contain_text(why)
            place.unlink()
            expect(page.locator("#word")).to_have_text("running")
        slowly.unlink()
        expect(page.locator("#word")).to_have_text("finished, 73 failed")
        expect(page.locator("#percent")).to_have_text("100.0 %")
        expect(page.locator("#why")).to_contain_text("exit code 3")
        page.allowed.append("ERR_CONNECTION_REFUSED")
    assert run.end() == 3, run.output
    assert slave.end() == 0, slave.output


# What the master may say, and the first line of the page then.
SCREENS: dict[str, tuple[dict[str, Any], str]] = {
    "unwritable": (
        {"why": {"code": "state", "sentence": "No space left on /srv"}},
        "paused: the state cannot be written",
    ),
    "stopping": ({"state": "draining", "why": {"code": "stopping"}}, "stopping"),
    "resuming": ({"state": "resuming"}, "resuming"),
    "pausing": (
        {"state": "pausing", "hold": {"by": "bo@b", "reason": "x", "since_at": 1.0, "until_at": None}},
        "pausing by bo@b",
    ),
    "refused": ({"why": {"code": "refused", "sentence": "all are too old"}, "slaves": 0}, "waiting for slaves"),
    "finished": ({"state": "finished", "failed": 0}, "finished"),
    "unknown": ({"state": "brand-new-state", "why": {"code": "brand-new"}}, "running"),
    "older": ({"why": "slaves", "why_sentence": "no slave is connected"}, "waiting for slaves"),
    "no total": ({"total": None, "share": None}, "running"),
    "ending": ({"state": "ending"}, "ending: the last checkpoint"),
}  # fmt: skip


def test_every_screen_has_its_words(going: str, browser: Browser) -> None:
    """Each state that a master can tell of has its first line, also one that this page does not
    know, and fields that a master leaves out leave the page whole.
    """
    wait_for("jobs that run", lambda: status(going)["settled"])
    known = status(going)
    said: list[dict[str, Any]] = [known]
    with watched(browser) as page:
        page.route("**/api/v1/status", lambda route: route.fulfill(json=said[0]))
        page.goto(going)
        for changed, word in SCREENS.values():
            said[0] = {**known, **changed}
            expect(page.locator("#word")).to_have_text(word)
            expect(page.locator("#target")).to_have_text("work.py")
        engine = "engine: 12 of 40 slaves; scheduler away since 30 s"
        said[0] = {**known, "engine": engine}
        expect(page.locator("#engine")).to_have_text(engine.capitalize() + ".")
        said[0] = {"run": "r", "target": "t.py", "state": "running", "page": {"now": time.time(), "trouble": ""}}
        expect(page.locator("#target")).to_have_text("t.py")
        expect(page.locator("#engine")).to_be_hidden()
        said[0] = {**known, "page": {**known["page"], "trouble": "The master does not answer any more."}}
        expect(page.locator("#word")).to_contain_text("the master does not answer, since")
        expect(page.locator("body")).to_have_class("stale")
        expect(page.locator("#pause")).to_be_disabled()


def test_what_is_on_demand_is_there(going: str, browser: Browser) -> None:
    """A hundred slaves in parts and in the order that is asked for, the bar of the failure budget,
    and a report with its style for a browser that runs no scripts.
    """
    wait_for("a slave", lambda: status(going)["page"]["slaves"])
    known = status(going)
    row = known["page"]["slaves"][0]
    rows = [{**row, "name": f"web{number}:1", "since_at": float(number)} for number in range(100)]
    asked: list[str] = []

    def part(route: Route) -> None:
        asked.append(route.request.url.partition("?")[2])
        after = int(asked[-1].rpartition("=")[2])
        route.fulfill(json={"slaves": rows[::-1][after : after + 40], "known": 100})

    page_of = {**known["page"], "slaves": rows[:40], "slaves_known": 100}
    with watched(browser) as page:
        budget = {"used": 0.75, "allows": "20 failed jobs"}
        page.route("**/api/v1/status", lambda route: route.fulfill(json={**known, "budget": budget, "page": page_of}))
        page.route("**/api/v1/slaves?*", part)
        page.goto(going)
        expect(page.locator("#which")).to_have_text("1 to 40 of 100")
        expect(page.locator("#budget")).to_have_attribute("value", "0.75")
        expect(page.locator("#failed-more")).to_contain_text("stops above 20 failed jobs")
        page.locator("#sort").select_option("rate")
        expect(page.locator("#slaves li").first).to_contain_text("web99:1")
        page.locator("#later").click()
        page.locator("#later").click()
        expect(page.locator("#which")).to_have_text("81 to 100 of 100")
        expect(page.locator("#later")).to_be_disabled()
        expect(page.locator("#slaves li").last).to_contain_text("web0:1")
        assert axe_violations(page) == []
        page.locator("#sort").select_option("")
        expect(page.locator("#slaves li").first).to_contain_text("web0:1")
    assert {"sort=rate&after=0", "sort=rate&after=40", "sort=rate&after=80"} <= set(asked)
    with closing(browser.new_context(java_script_enabled=False)) as context:
        page = context.new_page()
        page.goto(going)
        # As text, which Chromium makes of it where a debugger has switched scripts off.
        assert 'href="report"' in html.unescape(page.content())
        page.goto(urljoin(going, "/report"))
        expect(page.locator("h1")).to_have_text("work.py")
        expect(page.locator(".conclusion")).to_contain_text("running")
        expect(page.locator("svg[role=img]")).to_be_visible()
        expect(page.locator("main")).to_have_css("max-width", "1024px")  # the style is allowed


def test_a_master_that_comes_back_is_seen_to_come_back(playground: Playground, browser: Browser) -> None:
    """The page of a master that was killed says so and keeps what it knew; when the master is back
    with the same command, the open page goes on by itself, steers again, and has the plot.
    """
    port = free_port()
    run, url = begun(playground, f"--web=127.0.0.1:{port}")
    with watched(browser) as page:
        page.allowed += ["ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET"]
        page.goto(url)
        expect(page.locator("#word")).to_have_text("running")
        expect(page.locator("#plot .line")).to_be_visible()
        run.kill()
        expect(page.locator("#word")).to_contain_text("does not answer, since")
        expect(page.locator("#counts")).to_contain_text("of 100,000 jobs")
        expect(page.locator("#pause")).to_be_disabled()
        expect(page.locator("#again")).to_be_visible()
        wait_for("the page's process to end", lambda: not playground.left())
        again, same = begun(playground, f"--web=127.0.0.1:{port}")
        assert same == url
        page.locator("#again").click()
        expect(page.locator("#word")).to_have_text("running")
        click(page, "#stop")
        assert again.end() == 143, again.output


def test_the_page_dies_and_the_run_does_not_notice(playground: Playground) -> None:
    """A page that was killed is started again by itself, under the same address; the run goes on
    meanwhile, and is over when its jobs are.
    """
    slowly = playground.write("slowly", "")
    run, url = begun(playground, TOTAL="2500")

    def page_process() -> int:
        return next((pid for pid, words in playground.left().items() if "taskmaster.view.web" in words), 0)

    first = int(str(wait_for("the page", page_process)))
    before = status(url)["settled"]
    assert b"TASKMASTER_KEY" not in Path(f"/proc/{first}/environ").read_bytes()
    os.kill(first, signal.SIGKILL)
    wait_for("another page", lambda: page_process() not in (0, first))
    wait_for("it to answer", lambda: ask(url, "/healthz")[0] == 200)
    assert status(url)["settled"] >= before
    assert "is started again; the run goes on" in run.output
    slowly.unlink()
    assert run.end() == 3, run.output


HOSTILE = [
    "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", '"><svg onload=alert(1)>', "javascript:alert(1)",
    "{{7*7}}${7*7}", "\u202egnp.exe\u2066", "\x1b[2J\x1b]0;x\x07", "a\x00b",
    "\u200b\ufeff", "</textarea><iframe src=//evil.test>",
]  # fmt: skip


def test_hostile_texts_are_texts(playground: Playground, browser: Browser) -> None:
    """Markup, control characters and what turns the reading direction are shown as text, or as a
    question mark, as key, exception, reason, name and target.
    """
    target = "<img src=x onerror=alert(1)>.py"
    playground.write(
        target,
        "import time\nfrom taskmaster import Job\n"
        f"TEXTS = {HOSTILE!r}\n"
        "def get_jobs(last=None):\n    for n in range(200_000):\n        yield Job(f'{n} {TEXTS[n % len(TEXTS)]}', n)\n"
        "def handle_job(n):\n    time.sleep(0.02)\n"
        "    if n % 4 == 0 and n < 160:\n        raise type('<b>Evil</b>', (Exception,), {})(TEXTS[n % len(TEXTS)])\n",
    )
    web = f"--web=127.0.0.1:{free_port()}"
    run = playground.start("tm-run", target, "2", web, "--progress=none", "--retries=0", "--outage=0")
    url = address(run)
    with watched(browser) as page:
        page.goto(url)
        expect(page.locator("#target")).to_have_text(target)
        expect(page.locator("#failed")).to_have_text("40")
        before = page.locator("*").evaluate_all("all => all.map(one => one.tagName)")
        with Run(next(playground.directory.glob("*.tmstate"))) as control:
            for text in HOSTILE:
                control.note(f"note {text}")
            control.pause(HOSTILE[0])
        expect(page.locator("#why")).to_contain_text(HOSTILE[0])
        expect(page.locator("#trail li").nth(5)).to_be_visible()
        shown = page.locator("body").inner_text()
        after = page.locator("*").evaluate_all("all => all.map(one => one.tagName)")
        assert not {"IMG", "IFRAME", "TEXTAREA", "B"} & set(after)
        assert after.count("SCRIPT") == before.count("SCRIPT") == 1
        assert not re.search("[\x00-\x08\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\u200b]", shown)
        assert "<img src=x onerror=alert(1)>" in shown
    run.signal_group(signal.SIGTERM)
    assert run.end() == 143


def test_roles_are_the_master_s_matter(playground: Playground, browser: Browser) -> None:
    """Who has the address for looking sees all and has no button; a command of his is refused, and
    so is one in a page that only shows.
    """
    run, url = begun(playground)
    look = looking(url)
    with watched(browser) as page:
        page.goto(look)
        expect(page.locator("#word")).to_have_text("running")
        expect(page.locator("#foot")).to_contain_text("looking only")
        expect(page.locator("#slaves li")).to_be_visible()
        assert page.locator("#bar, #slaves button, #retry-all, #kinds button").filter(visible=True).count() == 0
    assert command(look, "pause")[0] == 403
    assert status(look)["hold"] is None
    assert command(url, "pause")[0] == 200
    assert status(look)["hold"]["by"] == "eve@127.0.0.1"
    code, metrics = ask(look, "/metrics")
    assert code == 200
    assert "taskmaster_up 1.0" in metrics
    assert re.search('taskmaster_state{state="paus(ing|ed)"} 1.0', metrics)
    assert ask(look + "x", "/metrics")[0] == 401
    printed = playground.run("tm-ctl", "web-url", "work.py", "--look")
    assert printed.output.strip() == look
    run.signal_group(signal.SIGTERM)
    assert run.end() == 143
    readonly, url = begun(playground, "--web-readonly", f"--web=127.0.0.1:{free_port()}")
    assert url == looking(url)
    steer = playground.run("tm-ctl", "web-url", "work.py").output.strip()
    assert steer != url
    assert status(steer)["page"]["steers"] is False
    assert command(steer, "resume")[0] == 403
    assert status(url)["hold"] is not None
    readonly.signal_group(signal.SIGTERM)
    assert readonly.end() == 143


ATTACK = """<!doctype html><title>evil</title><body><script>
const url = "%(url)s";
async function all() {
  const done = [];
  const body = JSON.stringify({id: "evil-request-1", command: "pause", arguments: {}, reason: "evil", user: "evil"});
  const ways = [
    {method: "POST", mode: "no-cors", credentials: "include", body},
    {method: "POST", mode: "cors", credentials: "include", body,
     headers: {"Content-Type": "application/json", "X-Taskmaster": "1"}},
    {method: "POST", mode: "no-cors", credentials: "include", body, headers: {"Content-Type": "text/plain"}},
    {method: "GET", mode: "cors", credentials: "include"},
  ];
  for (const way of ways) {
    const path = way.method === "GET" ? "/api/v1/status" : "/api/v1/steer";
    try {
      const answer = await fetch(url + path, way);
      done.push(answer.type === "opaque" ? "opaque" : await answer.text());
    } catch (error) { done.push("refused"); }
  }
  const frame = document.createElement("iframe");
  frame.src = url + "/";
  document.body.append(frame);
  await new Promise((then) => { frame.onload = then; setTimeout(then, 1500); });
  try { done.push("frame " + frame.contentDocument.body.innerText); } catch { done.push("frame closed"); }
  const form = document.createElement("form");
  form.method = "POST"; form.action = url + "/api/v1/steer"; form.enctype = "text/plain"; form.target = "other";
  const field = document.createElement("input");
  field.name = body; field.value = "";
  form.append(field);
  document.body.append(form);
  form.submit();
  await new Promise((then) => setTimeout(then, 500));
  document.title = JSON.stringify(done);
}
all();
</script>"""


@contextmanager
def evil_page(url: str) -> Iterator[str]:
    """A page of somebody else on another port of this machine; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (ATTACK % {"url": url}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_another_page_in_the_same_browser_gets_nothing(going: str, browser: Browser) -> None:
    """A page on another port of this machine, which has the cookie sent along, neither steers nor
    reads nor frames; with the page's own origin the same would have worked.
    """
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(going)
        expect(page.locator("#word")).to_have_text("running")
        with evil_page(going.partition("/?")[0]) as evil:
            other = context.new_page()
            other.goto(evil)
            wait_for("the attack", lambda: other.title().startswith("["), 60)
            done = json.loads(other.title())
        assert len(done) == 5
        assert not any("settled" in one or "running" in one for one in done), done
        found = status(going)
        assert found["hold"] is None
        assert not [row for row in found["page"]["trail"] if row["user"] == "evil"]
    finally:
        context.close()


def raw(url: str, text: str) -> bytes:
    """What the server answers to what no browser would send."""
    host, _, port = url.partition("://")[2].partition("/")[0].partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(text.encode("latin-1"))
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer


def test_what_no_browser_sends_is_refused(going: str) -> None:
    """Other names, two names, none, too long headers and bodies, and a thousand guessed tokens get
    nothing; while a hundred connections are held open, it is told at once that there are too many,
    and after ten seconds the page is there again.
    """
    origin, _, token = going.partition("/?token=")
    host = origin.partition("://")[2]
    auth = f"Authorization: Bearer {token}\r\nConnection: close\r\n"
    for names, code in (
        (f"Host: {host}\r\n", 200), ("Host: evil.test\r\n", 421), (f"Host: 127.0.0.1.evil.test:{host[-4:]}\r\n", 421),
        (f"Host: {host}\r\nHost: evil.test\r\n", 400), ("", 400),
        (f"Host: {host}\r\nX-Long: {'x' * 20_000}\r\n", (400, 431)),
    ):  # fmt: skip
        answer = raw(going, f"GET /api/v1/status HTTP/1.1\r\n{names}{auth}\r\n")
        assert int(answer.split()[1]) in (code if isinstance(code, tuple) else (code,)), (names[:50], answer[:200])
        assert b"access-control" not in answer.lower()
    for path in ("/../../etc/passwd", "/static/../__init__.py", "/static/%2e%2e/app.py", "//evil.test/", "/static/"):
        assert raw(going, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n").split()[1] == b"404"
    long = json.dumps({"id": "long-request", "command": "note", "reason": "x" * 5000})
    more = {"Origin": origin, "Content_Type": "application/json", "X_Taskmaster": "1"}
    assert ask(going, "/api/v1/steer", long, **more)[0] == 400
    assert ask(f"{origin}/?token=wrong", "/api/v1/status")[0] == 401
    codes = guessed(origin, 60)
    assert set(codes) <= {401, 429, 503}
    assert 429 in codes
    held = [socket.create_connection((host.partition(":")[0], int(host.partition(":")[2]))) for _ in range(100)]
    try:
        for sock in held:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: ")
        wait_for("the page to be there again", lambda: answers(going), 60)
    finally:
        for sock in held:
            sock.close()


def answers(url: str) -> bool:
    """Whether the page's server serves now."""
    try:
        return ask(url, "/healthz")[0] == 200
    except OSError:
        return False


def guessed(origin: str, tries: int) -> list[int]:
    """The answers to wrong tokens that are tried all at once."""
    found: list[int] = []

    def one(number: int) -> None:
        try:
            found.append(ask(f"{origin}/?token=guess-{number}", "/api/v1/status")[0])
        except OSError:
            found.append(503)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(tries)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


# Makes the page ask a hundred times as often; answers it in the tab, with other rows each time.
HURRY = """{
  const later = setTimeout, ask = fetch;
  let known = null;
  window.answered = 0;
  window.setTimeout = (call, time, ...more) => later(call, time / 100, ...more);
  window.fetch = async (path, ...more) => {
    if (known === null || !path.includes("/status")) {
      const answer = await ask(path, ...more);
      if (path.includes("/status")) known = await answer.clone().json();
      return answer;
    }
    const n = ++window.answered, row = known.page.trail[0], slave = known.page.slaves[0];
    const page = {...known.page, now: known.page.now + n};
    page.trail = [{...row, seq: n, reason: `reason ${n}`}, {...row, seq: n + 1}];
    page.slaves = [...Array(6).keys()].map((one) => ({...slave, name: `slave-${n + one}:1`, since_at: n + one}));
    const kind = {where: "a.py:1", count: n, key: "k", traceback: `t ${n}`};
    const kinds = [...Array(3).keys()].map((one) => ({...kind, type: `Error${n + one}`}));
    return new Response(JSON.stringify({...known, settled: known.settled + n, kinds, page}));
  };
}"""


def test_an_open_page_takes_no_more_memory(going: str, browser: Browser) -> None:
    """After a thousand updates, in which slaves and kinds of failure come and go, the tab has no
    more elements and no larger heap than after a hundred.
    """
    with watched(browser) as page:
        page.add_init_script(HURRY)
        page.goto(going)
        debugger = page.context.new_cdp_session(page)

        def used(after: int) -> tuple[float, int]:
            page.wait_for_function(f"() => window.answered >= {after}", timeout=200_000)
            debugger.send("HeapProfiler.collectGarbage")
            heap = debugger.send("Runtime.getHeapUsage")["usedSize"]
            return heap / 1e6, debugger.send("Memory.getDOMCounters")["nodes"]

        heap, nodes = used(100)
        later, more = used(1100)
        assert later < heap * 1.25 + 1, f"{heap:.1f} MB, then {later:.1f} MB"
        assert more < nodes * 1.5 + 500, f"{nodes} elements, then {more}"


def certify(place: Path) -> None:
    """Leave a certificate and its key in a directory."""
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "key.pem"]
    subprocess.run([*words, "-out", "cert.pem"], cwd=place, check=True, capture_output=True)


def test_a_page_with_its_own_certificate_is_served_with_tls(playground: Playground, browser: Browser) -> None:
    """It shows and steers, its cookie is for TLS alone, and without TLS there is no answer."""
    certify(playground.directory)
    _, url = begun(playground, f"--web=127.0.0.1:{free_port()}", "--web-cert=cert.pem", "--web-key=key.pem")
    assert url.startswith("https://127.0.0.1:")
    with watched(browser, trusting=True) as page:
        page.goto(url)
        expect(page.locator("#word")).to_have_text("running")
        click(page, "#pause", reason="over TLS")
        expect(page.locator("#why")).to_contain_text("over TLS")
        [cookie] = page.context.cookies()
        assert (cookie["path"], cookie["secure"]) == ("/", True)
    with pytest.raises((OSError, HTTPException)):
        ask(url.replace("https:", "http:"), "/healthz")


@contextmanager
def proxied(place: Path, port: int, prefix: str, *, cut: bool) -> Iterator[int]:
    """A proxy with TLS of its own, which serves what a port has under a prefix; its port.

    Args:
        place: Where its certificate is kept.
        port: Of what is behind it.
        prefix: Of the paths that it hands on.
        cut: It takes the prefix away.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def hand_on(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            behind = HTTPConnection("127.0.0.1", port, timeout=20)
            with closing(behind):
                behind.request(
                    self.command, self.path.removeprefix(prefix if cut else ""), body or None, dict(self.headers)
                )
                answer = behind.getresponse()
                text = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = hand_on  # noqa: N815  # the server's own spelling

        def log_message(self, *_: object) -> None:
            pass

    certify(place)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "cert.pem", place / "key.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # The handshake is each connection's own: one that hangs keeps nobody else waiting.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.mark.parametrize("cut", [True, False])
def test_a_page_behind_a_proxy_is_whole(playground: Playground, browser: Browser, cut: bool) -> None:
    """With TLS and a path of its own, whether the proxy takes that away or not: it shows, steers
    and has its report there, and its cookie goes to nothing else of that host.
    """
    port = free_port()
    with proxied(playground.directory, port, "/run/1", cut=cut) as outside:
        name = f"localhost:{outside}/run/1"
        _, url = begun(playground, f"--web=127.0.0.1:{port}", f"--web-behind-proxy={name}")
        assert url.startswith(f"https://{name}/?token=")
        with watched(browser, trusting=True) as page:
            page.goto(url)
            assert page.url == f"https://{name}/"
            expect(page.locator("#word")).to_have_text("running")
            expect(page.locator("#plot .line")).to_be_visible()
            click(page, "#pause", reason="through the proxy")
            expect(page.locator("#why")).to_contain_text("through the proxy")
            [cookie] = page.context.cookies()
            assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == ("/run/1/", True, True)
            page.locator("#report").click()
            expect(page.locator("h1")).to_have_text("work.py")
            assert page.url == f"https://{name}/report"


def test_a_page_beside_a_master_without_one(playground: Playground, browser: Browser) -> None:
    """tm-web shows and steers a run that was started without a page; when its master is gone it
    says so, finds it on its new port, and ends without touching the run.
    """
    playground.write("work.py", JOBS)
    words = ("tm-run", "work.py", "2", "--progress=none", "--retries=0")
    run = playground.start(*words)
    wait_for("the state", lambda: playground.in_state() > 20)
    beside = playground.start("tm-web", "work.py", f"--web=127.0.0.1:{free_port()}")
    url = address(beside)
    with watched(browser) as page:
        page.goto(url)
        expect(page.locator("#word")).to_have_text("running")
        click(page, "#pause", reason="look at it")
        expect(page.locator("#word")).to_contain_text("paused by anna@")
        click(page, "#resume")
        expect(page.locator("#word")).to_have_text("running")
        run.kill()
        expect(page.locator("#word")).to_contain_text("the master does not answer, since")
        again = playground.start(*words)
        expect(page.locator("#word")).to_have_text("running")
        assert command(looking(url), "pause")[0] == 403
    beside.signal_group(signal.SIGINT)
    assert beside.end() == 0, beside.output
    assert again.process.poll() is None
    again.signal_group(signal.SIGTERM)
    assert again.end() == 143


def test_the_page_s_stop_ends_a_job_in_the_master_s_own_process(playground: Playground) -> None:
    """With --processes 0 the job has --grace to end, as after a signal, and is given back; the
    command that goes on runs it again.
    """
    playground.write(
        "work.py",
        "import os, time\ndef get_jobs(last=0):\n    yield from range(last + 1, 4)\n"
        "def handle_job(n):\n    open(f'began-{n}', 'w').close()\n"
        "    while n == 2 and not os.path.exists('enough'):\n        time.sleep(0.02)\n",
    )
    words = ["--processes=0", "--grace=0.5", "--progress=none"]
    run = playground.start("tm-run", "work.py", *words, f"--web=127.0.0.1:{free_port()}")
    url = address(run)
    wait_for("the job that hangs", (playground.directory / "began-2").exists)
    assert command(url, "stop")[0] == 200

    assert run.end() == 143, run.output
    assert "Stopped by eve@127.0.0.1: the job that runs here has 0.5 s to end" in run.output
    playground.write("enough", "")
    again = playground.run("tm-run", "work.py", *words)
    assert again.process.returncode == 0, again.output
    assert (playground.directory / "began-3").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--web=0.0.0.0:8050"], "--web-cert"),
        (["--web=backfill.py:x"], "no address"),
        (["--web-readonly"], "add --web"),
    ],
)
def test_a_page_that_cannot_be_is_refused(playground: Playground, words: list[str], sentence: str) -> None:
    """What was asked for and cannot be had ends the command with 2, and no state is made."""
    playground.write("work.py", JOBS)
    run = playground.run("tm-run", "work.py", "1", *words)

    assert run.process.returncode == 2
    assert sentence in run.output
    assert not list(playground.directory.glob("*.tmstate"))


def test_a_port_that_is_taken_is_refused_and_the_next_one_found(playground: Playground) -> None:
    """An address that was given is that one or none; --web alone takes the next free port."""
    playground.write("work.py", JOBS)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = playground.run("tm-run", "work.py", "1", f"--web=127.0.0.1:{port}")
    assert run.process.returncode == 6
    assert f"127.0.0.1:{port}" in run.output
    first, url = begun(playground, "--web")
    assert re.match(r"http://127\.0\.0\.1:\d+/\?token=", url)
    first.signal_group(signal.SIGTERM)
    first.end()
