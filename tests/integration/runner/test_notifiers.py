"""Commands and webhooks that are told of an event, with a shell and a server that are real."""

from __future__ import annotations

import http.server
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.commands import processes_with, wait_for

from taskmaster.runner.notifiers import CommandNotifier, WebhookNotifier, notifier_of

EVENT: dict[str, Any] = {
    "schema": 1, "event": "finished", "at": 1.5, "seq": 9, "run": "3f2a", "target": "backfill.py",
    "text": "backfill.py: The run has finished.", "reason": "", "state": "finished", "settled": 60, "failed": 6,
    "total": None, "elapsed": 4.5, "eta": None, "exit_code": 3, "state_file": "/srv/backfill.tmstate",
    "resume": "tm-run backfill.py 2",
}  # fmt: skip
SECRET = "/services/T0/B1/verysecret"


def test_a_command_gets_the_event_in_its_environment_and_on_its_input(tmp_path: Path) -> None:
    """Each variable of the documents; what is not known is empty."""
    command = f"env > {tmp_path}/env; cat > {tmp_path}/input"

    assert CommandNotifier(command).send(EVENT, threading.Event()) == ""

    pairs = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert {name: value for name, value in pairs.items() if name.startswith("TASKMASTER_")}.items() >= {
        "TASKMASTER_EVENT": "finished",
        "TASKMASTER_RUN": "3f2a",
        "TASKMASTER_TARGET": "backfill.py",
        "TASKMASTER_STATE": "/srv/backfill.tmstate",
        "TASKMASTER_RUN_STATE": "finished",
        "TASKMASTER_REASON": "",
        "TASKMASTER_TEXT": "backfill.py: The run has finished.",
        "TASKMASTER_SETTLED": "60",
        "TASKMASTER_FAILED": "6",
        "TASKMASTER_TOTAL": "",
        "TASKMASTER_ETA_SECONDS": "",
        "TASKMASTER_ELAPSED_SECONDS": "4.5",
        "TASKMASTER_EXIT_CODE": "3",
        "TASKMASTER_RESUME_COMMAND": "tm-run backfill.py 2",
    }.items()
    assert json.loads((tmp_path / "input").read_text()) == EVENT


def test_a_command_does_not_get_the_secrets_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the key nor the address of a webhook."""
    monkeypatch.setenv("TASKMASTER_KEY", "k3y")
    monkeypatch.setenv("TASKMASTER_NOTIFY", f"https://host{SECRET}")

    CommandNotifier(f"env > {tmp_path}/env").send(EVENT, threading.Event())

    text = (tmp_path / "env").read_text()
    assert "k3y" not in text
    assert "verysecret" not in text


def test_a_command_that_fails_says_how(caplog: pytest.LogCaptureFixture) -> None:
    """With its exit code; what it has printed is in the log."""
    with caplog.at_level(logging.INFO, "taskmaster"):
        assert CommandNotifier("echo no such room >&2; exit 7").send(EVENT, threading.Event()) == "it ended with 7"

    assert "no such room" in caplog.text


def test_a_hostile_event_is_no_command(tmp_path: Path) -> None:
    """Texts of others are in variables and on the input, never in what the shell reads."""
    evil = {**EVENT, "text": f"$(touch {tmp_path}/a) `touch {tmp_path}/b`; touch {tmp_path}/c\0\n", "target": "\0"}

    assert CommandNotifier('echo "$TASKMASTER_TEXT" > /dev/null').send(evil, threading.Event()) == ""

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ends", ["time", "hurry"])
def test_a_command_that_hangs_is_killed_with_its_group(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what it has started, and although that has its output."""
    monkeypatch.setenv("TASKMASTER_TEST", mark := f"notify-{os.getpid()}-{ends}")
    hurry = threading.Event()
    notifier = CommandNotifier("sleep 600 & sleep 600", 1.0 if ends == "time" else 600.0)
    if ends == "hurry":
        threading.Thread(
            target=lambda: wait_for("both", lambda: len(processes_with(mark)) >= 2) and hurry.set()
        ).start()

    why = notifier.send(EVENT, hurry)

    assert why.startswith("it was killed")
    wait_for("the processes to be gone", lambda: not processes_with(mark))


def test_a_command_that_leaves_something_behind_holds_nobody_up() -> None:
    """What goes on in the background has the output, and is not waited for."""
    assert CommandNotifier("setsid sleep 2 & exit 0", 600.0).send(EVENT, threading.Event()) == ""


class Hook:
    """A webhook on loopback, that answers as it is told."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""


@contextmanager
def serving(hook: Hook) -> Iterator[Hook]:
    """Serve it while the test lasts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.posted.append((self.path, dict(self.headers), body))
            code = hook.codes.pop(0) if hook.codes else 200
            self.send_response(code)
            if code == 302:
                self.send_header("Location", f"{hook.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    for method in ("GET", "POST"):
        setattr(Handler, f"do_{method}", Handler.answer)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hook.url = f"http://127.0.0.1:{server.server_port}"
        yield hook
        server.shutdown()


def test_a_webhook_gets_the_event_as_json() -> None:
    """With the text that chats show."""
    with serving(Hook()) as hook:
        assert WebhookNotifier(hook.url + SECRET).send(EVENT, threading.Event()) == ""

    ((path, headers, body),) = hook.posted
    assert path == SECRET
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == EVENT


def test_nothing_in_a_text_calls_anybody() -> None:
    """A key or a message may hold what a chat takes for an order."""
    with serving(Hook()) as hook:
        WebhookNotifier(hook.url).send(
            {**EVENT, "text": "<!channel> @all <https://evil|click> a&b\x1b"}, threading.Event()
        )

    text = json.loads(hook.posted[0][2])["text"]
    assert "<" not in text
    assert ">" not in text
    assert "@all" not in text
    assert "\x1b" not in text
    assert "&amp;b" in text


@pytest.mark.parametrize(
    ("codes", "posts", "why"),
    [
        ([503, 500, 200], 3, ""),
        ([429, 200], 2, ""),
        ([503, 503, 503, 200], 3, "it answers with 503"),
        ([404], 1, "it answers with 404"),
        ([302], 1, "it answers with 302, which leads elsewhere and is not followed"),
    ],
)
def test_what_may_pass_is_tried_three_times(codes: list[int], posts: int, why: str) -> None:
    """A server that is busy is asked again; one that refuses or leads elsewhere is not."""
    with serving(Hook(*codes)) as hook:
        assert WebhookNotifier(hook.url + SECRET, backoff=0.01).send(EVENT, threading.Event()) == why

    assert len(hook.posted) == posts
    assert {path for path, _, _ in hook.posted} == {SECRET}


def test_no_message_has_the_address() -> None:
    """Neither where nobody listens, nor where the address is broken."""
    for url in ("http://127.0.0.1:1", "http://no-such-host.invalid"):
        notifier = WebhookNotifier(url + SECRET, backoff=0.01)
        why = notifier.send(EVENT, threading.Event())
        assert why.startswith("it cannot be reached")
        assert "verysecret" not in why + notifier.shown


def test_a_webhook_that_does_not_answer_has_its_time() -> None:
    """It is given up, and no other attempt begins when there is no more time."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        notifier = WebhookNotifier(f"http://127.0.0.1:{silent.getsockname()[1]}{SECRET}", seconds=0.1, backoff=600.0)
        hurry = threading.Event()
        hurry.set()

        assert "it cannot be reached" in notifier.send(EVENT, hurry)


def test_an_address_and_a_command_are_told_apart() -> None:
    """Only what begins like an address is one."""
    assert isinstance(notifier_of(" https://host/x"), WebhookNotifier)
    assert isinstance(notifier_of("curl https://host/x"), CommandNotifier)
