"""The report of real runs: written at each kind of end, small, and legible under the policy of
Jenkins in a real browser.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.browser import DESKTOP, PHONE, axe_violations, chromium, watched
from support.commands import wait_for
from support.playground import PREAMBLE, Playground

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

# Jobs that fail in 30 ways, of which some are markup; or those before "enough" is there.
JOBS = """
def count_jobs():
    return int(os.environ["JOBS"])

def get_jobs(last=0):
    yield from range(last + 1, int(os.environ["JOBS"]) + 1)

KINDS = [type(f"Failure{number}", (Exception,), {}) for number in range(30)]

def handle_job(n):
    if os.environ.get("FAIL"):
        raise KINDS[n % 30]("<script>alert(1)</script> \\x1b[2J of " + str(n))
    time.sleep(0.01)
    if n == 20:
        raise ValueError('"><img src=x onerror=alert(1)>')
"""
JENKINS = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self';"


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address of a directory that is served as Jenkins does; with ``?as-file``, as a browser
    shows a file.
    """

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            if "as-file" not in self.path:
                self.send_header("Content-Security-Policy", JENKINS)
            super().end_headers()

        def do_GET(self) -> None:
            if self.path == "/favicon.ico":  # what a browser asks for by itself
                self.send_response(204)
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=directory)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_report_is_legible_in_jenkins_and_says_what_the_state_says(playground: Playground) -> None:
    """A run of 600 failures of 30 kinds: small, whole, with every number; no script ran, nothing
    was asked for, and nothing hides without its styles. `tm-ctl report` of the state says the same.
    """
    playground.write("work.py", PREAMBLE + JOBS)
    place = playground.directory / "report.html"
    more = ["--retries=0", "--outage=0", "--progress=none", f"--report={place}"]
    run = playground.run("tm-run", "work.py", "2", *more, JOBS="600", FAIL="yes")
    assert run.process.returncode == 3, run.output
    page = place.read_text()
    assert len(page) < 300_000
    assert place.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in playground.directory.glob(".report*")] == []

    asked = playground.run("tm-ctl", "report", "work.py", "--json", JOBS="600")
    told = json.loads(asked.output)
    assert told["conclusion"]["exit_code"] == 3
    assert sum(kind["count"] for kind in told["kinds"]) == 600
    again = playground.run("tm-ctl", "report", "work.py", "--output=again.html", JOBS="600")
    assert again.process.returncode == 0, again.output

    with served(playground.directory) as url, chromium() as browser:
        looks = (("jenkins", DESKTOP, ""), ("file", DESKTOP, "?as-file"), ("phone", PHONE, "?as-file"))
        for (name, size, query), scheme in zip(looks, ("light", "dark", "light"), strict=True):
            with watched(browser, size, scheme) as tab:
                tab.allowed.append("style-src")  # the styles are refused, and that is all
                tab.goto(f"{url}/report.html{query}")
                expect(tab.locator(".conclusion")).to_contain_text("finished, 600 failed jobs")
                expect(tab.locator(".kind")).to_have_count(30)
                # A run of a moment has no two seconds to draw a line between; test_plot.py draws.
                assert tab.locator("svg[role=img] path").count() >= 1 or "too short for a plot" in page
                tab.get_by_text("Traceback of that job").first.click()
                expect(tab.locator("pre").filter(has_text="<script>alert(1)</script>").first).to_be_visible()
                wide = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{name} is {wide} pixels too wide"
                if query:
                    assert axe_violations(tab) == []
                tab.screenshot(path=playground.directory / f"{name}.png", full_page=True)
        with watched(browser) as tab:
            tab.allowed.append("style-src")
            tab.goto(f"{url}/again.html")
            expect(tab.locator(".conclusion")).to_contain_text("Exit code 3")
            expect(tab.locator(".kind")).to_have_count(30)


def test_every_end_leaves_a_report_and_none_that_cannot_be_had_lets_a_run_begin(playground: Playground) -> None:
    """Refused at once; stopped by a limit, by a signal, by the budget, killed; and while it goes
    on, when the master is asked.
    """
    playground.write("work.py", PREAMBLE + JOBS)
    place = playground.directory / "report.html"
    words = ("tm-run", "work.py", "1", "--retries=0", "--progress=none", f"--report={place}")

    refused = playground.run(*words[:-1], "--report=nowhere/report.html", JOBS="9")
    assert refused.process.returncode == 2, refused.output
    assert "there is no directory nowhere" in refused.output
    assert list(playground.directory.glob("*.tmstate")) == []

    def conclusion() -> str:
        found = re.search(r'class="conclusion.*?</p>\n(<p>.*?</p>)?', place.read_text(), re.DOTALL)
        return "" if found is None else re.sub(r"<[^>]+>", "", found[0])

    limited = playground.run(*words, "--limit=5", JOBS="1000")
    assert limited.process.returncode == 75, limited.output
    assert "Exit code 75" in conclusion()
    assert "--limit (5 jobs) is reached" in conclusion()
    asked = playground.run("tm-ctl", "report", "work.py", JOBS="1000").output
    assert "Exit code 75" in asked
    assert "--limit=5" in asked  # the command that it was begun with

    budget = playground.run(*words, "--max-failures=0", JOBS="1000")
    assert budget.process.returncode == 4, budget.output
    assert budget.output.count("Traceback (most") <= 1, budget.output  # not of the kind, and of the end again
    assert "Exit code 4" in conclusion()

    before = playground.in_state()
    going = playground.start(*words, JOBS="1000000")
    wait_for("some jobs", lambda: playground.in_state() > before)
    live = playground.run("tm-ctl", "report", "work.py", "--output=live.json", JOBS="1000")
    assert live.process.returncode == 0, live.output
    told = json.loads((playground.directory / "live.json").read_text())
    assert (told["conclusion"]["word"], told["conclusion"]["exit_code"]) == ("running", None)
    assert {"progress", "report", "notify", "web"} <= {row["name"] for row in told["settings"]}
    going.signal_group(signal.SIGTERM)
    assert going.end() == 143
    assert "was stopped by SIGTERM" in conclusion()
    assert "tm-run work.py 1" in place.read_text()

    before = playground.in_state()
    killed = playground.start(*words, JOBS="1000000")
    wait_for("it to go on", lambda: playground.in_state() > before)
    killed.kill()
    assert "it was killed" in playground.run("tm-ctl", "report", "work.py", JOBS="1000").output
