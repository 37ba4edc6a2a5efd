"""State files that were cut or garbled: what a restart finds there is a checkpoint that was written, or is refused.

The state is made by the simulation: the real broker, keeper and store, and a death without a word. A copy of the file
and its write-ahead log is damaged at a random byte and opened; if it opens, the run goes on from there, and the ledger
of the whole schedule has to hold every job.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from copy import deepcopy
from pathlib import Path

import proof
import pytest
from file_disk import FileDisk
from world import Violation, World

from taskmaster import keys
from taskmaster.errors import StateRefused
from taskmaster.master.stores.sqlite import SqliteStore

FIELDS = (
    "mark",
    "edge",
    "waiting",
    "pieces",
    "parked",
    "failed",
    "settled",
    "failures",
    "skipped",
    "finished",
    "session",
)
WAYS = ("cut", "cut short", "flip", "zero", "random page", "header", "tail twice", "no log", "main flip", "main cut")


class Recorded(FileDisk):
    """Remembers each checkpoint that was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.history: list[dict] = []

    def write(self, checkpoint) -> None:
        super().write(checkpoint)
        self.remember()

    def open(self):
        record = super().open()
        self.remember()
        return record

    def remember(self) -> None:
        self.history.append({name: deepcopy(getattr(self, name)) for name in FIELDS})


def damaged(way: str, data: bytearray, dice: random.Random) -> bytearray:
    """The bytes of a file after an accident."""
    if not data:
        return data
    at = dice.randrange(len(data))
    if way in ("cut", "main cut"):
        return data[:at]
    if way == "cut short":
        return data[: -dice.randrange(1, 200)]
    if way == "tail twice":
        return data + data[at:]
    if way == "header":
        data[dice.randrange(min(32, len(data)))] ^= 0xFF
    elif way == "zero":
        data[at : at + 4096] = bytes(min(4096, len(data) - at))
    elif way == "random page":
        data[at : at + 4096] = dice.randbytes(min(4096, len(data) - at))
    else:
        for _ in range(dice.choice([1, 1, 3, 20])):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return data


def damage(way: str, main: Path, wal: Path, dice: random.Random) -> None:
    """Let a file, or its write-ahead log, have an accident."""
    target = main if way.startswith("main") else wal
    if way == "no log":
        wal.unlink(missing_ok=True)
    elif target.exists():
        target.write_bytes(damaged(way, bytearray(target.read_bytes()), dice))


def is_one_of(record, history: list[dict]) -> dict | None:
    """The checkpoint that a loaded state is, None if it is none that was written."""
    for state in reversed(history):
        remembered = state["waiting"] + b"".join(state["pieces"][at] for at in sorted(state["pieces"]))
        same = (
            all(getattr(record, name) == state[name] for name in ("mark", "edge", "settled", "failures", "skipped"))
            and sorted(keys.separate(record.remembered)) == sorted(keys.separate(remembered))
            and list(record.parked) == [state["parked"][number] for number in sorted(state["parked"])]
        )
        if same:
            return state
    return None


def play(seed: int) -> str:
    """Make a state, damage it, go on; says what became of it."""
    dice = random.Random(seed)
    way = WAYS[seed % len(WAYS)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.tmstate"
        disk = Recorded(path)
        world = World(seed, disk)
        copied = Path(directory) / "copy"
        copied.mkdir()
        try:
            for _ in range(dice.randint(20, 150)):
                world.step()
            for name in ("x.tmstate", "x.tmstate-wal"):
                if (path.parent / name).exists():
                    shutil.copy(path.parent / name, copied / name)
        finally:
            disk.close()
        damage(way, copied / "x.tmstate", copied / "x.tmstate-wal", dice)
        try:
            store = SqliteStore.open(copied / "x.tmstate", "simulation", "simulation")
            try:
                record = store.load()
                failed = {job.id: job for job in store.failed(most=10**6)}
            finally:
                store._abandon()
        except StateRefused as exc:
            return "refused" if str(copied / "x.tmstate") in str(exc) else f"refused without saying what: {exc}"
        state = is_one_of(record, disk.history)
        if state is None or failed != state["failed"]:
            raise Violation(f"{way}: what was loaded is no checkpoint that was written: {record}")
        go_on(world, state, copied / "x.tmstate")
        return "older" if state["settled"] < disk.history[-1]["settled"] else "newest"


def go_on(world: World, state: dict, path: Path) -> None:
    """Resume from an earlier checkpoint, as a restarted master does; all jobs have to be in the ledger in the end."""
    disk = FileDisk(path)
    for name, value in state.items():
        setattr(disk, name, deepcopy(value))
    disk.check = world._check_mark
    world.disk = disk
    try:
        world.start_master()
        world.drain()
        world.check_end()
    finally:
        disk.close()


@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
def test_a_damaged_state_is_an_older_one_or_is_refused(way: int) -> None:
    """Three files for each way to damage one."""
    assert {play(seed) for seed in range(way, 3 * len(WAYS), len(WAYS))} <= {"refused", "older", "newest"}


@pytest.mark.proof
@pytest.mark.timeout(4 * 3600)
def test_no_damage_of_many_goes_unnoticed() -> None:
    """Each is resumed from a checkpoint that was written, or refused."""
    count = proof.size(200, 5_000)
    seeds = [int(proof.SEED)] if proof.SEED else range(20_000, 20_000 + count)
    found: Counter[str] = Counter()
    for seed in seeds:
        try:
            found[play(seed)] += 1
        except BaseException as exc:
            test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
            exc.add_note(f"replay with TASKMASTER_SEED={seed} python -m pytest {test!r}")
            raise
    proof.record(
        f"state files cut or garbled ({found['refused']} refused, {found['older']} resumed from an older checkpoint, "
        f"{found['newest']} from the newest)",
        tried=count,
        survived=found.total(),
    )

    assert found.total() == len(seeds)
    if not proof.SEED:
        assert min(found["refused"], found["older"]) > count / 20
