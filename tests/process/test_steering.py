"""Real runs that are paused, slowed, stopped and changed from outside, in each mode of working; a
ledger shows that nothing is lost, run twice by it, or charged.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.cases import mostly_slow
from support.commands import Command, free_port, wait_for
from support.playground import PREAMBLE, Playground
from support.steered_runs import COROUTINE, JOBS, LIST, ONE, WRITES, all_once, enough

from taskmaster.control import Run
from taskmaster.view.snapshot import Snapshot

MODES: dict[str, tuple[str, list[str]]] = {
    "processes": (ONE, ["2"]),
    "threads": (ONE, ["1", "--threads=3"]),
    "coroutines": (COROUTINE, ["1", "--concurrency=5"]),
    "lists": (LIST, ["2"]),
}


@pytest.fixture(autouse=True)
def _home(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the keys of masters where these leave them."""
    monkeypatch.setenv("TASKMASTER_HOME", playground.environment["TASKMASTER_HOME"])


def steered(playground: Playground) -> Run:
    """The only run here, from a script."""
    return Run(next(playground.directory.glob("*.tmstate")))


def begun(playground: Playground, body: str, *words: str, **environment: str) -> Command:
    """A run that has ended some jobs, at work."""
    playground.write("work.py", PREAMBLE + WRITES + body)
    run = playground.start("tm-run", "work.py", *words, "--progress=none", **environment)
    wait_for("jobs to end", lambda: len(playground.ledger.ended()) > 20 or run.process.poll() is not None)
    assert run.process.poll() is None, run.output
    return run


def wait_for_state(run: Run, state: str) -> dict[str, Any]:
    """Until the run is in that state; gives its status."""
    found: dict[str, Any] = {}

    def is_there() -> bool:
        found.update(run.status())
        return found["state"] == state

    wait_for(f"the run to be {state}", is_there)
    return found


def failures(playground: Playground) -> int:
    """Failed jobs of the only state here."""
    row = playground.look("SELECT failures FROM run")
    return -1 if row is None else row[0]


@pytest.mark.parametrize("mode", mostly_slow(MODES, "processes", "coroutines"))
def test_a_pause_bites_and_loses_nothing(playground: Playground, mode: str) -> None:
    """Nothing begins while the run is paused, whatever its workers are; then all of it is done,
    once.
    """
    body, words = MODES[mode]
    run = begun(playground, body, *words)
    with steered(playground) as control:
        assert control.pause("deploy")["ok"]
        found = wait_for_state(control, "paused")
        # What had begun has ended by now, and what had not was given back.
        ended = playground.ledger.ended()
        assert found["leased"] == 0
        assert found["queued"] > 0
        assert "deploy" in found["reason"]
        assert found["why"]["code"] == "paused"
        assert found["settled"] == ended.total()
        time.sleep(0.5)  # in which a run that is not held would do a dozen
        assert playground.ledger.ended() == ended
        assert not playground.ledger.running()
        control.resume()
    enough(playground)
    assert run.end() == 0, run.output

    assert playground.ledger.ended() == all_once()
    assert failures(playground) == 0


@pytest.mark.slow
def test_two_clients_at_once_leave_a_run_that_is_as_the_trail_says(playground: Playground) -> None:
    """Each request is applied whole, in some order; each answer has its row."""
    run = begun(playground, ONE, "2")
    answers: list[dict[str, Any]] = []

    def client(number: int) -> None:
        with steered(playground) as control:
            for _ in range(5):
                answers.append(control.pause(f"client {number}"))
                answers.append(control.resume(f"client {number}"))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with steered(playground) as control:
        control.resume()
        trail = control.trail()
    enough(playground)
    assert run.end() == 0, run.output

    rows = [answer["trail"] for answer in answers if answer["changed"]]
    assert len(set(rows)) == len(rows)
    assert len(answers) == 20
    held = False
    for row in trail:
        held = {"pause": True, "resume": False}.get(row["command"], held)
    assert not held
    assert playground.ledger.ended() == all_once()


@pytest.mark.slow
def test_a_master_that_is_killed_while_paused_comes_up_paused(playground: Playground) -> None:
    """It says by whom and why, also where the command line has another rate; `default` and `resume`
    take both back; nothing is lost, and nobody is charged.
    """
    run = begun(playground, ONE, "2")
    with steered(playground) as control:
        control.rate(50, "db2 is dying")
        row = control.pause("deploy")["trail"]
        wait_for_state(control, "paused")
        wait_for("the trail to be written", lambda: control.status()["trail_saved"] >= row)
    run.kill()
    wait_for("its workers to end", lambda: not playground.left())
    ended = playground.ledger.ended()

    again = playground.start("tm-run", "work.py", "2", "--progress=none", "--rate=1000")
    again.wait_for_output("tm-ctl resume")
    assert "The rate is 50/s, set by" in again.output
    assert "ended without a word in the state soon after " in again.output
    assert ": it was killed, its machine went down, or its end could not be written" in again.output
    assert '("db2 is dying")' in again.output
    assert "otherwise it would be 1000/s" in again.output
    with steered(playground) as control:
        wait_for_state(control, "paused")
        assert control.settings()[-1]["name"]
        assert playground.ledger.ended() == ended
        assert control.rate("default")["after"] == "1000/s"
        assert [row["command"] for row in control.trail()] == ["started", "rate", "pause", "killed", "resumed", "rate"]
        control.resume()
    enough(playground)
    assert again.end() == 0, again.output

    assert set(playground.ledger.ended()) == set(all_once())
    # What was settled and not in a checkpoint when the master was killed may run again.
    assert playground.ledger.ended().total() <= JOBS + 60
    assert failures(playground) == 0
    last = playground.run("tm-run", "work.py", "2", "--progress=none")
    assert "tm-ctl resume" not in last.output


@pytest.mark.slow
def test_a_pause_for_a_time_ends_while_no_master_runs(playground: Playground) -> None:
    """By the time of day; a run that is started after that goes on."""
    run = begun(playground, ONE, "2")
    with steered(playground) as control:
        answer = control.pause(duration="2s")
        wait_for("the trail to be written", lambda: control.status()["trail_saved"] >= answer["trail"])
    until = time.time() + 2
    run.kill()
    wait_for("its workers to end", lambda: not playground.left())
    wait_for("the time to be over", lambda: time.time() > until)
    enough(playground)
    again = playground.run("tm-run", "work.py", "2", "--progress=none")

    assert again.process.returncode == 0, again.output
    assert set(playground.ledger.ended()) == set(all_once())


def begun_between(playground: Playground, since: float, until: float) -> int:
    """How many jobs have begun between two moments, by the callbacks' own clock."""
    return sum(what == "start" and since <= at < until for what, _, _, at in playground.ledger.timed())


@pytest.mark.slow
def test_a_rate_is_what_it_was_set_to(playground: Playground) -> None:
    """10, then 1,000, then 0.5, then off, counted by the callbacks: never above what was set and
    what a second allows.
    """
    fast = ONE.replace("seconds()", "0.001")
    run = begun(playground, fast, "2", "--rate=200", TOTAL="20000")
    with steered(playground) as control:
        for rate, seconds, most, least in ((10, 4.0, 10, 5), (1000, 3.0, 1000, 60), (0.5, 5.0, 1, 0)):
            control.rate(rate)
            control.pause()
            wait_for_state(control, "paused")  # what the former rate handed out has ended or come back
            since = time.time()
            control.resume()
            time.sleep(seconds)
            count = begun_between(playground, since, since + seconds)
            assert least <= count <= rate * seconds + max(1, most), rate
        control.rate(None)
        since = time.time()
        wait_for("it to be fast again", lambda: begun_between(playground, since, time.time()) > 500)
        control.stop("enough")
    assert run.end() == 143, run.output
    assert set(playground.ledger.ended().values()) == {1}


@pytest.mark.slow
def test_a_stop_ends_as_a_signal_does(playground: Playground) -> None:
    """143, who stopped it, the command that goes on; and that goes on with what is left, once."""
    run = begun(playground, ONE, "2")
    told = playground.run("tm-ctl", "stop", "work.py", "--reason=the disk is full")

    assert told.process.returncode == 0, told.output
    assert run.end() == 143, run.output
    assert "Stopped by " in run.output
    assert "resume it with: tm-run work.py 2" in run.output
    trail = playground.run("tm-ctl", "trail", "work.py", "--json").output
    assert [json.loads(line)["command"] for line in trail.splitlines()][-2:] == ["stop", "stopped"]
    enough(playground)
    assert playground.run("tm-run", "work.py", "2", "--progress=none").process.returncode == 0
    assert playground.ledger.ended() == all_once()


@pytest.mark.slow
def test_a_quiet_slave_ends_by_itself_and_another_goes_on(playground: Playground) -> None:
    """With 0, without a job lost; and it is listed with how it went."""
    port = free_port()
    playground.write("work.py", PREAMBLE + WRITES + ONE)
    where = [f"--host=127.0.0.1:{port}"]
    master = playground.start("tm-master", "work.py", *where, "--progress=none")
    slaves = [playground.start("tm-slave", "work.py", *where, "--processes=1") for _ in range(2)]
    wait_for("both to work", lambda: len({pid for _, _, pid in playground.ledger.lines()}) == 2)
    with Run(f"127.0.0.1:{port}") as control:
        names = [row["name"] for row in control.slaves()]
        first = next(name for name in names if name.endswith(f":{slaves[0].pid}"))
        assert control.quiet(first)["changed"]
        assert slaves[0].end() == 0, slaves[0].output
        assert "tm-slave: an operator wants this slave to end: " in slaves[0].output
        gone = next(row for row in control.slaves() if row["name"] == first)
        assert gone["state"] == "said goodbye"
        assert gone["done"] > 0
    enough(playground)
    assert master.end() == 0, master.output
    assert slaves[1].end() == 0, slaves[1].output

    assert playground.ledger.ended() == all_once()


def test_failed_jobs_are_run_again_while_the_run_goes_on(playground: Playground) -> None:
    """Those of one kind, when its cause is mended: the run ends with 0, each of them was run twice
    and all others once.
    """
    fails = (
        "def handle_job(n):\n    write('start', n)\n    time.sleep(0.01)\n"
        "    if n % 10 == 3 and not os.path.exists('mended'):\n        raise ConnectionError('away')\n"
        "    while n == N - 1 and not os.path.exists('enough'):\n        time.sleep(0.02)\n"
        "    write('end', n)\n"
    )
    run = begun(playground, fails, "2", "--retries=0", TOTAL="100")
    with steered(playground) as control:
        wait_for("all but the last to be settled", lambda: control.status()["settled"] >= 99)
        assert control.status()["failed"] == 10
        playground.write("mended", "")
        for words, said in ((["--kind=Nope"], "failed with: ConnectionError (10)."), (["--job=x9"], "has the key x9")):
            refused = playground.run("tm-ctl", "retry", *words, "work.py")
            assert refused.process.returncode == 2, refused.output
            assert said in refused.output
        answer = playground.run("tm-ctl", "retry", "--kind=ConnectionError", "work.py", "--json")
        assert json.loads(answer.output)["ok"]
        wait_for("them to be mended", lambda: control.status()["failed"] == 0)
        playground.write("enough", "")
    assert run.end() == 0, run.output

    assert playground.ledger.ended() == {str(n): 1 for n in range(100)}
    started = [key for what, key, _ in playground.ledger.lines() if what == "start"]
    assert {key: started.count(key) for key in started} == {str(n): 2 if n % 10 == 3 else 1 for n in range(100)}
    assert failures(playground) == 0


def test_settings_reach_slaves_that_are_connected(playground: Playground) -> None:
    """``job-timeout`` ends a job that hangs, although its slave was told of no such limit."""
    hangs = (
        "def handle_job(n):\n    write('start', n)\n"
        "    if n == 40 and not os.path.exists('second'):\n"
        "        open('second', 'w').close()\n        time.sleep(600)\n"
        "    time.sleep(0.01)\n    write('end', n)\n"
    )
    run = begun(playground, hangs, "2", TOTAL="120")
    wait_for("it to hang", (playground.directory / "second").exists)
    told = playground.run("tm-ctl", "set", "job-timeout=0.5", "retries=2", "work.py")

    assert "Set: job-timeout=0.5, retries=2" in told.output, told.output
    assert run.end() == 0, run.output
    assert playground.ledger.ended() == {str(n): 1 for n in range(120)}


@pytest.mark.slow
def test_commands_say_what_is_wrong_with_them(playground: Playground) -> None:
    """With exit code 2, and without a change; and `why` says what is right."""
    run = begun(playground, ONE, "2")
    for words, said in (
        (["rate", "0", "work.py"], "use `tm-ctl pause`"),
        (["set", "retrys=5", "work.py"], "did you mean retries?"),
        (["pause", "--until=26:00", "work.py"], "--until is '26:00'"),
        (["pause", "other.tmstate"], "other.tmstate"),
    ):
        ended = playground.run("tm-ctl", *words)
        assert ended.process.returncode != 0, words
        assert said in ended.output, ended.output
    why = playground.run("tm-ctl", "why", "work.py")
    assert why.process.returncode == 0, why.output
    assert "workers are busy" in why.output
    assert playground.run("tm-ctl", "slaves", "work.py").output.count("\n") == 2
    assert "retries" in playground.run("tm-ctl", "settings", "work.py").output
    playground.run("tm-ctl", "note", "deploy 1.4.2", "work.py")
    assert "deploy 1.4.2" in playground.run("tm-ctl", "trail", "work.py").output
    with Run(next(playground.directory.glob("*.tmstate"))) as control:
        # What a tm-ctl of the release before asks for, and reads of it.
        old = control._client._connected()
        told = old.call("status")
        assert {"state", "settled", "failed", "queued", "slaves", "watermark"} <= set(told)
        assert Snapshot.from_wire(told).state == "running"
        assert old.call("failures", 0, None) == []
    playground.run("tm-ctl", "stop", "work.py")
    run.end()


def test_an_older_master_is_named(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be steered; the other way round, an older tm-ctl asks for what is still there."""
    from taskmaster.errors import ConnectError
    from taskmaster.master.service import Service
    from taskmaster.runner.report_file import report_of_master
    from taskmaster.transport import server
    from taskmaster.transport.address import Address

    monkeypatch.setattr(server, "METHODS", ("hello", "exchange", "bye", "status", "failures"))

    class Old:
        """As a master of the release before."""

        status = staticmethod(lambda: {"state": "running", "settled": 5})
        closed = Service.closed

    bound = server.bind(Address("127.0.0.1", 0), b"k" * 32, Old())  # type: ignore[arg-type]
    bound.start()
    key = Path(playground.write("key", "k" * 32))
    key.chmod(0o600)
    try:
        with Run(str(bound.where), key_file=str(key)) as control:
            with pytest.raises(ConnectError, match="runs an older Taskmaster, which cannot be steered"):
                control.pause()
            assert control.status() == {"state": "running", "settled": 5}
        assert report_of_master(str(bound.where), None, str(key), None)["conclusion"]["word"] == "running"
    finally:
        bound.stop()


@pytest.mark.slow
def test_a_run_that_does_not_go_on_is_steered_in_its_state(playground: Playground) -> None:
    """What is changed there is in force at the next start; nothing else of the state moves."""
    run = begun(playground, ONE, "2")
    with steered(playground) as control:
        control.pause()
        control.stop()
    assert run.end() == 143, run.output
    settled, ended = playground.in_state(), playground.ledger.ended()
    assert settled == ended.total()

    told = playground.run("tm-ctl", "resume", "work.py", "--reason=it is over")
    assert told.process.returncode == 0, told.output
    assert "the state has it now, for its next start: nothing is changed" in told.output
    for words, said in (
        (("note", "seen by anna"), "the note is in the trail of its state."),
        (("rate", "0.5"), "for its next start: rate 0.5/s."),
        (("pause",), "for its next start: rate 0.5/s, paused."),
        (("resume",), "for its next start: rate 0.5/s."),
        (("rate", "default"), "for its next start: nothing is changed against the command line."),
    ):
        assert said in playground.run("tm-ctl", *words, "work.py").output
    assert "nothing to stop" in playground.run("tm-ctl", "stop", "work.py").output
    assert playground.in_state() == settled
    assert "it is over" in playground.run("tm-ctl", "trail", "work.py").output
    enough(playground)
    again = playground.run("tm-run", "work.py", "2", "--progress=none")

    assert again.process.returncode == 0, again.output
    assert "paused" not in again.output
    assert playground.ledger.ended() == all_once()
    late = playground.run("tm-ctl", "pause", "work.py")
    assert late.process.returncode == 2, late.output
    assert "is finished: a change would not be in force when it goes on with new jobs" in late.output


FULL = """
import sys
from pathlib import Path
from taskmaster.cli.run import main
from taskmaster.errors import StateUnwritable
from taskmaster.master.stores.sqlite.store import SqliteStore

write = SqliteStore.write

def full(self, checkpoint):
    if Path("full").exists():
        raise StateUnwritable("No space left on device.")
    write(self, checkpoint)

SqliteStore.write = full
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_pause_works_while_the_disk_is_full(playground: Playground) -> None:
    """It is in force at once, `tm-ctl` says that it is not yet written, and it stays in force when
    there is room again.
    """
    playground.write("work.py", PREAMBLE + WRITES + ONE)
    playground.write("full.py", FULL)
    run = playground.start(sys.executable, "full.py", "work.py", "2", "--progress=none")
    wait_for("jobs to end", lambda: len(playground.ledger.ended()) > 20)
    playground.write("full", "")
    with steered(playground) as control:
        wait_for("the disk to be full", lambda: control.status()["why"]["code"] == "state")
        told = playground.run("tm-ctl", "pause", "work.py")
        assert "in force, but not yet written to the state" in told.output
        assert "No space left" in told.output
        (playground.directory / "full").unlink()
        found = wait_for_state(control, "paused")
        wait_for("it to be written", lambda: control.status()["trail_saved"] >= found["trail"])
        wait_for("the disk to be well", lambda: control.status()["why"]["code"] == "paused")
        assert not playground.ledger.running()
        control.resume()
    enough(playground)
    assert run.end() == 0, run.output
    assert playground.ledger.ended() == all_once()


@pytest.mark.slow
def test_a_source_that_is_read_again_says_how_far(playground: Playground) -> None:
    """While it is read up to the key where the run goes on, the run is resuming, and says so."""
    slow = (
        "import itertools\ndef get_jobs():\n    for n in range(N):\n"
        "        while n == 60 and os.path.exists('slow'):\n            time.sleep(0.02)\n        yield n\n"
    )
    playground.write("work.py", PREAMBLE + WRITES + slow + ONE)
    first = playground.run("tm-run", "work.py", "2", "--progress=none", "--limit=70", TOTAL="100")
    assert first.process.returncode == 75, first.output
    playground.write("slow", "")
    again = playground.start("tm-run", "work.py", "2", "--progress=none", TOTAL="100")
    wait_for("the master", lambda: "Resuming" in again.output)
    with steered(playground) as control:
        wait_for("its slave", lambda: control.status()["slaves"] == 1)
        found = wait_for_state(control, "resuming")
        assert found["why"]["code"] == "source"
        assert "is read again up to the key where the run goes on" in found["reason"]
        (playground.directory / "slow").unlink()
    assert again.end() == 0, again.output
    assert playground.ledger.ended() == {str(n): 1 for n in range(100)}
