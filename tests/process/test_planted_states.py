"""States that another user has left where a run looks for its own: nothing of them is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from support.cases import mostly_slow
from support.playground import PREAMBLE, Playground

from taskmaster.master.records.job_records import Attempt, FailedJob, ParkedJob
from taskmaster.master.records.run_record import Checkpoint
from taskmaster.master.stores.sqlite.store import SqliteStore

STRANGER = 54321
HOW = ["writable", *(["another owner"] if os.geteuid() == 0 else [])]


class Evil:
    """Whoever unpickles this runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


@pytest.mark.slow
@pytest.mark.parametrize("how", mostly_slow(HOW, "writable"))
def test_nothing_of_a_planted_state_is_run(playground: Playground, how: str) -> None:
    """With each command that opens one: exit 5 with the cure, and no payload was unpickled."""
    playground.write("mod.py", PREAMBLE + "def get_jobs(last=0):\n    yield from range(last + 1, 20)\n")
    assert playground.run("tm-run", "mod.py", "1", "--limit=2", "--progress=none").process.returncode == 75
    (path,) = playground.directory.glob("*.tmstate")
    proof = playground.directory / "proof"
    payload = pickle.dumps(Evil(proof))
    tried = (Attempt(1.0, "host:1", "ValueError", "m", "t"),)
    store = SqliteStore.open_existing(path)
    run = store.load().id
    store.write(
        Checkpoint(
            "10", settled=9, failures=1,
            park=[ParkedJob(1, "5", payload, b"\0" * 16)], failed=[FailedJob(1, "6", "6", payload, tried)],
        )
    )  # fmt: skip
    store.close()
    if how == "writable":
        path.chmod(0o666)
    else:
        os.chown(path, STRANGER, STRANGER)
    before = path.read_bytes()

    for words in (
        ["tm-run", "mod.py", "1"],
        ["tm-run", "mod.py", "1", "--failed"],
        ["tm-run", "mod.py", "1", "--reset"],
        ["tm-master", "mod.py", "--host=127.0.0.1:0"],
        ["tm-ctl", "runs", str(path)],
        ["tm-ctl", "failures", str(path)],
        ["tm-ctl", "failures", str(path), "--drop", "6"],
        ["tm-ctl", "status", str(path)],
        ["tm-ctl", "restore", run, "--state", str(path)],
    ):
        ended = playground.run(*words)
        assert ended.process.returncode == 5, (words, ended.output)
        assert ("chmod go-w" if how == "writable" else "belongs to") in ended.output

    assert not proof.exists()
    assert path.read_bytes() == before
