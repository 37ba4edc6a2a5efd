"""What every store promises, file or not."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from taskmaster.errors import StateBusy, StateLocked, StateRefused, StateUnwritable
from taskmaster.master.records.job_records import Attempt, FailedJob, ParkedJob
from taskmaster.master.records.minute_row import MINUTE_BYTES, MinuteRow
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint, SettledRow
from taskmaster.master.records.steering_records import (
    NOTHING_LOST,
    LiveChange,
    News,
    TrailRow,
    bad_end,
    unknown_ends,
    with_known_ends,
    with_unknown_ends,
)
from taskmaster.master.stores.contract import Store
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.master.stores.sqlite import rows
from taskmaster.master.stores.sqlite.connection import looking
from taskmaster.master.stores.sqlite.store import SqliteStore

Reopen = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Opens the store; called again, it closes it and opens it as the next master would."""
    opened: list[Store] = []

    def again() -> Store:
        if request.param == "memory":
            if not opened:
                opened.append(MemoryStore())
            return opened[0]
        if opened:
            opened.pop().close()
        opened.append(SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod.py"))
        return opened[0]

    yield again
    for store in opened:
        store.close()


def prints(*letters: str) -> bytes:
    return b"".join(letter.encode() * 16 for letter in letters)


TRIED = Attempt(5.0, "host:1", "ValueError", "bad \udc80 \0 row", "Traceback")
DIED = Attempt(4.0, "host:1", "WorkerDied", "crashed by SIGSEGV", "", crash=True)


def failed(key: str | None = "1", number: int = 1) -> FailedJob:
    return FailedJob(number, key, "job", b"payload", (DIED, TRIED))


def test_a_new_store_has_a_new_run(reopen: Reopen) -> None:
    """With nothing in it."""
    record = reopen().load()

    assert (record.mark, record.edge, record.remembered, list(record.parked)) == (None, b"", b"", [])
    assert (record.settled, record.failures, record.finished) == (0, 0, None)


def test_what_was_written_is_there_after_a_restart(reopen: Reopen) -> None:
    """All of it."""
    store = reopen()
    run = store.load().id
    parked = ParkedJob(3, '"k"', b"\0payload", prints("p"), (DIED, TRIED))
    store.write(
        Checkpoint(
            "5", prints("e"), [SettledRow(7, 9, prints("a", "b"))], 6, None, [failed()], (), [parked], (), 12, 1, 2, 3.5
        )
    )
    record = reopen().load()

    assert (record.id, record.mark, record.edge, record.remembered) == (run, "5", prints("e"), prints("a", "b"))
    assert list(record.parked) == [parked]
    assert (record.settled, record.failures, record.seconds, record.finished) == (12, 1, 3.5, None)
    assert (record.skipped, record.next_failed) == (2, 2)
    assert list(reopen().failed()) == [failed()]


ROW = TrailRow(1, 5.0, "pause", "anna", "bastion", "10.0.0.9", "tm-ctl", "deploy", "running", "paused")
HELD = LiveChange("hold", "", "anna@bastion", 5.0, "deploy", 9.5)
MINUTE = MinuteRow(600, bytes(MINUTE_BYTES))


def test_what_was_steered_is_there_after_a_restart(reopen: Reopen) -> None:
    """What is in force takes the place of what was; the trail grows."""
    store = reopen()
    store.load()
    rate = LiveChange("rate", "5.0", "bo@web", 6.0, "bad \udc80 \0 reason")
    store.write(Checkpoint("1", trail=[ROW], live=[HELD, rate]))
    store.write(Checkpoint("2", trail=[ROW._replace(seq=2)], live=[HELD]))
    store.write(Checkpoint("3"))
    record = reopen().load()

    assert list(record.live) == [HELD]
    assert [row.seq for row in record.trail] == [1, 2]
    assert record.trail[0] == ROW
    store = reopen()
    store.write(Checkpoint("4", live=[]))
    assert list(reopen().load().live) == []


def test_a_bad_end_is_known_however_long_the_trail_has_become(reopen: Reopen) -> None:
    """Also where its own row is older than all that are kept; so is what says that it was fine."""
    store = reopen()
    store.load()
    bad, left_out = ROW._replace(command="ended-badly"), ROW._replace(seq=2, command="left-out", reason="it does")
    many = [ROW._replace(seq=seq) for seq in range(3, 11_000)]
    store.write(Checkpoint("1", trail=[bad, left_out]))
    store.write(Checkpoint("2", trail=many))
    record = reopen().load()

    assert bad_end(record.trail) == bad
    assert record.left_out == "it does"
    assert record.trail[-1].seq == 10_999

    store = reopen()
    store.load()
    store.write(Checkpoint("3", trail=[ROW._replace(seq=11_000, command="note", after=NOTHING_LOST)]))
    store.write(Checkpoint("4", trail=[row._replace(seq=row.seq + 11_000) for row in many]))
    assert bad_end(reopen().load().trail) is None


def test_ends_that_are_not_known_are_remembered_until_they_are(reopen: Reopen) -> None:
    """Also where the row is older than all that are kept; it is written again where they are known
    in the end, and the run stays where it is.
    """
    store = reopen()
    store.load()
    row = ROW._replace(command="stopped", after=with_unknown_ends("exit code 130", "2 workers"))
    store.write(Checkpoint("1", settled=7, seconds=4.0, trail=[row]))
    store.write(Checkpoint("1", settled=7, trail=[ROW._replace(seq=seq) for seq in range(2, 11_000)]))
    store = reopen()
    found = bad_end(store.load().trail)

    assert found == row
    assert unknown_ends(found) == "2 workers"
    store.write(News([with_known_ends(found)], [HELD], 1, [MINUTE]))
    record = reopen().load()
    assert bad_end(record.trail) is None
    assert record.trail[0] == row._replace(after="exit code 130") or record.trail[0].seq > 1
    assert (record.mark, record.settled, record.live, record.history) == ("1", 7, [HELD], [MINUTE])


def test_a_new_run_has_nothing_of_the_former_one_in_force(reopen: Reopen) -> None:
    """After --reset; the file keeps what belongs to the former."""
    store = reopen()
    store.load()
    store.write(Checkpoint("1", settled=1, trail=[ROW], live=[HELD]))
    store.reset()

    assert list(store.load().live) == []
    assert list(store.load().trail) == []


def test_pieces_are_forgotten_when_the_watermark_has_passed_them(reopen: Reopen) -> None:
    """Whole ones; the rest is remembered in order."""
    store = reopen()
    store.load()
    store.write(
        Checkpoint(
            "1", add=[SettledRow(9, 10, prints("d")), SettledRow(2, 4, prints("a", "b")), SettledRow(5, 6, prints("c"))]
        )
    )

    assert reopen().load().remembered == prints("a", "b", "c", "d")


def test_pieces_below_the_cut_go(reopen: Reopen) -> None:
    """In the session that wrote them."""
    store = reopen()
    store.load()
    store.write(Checkpoint("1", add=[SettledRow(2, 4, prints("a", "b")), SettledRow(5, 6, prints("c"))]))
    store.write(Checkpoint("4", forget_below=4))

    assert reopen().load().remembered == prints("c")


def test_the_positions_of_two_sessions_are_not_mixed(reopen: Reopen) -> None:
    """What an earlier session remembered stays until ``waiting`` says what is left of it."""
    store = reopen()
    store.load()
    store.write(Checkpoint("1", add=[SettledRow(2, 3, prints("a")), SettledRow(5, 6, prints("b"))]))
    store = reopen()
    store.load()
    store.write(Checkpoint("2", add=[SettledRow(2, 3, prints("c"))], forget_below=2))

    assert sorted(reopen().load().remembered) == sorted(prints("a", "b", "c"))

    store = reopen()
    store.load()
    store.write(Checkpoint("3", add=[SettledRow(0, 1, prints("d"))], waiting=prints("b")))

    assert reopen().load().remembered == prints("b", "d")


def test_the_same_piece_twice_is_one(reopen: Reopen) -> None:
    """A checkpoint may repeat what an earlier one said."""
    store = reopen()
    store.load()
    store.write(Checkpoint("1", add=[SettledRow(2, 3, prints("a"))]))
    store.write(Checkpoint("1", add=[SettledRow(2, 3, prints("a"))]))

    assert reopen().load().remembered == prints("a")


def test_a_parked_job_that_is_parked_again_takes_its_own_place(reopen: Reopen) -> None:
    """Also twice in one checkpoint."""
    store = reopen()
    first, second, third = (ParkedJob(1, "1", payload, prints("p")) for payload in (b"x", b"y", b"z"))
    store.write(Checkpoint("1", park=[first]))
    store.write(Checkpoint("1", park=[second, third]))

    assert list(reopen().load().parked) == [third]


def test_parked_jobs_go_when_they_are_settled(reopen: Reopen) -> None:
    """Also in the very checkpoint that parks them."""
    store = reopen()
    store.load()
    jobs = [ParkedJob(number, "1", b"x", prints("p")) for number in range(3)]
    store.write(Checkpoint("1", park=jobs[:2]))
    store.write(Checkpoint("1", park=jobs[2:], unpark=[0, 2]))

    assert [job.id for job in reopen().load().parked] == [1]


def test_a_finished_run_says_when_and_can_go_on(reopen: Reopen) -> None:
    """The first time counts; new jobs make it unfinished."""
    store = reopen()
    store.write(Checkpoint("1", finished=True))
    when = reopen().load().finished

    assert when is not None

    reopen().write(Checkpoint("1", finished=True))

    assert reopen().load().finished == when

    reopen().write(Checkpoint("2"))

    assert reopen().load().finished is None


def test_a_failed_job_can_be_tried_again_and_cleared(reopen: Reopen) -> None:
    """One that fails again takes its own place; one that went well is gone."""
    store = reopen()
    store.write(Checkpoint("3", failed=[failed(str(n), n) for n in range(3)]))
    again = replace(failed("1", 1), attempts=(DIED, TRIED, TRIED))
    store.write(Checkpoint("3", failed=[again], cleared=[0]))

    assert list(reopen().failed()) == [again, failed("2", 2)]
    assert reopen().load().next_failed == 3


def test_a_job_that_failed_and_was_mended_within_one_checkpoint_is_not_a_failed_one(reopen: Reopen) -> None:
    """It has gone well after it had failed: never the other way round."""
    store = reopen()
    store.write(Checkpoint("3", failed=[failed("1", 1)]))
    store.write(Checkpoint("3", failed=[replace(failed("1", 1), attempts=(DIED, TRIED))], cleared=[1]))

    assert list(reopen().failed()) == []


def test_reset_gives_the_former_run_up(reopen: Reopen) -> None:
    """And returns it, unless there was nothing in it."""
    store = reopen()

    assert store.reset() is None

    store.write(Checkpoint("7", settled=3, failed=[failed()]))
    former = store.reset()

    assert former is not None
    assert (former.mark, former.settled) == ("7", 3)

    record = reopen().load()

    assert (record.mark, record.settled, record.remembered) == (None, 0, b"")
    assert record.id != former.id
    assert list(reopen().failed()) == []


def test_reset_forgets_where_a_run_was_to_end_although_nothing_was_settled(reopen: Reopen) -> None:
    """Else rows that have come since would be left out; and a pause is not a new run's."""
    store = reopen()
    store.write(Checkpoint(None, bound="5", live=[LiveChange("hold", "", "anna", 5.0, "", None)]))

    assert store.reset() is None

    record = reopen().load()

    assert (record.bound, list(record.live)) == (None, [])


def test_the_kinds_of_failure_are_counted(reopen: Reopen) -> None:
    """The most frequent first, each with its first example."""
    store = reopen()
    jobs = [replace(failed(str(n), n), attempts=(TRIED._replace(type="A" if n % 3 else "B"),)) for n in range(10)]
    store.write(Checkpoint("1", failed=jobs))

    assert [(count, job.type, job.key) for count, job in reopen().kinds(5)] == [(6, "A", "1"), (4, "B", "0")]
    assert len(reopen().kinds(1)) == 1


def test_a_key_may_be_missing_and_a_text_may_be_anything(reopen: Reopen) -> None:
    """Lone surrogates and zero bytes included."""
    store = reopen()
    store.write(Checkpoint("1", failed=[failed(None)]))
    (job,) = reopen().failed()

    assert job.key is None
    assert job.message.startswith("bad ")


# -- the file --------------------------------------------------------------------------------------


def test_former_runs_are_history_and_can_be_restored(tmp_path: Path) -> None:
    """By the beginning of their names."""
    store = SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod")
    store.write(Checkpoint("7", settled=3))
    former = store.reset()
    store.close()
    store = SqliteStore.open_existing(tmp_path / "x.tmstate")

    assert former is not None
    assert [(record.id == former.id, record.resumed) for record in store.runs()] == [(False, True), (True, False)]

    restored = store.restore(former.id[:6])
    store.close()

    assert (restored.id, restored.mark) == (former.id, "7")

    store = SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod")

    assert store.load().mark == "7"

    store.close()


def test_the_file_is_its_owners_alone_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    """0600; lock and log are gone when it is closed."""
    store = SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod")
    store.write(Checkpoint("1"))

    assert (tmp_path / "x.tmstate").stat().st_mode & 0o777 == 0o600

    store.close()

    assert [path.name for path in tmp_path.iterdir()] == ["x.tmstate"]


def test_a_full_disk_leaves_the_last_checkpoint_and_is_got_over(tmp_path: Path) -> None:
    """The same store writes again when there is room."""
    store = SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod")
    store.write(Checkpoint("1", settled=1))
    store._connected().execute("PRAGMA max_page_count = 12")
    with pytest.raises(StateUnwritable, match="full"):
        store.write(Checkpoint("2", settled=2, failed=[failed(number=n) for n in range(1, 501)]))

    assert store._connection is None

    store.write(Checkpoint("2", settled=2, failed=[failed(number=n) for n in range(1, 501)]))

    assert (store.load().mark, len(store.failed())) == ("2", 500)

    store.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.write(Checkpoint("2")),
        lambda store: store.drop([1]),
        lambda store: store.reset(),
        lambda store: store.restore(store.load().id),
    ],
    ids=["write", "drop", "reset", "restore"],
)
def test_a_change_that_the_disk_refuses_is_said_and_can_be_made_again(
    tmp_path: Path, change: Callable[[SqliteStore], object]
) -> None:
    """Whatever is to be changed: SQLite's own error reaches nobody, and nothing is half done."""
    store = SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod")
    store.write(Checkpoint("1", settled=1, failures=1, failed=[failed()]))
    before = store.load()
    store._connected().execute("PRAGMA query_only = 1")
    with pytest.raises(StateUnwritable, match="cannot be written"):
        change(store)
    store._open()

    assert (store.load(), store.failed()) == (before, [failed()])

    change(store)
    store.close()


def test_a_state_can_be_looked_at_where_the_disk_is_full(tmp_path: Path) -> None:
    """Not even the lock file can say who holds it; the lock holds all the same."""
    place = tmp_path / "x.tmstate"
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    store.write(Checkpoint("1", settled=1, failures=1, failed=[failed()]))
    store.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        store = SqliteStore.open_existing(place)

        assert len(store.failed()) == 1
        with pytest.raises(StateLocked, match="another master"):
            SqliteStore.open_existing(place)
        with pytest.raises(StateUnwritable, match="cannot be written"):
            store.write(Checkpoint("2", settled=2))

        store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert mark_in(place) == "1"


def test_nobody_has_to_wait_for_a_checkpoint_to_ask_for_failed_jobs(tmp_path: Path) -> None:
    """While one is being written, and after one that could not be: ask again."""
    store = SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod")
    store.write(Checkpoint("1", failed=[failed()]))
    begun, ended = threading.Event(), threading.Event()

    def hang() -> None:
        with store._changing():
            begun.set()
            ended.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    begun.wait()
    try:
        with pytest.raises(StateBusy, match="being written"):
            store.failed(wait=0.01)
    finally:
        ended.set()
        thread.join()

    assert store.failed(wait=0.01) == [failed()]

    store._give_up_transaction()
    with pytest.raises(StateBusy, match="could not be written"):
        store.failed()
    store.write(Checkpoint("2"))

    assert store.failed() == [failed()]

    store.close()


CONTROLLED = TrailRow(2, 5.0, "pause", "ann", "host", "", "tm-ctl", "", "", "")
BEGAN = TrailRow(1, 4.0, "started", "", "", "", "master", "", "", "")


@pytest.mark.parametrize(
    ("written", "stays"),
    [
        (None, False),
        (Checkpoint(None, trail=[BEGAN]), False),
        (Checkpoint(None, trail=[BEGAN, CONTROLLED]), True),
        (Checkpoint(None, live=[LiveChange("held", "yes", "ann", 5.0)]), True),
        (Checkpoint(None, settled=1, failures=1, failed=[failed()]), True),
        (Checkpoint(None, park=[ParkedJob(1, "1", b"payload", prints("a"))]), True),
        (Checkpoint(None, add=[SettledRow(1, 2, prints("b"))]), True),
        (Checkpoint("1", settled=1), True),
        (Checkpoint(None, finished=True), True),
    ],
)
def test_a_state_in_which_nothing_is_can_be_taken_back(
    tmp_path: Path, written: Checkpoint | None, *, stays: bool
) -> None:
    """By the process that made it alone, and whatever a run could go on with stays."""
    place = tmp_path / "x.tmstate"
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    if written is not None:
        store.write(written)
    store.close(keep=False)

    assert [path.name for path in tmp_path.iterdir()] == ["x.tmstate"] * stays

    SqliteStore.open(place, RunIdentity.named("mod"), "mod").close()
    SqliteStore.open(place, RunIdentity.named("mod"), "mod").close(keep=False)

    assert place.exists()


def test_a_log_without_its_file_is_refused(tmp_path: Path) -> None:
    """A new file would swallow it."""
    (tmp_path / "x.tmstate-wal").write_bytes(b"x" * 5000)
    with pytest.raises(StateRefused, match="is gone"):
        SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod")

    assert [path.name for path in tmp_path.iterdir()] == ["x.tmstate-wal"]


@pytest.mark.parametrize("said", ["removed", "replaced"])
def test_a_state_that_is_not_in_its_place_any_more_is_not_written(tmp_path: Path, said: str) -> None:
    """Nor is anything that another master has put there touched, not even at the end."""
    place = tmp_path / "run" / "x.tmstate"
    place.parent.mkdir()
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    store.write(Checkpoint("1", settled=1))
    place.parent.rename(tmp_path / "away")
    place.parent.mkdir()
    second = SqliteStore.open(place, RunIdentity.named("mod"), "mod") if said == "replaced" else None
    if second is not None:
        second.write(Checkpoint("7", settled=7))
    before = {path.name: path.stat().st_ino for path in place.parent.iterdir()}
    for _ in range(2):
        with pytest.raises(StateUnwritable, match=f"was {said}"):
            store.write(Checkpoint("2", settled=2))
    store.close()

    assert {path.name: path.stat().st_ino for path in place.parent.iterdir()} == before

    if second is not None:
        second.write(Checkpoint("8", settled=8))
        second.close()
        store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")

        assert store.load().mark == "8"

        store.close()


def test_a_state_that_was_moved_and_moved_back_is_written_again(tmp_path: Path) -> None:
    """By the same store."""
    place = tmp_path / "run" / "x.tmstate"
    place.parent.mkdir()
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    place.parent.rename(tmp_path / "away")
    with pytest.raises(StateUnwritable, match="was removed"):
        store.write(Checkpoint("2", settled=2))
    (tmp_path / "away").rename(place.parent)
    store.write(Checkpoint("2", settled=2))
    store.close()
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")

    assert store.load().mark == "2"

    store.close()


def test_a_lock_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """With the next checkpoint, and with what it said."""
    place = tmp_path / "x.tmstate"
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    store.tell("127.0.0.1:5050")
    lock = tmp_path / "x.tmstate.lock"
    said = lock.read_text()
    lock.unlink()
    store.write(Checkpoint("1"))

    assert lock.read_text() == said

    with pytest.raises(StateLocked, match="another master"):
        SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    store.close()

    assert [path.name for path in tmp_path.iterdir()] == ["x.tmstate"]


def test_a_state_can_be_made_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on exFAT and some network shares; what appears there meanwhile is not replaced."""
    place = tmp_path / "x.tmstate"

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def overtaken(*_: object) -> None:
        place.write_bytes(b"cake")
        refused()

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(StateRefused, match="File exists"):
        SqliteStore.open(place, RunIdentity.named("mod"), "mod")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.tmstate", b"cake")]

    place.unlink()
    monkeypatch.setattr(os, "link", refused)
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    store.write(Checkpoint("1"))
    store.close()

    assert [path.name for path in tmp_path.iterdir()] == ["x.tmstate"]
    assert place.stat().st_mode & 0o777 == 0o600
    assert mark_in(place) == "1"


# -- what a process leaves that is killed ----------------------------------------------------------


def killed(directory: Path, checkpoints: int = 1) -> Path:
    """A state as ``kill -9`` leaves it, in a directory of its own."""
    store = SqliteStore.open(directory / "x.tmstate", RunIdentity.named("mod"), "mod")
    for number in range(1, checkpoints + 1):
        store.write(Checkpoint(str(number), settled=number))
    return copy_of(directory, directory / "killed", store)


def copy_of(directory: Path, target: Path, store: SqliteStore | None = None) -> Path:
    """A copy of a state and its log; the store that has it is closed after that."""
    target.mkdir()
    for name in ("x.tmstate", "x.tmstate-wal"):
        if (directory / name).exists():
            shutil.copy(directory / name, target / name)
    if store is not None:
        store.close()
    return target / "x.tmstate"


def mark_in(place: Path) -> str | None:
    """The watermark of a state that is opened, and closed again."""
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    try:
        return store.load().mark
    finally:
        store.close()


@pytest.mark.parametrize("checkpoints", [1, 2, 500])
@pytest.mark.parametrize("loss", ["removed", "emptied", "hard link"])
def test_a_state_whose_log_is_lost_is_refused(tmp_path: Path, loss: str, checkpoints: int) -> None:
    """It would begin from zero, or where the log was last brought into the file; and it is left as
    it is.
    """
    place = killed(tmp_path, checkpoints)
    log = place.with_name("x.tmstate-wal")
    if loss == "removed":
        log.unlink()
    elif loss == "emptied":
        log.write_bytes(b"")
    else:
        place.with_name("y.tmstate").hardlink_to(place)
        place = place.with_name("y.tmstate")
    before = place.read_bytes()
    for _ in range(2):
        with pytest.raises(StateRefused, match=f"its log {place.name}-wal.*is not beside it"):
            SqliteStore.open(place, RunIdentity.named("mod"), "mod")

    assert place.read_bytes() == before

    if loss == "hard link":
        assert mark_in(place.with_name("x.tmstate")) == str(checkpoints)


def test_a_state_that_was_killed_needs_no_log_after_it_was_opened_and_closed(tmp_path: Path) -> None:
    """As ``tm-ctl`` does, which only reads; also if it is refused for another reason, and after
    another kill.
    """
    place = killed(tmp_path)
    with pytest.raises(StateRefused, match="belongs to mod"):
        SqliteStore.open(place, RunIdentity.named("other"), "other")
    alone = place.parent / "alone"
    alone.mkdir()
    shutil.copy(place, alone / "x.tmstate")

    assert mark_in(alone / "x.tmstate") == "1"

    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")  # and is killed before its first checkpoint
    copied = copy_of(place.parent, tmp_path / "again", store)

    assert mark_in(copied) == "1"
    assert mark_in(place) == "1"


@pytest.mark.parametrize("reason", ["format1", "without-log"])
def test_a_state_that_cannot_be_resumed_is_put_aside_by_a_reset(
    tmp_path: Path, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when the name for it is taken; nothing of it is lost, and without --reset it is refused
    with that cure.
    """
    place = killed(tmp_path, 3)
    log = place.with_name("x.tmstate-wal")
    if reason == "format1":
        data = bytearray(place.read_bytes())
        data[60:64] = (1).to_bytes(4)
        place.write_bytes(data)
    else:
        log.unlink()
    kept = {
        path.name.replace("x.tmstate", f"x.tmstate.{reason}.2"): path.read_bytes()
        for path in (place, log)
        if path.exists()
    }
    place.with_name(f"x.tmstate.{reason}").write_bytes(b"an earlier one")
    with pytest.raises(StateRefused, match=f"--reset, which keeps this one as x.tmstate.{reason}"):
        SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod", reset=True)

    assert store.reset() is None
    assert store.load().mark is None

    store.close()

    assert f"kept as x.tmstate.{reason}.2" in caplog.text
    kept[f"x.tmstate.{reason}"] = b"an earlier one"
    assert {path.name: path.read_bytes() for path in place.parent.iterdir() if path != place} == kept


def test_a_reset_puts_no_state_aside_that_can_be_resumed(tmp_path: Path) -> None:
    """It has its history; and one that is damaged is not touched."""
    place = killed(tmp_path)
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod", reset=True)

    assert store.load().mark == "1"

    store.close()
    garbled = place.read_bytes()[:5000]
    place.write_bytes(garbled)
    with pytest.raises(StateRefused, match="is damaged"):
        SqliteStore.open(place, RunIdentity.named("mod"), "mod", reset=True)

    assert [(path.name, path.read_bytes()) for path in place.parent.iterdir()] == [("x.tmstate", garbled)]


def test_a_state_that_another_program_has_made_whole_can_be_said_to_be(tmp_path: Path) -> None:
    """With the command of the message."""
    place = killed(tmp_path)
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("SELECT * FROM run").fetchall()
    with pytest.raises(StateRefused, match=r"'PRAGMA user_version = \d+'") as refused:
        mark_in(place)
    with closing(sqlite3.connect(place)) as connection:
        connection.execute(str(refused.value).split("'")[1])

    assert mark_in(place) == "1"


def test_a_state_that_is_only_read_stays_as_it_was(tmp_path: Path) -> None:
    """Byte for byte."""
    place = killed(tmp_path)
    mark_in(place)
    before = place.read_bytes()
    mark_in(place)

    assert place.read_bytes() == before


def test_a_state_that_was_closed_on_a_full_disk_needs_no_log(tmp_path: Path) -> None:
    """SQLite cannot write any more that it is closed, but brings the log into the file and removes
    it all the same.
    """
    place = tmp_path / "x.tmstate"
    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod")
    for number in range(1, 21):
        store.write(Checkpoint(str(number), settled=number))
    full = max(path.stat().st_size for path in (place, place.with_name("x.tmstate-wal")))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, hard))
    try:
        with pytest.raises(StateUnwritable, match="cannot be written"):
            store.write(Checkpoint("21", settled=21, failed=[failed(number=n) for n in range(1, 501)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert mark_in(copy_of(tmp_path, tmp_path / "killed")) == "20"

    store.write(Checkpoint("21", settled=21))
    store.close()

    assert mark_in(place) == "21"


def test_a_damaged_state_that_was_killed_is_refused_for_the_same_reason_again(tmp_path: Path) -> None:
    """And neither file is changed by that, nor is anything left beside them."""
    place = killed(tmp_path, 500)
    data = bytearray(place.read_bytes())
    data[-4096:] = bytes(4096)
    place.write_bytes(data)
    before = contents(place.parent)
    for _ in range(2):
        with pytest.raises(StateRefused, match="is damaged") as refused:
            SqliteStore.open(place, RunIdentity.named("mod"), "mod")

        assert "\n" not in str(refused.value)
        assert contents(place.parent) == before


def contents(directory: Path) -> dict[str, bytes]:
    """What is in the files of a directory, but for what says who has the state."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix != ".lock"}


def test_the_log_of_another_state_is_not_brought_into_this_one(tmp_path: Path) -> None:
    """The state is refused as often as it is tried, and goes on when its own log is put back."""
    places = []
    for name, number in (("one", 3), ("other", 2)):
        (tmp_path / name).mkdir()
        places.append(killed(tmp_path / name, number))
    place, other = places
    log, foreign = (path.with_name("x.tmstate-wal") for path in places)
    own = log.read_bytes()
    log.write_bytes(foreign.read_bytes())
    before = contents(place.parent)
    for _ in range(2):
        with pytest.raises(StateRefused, match="is damaged"):
            SqliteStore.open(place, RunIdentity.named("mod"), "mod")
        with pytest.raises(StateRefused, match="is damaged"):
            SqliteStore.open_existing(place)

        assert contents(place.parent) == before

    log.write_bytes(own)

    assert mark_in(place) == "3"
    assert mark_in(other) == "2"


@pytest.mark.parametrize("at", [0, 9, 17, 30, None])
def test_a_log_whose_beginning_is_damaged_is_refused(tmp_path: Path, at: int | None) -> None:
    """To SQLite it is an empty one: a run would begin from zero, as if nothing had been done.
    --reset keeps it.
    """
    place = killed(tmp_path, 3)
    log = place.with_name("x.tmstate-wal")
    data = bytearray(log.read_bytes())
    if at is None:
        data[:] = bytes(len(data))
    else:
        data[at] ^= 1
    log.write_bytes(data)
    before = contents(place.parent)
    with pytest.raises(StateRefused, match=r"damaged at its beginning.*--reset, which keeps this one"):
        SqliteStore.open(place, RunIdentity.named("mod"), "mod")

    assert contents(place.parent) == before

    store = SqliteStore.open(place, RunIdentity.named("mod"), "mod", reset=True)

    assert store.load().mark is None

    store.close()

    assert place.with_name("x.tmstate.damaged-log-wal").read_bytes() == bytes(data)


FRAME = 24 + 4096  # bytes of a frame of the log, behind the 32 of its header


@pytest.mark.parametrize("way", ["one bit", "reversed"])
def test_a_log_whose_first_transaction_is_damaged_is_refused(tmp_path: Path, way: str) -> None:
    """SQLite would read nothing of it, whatever comes after: a run would begin from zero."""
    place = killed(tmp_path, 3)
    log = place.with_name("x.tmstate-wal")
    data = bytearray(log.read_bytes())
    if way == "one bit":
        data[32 + 24 + 100] ^= 1
    else:
        frames = [data[at : at + FRAME] for at in range(32, len(data), FRAME)]
        data[32:] = b"".join(reversed(frames))
    log.write_bytes(data)
    before = contents(place.parent)
    with pytest.raises(StateRefused, match=r"damaged at its beginning.*--reset, which keeps this one"):
        SqliteStore.open(place, RunIdentity.named("mod"), "mod")

    assert contents(place.parent) == before


def test_a_log_whose_first_transaction_was_never_finished_is_an_empty_one(tmp_path: Path) -> None:
    """What the process was writing when it died; all before that is in the file itself."""
    place = killed(tmp_path, 3)
    log = place.with_name("x.tmstate-wal")
    data = log.read_bytes()
    commits = [at for at in range(32, len(data), FRAME) if any(data[at + 4 : at + 8])]
    torn = bytearray(data[: commits[0] + FRAME])
    torn[-1] ^= 1
    log.write_bytes(torn)
    with closing(SqliteStore.open(place, RunIdentity.named("mod"), "mod")) as store:
        assert store.load().mark is None


def test_a_state_that_sqlite_would_only_read_is_refused(tmp_path: Path) -> None:
    """One bit of the header says so; the run would wait for a disk on which nothing is wrong."""
    place = tmp_path / "x.tmstate"
    SqliteStore.open(place, RunIdentity.named("mod"), "mod").close()
    data = bytearray(place.read_bytes())
    data[18] ^= 1 << 4
    place.write_bytes(data)

    with pytest.raises(StateRefused, match="is damaged: byte 18 of its header is 18"):
        SqliteStore.open(place, RunIdentity.named("mod"), "mod")

    assert place.read_bytes() == bytes(data)


def test_a_state_that_was_killed_goes_on_where_memory_cannot_be_shared(tmp_path: Path) -> None:
    """As on some network shares: it is looked through by the connection that writes."""
    place = killed(tmp_path, 3)
    index = place.with_name("x.tmstate-shm")
    index.symlink_to("no/such/place")  # SQLite follows no link, and cannot make the file
    with pytest.raises(StateRefused, match="cannot be opened"), looking(place):
        pass

    assert mark_in(place) == "3"
    assert index.is_symlink()


@pytest.mark.parametrize("what", ["directory", "dangling link"])
def test_what_is_no_log_in_the_place_of_the_log_is_refused(tmp_path: Path, what: str) -> None:
    """With a sentence, and the state is left alone."""
    place = killed(tmp_path, 3)
    log = place.with_name("x.tmstate-wal")
    log.unlink()
    if what == "directory":
        log.mkdir()
    else:
        log.symlink_to("nowhere")
    before = place.read_bytes()
    with pytest.raises(StateRefused, match="it is not used"):
        SqliteStore.open(place, RunIdentity.named("mod"), "mod")

    assert place.read_bytes() == before


@pytest.mark.parametrize("cut", [0, 1, 32, 33, 5000, 20_000])
def test_a_log_that_was_cut_gives_an_older_state(tmp_path: Path, cut: int) -> None:
    """A committed one, whatever is missing."""
    store = SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod")
    for number in range(20):
        store.write(Checkpoint(str(number), settled=number, failed=[failed(number=number + 1)]))
    copied = tmp_path / "copy"
    copied.mkdir()
    for name in ("x.tmstate", "x.tmstate-wal"):
        shutil.copy(tmp_path / name, copied / name)
    store.close()
    wal = copied / "x.tmstate-wal"
    os.truncate(wal, max(0, wal.stat().st_size - cut))
    store = SqliteStore.open(copied / "x.tmstate", RunIdentity.named("mod"), "mod")
    record = store.load()

    assert record.mark in [None, *map(str, range(20))]
    assert record.settled == len(store.failed()) - 1 or record.settled == 0

    store.close()


def format_4(place: Path) -> None:
    """Make a closed state what a master of format 4 has left: without the table of the history."""
    with closing(sqlite3.connect(place, isolation_level=None)) as connection:
        for (run,) in connection.execute("SELECT id FROM run").fetchall():
            connection.execute("UPDATE run SET tally = json_remove(tally, '$.history') WHERE id = ?", (run,))
            rows.seal_run(connection, run)
        connection.execute("DROP TABLE IF EXISTS history")
        connection.execute("PRAGMA user_version = 4")


def format_3(place: Path) -> None:
    """Make a closed state what a master of format 3 has left: without the tables of steering and
    of the history.
    """
    format_4(place)
    with closing(sqlite3.connect(place, isolation_level=None)) as connection:
        for (run,) in connection.execute("SELECT id FROM run").fetchall():
            connection.execute("UPDATE run SET tally = json_remove(tally, '$.live', '$.trail') WHERE id = ?", (run,))
            rows.seal_run(connection, run)
        connection.execute("DROP TABLE IF EXISTS live")
        connection.execute("DROP TABLE IF EXISTS trail")
        connection.execute("PRAGMA user_version = 3")


@pytest.mark.parametrize("older", [format_3, format_4])
def test_a_state_of_an_older_format_opens_and_goes_on(tmp_path: Path, older: Callable[[Path], None]) -> None:
    """Looked at, it stays what it is; with its first checkpoint it is of format 5, which an older
    release refuses.
    """
    place = tmp_path / "x.tmstate"
    with closing(SqliteStore.open(place, RunIdentity.named("mod"), "mod")) as store:
        store.write(Checkpoint("7", settled=8, failed=[failed()]))
    older(place)
    before = place.read_bytes()
    with closing(SqliteStore.open_existing(place)) as store:
        assert (store.load().mark, store.load().settled, list(store.load().trail)) == ("7", 8, [])
    assert place.read_bytes() == before

    with closing(SqliteStore.open(place, RunIdentity.named("mod"), "mod")) as store:
        assert list(store.load().live) == []
        store.write(Checkpoint("9", settled=10, trail=[ROW], live=[HELD], history=[MINUTE]))
    with closing(SqliteStore.open(place, RunIdentity.named("mod"), "mod")) as store:
        record = store.load()
        assert (record.mark, record.settled, list(record.live), list(record.trail)) == ("9", 10, [HELD], [ROW])
        assert list(record.history) == [MINUTE]
        assert list(store.failed()) == [failed()]
    assert int.from_bytes(place.read_bytes()[60:64]) == 5


def test_the_history_is_there_after_a_restart_and_thinned_out(reopen: Reopen) -> None:
    """A row a minute of the last day; in a file, one in five minutes before, and none of the month
    before the last.
    """
    store = reopen()
    store.load()
    day = 86_400
    for minutes in (range(10), range(1000, 1010), range(43_000, 44_500)):
        store.write(Checkpoint("1", history=[MINUTE._replace(at=60 * minute) for minute in minutes]))
    rows = [row.at for row in reopen().load().history]

    last = 60 * 44_499
    assert rows[-1] == last
    assert rows == sorted(rows)
    if isinstance(store, SqliteStore):
        assert [at for at in rows if at < last - 30 * day] == []
        assert {at // 60 % 5 for at in rows if at < last - day} == {0}
        assert len([at for at in rows if at >= last - day]) == 1441


def test_a_row_of_the_history_gives_way_to_a_later_one(reopen: Reopen) -> None:
    """Also to one of the same second; one that is not there is nothing."""
    store = reopen()
    store.load()
    first, second = MINUTE._replace(at=600), MINUTE._replace(at=605)
    store.write(Checkpoint("1", history=[first]))
    store.write(Checkpoint("2", history=[second], history_over=[600, 599]))
    assert list(reopen().load().history) == [second]
    store = reopen()
    store.load()
    store.write(Checkpoint("3", history=[second], history_over=[605]))
    assert list(reopen().load().history) == [second]


def test_a_history_that_is_no_history_is_damage(tmp_path: Path) -> None:
    """A number that there is not, with a right checksum."""
    place = tmp_path / "x.tmstate"
    with closing(SqliteStore.open(place, RunIdentity.named("mod"), "mod")) as store:
        for numbers in (bytes(MINUTE_BYTES), b"\xff" * MINUTE_BYTES):
            store.write(Checkpoint("7", history=[MinuteRow(600, numbers)]))
        with pytest.raises(StateRefused, match="history"):
            store.load()


def test_a_row_of_the_trail_that_was_changed_is_damage(tmp_path: Path) -> None:
    """As any other row; and one that is gone is missed."""
    for number, statement in enumerate(["UPDATE trail SET user = 'bo'", "DELETE FROM live"]):
        place = tmp_path / f"x{number}.tmstate"
        with closing(SqliteStore.open(place, RunIdentity.named("mod"), "mod")) as store:
            store.write(Checkpoint("7", trail=[ROW], live=[HELD]))
        with closing(sqlite3.connect(place, isolation_level=None)) as connection:
            connection.execute(statement)
        with pytest.raises(StateRefused, match="damaged"), closing(SqliteStore.open_existing(place)) as store:
            store.load()
