"""State files that were cut or garbled: what a restart finds there is a checkpoint that was
written, or is refused.

The state is made by the simulation: the real broker, checkpointer and store, and a death without a
word. A copy of the file and its write-ahead log is damaged at a random byte and opened; if it
opens, the run goes on from there, and the ledger of the whole schedule has to hold every job.
Besides, bits and pages of a small state, with failed and parked jobs in it, are changed one after
another: no job may be missing.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from support import proof
from support.cases import mostly_slow
from support.file_disk import FileDisk
from support.world import Violation, World

from taskmaster.errors import StateRefused
from taskmaster.master.records.fingerprints import separate
from taskmaster.master.records.job_records import Attempt, FailedJob, ParkedJob
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint, SettledRow
from taskmaster.master.stores.sqlite.store import SqliteStore

FIELDS = (
    "mark",
    "edge",
    "waiting",
    "above",
    "parked",
    "failed",
    "settled",
    "failures",
    "skipped",
    "finished",
    "session",
)
WAYS = (
    "cut",
    "cut short",
    "flip",
    "zero",
    "random page",
    "header",
    "tail twice",
    "no log",
    "main flip",
    "main cut",
    "bit",
    "page",
)
PAGE = 4096


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


def copied_page(data: bytes, source: int, target: int) -> bytes:
    """The bytes of a file in which a page was written to another place, too."""
    page = data[source * PAGE : (source + 1) * PAGE]
    return data[: target * PAGE] + page + data[(target + 1) * PAGE :]


def damage_whole(way: str, main: Path, dice: random.Random) -> None:
    """One bit, or one page, of a state that was closed: no write-ahead log covers the damage."""
    SqliteStore.open(main, RunIdentity.named("simulation"), "simulation").close()
    data = main.read_bytes()
    if way == "bit":
        garbled = bytearray(data)
        used = [at for at, byte in enumerate(data) if byte]
        garbled[dice.choice(used)] ^= 1 << dice.randrange(8)
        data = bytes(garbled)
    else:
        data = copied_page(data, *dice.sample(range(len(data) // PAGE), 2))
    main.write_bytes(data)


def damage(way: str, main: Path, wal: Path, dice: random.Random) -> None:
    """Let a file, or its write-ahead log, have an accident."""
    target = main if way.startswith("main") else wal
    if way in ("bit", "page"):
        damage_whole(way, main, dice)
    elif way == "no log":
        wal.unlink(missing_ok=True)
    elif target.exists():
        target.write_bytes(damaged(way, bytearray(target.read_bytes()), dice))


def is_one_of(record, history: list[dict]) -> dict | None:
    """The checkpoint that a loaded state is, None if it is none that was written."""
    for state in reversed(history):
        remembered = state["waiting"] + b"".join(state["above"][at] for at in sorted(state["above"]))
        same = (
            all(getattr(record, name) == state[name] for name in ("mark", "edge", "settled", "failures", "skipped"))
            and sorted(separate(record.remembered)) == sorted(separate(remembered))
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
            store = SqliteStore.open(copied / "x.tmstate", RunIdentity.named("simulation"), "simulation")
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
    """Resume from an earlier checkpoint, as a restarted master does; all jobs have to be in the
    ledger in the end.
    """
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


# -- a small state, place by place -----------------------------------------------------------------


def filled(path: Path, jobs: int) -> bytes:
    """Give a closed state of failed jobs, parked jobs and settled ranges, each ``jobs`` of them."""
    store = SqliteStore.open(path, RunIdentity.named("mod"), "mod")
    tried = (Attempt(1.0, "host:1", "ValueError", "bad row", "Traceback\n" * 5),)
    store.write(
        Checkpoint(
            "100",
            edge=b"e" * 16,
            add=[SettledRow(3 * n, 3 * n + 2, bytes([n % 250]) * 32) for n in range(jobs)],
            failed=[FailedJob(n + 1, str(n), f"job {n}", b"payload", tried) for n in range(jobs)],
            park=[ParkedJob(n, str(n), b"payload", bytes([n % 250]) * 16, tried[: n % 2]) for n in range(jobs)],
            settled=300,
            failures=jobs,
        )
    )
    store.close()
    return path.read_bytes()


def found_in(path: Path, data: bytes) -> object:
    """What a restart finds in a file of these bytes; None if it refuses them."""
    path.write_bytes(data)
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    try:
        store = SqliteStore.open(path, RunIdentity.named("mod"), "mod")
        try:
            return store.load(), store.failed(most=10**6)
        finally:
            store.close()
    except StateRefused:
        return None


def unnoticed(directory: Path, whole: bytes, garbled: Iterable[tuple[str, bytes]]) -> list[str]:
    """The damages after which a state opens in which something is missing or other than before."""
    path = directory / "garbled.tmstate"
    expected = found_in(path, whole)
    assert expected is not None
    return [what for what, data in garbled if found_in(path, data) not in (None, expected)]


def bits_changed(data: bytes, step: int) -> Iterator[tuple[str, bytes]]:
    """One bit of each so many-th byte that is not zero; of every byte if the step is 1."""
    used = [at for at, byte in enumerate(data) if byte or step == 1]
    for number, at in enumerate(used[::step]):
        garbled = bytearray(data)
        garbled[at] ^= 1 << number % 8
        yield f"bit {number % 8} of byte {at}", bytes(garbled)


def pages_changed(data: bytes, step: int) -> Iterator[tuple[str, bytes]]:
    """A page in the place of another one, and two that have changed places."""
    pairs = [(a, b) for a in range(len(data) // PAGE) for b in range(len(data) // PAGE) if a != b]
    for a, b in pairs[::step]:
        copied = copied_page(data, a, b)
        yield f"page {a} in the place of page {b}", copied
        if a < b:
            yield (
                f"pages {a} and {b} exchanged",
                copied[: a * PAGE] + data[b * PAGE : (b + 1) * PAGE] + copied[(a + 1) * PAGE :],
            )


@pytest.mark.parametrize("bit", range(2, 8))
def test_a_bit_that_makes_a_state_unwritable_is_noticed(tmp_path: Path, bit: int) -> None:
    """Of the byte that says how it is written: the run would be paused for ever."""
    path = tmp_path / "x.tmstate"
    data = bytearray(filled(path, 1))
    data[18] ^= 1 << bit
    path.write_bytes(data)

    with pytest.raises(StateRefused, match=re.escape(str(path))):
        SqliteStore.open(path, RunIdentity.named("mod"), "mod")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("change", mostly_slow([bits_changed, pages_changed], pages_changed))
def test_no_job_disappears_from_a_damaged_state(
    tmp_path: Path, change: Callable[[bytes, int], Iterator[tuple[str, bytes]]]
) -> None:
    """Neither a failed one nor a parked one nor what is remembered above the watermark: all is
    there, or refused.
    """
    whole = filled(tmp_path / "whole.tmstate", 6)

    assert unnoticed(tmp_path, whole, change(whole, 2 if change is bits_changed else 1)) == []


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_no_bit_and_no_page_of_a_state_changes_unnoticed(tmp_path: Path) -> None:
    """Every byte of a small one, and the pages of one whose tables have several."""
    small, large = filled(tmp_path / "small.tmstate", 6), filled(tmp_path / "large.tmstate", 120)
    step = proof.size(3, 1)
    damages = [*bits_changed(small, step), *pages_changed(large, step)]

    missed = unnoticed(tmp_path, small, [damage for damage in damages if len(damage[1]) == len(small)])
    missed += unnoticed(tmp_path, large, [damage for damage in damages if len(damage[1]) == len(large)])
    proof.record("single bits and pages of a state changed", tried=len(damages), survived=len(damages) - len(missed))

    assert missed == []


@pytest.mark.proof
@pytest.mark.timeout(4 * 3600)
def test_no_damage_of_many_goes_unnoticed() -> None:
    """Each is resumed from a checkpoint that was written, or refused."""
    count = proof.size(400, 5_000)
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
