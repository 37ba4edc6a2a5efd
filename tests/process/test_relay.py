"""A network that delays, cuts, resets and swallows, between a real slave and a real master."""

from __future__ import annotations

import random
import time
from itertools import pairwise, product

import pytest
from support import proof
from support.commands import free_port, wait_for
from support.playground import Playground
from support.relay import FAULTS, PHASES, Relay

MODULE = """
import os, time

JOBS = int(os.environ["JOBS"])

def note(what, key):
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{what} {key} {os.getpid()} {time.time()}\\n".encode())
    os.close(fd)

def get_jobs(last=None):
    from taskmaster import Job
    for n in range(0 if last is None else last + 1, JOBS):
        yield Job(n, (n, os.urandom(5000)))

def handle_job(job):
    time.sleep(0.005)
    note("end", job[0])
"""
COMBINATIONS = [*product(FAULTS, PHASES)]
# The first of the two ends its connection, so that there is another one for the second.
MIXED = [("reset", "report", "reset", "lease"), ("half close", "report", "slices", "lease")]
MIXED += [("reset", "handshake", "delay", "handshake"), ("half close", "idle", "slices", "report")]
LEASE = 3.0
JOBS = 400  # for each fault of a schedule: the one that comes last is to find work left, too
SIZE = 100


def play(playground: Playground, plans: list[tuple[str, str]]) -> tuple[int, int, float]:
    """A run with one slave behind the relay and one beside it; gives faults, repeats and the
    longest stall.
    """
    jobs = JOBS * len(plans)
    port = free_port()
    relay = Relay(port, lambda number: plans[number] if number < len(plans) else None)
    try:
        playground.ledger.path.unlink(missing_ok=True)
        state = playground.directory / f"{time.monotonic_ns()}.tmstate"
        words = ["--progress=none", f"--state={state}", f"--lease={LEASE:g}", "--lease-grace=0.5", f"--size={SIZE}"]
        key = "a key of ours"
        own = {"TASKMASTER_KEY": key, "JOBS": str(jobs)}
        master = playground.start("tm-master", "mod.py", f"--host=127.0.0.1:{port}", *words, **own)
        slaves = []
        for where, processes in ((relay.port, 2), (port, 1)):
            host = f"--host=127.0.0.1:{where}"
            slave = playground.start("tm-slave", "mod.py", host, f"--processes={processes}", "--wait=20", **own)
            slaves.append(slave)
            if where == relay.port:
                wait_for("the relay to be used", lambda: relay.connections > 0)

        assert master.end(60) == 0, f"{plans}: {master.output}"
        # Later faults need a slave that connects again, and work that is left for it: they are
        # counted, not presumed.
        assert relay.fired[plans[0]], f"{plans[0]} did not happen: {relay.fired}, {relay.connections} connections"
        for slave in slaves:
            if slave.process.poll() is None:
                try:
                    slave.end(1.0)
                except AssertionError:
                    slave.process.terminate()  # it is in the black hole
                    slave.end(20)
    finally:
        relay.close()
    ended = playground.ledger.ended()
    lost = [str(key) for key in range(jobs) if not ended[str(key)]]
    assert not lost, f"{plans}: {len(lost)} jobs were lost, such as {lost[:5]}"
    times = sorted(at for _, _, _, at in playground.ledger.timed())
    return relay.fired.total(), ended.total() - jobs, max(after - before for before, after in pairwise(times))


# What the slave behind the relay holds when it is cut off runs elsewhere, too: two batches for each
# of two workers.
BOUND = 4 * SIZE


@pytest.mark.proof
@pytest.mark.timeout(proof.size(240, 3 * 3600))
def test_no_fault_of_the_network_loses_a_job(playground: Playground) -> None:
    """Each fault in each phase, and some after another; at full size, random schedules."""
    playground.write("mod.py", MODULE)
    schedules = [[plan] for plan in COMBINATIONS] + [[mix[:2], mix[2:]] for mix in MIXED]
    if proof.size(0, 1):
        dice = random.Random(proof.seed())
        schedules += [dice.choices(COMBINATIONS, k=dice.randint(1, 5)) for _ in range(200 - len(schedules))]
    faults, repeats, stalls = [], [], []
    for schedule in schedules:
        happened, repeated, stall = play(playground, schedule)
        assert repeated <= BOUND * len(schedule), schedule
        faults.append(happened)
        repeats.append(repeated)
        stalls.append(stall)
    proof.record(
        f"a toxic relay: {', '.join(FAULTS)}, in {', '.join(PHASES)}; {JOBS} jobs each, {sum(faults)} faults",
        tried=len(schedules),
        survived=len(stalls),
        repeated=sum(repeats),
        bound=BOUND * sum(map(len, schedules)),
        stall=max(stalls),
    )

    assert sum(faults) >= len(schedules) + proof.size(len(MIXED) // 2, 0), faults
