"""The files that are open for writing, found and closed from the outermost."""

# ruff: noqa: SIM115  # they are left open

from __future__ import annotations

import bz2
import csv
import gc
import gzip
import io
import lzma
import os
import shelve
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskmaster.slave.worker import open_files
from taskmaster.slave.worker.open_files import Inherited, close_all, flush_all, shared_descriptors


@pytest.fixture(autouse=True)
def only_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the files alone that the test's own process has open."""
    gc.unfreeze()  # as close_all does: it would find, and close, what was frozen by an earlier test
    theirs = {id(file): file for file in open_files._writers()}
    found = open_files._writers
    monkeypatch.setattr(open_files, "_writers", lambda: [file for file in found() if id(file) not in theirs])
    monkeypatch.chdir(tmp_path)


def text(way: Path) -> Any:
    file = way.open("w")
    csv.writer(file).writerow(["some", "text"])
    return file


def zipped(way: Path) -> Any:
    file = zipfile.ZipFile(way, "w")
    file.writestr("a.txt", "some,text\r\n")
    return file


def tarred(way: Path) -> Any:
    file = tarfile.open(way, "w:gz")
    info = tarfile.TarInfo("a.txt")
    info.size = 11
    file.addfile(info, io.BytesIO(b"some,text\r\n"))
    return file


def compressed(way: Path, module: Any) -> Any:
    file = module.open(way, "wt", newline="")
    file.write("some,text\r\n")
    return file


def read_tar(way: Path) -> str:
    with tarfile.open(way) as file:
        member = file.extractfile("a.txt")
        return member.read().decode() if member else ""


KINDS: dict[str, tuple[Any, Any]] = {
    "text": (text, lambda way: way.read_bytes().decode()),
    "gzip": (lambda way: compressed(way, gzip), lambda way: gzip.decompress(way.read_bytes()).decode()),
    "bz2": (lambda way: compressed(way, bz2), lambda way: bz2.decompress(way.read_bytes()).decode()),
    "lzma": (lambda way: compressed(way, lzma), lambda way: lzma.decompress(way.read_bytes()).decode()),
    "zip": (zipped, lambda way: zipfile.ZipFile(way).read("a.txt").decode()),
    "tar in gzip": (tarred, read_tar),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_a_buffer_is_written(kind: str, tmp_path: Path) -> None:
    """A compressed file and an archive are whole, for their inner files are closed after them."""
    write, read = KINDS[kind]
    way = tmp_path / "file"
    kept = write(way)

    assert close_all() == []
    assert read(way) == "some,text\r\n"

    kept.close()


def test_a_shelf_is_written(tmp_path: Path) -> None:
    """With what its cache holds."""
    shelf = shelve.open(str(tmp_path / "shelf"), writeback=True)
    shelf["a"] = [1]
    shelf["a"].append(2)

    assert close_all() == []
    with shelve.open(str(tmp_path / "shelf")) as again:
        assert again["a"] == [1, 2]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """Once, by its name, and the other files are written."""
    full = Path("/dev/full").open("w")
    full.write("x")
    good = (tmp_path / "good").open("w")
    good.write("y")

    (problem,) = close_all()

    assert "/dev/full" in problem
    assert "No space left" in problem
    assert (tmp_path / "good").read_text() == "y"


def test_files_of_before_are_left_alone_unless_they_were_written_to(tmp_path: Path) -> None:
    """A compressed file of the script would get a second end."""
    files = [gzip.open(tmp_path / name, "wt") for name in ("one", "two")]
    inherited = Inherited()
    files[1].write("more")
    close_all(inherited)

    assert [file.closed for file in files] == [False, True]

    files[0].buffer.fileobj = None  # the plain file below it is closed: nothing may be written at its collection


def test_plain_files_that_are_only_written_to_can_be_shared(tmp_path: Path) -> None:
    """Not those that are read, too, nor compressed ones, nor pipes."""
    log = (tmp_path / "log").open("a")
    binary = (tmp_path / "binary").open("wb")
    others = [
        gzip.open(tmp_path / "gz", "wb"),
        gzip.open(tmp_path / "text", "wt"),
        (tmp_path / "update").open("w+"),
        (tmp_path / "log").open(),
    ]
    read, write = os.pipe()
    others.append(os.fdopen(write, "w"))

    assert shared_descriptors() == {log.fileno(), binary.fileno()}

    log.write("a whole line\n")

    assert (tmp_path / "log").read_text() == "a whole line\n"

    for file in [log, binary, *others]:
        file.close()
    os.close(read)


def test_what_is_buffered_before_a_fork_is_written_out(tmp_path: Path) -> None:
    """The child would write it once more."""
    file = (tmp_path / "log").open("w")
    file.write("a")
    flush_all()

    assert (tmp_path / "log").read_text() == "a"

    file.close()


def test_frozen_files_are_left_to_those_who_ask_for_them(tmp_path: Path) -> None:
    """A file that gc.freeze() has set aside is closed unless what is frozen is known to be none."""
    with (tmp_path / "a").open("w") as file:
        file.write("x")
        gc.freeze()

        close_all(frozen=False)
        assert not file.closed

        close_all()
        assert file.closed
    assert (tmp_path / "a").read_text() == "x"


class Hdf5:
    """What is looked at of h5py, which need not be installed."""

    OBJ_FILE, OBJ_GROUP, OBJ_DATASET, OBJ_ATTR = 1, 2, 4, 8

    def __init__(self, *numbers: int) -> None:
        self.h5f = self.h5i = self
        self.opened = [SimpleNamespace(id=number, valid=True) for number in numbers]
        self.closed: list[int] = []

    def get_obj_ids(self, *, types: int) -> list[Any]:
        assert types == 15
        return self.opened

    def get_file_id(self, one: Any) -> Any:
        return one

    def File(self, one: Any) -> Any:  # noqa: N802  # its name there
        def close() -> None:
            self.closed.append(one.id)
            one.valid = False
            if one.id == 3:
                raise OSError("no space")

        return SimpleNamespace(filename=f"{one.id}.h5", close=close)


def test_hdf5_files_are_closed_but_for_those_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """h5py writes most of a file when it is closed, and a worker has no end at which it would."""
    library = Hdf5(1)
    monkeypatch.setitem(sys.modules, "h5py", library)  # type: ignore[arg-type]
    inherited = Inherited()
    library.opened += [SimpleNamespace(id=number, valid=True) for number in (2, 3)]

    assert close_all(inherited) == ["'3.h5' could not be written: OSError: no space"]
    assert library.closed == [2, 3]


def test_a_library_that_is_half_imported_has_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or is another one of that name."""
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace())  # type: ignore[arg-type]

    assert close_all() == []
