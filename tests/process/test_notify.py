"""Runs that speak up: real commands and a webhook on loopback are told, and the run ends as it
would without them.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.commands import wait_for
from support.playground import SOME_FAIL, Playground

from taskmaster.cli.command import OF_NOTIFICATIONS
from taskmaster.cli.run import tm_run
from taskmaster.control import Run
from taskmaster.runner.notifiers import environment_of

SECRET = "/services/T0/B1/verysecret"
WORK = SOME_FAIL.replace("    hold()\n", "    hold()\n    assert 'verysecret' not in repr(dict(os.environ))\n")


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a webhook, and what was posted to it."""
    posted: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    setattr(Handler, "do_POST", Handler.answer)  # noqa: B010  # the server's own spelling
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{SECRET}", posted
        server.shutdown()


@pytest.mark.slow
def test_a_command_and_a_webhook_are_told_of_a_run(
    playground: Playground, hook: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its start to its end, with who paused it; the address is nowhere, and the state is the
    same as without.
    """
    monkeypatch.setenv("TASKMASTER_HOME", playground.environment["TASKMASTER_HOME"])
    url, posted = hook
    playground.write("work.py", WORK)
    playground.hold(30)
    command = 'echo "$TASKMASTER_EVENT $TASKMASTER_EXIT_CODE $TASKMASTER_FAILED $TASKMASTER_STATE" >> told'
    words = ("tm-run", "work.py", "2", "--retries=0", "--notify", command)
    run = playground.start(*words, f"--notify={url}")
    wait_for("the jobs to be held", playground.held)
    state = next(playground.directory.glob("*.tmstate"))
    with Run(state) as steered:
        steered.pause(reason="deploy")
        wait_for("the pause to be told", lambda: "paused" in [one["event"] for one in posted])
        steered.resume()
        settings = playground.run("tm-ctl", "settings", "work.py")
        status = playground.run("tm-ctl", "status", "work.py", "--json")
    playground.let_go()

    assert run.end() == 3, run.output
    told = [line.split(" ") for line in (playground.directory / "told").read_text().splitlines()]
    names = [one["event"] for one in posted]
    assert [name for name in names if name != "failure"] == ["started", "paused", "unpaused", "finished"]
    assert names.count("failure") == 1  # when it is reported depends on the batches
    assert [line[0] for line in told] == names
    assert told[-1] == ["finished", "3", "6", str(state)]
    assert posted[-1]["text"] == "work.py: The run has finished: 60 jobs settled, 6 of them failed."
    assert "deploy" in posted[names.index("paused")]["text"]
    for text in (run.output, settings.output, status.output, posted[-1]["resume"], state.read_bytes().decode("latin1")):
        assert "verysecret" not in text
    assert "http://127.0.0.1" in posted[-1]["resume"]
    # The same run without any of it: its state is the one that is found, and over.
    assert "finished" in playground.run("tm-run", "work.py", "2").output


@pytest.mark.slow
def test_an_address_in_the_environment_is_seen_by_no_worker(
    playground: Playground, hook: tuple[str, list[dict[str, Any]]]
) -> None:
    """Each line of TASKMASTER_NOTIFY is one; only what is asked for is told."""
    url, posted = hook
    playground.write("work.py", WORK)

    run = playground.run(
        "tm-run", "work.py", "1", "--retries=0", "--notify-on=finished", TASKMASTER_NOTIFY=f"{url}\ntouch told"
    )

    assert run.process.returncode == 3, run.output
    assert [one["event"] for one in posted] == ["finished"]
    assert (posted[0]["failed"], posted[0]["exit_code"]) == (6, 3), run.output
    assert (playground.directory / "told").exists()
    assert "AssertionError" not in run.output


@pytest.mark.slow
def test_a_run_that_is_stopped_tells_the_command_that_goes_on(playground: Playground) -> None:
    """And its exit code is its own, whatever becomes of the notification."""
    playground.write("work.py", WORK)
    playground.hold(20)
    run = playground.start(
        "tm-run", "work.py", "2", "--notify", "cat > told; exit 9", "--notify-on=stopped", TOTAL="5000"
    )
    wait_for("the jobs to be held", lambda: playground.held() and playground.in_state())
    playground.interrupt(run, signal.SIGTERM)

    assert run.end() == 143, run.output
    told = json.loads((playground.directory / "told").read_text())
    assert (told["event"], told["exit_code"]) == ("stopped", 143)
    assert told["resume"].startswith("tm-run work.py 2")
    assert "failed: it ended with 9. The run goes on" in run.output

    playground.write("other.py", WORK + "\ndef get_jobs(last=-1):\n    raise OSError('no way')\n")
    run = playground.run("tm-run", "other.py", "2", "--notify", "cat > told", "--progress=json")
    assert run.process.returncode == 1, run.output
    told = json.loads((playground.directory / "told").read_text())
    assert (told["event"], told["exit_code"]) == ("stopped", 1)
    assert "get_jobs raised OSError" in told["text"]
    assert '"event": "stopped"' in run.output


@pytest.mark.slow
def test_a_command_that_hangs_ends_with_the_run(playground: Playground) -> None:
    """The run waits for it ten seconds at most, or until a second signal; then it is killed with
    all that it has started.
    """
    playground.write("work.py", WORK)
    run = playground.start("tm-run", "work.py", "1", "--retries=0", "--notify", "sleep 600 & sleep 600")
    run.wait_for_output("Finished:")
    for _ in range(2):
        os.kill(run.pid, signal.SIGTERM)
        threading.Event().wait(1.2)  # repeats within a second count once

    assert run.end() == 3, run.output
    wait_for("nothing to be left", lambda: not playground.left())


def test_a_run_that_a_notification_starts_takes_no_option_from_it() -> None:
    """What a command is told of its run is called like options of another."""
    facts = {"event": "", "run": "", "target": "", "state_file": "", "state": "", "reason": "", "text": "",
             "settled": 0, "failed": 0, "total": 0, "eta": 0, "elapsed": 0, "resume": ""}  # fmt: skip
    options = {param.envvar for param in tm_run.params}

    assert set(environment_of(facts)) & options <= set(OF_NOTIFICATIONS)
