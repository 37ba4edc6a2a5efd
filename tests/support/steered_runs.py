"""What real runs do that are steered from outside: jobs that write down when they begin and end,
in each mode of working, and take their time until the test has seen enough.

A machine may be slow for seconds: a run whose length is fixed could be over before the test has
paused it. These have work for half a minute, and for a second once ``enough`` is written.
"""

from __future__ import annotations

from support.playground import Playground

__all__ = ["COROUTINE", "JOBS", "LIST", "ONE", "WRITES", "all_once", "enough"]

JOBS = 6000
WRITES = f"""
import asyncio
def write(what, key):
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{{what}} {{key}} {{os.getpid()}} {{time.time()}}\\n".encode())
    os.close(fd)

def seconds():
    return 0 if os.path.exists(os.path.join(os.path.dirname(os.environ["LEDGER"]), "enough")) else 0.02

N = int(os.environ.get("TOTAL", "{JOBS}"))

def get_jobs(last=-1):
    yield from range(last + 1, N)
"""
ONE = """
def handle_job(n):
    write("start", n)
    time.sleep(seconds())
    write("end", n)
"""
COROUTINE = """
async def handle_job(n):
    write("start", n)
    await asyncio.sleep(seconds())
    write("end", n)
"""
LIST = """
del handle_job

def handle_jobs(jobs):
    for n in jobs:
        write("start", n)
        time.sleep(seconds())
        write("end", n)
"""


def enough(playground: Playground) -> None:
    """Let the jobs that are left take no time."""
    playground.write("enough", "")


def all_once() -> dict[str, int]:
    """What the ledger has when each job was run to its end once."""
    return {str(n): 1 for n in range(JOBS)}
