"""What a run tells of itself while it goes on: the events of real runs, for programs and people."""

from __future__ import annotations

import json
import signal

import pytest
from support.commands import free_port, wait_for
from support.playground import SOME_FAIL, Playground

from taskmaster.control import Run
from taskmaster.master.events import EventName


def objects(text: str) -> list[dict]:
    """The JSON objects among the lines of an output."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_progress_json_is_a_stream_of_events(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """From started to finished, in the order of their numbers, with what somebody did in between;
    and those who follow see the same events.
    """
    monkeypatch.setenv("TASKMASTER_HOME", playground.environment["TASKMASTER_HOME"])
    playground.write("work.py", SOME_FAIL)
    playground.hold(30)
    run = playground.start("tm-run", "work.py", "2", "--progress=json", "--retries=0")
    wait_for("the jobs to be held", playground.held)
    follower = playground.start("tm-ctl", "events", "work.py", "--follow", "--json")
    with Run(next(playground.directory.glob("*.tmstate"))) as steered:
        steered.pause(reason="deploy")
        steered.resume()
    follower.wait_for_output('"unpaused"')
    listed = playground.run("tm-ctl", "events", "work.py")
    playground.let_go()

    assert run.end() == 3, run.output
    assert follower.end() == 0, follower.output
    found = objects(run.output)
    events = [one for one in found if one["event"] != "progress"]
    names = [one["event"] for one in events]
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    assert names[0] == "started"
    assert found[-1]["event"] == names[-1] == "finished"
    assert {"slave-joined", "failure", "paused", "unpaused"} <= set(names) <= set(EventName)
    assert any(one["event"] == "progress" and one["settled"] == 60 for one in found)
    assert all(one["schema"] == 1 and one["run"] == events[0]["run"] and one["text"] for one in events)
    end = events[-1]
    assert (end["exit_code"], end["settled"], end["failed"], end["state"]) == (3, 60, 6, "finished")
    failure = next(one for one in events if one["event"] == "failure")
    assert (failure["type"], failure["new"], failure["where"].split(":")[0]) == ("ValueError", True, "work.py")
    assert next(one for one in events if one["event"] == "paused")["reason"] == "deploy"
    assert objects(follower.output) == events
    assert " paused " in listed.output
    assert "deploy" in listed.output


@pytest.mark.slow
def test_a_run_that_is_stopped_says_so_and_the_next_one_is_resumed(playground: Playground) -> None:
    """Each session has one last event, with its exit code."""
    playground.write("work.py", SOME_FAIL)
    playground.hold(20)
    command = ("tm-run", "work.py", "2", "--progress=json", "--retries=0")
    run = playground.start(*command, TOTAL="5000")
    wait_for("the jobs to be held", lambda: playground.held() and playground.in_state())
    playground.interrupt(run, signal.SIGTERM)

    assert run.end() == 143, run.output
    stopped = objects(run.output)[-1]
    assert (stopped["event"], stopped["exit_code"], stopped["state"]) == ("stopped", 143, "stopped")

    again = playground.run(*command, "--max-failures=0", TOTAL="5000")

    found = [one["event"] for one in objects(again.output) if one["event"] != "progress"]
    assert found[0] == "resumed"
    assert found[-2:] == ["budget", "stopped"], again.output
    assert objects(again.output)[-1]["exit_code"] == 4


@pytest.mark.slow
def test_a_log_file_tells_the_story_and_json_is_all_that_standard_error_has(playground: Playground) -> None:
    """How it began and ended, in the file; and as objects, where a container reads them."""
    playground.write("work.py", SOME_FAIL)

    logged = playground.run("tm-run", "work.py", "1", "--retries=0", "--log-file=run.log", "--limit=20")
    story = (playground.directory / "run.log").read_text()
    run = playground.run("tm-run", "work.py", "1", "--retries=0", "--log-json")

    assert logged.process.returncode == 75, logged.output
    assert "New run; its state is" in story
    assert "--limit (20 jobs) is reached" in story
    assert run.process.returncode == 3, run.output
    lines = run.output.splitlines()
    assert len(objects(run.output)) == len(lines)
    messages = [one["message"] for one in objects(run.output)]
    assert any(message.startswith("Resuming at key") for message in messages)
    assert any(message.startswith("Finished: 60 jobs settled, 6 of them failed") for message in messages)

    where = f"--host=127.0.0.1:{free_port()}"
    master = playground.start("tm-master", "work.py", where, "--reset", "--retries=0", "--progress=none")
    slave = playground.run("tm-slave", "work.py", where, "--processes=1", "--log-file=slave.log", "--log-json")
    assert (master.end(), slave.process.returncode) == (3, 0), slave.output
    told = [one["message"] for one in objects((playground.directory / "slave.log").read_text())]
    assert any(message.startswith("tm-slave: connected to the master") for message in told)
    assert any(message.startswith("tm-slave: the run is over") for message in told)
    assert "tm-slave: the run is over" in slave.output
