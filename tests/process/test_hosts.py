"""Master and slave on two hosts: network namespaces with a cable between them, made and unmade
here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest
from support.commands import BIN, wait_for
from support.playground import Playground

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/proc/self/ns/net"), reason="network namespaces are made by root on Linux"
)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two hosts, 10.77.0.1 and 10.77.0.2, that see nothing but each other."""
    assert shutil.which("ip"), "iproute2 is missing: these tests need its `ip netns`"
    mark = uuid.uuid4().hex[:6]
    names = (f"tm-a{mark}", f"tm-b{mark}")
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip(
            "link",
            "add",
            f"va{mark}",
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            f"vb{mark}",
            "netns",
            names[1],
        )
        for name, link, address in zip(names, (f"va{mark}", f"vb{mark}"), ("10.77.0.1", "10.77.0.2"), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def on(host: str, *words: str) -> tuple[str, ...]:
    """A command on one of the hosts."""
    found = shutil.which("ip")
    return (str(found), "netns", "exec", host, str(BIN / words[0]), *words[1:])


def test_a_slave_on_another_host_does_the_work(playground: Playground, hosts: tuple[str, str]) -> None:
    """With the master's key file; without it, it says what to copy; with another key, it is
    refused.
    """
    here, there = hosts
    made = playground.run("tm-ctl", "keygen", "tm.key")

    assert made.process.returncode == 0, made.output

    serve = on(here, "tm-master", "jobs.py", "--host=0.0.0.0:5050", "--key-file=tm.key", "--progress=none")
    master = playground.start(*serve, TOTAL="200", SLEEP="0.01")
    master.wait_for_output("Taskmaster server running on '0.0.0.0:5050'")
    without = playground.run(*on(there, "tm-slave", "jobs.py", "--host=10.77.0.1:5050"))

    assert without.process.returncode == 6, without.output
    assert "--key-file" in without.output

    wrong = playground.run(*on(there, "tm-slave", "jobs.py", "--host=10.77.0.1:5050", "--key=not-this-one-at-all"))

    assert wrong.process.returncode == 6, wrong.output

    slave = playground.start(
        *on(there, "tm-slave", "jobs.py", "--host=10.77.0.1:5050", "--key-file=tm.key"), SLEEP="0.01"
    )

    assert slave.end() == 0, slave.output
    assert master.end() == 0, master.output
    assert playground.ledger.ended() == Counter(map(str, range(200)))


@pytest.mark.slow
def test_a_cut_cable_loses_nothing(playground: Playground, hosts: tuple[str, str]) -> None:
    """The link goes down without a word and comes back: the run ends, every job was run."""
    here, there = hosts
    playground.run("tm-ctl", "keygen", "tm.key")
    playground.hold(50)
    options = ("--host=0.0.0.0:5050", "--key-file=tm.key", "--progress=none", "--lease=2")
    master = playground.start(*on(here, "tm-master", "jobs.py", *options), TOTAL="600", SLEEP="0.01")
    master.wait_for_output("server running")
    slave = playground.start(
        *on(there, "tm-slave", "jobs.py", "--host=10.77.0.1:5050", "--key-file=tm.key", "--processes=2"), SLEEP="0.01"
    )
    wait_for("jobs in hand", lambda: len(playground.held()) == 2)
    link = f"vb{there.removeprefix('tm-b')}"
    ip("-n", there, "link", "set", link, "down")
    before = playground.ledger.ended().total()
    master.wait_for_output("lost the slave")
    playground.let_go()
    ip("-n", there, "link", "set", link, "up")

    assert master.end(60) == 0, master.output
    assert slave.end(60) == 0, slave.output
    assert len(playground.ledger.ended()) == 600 > before
