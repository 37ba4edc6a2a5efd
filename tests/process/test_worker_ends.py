"""The good end of a worker: what its callbacks have left to be done is done, or it is said."""

from __future__ import annotations

import gzip
import signal

import pytest
from support.cases import mostly_slow
from support.commands import free_port, wait_for
from support.playground import Playground

LEFT = {
    "a file opened in setup": """
        def setup():
            global out
            out = open(f"part-{os.getpid()}.txt", "w")
        def handle_job(job):
            print(job, file=out)
    """,
    "a file opened at import": """
        out = open(f"part-{os.getpid()}.txt", "w")
        def handle_job(job):
            out.write(f"{job}\\n")
    """,
    "a file that gc.freeze() has set aside": """
        import gc
        def setup():
            global out
            out = open(f"part-{os.getpid()}.txt", "w")
            gc.freeze()
        def handle_job(job):
            print(job, file=out)
    """,
    "a compressed file": """
        import gzip, atexit
        def setup():
            global out
            out = gzip.open(f"part-{os.getpid()}.gz", "wt")
            atexit.register(unpack)
        def handle_job(job):
            out.write(f"{job}\\n")
        def unpack():
            out.close()
            with open(f"part-{os.getpid()}.txt", "w") as text:
                text.write(gzip.open(out.buffer.name if hasattr(out, "buffer") else out.name, "rt").read())
    """,
    "threads": """
        import threading
        def work(job):
            go.wait()
            note(job)
        go = threading.Event()
        def handle_job(job):
            threading.Thread(target=work, args=(job,)).start()
        def teardown():
            go.set()
    """,
    "an executor": """
        import threading
        from concurrent.futures import ThreadPoolExecutor
        pool, go = ThreadPoolExecutor(2), threading.Event()
        def work(job):
            go.wait()
            note(job)
        def handle_job(job):
            pool.submit(work, job)
        def teardown():
            go.set()
    """,
    "tasks of the loop": """
        import asyncio
        tasks = set()
        async def work(job):
            await asyncio.sleep(0.2)
            note(job)
        async def handle_job(job):
            tasks.add(asyncio.create_task(work(job)))
    """,
    "exit functions": """
        import atexit
        def handle_job(job):
            atexit.register(note, job)
    """,
    "finalizers": """
        import weakref
        class Kept: pass
        kept = Kept()
        def handle_job(job):
            weakref.finalize(kept, note, job)
    """,
    "a log handler that keeps lines": """
        import logging.handlers
        def setup():
            target = logging.FileHandler(f"part-{os.getpid()}.txt")
            logging.getLogger("kept").addHandler(logging.handlers.MemoryHandler(1000, target=target))
        def handle_job(job):
            logging.getLogger("kept").warning("%s", job)
    """,
    "a pool of processes": """
        import multiprocessing, time
        def save(job):
            time.sleep(0.01)
            note(job)
        def setup():
            global pool
            pool = multiprocessing.Pool(2)
        def handle_job(job):
            pool.apply_async(save, (job,))
    """,
    "a pool of threads": """
        import multiprocessing.pool, time
        pool = multiprocessing.pool.ThreadPool(2)
        def save(job):
            time.sleep(0.01)
            note(job)
        def handle_job(job):
            return pool.imap(save, [job])
    """,
    "a transaction that teardown commits": """
        import sqlite3
        rows = sqlite3.connect(f"rows-{os.getpid()}.sqlite")
        rows.execute("CREATE TABLE one (job)")
        scratch = sqlite3.connect(":memory:")
        scratch.execute("CREATE TABLE one (job)")
        def handle_job(job):
            rows.execute("INSERT INTO one VALUES (?)", (job,))
            scratch.execute("INSERT INTO one VALUES (?)", (job,))
        def teardown():
            rows.commit()
            for (job,) in rows.execute("SELECT job FROM one"):
                note(job)
    """,
    "a daemon thread behind a queue": """
        import queue, threading
        jobs, go = queue.Queue(), threading.Event()
        def work():
            go.wait()
            while True:
                note(jobs.get())
        def setup():
            threading.Thread(target=work, daemon=True).start()
        def handle_job(job):
            jobs.put(job)
        def teardown():
            go.set()
    """,
    "a daemon process behind a queue": """
        import multiprocessing
        def work(jobs):
            while True:
                note(jobs.get())
                jobs.task_done()
        def setup():
            global jobs
            jobs = multiprocessing.JoinableQueue()
            multiprocessing.Process(target=work, args=(jobs,), daemon=True).start()
        def handle_job(job):
            jobs.put(job)
    """,
    "a daemon thread behind a queue of multiprocessing": """
        import multiprocessing, threading
        def work():
            go.wait()
            while True:
                note(jobs.get())
                jobs.task_done()
        def setup():
            global go, jobs
            go, jobs = threading.Event(), multiprocessing.JoinableQueue()
            threading.Thread(target=work, daemon=True).start()
        def handle_job(job):
            jobs.put(job)
        def teardown():
            go.set()
    """,
    "a QueueListener": """
        import logging, logging.handlers, queue, threading
        go = threading.Event()
        class Handler(logging.Handler):
            def emit(self, record):
                go.wait()
                note(record.msg)
        def setup():
            lines = queue.Queue()
            logging.getLogger("kept").addHandler(logging.handlers.QueueHandler(lines))
            logging.handlers.QueueListener(lines, Handler()).start()
        def handle_job(job):
            logging.getLogger("kept").error("%s", job)
        def teardown():
            go.set()
    """,
    "a loop in a daemon thread": """
        import asyncio, threading
        loop = asyncio.new_event_loop()
        def setup():
            global go
            go = asyncio.Event()
            threading.Thread(target=loop.run_forever, daemon=True).start()
        async def work(job):
            await go.wait()
            note(job)
        def handle_job(job):
            asyncio.run_coroutine_threadsafe(work(job), loop)
        def teardown():
            loop.call_soon_threadsafe(go.set)
    """,
    "a program in the background of a shell": """
        def handle_job(job):
            os.system(f"(cat go; echo {job} >> part-{job}.txt) &")
        os.path.exists("go") or os.mkfifo("go")
        def teardown():
            import atexit
            atexit.register(lambda: os.fork() or os.execlp("sh", "sh", "-c", "while :; do echo > go; done"))
    """,
    "__del__": """
        class Rows(list):
            def __del__(self):
                for job in self:
                    note(job)
        rows = Rows()
        def handle_job(job):
            rows.append(job)
    """,
    "a generator": """
        def writer():
            rows = []
            try:
                while True:
                    rows.append((yield))
            finally:
                for job in rows:
                    note(job)
        rows = writer()
        next(rows)
        def handle_job(job):
            rows.send(job)
    """,
    "a program that reads": """
        import subprocess
        def setup():
            global program
            program = subprocess.Popen(
                ["cat"], stdin=subprocess.PIPE, stdout=open(f"part-{os.getpid()}.txt", "w"), text=True
            )
        def handle_job(job):
            program.stdin.write(f"{job}\\n")
    """,
}
HEAD = """
import os
def get_jobs():
    yield from range(40)
def note(job):
    with open(f"part-{os.getpid()}.txt", "a") as file:
        file.write(f"{job}\\n")
"""


def dedented(text: str) -> str:
    """A module that begins with the lines that all of them have."""
    return HEAD + "\n".join(line[8:] for line in text.splitlines()) + "\n"


def written(playground: Playground) -> list[int]:
    """The jobs that have left their line in a file."""
    texts = [path.read_text() for path in playground.directory.glob("part-*.txt")]
    return sorted(int(line) for text in texts for line in text.splitlines())


@pytest.mark.parametrize("kind", mostly_slow(LEFT, "a file opened in setup", "an executor", "a pool of processes"))
def test_what_a_callback_has_left_to_be_done_is_done(playground: Playground, kind: str) -> None:
    """All of it, before the run says that all is done."""
    playground.write("left.py", dedented(LEFT[kind]))
    run = playground.run("tm-run", "left.py", "2", "--progress=none")

    assert run.process.returncode == 0, run.output
    assert "All done: 40 jobs" in run.output
    assert written(playground) == list(range(40))


@pytest.mark.parametrize("how", ["begin(job)", mostly_slow(["later(job)"])[0]])
def test_threads_that_jobs_begin_in_threads_are_waited_for(playground: Playground, how: str) -> None:
    """They were daemons, as the worker's own threads were, and what they had to do was lost."""
    left = f"""
        import threading
        def begin(job):
            threading.Timer(0.5, note, [job]).start()
        async def later(job):
            begin(job)
        def handle_job(job):
            return {how}
    """
    playground.write("left.py", dedented(left))
    run = playground.run("tm-run", "left.py", "2", "--threads=2", "--progress=none")

    assert run.process.returncode == 0, run.output
    assert written(playground) == list(range(40))


@pytest.mark.parametrize("stop", ["--limit=20", "signal"])
def test_a_run_that_is_stopped_loses_nothing_either(playground: Playground, stop: str) -> None:
    """What is settled has been written when the run ends."""
    playground.write("left.py", dedented(LEFT["a file opened in setup"]).replace("range(40)", "range(10**9)"))
    if stop != "signal":
        run = playground.run("tm-run", "left.py", "2", "--progress=none", stop)

        assert run.process.returncode == 75, run.output
    else:
        run = playground.start("tm-run", "left.py", "2", "--progress=none")
        wait_for("a checkpoint", playground.in_state)
        run.signal_group(signal.SIGINT)

        assert run.end() == 130, run.output
    assert len(written(playground)) >= playground.look("SELECT settled FROM run")[0] > 0


BROKEN = {
    "teardown() raised OSError": "def teardown(): raise OSError('the server is away')",
    "No space left": "out = open('/dev/full', 'w')\ndef handle_job(job): out.write('x')",
    "exit function raised": "import atexit\ndef setup(): atexit.register(lambda: 1 / 0)",
    "--grace": "from threading import *\ndef teardown(): Thread(target=Event().wait, name='never').start()",
    "given to an executor or a pool raised ValueError": (
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\n"
        "def save(job): raise ValueError('lost')\ndef handle_job(job): pool.submit(save, job)"
    ),
    "or a pool raised ValueError, and nobody asked": (
        "from multiprocessing.pool import ThreadPool\ndef setup():\n    global pool\n    pool = ThreadPool(1)\n"
        "def save(job): raise ValueError('lost')\ndef handle_job(job): pool.apply_async(save, (job,))"
    ),
    "raised ValueError, and nobody asked": (
        "from concurrent.futures import ThreadPoolExecutor\npool, kept = ThreadPoolExecutor(1), []\n"
        "def save(job): raise ValueError('lost')\ndef handle_job(job): kept.append(pool.submit(save, job))"
    ),
    "the process Process-1 ended with exit code 3": (
        "import multiprocessing, sys\ndef handle_job(job): multiprocessing.Process(target=sys.exit, args=(3,)).start()"
    ),
    "Rows.__del__ raised OSError": (
        "class Rows:\n    def __del__(self): raise OSError('the disk is full')\n"
        "def setup():\n    global rows\n    rows = Rows()\n"
    ),
    "Row.__del__ raised OSError": (
        "class Row:\n    def __del__(self): raise OSError('the disk is full')\n"
        "def setup():\n    global row\n    row = Row()\ndef teardown():\n    global row\n    row = None\n"
    ),
    "a thread that a callback has started raised KeyError": (
        "import threading\ndef work(): raise KeyError('lost')\ndef handle_job(job):\n"
        "    writer = threading.Thread(target=work, daemon=True)\n    writer.start()\n    writer.join()"
    ),
    "a thread that a callback has started raised ValueError": (
        "import threading\nthreading.excepthook = print\ndef work(): raise ValueError('lost')\n"
        "def handle_job(job):\n    writer = threading.Thread(target=work)\n    writer.start()\n    writer.join()"
    ),
    "save() was called and not awaited": (
        "kept = []\nasync def save(job): pass\ndef handle_job(job): kept.append(save(job))"
    ),
    "a thread that a callback has started raised SystemExit": (
        "import sys, threading\ndef handle_job(job):\n"
        "    writer = threading.Thread(target=sys.exit, args=(1,))\n    writer.start()\n    writer.join()"
    ),
    "sqlite3 has an open transaction": (
        "import sqlite3\nrows = sqlite3.connect('rows.sqlite', isolation_level='IMMEDIATE')\n"
        "rows.execute('CREATE TABLE IF NOT EXISTS one (key)')\n"
        "def handle_job(job): rows.execute('INSERT INTO one VALUES (1)')"
    ),
    "not end": "import os, atexit\ndef setup(): atexit.register(os._exit, 7)",
}


@pytest.mark.parametrize(
    "what", mostly_slow(BROKEN, "teardown() raised OSError", "No space left", "sqlite3 has an open transaction")
)
def test_what_could_not_be_done_is_said_and_is_an_exit_code(playground: Playground, what: str) -> None:
    """The run's and the slave's; "All done" is not said."""
    playground.write("broken.py", f"def get_jobs():\n    yield 1\ndef handle_job(job): pass\n{BROKEN[what]}\n")
    run = playground.run("tm-run", "broken.py", "1", "--progress=none", "--grace=1")

    assert run.process.returncode == 1, run.output
    assert "All done" not in run.output
    assert (what in run.output) or what == "not end"
    assert "could not" in run.output
    assert playground.left() == {}


UNDONE = {
    "what they had not done is lost: writer (": """
        import queue, threading
        jobs = queue.Queue()
        def work():
            while True:
                jobs.get()
                threading.Event().wait()
        def setup():
            threading.Thread(target=work, daemon=True, name="writer").start()
        def handle_job(job):
            jobs.put(job)
    """,
    "(40 left of its queue)": """
        import queue, threading
        jobs = queue.Queue()
        def work():
            batch = []
            while len(batch) < 1000:
                batch.append(jobs.get())
            for _ in batch:
                jobs.task_done()
        def setup():
            threading.Thread(target=work, daemon=True, name="writer").start()
        def handle_job(job):
            jobs.put(job)
    """,
    "40 left of a JoinableQueue": """
        import multiprocessing, threading
        def work(jobs):
            jobs.get()
            threading.Event().wait()
        def setup():
            global jobs
            jobs = multiprocessing.JoinableQueue()
            multiprocessing.Process(target=work, args=(jobs,), daemon=True).start()
        def handle_job(job):
            jobs.put(job)
    """,
}


@pytest.mark.parametrize("what", mostly_slow(UNDONE, "(40 left of its queue)"))
def test_what_daemons_have_certainly_not_done_is_an_exit_code(playground: Playground, what: str) -> None:
    """It was in a queue for them, and nobody will do it."""
    playground.write("lost.py", dedented(UNDONE[what]))
    run = playground.run("tm-run", "lost.py", "1", "--progress=none")

    assert run.process.returncode == 1, run.output
    assert "All done" not in run.output
    assert what in run.output
    assert playground.left() == {}


DOUBTFUL = {
    "what they had not done is lost: Process-1": (
        "import multiprocessing, threading\ndef beat(): threading.Event().wait()\n"
        "def setup(): multiprocessing.Process(target=beat, daemon=True).start()"
    ),
    "what they had not done is lost: beat": (
        "import threading\ndef beat(): threading.Event().wait()\n"
        "def setup(): threading.Thread(target=beat, daemon=True, name='beat').start()"
    ),
    "were ended with it: sleep 1000": (
        "import subprocess\nkept = []\ndef setup(): kept.append(subprocess.Popen(['sleep', '1000']))"
    ),
    "OSError was raised in rows, where Python ignores exceptions": (
        "def rows():\n    try:\n        yield 1\n    finally:\n        raise OSError('the disk is full')\n"
        "def handle_job(job): next(rows())"
    ),
    "<MemoryHandler (NOTSET)> kept what it was given, which is lost": (
        "import logging.handlers\nlogging.root.addHandler(logging.handlers.MemoryHandler(1000))\n"
        "def handle_job(job): logging.error('%s', job)"
    ),
    "doubtful.stack was never closed": "import contextlib\nstack = contextlib.ExitStack()\nstack.callback(print)",
}


@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_may_have_been_lost_is_said_once(playground: Playground, what: str) -> None:
    """By one of the workers, and without an exit code: it may be as it was meant."""
    text = f"def get_jobs():\n    yield from range(9)\ndef handle_job(job): pass\n{DOUBTFUL[what]}\n"
    playground.write("doubtful.py", text)
    run = playground.run("tm-run", "doubtful.py", "2", "--progress=none")

    assert run.process.returncode == 0, run.output
    assert run.output.count(what) == 1
    assert playground.left() == {}


QUIET = """
import contextlib, multiprocessing, os, queue, signal, subprocess, sys, threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from tqdm import tqdm
jobs, connections, stop = queue.Queue(), queue.Queue(), threading.Event()
between = multiprocessing.Queue()
def get_jobs():
    yield from range(9)
def setup():
    global beating, server, pool, processes
    connections.put("one")
    beating = threading.Thread(target=stop.wait, daemon=True)
    beating.start()
    threading.Thread(target=work, daemon=True).start()
    threading.Thread(target=work_between, daemon=True).start()
    threading.Thread(target=sys.exit).start()
    server = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
    server.start()
    pool, processes = ThreadPoolExecutor(1), multiprocessing.get_context("forkserver").Pool(1)
def work():
    while True:
        jobs.get()
def work_between():
    while True:
        between.get()
def handle_job(job):
    for _ in tqdm([job]):
        jobs.put(job)
    connections.put(connections.get())
    with contextlib.suppress(ValueError):
        pool.submit(int, "x").result()
    with contextlib.suppress(ValueError):
        processes.apply_async(int, ("x",)).get()
    with contextlib.suppress(BrokenProcessPool), ProcessPoolExecutor(1) as broken:
        broken.submit(signal.raise_signal, signal.SIGKILL).result()  # coverage.py's os._exit has no pickle
def teardown():
    stop.set()
    server.terminate()
    server.join()
"""


def test_nothing_is_said_of_what_has_nothing_to_do(playground: Playground) -> None:
    """Such as an idle thread, a pool of connections, a server that was stopped, tqdm's thread."""
    playground.write("quiet.py", QUIET)
    run = playground.run("tm-run", "quiet.py", "2", "--progress=none", "--log-level=warning")

    assert run.process.returncode == 0, run.output
    assert "WARNING" not in run.output
    assert playground.left() == {}


REAPERS = {
    "SIGCHLD is ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "a handler": """
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, reap)
""",
}


@pytest.mark.parametrize("reaper", mostly_slow(REAPERS, "SIGCHLD is ignored"))
@pytest.mark.parametrize("way", ["tm-run", "script"])
def test_it_is_an_exit_code_where_the_users_code_takes_the_end_of_each_child(
    playground: Playground, way: str, reaper: str
) -> None:
    """The slave's exit code cannot be had, and would be taken for 0."""
    text = f"import os, signal, sys\n{REAPERS[reaper]}\ndef get_jobs():\n    yield 1\n"
    if way == "tm-run":
        broken = f"{text}def handle_job(job): pass\n{BROKEN['teardown() raised OSError']}\n"
        playground.write("broken.py", broken)
        run = playground.run("tm-run", "broken.py", "1", "--progress=none")
    else:
        text += (
            "from taskmaster import Taskmaster\ndef down(): raise OSError('the server is away')\n"
            "run = Taskmaster(lambda job: None, get_jobs, teardown=down, processes=1, progress='none')\n"
            "sys.exit(run.start().exit_code)\n"
        )
        playground.write("broken.py", text)
        run = playground.run("python", "broken.py")

    assert run.process.returncode == 1, run.output
    assert "workers could not end as they should" in run.output


def test_a_slave_of_its_own_says_it_too(playground: Playground) -> None:
    """With its own exit code, and to its master."""
    text = f"def get_jobs():\n    yield 1\ndef handle_job(job): pass\n{BROKEN['No space left']}\n"
    playground.write("broken.py", text)
    port = free_port()
    master = playground.start("tm-master", "broken.py", "--progress=none", f"--host=127.0.0.1:{port}")
    slave = playground.start("tm-slave", "broken.py", f"--host=127.0.0.1:{port}", "--processes=1")

    assert slave.end() == 1, slave.output
    assert master.end() == 1, master.output
    assert "No space left" in slave.output
    assert "No space left" in master.output


SCRIPT = """
import gzip, logging, logging.handlers, os, atexit, sys
from taskmaster import Taskmaster

def main():
    logging.basicConfig(filename="app.log", level=logging.INFO)
    results = open("part-script.txt", "w")
    results.write("-1\\n")
    atexit.register(lambda: open("exits.txt", "a").write(f"{os.getpid()}\\n"))
    packed = gzip.open("part.gz", "wt")
    packed.write("only once\\n")
    def callback(job):
        logging.info("job %s", job)
        results.write(f"{job}\\n")
    summary = Taskmaster(callback, range(40), processes=2, progress="none", state="s.tmstate").start()
    packed.close()
    results.close()
    sys.exit(summary.exit_code)

main()
"""


def test_a_forked_callback_writes_to_the_log_and_the_files_of_its_script(playground: Playground) -> None:
    """Whole lines, each once; and what is the script's alone is done by the script alone."""
    playground.write("script.py", SCRIPT)
    run = playground.run("python", "script.py")

    assert run.process.returncode == 0, run.output
    assert written(playground) == list(range(-1, 40))
    logged = (playground.directory / "app.log").read_text().splitlines()
    assert len([line for line in logged if line.startswith("INFO:root:job ")]) == 40
    assert gzip.decompress((playground.directory / "part.gz").read_bytes()) == b"only once\n"
    assert len((playground.directory / "exits.txt").read_text().splitlines()) == 1


LOST = {
    "a pipe": "read, write = os.pipe()\n    out = os.fdopen(write, 'w')\n    def callback(job): out.write(f'{job}\\n')",
    "a pipe, by its descriptor": "read, out = os.pipe()\n    def callback(job): os.write(out, b'x')",
    "a compressed file": "out = gzip.open('part.gz', 'wt')\n    def callback(job): out.write(f'{job}\\n')",
    "a log on a pipe": (
        "read, write = os.pipe()\n    logging.basicConfig(stream=os.fdopen(write, 'w'))\n"
        "    def callback(job): logging.warning('%s', job)"
    ),
    "a file for reading": "out = open('script.py')\n    def callback(job): out.read(10)",
}


@pytest.mark.parametrize("kind", mostly_slow(LOST, "a pipe", "a compressed file"))
def test_what_workers_cannot_have_of_a_script_is_an_error(playground: Playground, kind: str) -> None:
    """Of the job, or of the run's end; with the cure."""
    begin = SCRIPT.index("    logging.basicConfig")
    end = SCRIPT.index("    summary =")
    text = (
        SCRIPT[:begin]
        + "    "
        + LOST[kind]
        + "\n"
        + SCRIPT[end:].replace("packed", "out").replace("results.close()", "pass")
    )
    playground.write("script.py", text.replace("    out.close()\n", ""))
    run = playground.run("python", "script.py", TASKMASTER_RETRIES="0")

    assert run.process.returncode in (1, 3, 4), run.output
    assert "open it in setup()" in run.output or "Bad file descriptor" in run.output


def test_no_worker_has_the_key_of_a_script(playground: Playground) -> None:
    """Neither in its environment as the system shows it, nor as Python does."""
    playground.write(
        "script.py",
        "import os, subprocess\nfrom taskmaster import Taskmaster\n"
        "def look(job):\n    print('FOUND', b'a-very-secret-key' in open('/proc/self/environ', 'rb').read(), "
        "os.environ.get('TASKMASTER_KEY'))\n"
        "Taskmaster(lambda job: look(job), [1], processes=1, progress='none').start()\n",
    )
    run = playground.run("python", "script.py", TASKMASTER_KEY="a-very-secret-key")

    assert run.process.returncode == 0, run.output
    assert "FOUND False None" in run.output


LOSES = """
import os, sqlite3, time
def setup():
    global db
    db = sqlite3.connect("rows.sqlite")
    db.execute("CREATE TABLE IF NOT EXISTS one (job)")
def get_jobs(last=0):
    for job in range(last + 1, 11):
        while job == 5 and os.path.exists("wait"):
            time.sleep(0.02)
        yield job
def handle_job(job):
    db.execute("INSERT INTO one VALUES (?)", (job,))
    open("inserted", "w").close()
def teardown():
    if os.path.exists("commits"):
        db.commit()
"""


@pytest.mark.parametrize("processes", ["1", pytest.param("0", marks=pytest.mark.slow)])
def test_a_bad_end_is_one_at_each_start_until_somebody_has_looked(playground: Playground, processes: str) -> None:
    """The state keeps it: the next call, tm-ctl and the report give the same exit code."""
    playground.write("loses.py", LOSES)
    command = ("tm-run", "loses.py", f"--processes={processes}", "--progress=none", "--state=s.tmstate")
    cure = "tm-ctl note --fine 'nothing is lost'"
    for said in ("10 jobs are settled, but workers could not end as they should", "there is nothing new after key 10"):
        run = playground.run(*command)

        assert run.process.returncode == 1, run.output
        assert said in run.output
        assert cure in run.output
        assert "--reset runs all again" in run.output

    assert "did not end well: " in run.output
    report = playground.run("tm-ctl", "report", "s.tmstate", "--json").output
    assert '"tone": "bad", "exit_code": 1,' in report
    trail = playground.run("tm-ctl", "trail", "s.tmstate").output
    assert trail.count("ended-badly  -       exit code 1") == 1
    assert playground.run("tm-ctl", "runs", "s.tmstate").output.splitlines()[1].split()[-4:] == ["1", "10", "0", "10"]

    assert playground.run("tm-ctl", "note", "they are away", "s.tmstate").process.returncode == 0
    assert playground.run(*command).process.returncode == 1
    assert playground.run("tm-ctl", "note", "--fine", "all are there", "s.tmstate").process.returncode == 0
    assert playground.run(*command).process.returncode == 0
    assert '"exit_code": 0,' in playground.run("tm-ctl", "report", "s.tmstate", "--json").output
    again = playground.run("tm-ctl", "note", "--fine", "all are there", "s.tmstate")
    assert "has ended badly: there is nothing" in again.output


@pytest.mark.slow
@pytest.mark.quick
def test_a_master_hears_what_workers_of_another_machine_could_not_do(playground: Playground) -> None:
    """Also of a slave that has left before: the run ends with 1 until somebody has looked."""
    playground.write("loses.py", LOSES)
    host = f"--host=127.0.0.1:{free_port()}"
    words = ("tm-master", "loses.py", host, "--progress=none", "--state=s.tmstate")
    (playground.directory / "wait").touch()
    master = playground.start(*words)
    slave = playground.start("tm-slave", "loses.py", host, "--processes=1")
    wait_for("a row that is not committed", (playground.directory / "inserted").exists)
    other = playground.start("tm-slave", "loses.py", host, "--processes=1")
    other.wait_for_output("connected to the master")
    slave.process.send_signal(signal.SIGTERM)
    assert slave.end() == 128 + signal.SIGTERM, slave.output
    assert "What they had to write may be lost" in slave.output
    (playground.directory / "commits").touch()
    (playground.directory / "wait").unlink()

    assert other.end() == 0, other.output
    assert master.end() == 1, master.output
    assert "10 jobs are settled, but workers could not end as they should: " in master.output
    again = playground.run(*words)
    assert again.process.returncode == 1, again.output
    assert "did not end well: " in again.output
    assert playground.run("tm-ctl", "note", "--fine", "all are there", "s.tmstate").process.returncode == 0
    assert playground.run(*words).process.returncode == 0


@pytest.mark.slow
def test_what_a_stopped_session_may_have_lost_is_known_at_the_runs_end(playground: Playground) -> None:
    """It ends with 1 although the last session has lost nothing; a new run begins without."""
    playground.write("loses.py", LOSES)
    command = ("tm-run", "loses.py", "1", "--progress=none", "--state=s.tmstate")
    stopped = playground.run(*command, "--limit=4")
    (playground.directory / "commits").touch()
    ended = playground.run(*command)

    assert stopped.process.returncode == 75, stopped.output
    assert "4 jobs are settled, but workers could not end as they should" in stopped.output
    assert ended.process.returncode == 1, ended.output
    assert "All done: 10 jobs" in ended.output
    assert "did not end well" in ended.output
    assert playground.run(*command, "--reset").process.returncode == 0


AGAIN = """
import os, threading
from concurrent.futures import ThreadPoolExecutor, as_completed
pool = ThreadPoolExecutor(4)
def get_jobs():
    yield from range(9)
def save(job):
    if not os.path.exists(f"once-{job}"):
        raise ValueError("not yet")
def work(job):
    try:
        thread = threading.Thread(target=save, args=(job,))
        thread.start()
        thread.join()
        for future in as_completed([pool.submit(save, job) for _ in range(4)]):
            future.result()
    finally:
        open(f"once-{job}", "w").close()
"""
CALLBACKS = {
    "one by one": ("def handle_job(job): work(job)", []),
    "in threads": ("def handle_job(job): work(job)", ["--threads=3"]),
    "as coroutines": ("async def handle_job(job): work(job)", []),
    "together": ("def handle_jobs(jobs):\n    for job in jobs: work(job)", []),
}


@pytest.mark.parametrize("how", mostly_slow(CALLBACKS, "one by one"))
def test_what_a_job_has_given_away_is_done_again_with_it(playground: Playground, how: str) -> None:
    """A job that has seen one call fail does not look at the others; all go well the next time."""
    callback, options = CALLBACKS[how]
    playground.write("again.py", f"{AGAIN}{callback}\n")
    run = playground.run("tm-run", "again.py", "2", "--progress=none", "--retries=9", *options)

    assert run.process.returncode == 0, run.output
    assert "All done: 9 jobs" in run.output
