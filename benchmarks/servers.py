"""The servers that peers need: Redis, from the machine's own package, on a free port of this
machine only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

__all__ = ["PORT", "Redis", "find_redis", "redis_url", "redis_version", "started_redis"]

PORT = "BENCHMARK_REDIS_PORT"
"""The environment variable that tells peers where Redis is."""

INSTALL = ("apt-get", "install", "--yes", "--quiet", "redis-server")
PATIENCE = 10.0  # seconds until it should serve


@dataclass(frozen=True, slots=True)
class Redis:
    """A server that runs."""

    port: int
    process: psutil.Process

    def cpu(self) -> float:
        """Seconds of processor time that it has used so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


def redis_url() -> str:
    """Where the server is that the harness has started."""
    return f"redis://127.0.0.1:{os.environ[PORT]}/0"


def find_redis() -> str:
    """The program; installed now if that is allowed and it is missing.

    Raises:
        ClickException: it is missing. Says which command installs it.
    """
    found = shutil.which("redis-server")
    if found is None and os.geteuid() == 0 and shutil.which(INSTALL[0]):
        click.echo(f"There is no redis-server; installing it: {' '.join(INSTALL)}", err=True)
        subprocess.run(["apt-get", "update", "--quiet"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(INSTALL, check=False, stdout=subprocess.DEVNULL)
        found = shutil.which("redis-server")
    if found is None:
        raise click.ClickException(
            "Celery and Huey are measured with Redis, and there is no redis-server on this machine. Install it, on "
            "Debian and Ubuntu with `sudo apt-get install redis-server`, on macOS with `brew install redis`; or "
            "run `make bench-quick`, which needs none."
        )
    return found


def redis_version(program: str) -> str:
    """The release of the server."""
    said = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return next((word[2:] for word in said.split() if word.startswith("v=")), said.strip())


@contextmanager
def started_redis(program: str) -> Iterator[Redis]:
    """A server that keeps nothing; ended at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", directory, "--save", "", "--appendonly", "no"]
        said = Path(directory) / "said"
        with said.open("wb") as file:
            server = subprocess.Popen([program, *options], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            deadline = time.monotonic() + PATIENCE
            while not serves(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise click.ClickException(f"Redis did not start; it said:\n{said.read_text()}")
                time.sleep(0.02)
            yield Redis(port, psutil.Process(server.pid))
        finally:
            server.terminate()
            server.wait()


def serves(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
