"""TAB in shells that are real: bash, zsh and fish, each at a terminal of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.commands import BIN, DEADLINE, wait_for
from support.playground import PREAMBLE, Playground

START = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], 'eval "$(tm-ctl completion bash)"; PS1="ready> "'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -U compinit; compinit -u -D; eval "$(tm-ctl completion zsh)"; PS1="ready> "',
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        "tm-ctl completion fish | source; function fish_prompt; echo 'ready> '; end",
    ),
}
WORK = PREAMBLE + "def get_jobs(last=-1):\n    yield from range(last + 1, 500)\n\ndef handle_job(n):\n    hold()\n"


class Terminal:
    """A shell at a terminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.seen = ""

    def type(self, text: str) -> None:
        """Type it."""
        os.write(self.descriptor, text.encode())

    def wait_for(self, pattern: str) -> None:
        """Until something like it has come since the last time."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            # What moves the cursor and changes colours is left out.
            plain = re.sub(r"\x1b(\[[0-9;?<>=]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])|[\r\x07\x08]", "", self.seen)
            if re.search(pattern, plain):
                self.seen = ""
                return
            if select.select([self.descriptor], [], [], 0.1)[0]:
                self.seen += os.read(self.descriptor, 4096).decode("utf-8", "replace")
        raise AssertionError(f"{pattern!r} did not come, but: {self.seen!r}")


@contextmanager
def shell(name: str, directory: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    """A shell in a directory, which has taken the script in."""
    words, script = START[name]
    program = shutil.which(words[0])
    assert program is not None, f"{name} is needed: apt-get install {name}"
    path = f"{BIN}:{os.environ['PATH']}"
    child, descriptor = pty.fork()
    if child == 0:
        os.chdir(directory)
        os.execve(program, words, {**os.environ, **environment, "PATH": path, "TERM": "vt100", "HOME": str(directory)})
    terminal = Terminal(descriptor)
    try:
        terminal.type(f"{script}\n")
        terminal.wait_for(r"ready> ?$|ready> [^\"']*$")
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(descriptor)


@pytest.mark.slow
@pytest.mark.parametrize("name", START)
def test_a_shell_completes_targets_states_runs_and_options(name: str, playground: Playground) -> None:
    """What is typed begins what is there, and TAB ends it."""
    playground.write("backfill.py", WORK)
    done = playground.run("tm-run", "backfill.py", "--processes=0", "--limit=3", "--progress=none")
    assert done.process.returncode == 75, done.output
    (run,) = playground.look("SELECT id FROM run")
    (playground.directory / "backfill.tmstate").rename(playground.directory / "night.tmstate")

    with shell(name, playground.directory, playground.environment) as terminal:
        for typed, completed in (
            ("tm-run backf", r"backfill\.py"),
            ("tm-ctl runs nigh", r"night\.tmstate"),
            (f"tm-ctl restore {run[:3]}", run),
            ("tm-run --max-fai", "--max-failures"),
            *([("tm-run --progress=lin", "lines")] if name == "bash" else []),
        ):
            terminal.type(f"{typed}\t")
            terminal.wait_for(completed)
            terminal.type("\x15\n")  # Ctrl-U
            terminal.wait_for("ready>")


@pytest.mark.slow
@pytest.mark.parametrize("name", START)
def test_a_shell_completes_slaves(name: str, playground: Playground) -> None:
    """From the master of the only run here, which is asked."""
    playground.write("backfill.py", WORK)
    playground.hold(0)
    run = playground.start("tm-run", "backfill.py", "1", "--progress=none")
    wait_for("a job to be held", playground.held)
    host = os.uname().nodename

    with shell(name, playground.directory, playground.environment) as terminal:
        # What is typed is not seen again: only what TAB adds.
        terminal.type(f"tm-ctl quiet {host[:1]}\t")
        terminal.wait_for(re.escape(host) if len(host) > 1 else rf"{host}:\d+")
    run.signal_group(signal.SIGKILL)
