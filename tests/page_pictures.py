"""Makes the pictures of docs/page.rst and docs/monitoring.rst: ``python tests/page_pictures.py``.

A run with failures is held by a guard and by a person for a while, and looked at on a desktop and
on a phone, light and dark, and in its report. The dark ones go to ``--all DIRECTORY``, where all
are, to be looked at after a change of the page.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support.browser import DESKTOP, PHONE, chromium, watched
from support.commands import wait_for
from support.playground import Playground

from taskmaster.control import Run

DOCS = Path(__file__).parents[1] / "docs"
BACKFILL = """
import os, time

def count_jobs():
    return 60_000

def get_jobs(last=0):
    yield from range(last + 1, 60_001)

def throttle():
    return "replication lag 7.2 s, above 5 s" if os.path.exists("lag") else None

def clean(title):
    raise ValueError("bad title")

def handle_job(post):
    time.sleep(0.004)
    if post % 211 == 0:
        clean("")
    if post % 1009 == 0:
        raise ConnectionError("the search index does not answer")
"""
SECONDS = 12.0  # of work before the first hold, between the holds, and after them


def main() -> None:
    """Run, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, help="where all pictures go, beside those of the docs")
    every = parser.parse_args().all
    with tempfile.TemporaryDirectory() as directory, chromium() as browser:
        ground = Playground(Path(directory))
        os.environ["TASKMASTER_HOME"] = ground.environment["TASKMASTER_HOME"]
        try:
            ground.write("backfill.py", BACKFILL)
            run = ground.start("tm-run", "backfill.py", "2", "--web", "--progress=none", "--retries=0")
            run.wait_for_output("?token=")
            url = re.search(r"http://\S+", run.output)
            wait_for("the state", lambda: ground.in_state() > 0)
            time.sleep(SECONDS)
            lag = ground.write("lag", "")
            time.sleep(SECONDS / 2)
            lag.unlink()
            time.sleep(SECONDS)
            with Run(next(ground.directory.glob("*.tmstate"))) as control:
                control.pause("deploy", duration="6s")
                time.sleep(SECONDS)
                control.note("deploy 1.4.2 is out")
            time.sleep(SECONDS)
            for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
                for scheme in ("light", "dark"):
                    with watched(browser, size, scheme) as page:
                        page.goto(url[0] if url else "")
                        page.locator("#plot .line").wait_for()
                        page.wait_for_timeout(1500)
                        if scheme == "light":
                            page.screenshot(path=DOCS / f"page-{name}.png", full_page=name == "desktop")
                        if every is not None:
                            page.screenshot(path=every / f"{name}-{scheme}.png", full_page=True)
            ground.run("tm-ctl", "report", "backfill.py", "--output=report.html")
            for scheme in ("dark", "light"):
                with watched(browser, DESKTOP, scheme) as page:
                    page.goto((ground.directory / "report.html").as_uri())
                    if every is not None:
                        page.screenshot(path=every / f"report-{scheme}.png", full_page=True)
                    if scheme == "light":
                        page.screenshot(path=DOCS / "report.png")
        finally:
            ground.close()


if __name__ == "__main__":
    main()
