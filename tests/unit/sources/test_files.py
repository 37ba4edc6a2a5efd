"""Files as sources: what is read, where it goes on, and what is refused."""

from __future__ import annotations

import bz2
import csv
import errno
import gzip
import io
import json
import lzma
import os
import re
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from taskmaster import keys, sources
from taskmaster.errors import SourceError, StateRefused, UsageError
from taskmaster.model import Job
from taskmaster.sources import FileSource, csv_rows, jsonl, lines, resumable_file
from taskmaster.sources.file_format import FEWEST_CRS

try:
    from compression import zstd
except ImportError:
    from backports import zstd

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}
BOM = b"\xef\xbb\xbf"

TEXT = st.text(st.sampled_from('ab"\r\n,; \u00e9\u4e2d\U0001f600'), max_size=40)
FIELD = st.text(st.sampled_from('ab"\r\n,; \u00e9\u4e2d'), max_size=6)
BLOCKS = st.sampled_from([3, 4, 7, resumable_file.BLOCK])  # no block is smaller than a byte order mark


@contextmanager
def file_of(content: bytes, name: str = "rows.txt") -> Iterator[Path]:
    """A file of its own for each of Hypothesis' examples."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes(PACKERS.get(path.suffix, bytes)(content))
        yield path


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Small blocks, so that lines cross their borders."""
    before, resumable_file.BLOCK = resumable_file.BLOCK, size
    try:
        yield
    finally:
        resumable_file.BLOCK = before


def read(source: FileSource, last: Any = None) -> list[Job]:
    """All jobs of a source, behind a key."""
    return list(source.iterate(last))


def payloads(source: FileSource, last: Any = None) -> list[Any]:
    """What the callback gets."""
    return [job.payload for job in source.iterate(last)]


def check_every_resume(source: FileSource, jobs: list[Job]) -> None:
    """From each key, exactly the rest comes, with the same keys; and the keys differ and can be
    stored.
    """
    assert len({job.key for job in jobs}) == len(jobs)
    for number, job in enumerate(jobs, 1):
        assert read(source, keys.decode(keys.encode(job.key))) == jobs[number:]


def lines_of(content: bytes) -> list[str]:
    """What should be the lines, by splitting it all at once."""
    whole = content.removeprefix(BOM).split(b"\n")
    return [line.removesuffix(b"\r").decode() for line in whole[:-1]] + ([whole[-1].decode()] if whole[-1] else [])


@given(TEXT, BLOCKS, st.sampled_from(list(PACKERS)), st.booleans())
def test_lines_are_those_of_the_file_and_every_one_can_be_the_last(
    text: str, block: int, suffix: str, mark: bool
) -> None:
    """Whatever ends its lines, wherever a block ends, compressed or not, with a byte order mark or
    without.
    """
    assume("\n" in text or text.count("\r") < FEWEST_CRS)  # else it is taken for an old Mac's
    content = BOM * mark + text.encode()
    with file_of(content, f"rows.txt{suffix}") as path, blocks_of(block):
        jobs = read(lines(path))

        assert [job.payload for job in jobs] == lines_of(content)
        check_every_resume(lines(path), jobs)


@given(
    st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=5),
    BLOCKS,
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@example([("", "\r", "\r\r")], 4096, "\n", False, False, False)  # no LF at all, and no old Mac's text
def test_csv_rows_are_those_of_the_csv_module_and_every_one_can_be_the_last(
    rows: list[tuple[str, ...]], block: int, end: str, header: bool, complete: bool, mark: bool
) -> None:
    """Quotes, line ends inside of fields, any alphabet, with a header or without, with a last line
    end or without.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator=end, quoting=csv.QUOTE_ALL)
    names = ("id", "na\nme", "\u00e9")
    writer.writerows([names, *rows] if header else rows)
    text = buffer.getvalue() if complete else buffer.getvalue().removesuffix(end)
    with file_of(BOM * mark + text.encode(), "rows.csv") as path, blocks_of(block):
        source = csv_rows(path, header=header)
        jobs = read(source)

        expected: list[Any] = [dict(zip(names, row, strict=True)) for row in rows] if header else rows
        assert [job.payload for job in jobs] == expected
        check_every_resume(source, jobs)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@example([[], [None, None]], 4, "\n", True)  # a first line as short as a byte order mark
@given(st.lists(VALUES, max_size=6), BLOCKS, st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\n"]), st.booleans())
def test_json_lines_are_read_and_every_one_can_be_the_last(
    values: list[Any], block: int, end: str, complete: bool
) -> None:
    """Blank lines are left out. A single array would be taken for a document."""
    assume(len(values) != 1 or not isinstance(values[0], list) or len(values[0]) < 2)
    text = end.join(json.dumps(value, ensure_ascii=False) for value in values) + end * complete
    with file_of(text.encode("utf-8", "surrogatepass"), "rows.jsonl") as path, blocks_of(block):
        jobs = read(jsonl(path))

        assert [job.payload for job in jobs] == values
        check_every_resume(jsonl(path), jobs)


def test_nothing_is_opened_before_it_is_read(tmp_path: Path) -> None:
    """A slave imports the module too, and has no file; the master says which one is missing, in
    full.
    """
    for source in (lines("no.txt"), csv_rows(tmp_path / "no.csv"), jsonl("no.jsonl")):
        jobs = source.iterate(None)
        with pytest.raises(UsageError, match=rf"{os.sep}.*no\.\w+ cannot be read: No such file"):
            next(jobs)
    with pytest.raises(UsageError, match="not a regular file"):
        read(lines(tmp_path))


def test_what_is_no_path_is_refused_where_it_was_written(tmp_path: Path) -> None:
    """An open file cannot be gone on with in another process; bytes are a path, too."""
    (tmp_path / "x").write_bytes(b"one\n")
    for wrong in (None, 5, io.StringIO("one"), "", b"", "a\0b", ["x"]):
        with pytest.raises(UsageError, match=r"is no path of a file: give a str"):
            lines(wrong)  # type: ignore[arg-type]  # a user's slip

    assert payloads(lines(os.fsencode(tmp_path / "x"))) == ["one"]  # type: ignore[arg-type]  # served, not promised


def test_empty_files_have_no_jobs(tmp_path: Path) -> None:
    """Nor has one with a header alone, or with a mark alone."""
    for content, sources_of in (
        (b"", (lines, csv_rows, jsonl)),
        (BOM, (lines, csv_rows, jsonl)),
        (b"a,b\n", (csv_rows,)),
        (b"a,b", (csv_rows,)),
    ):
        (tmp_path / "x").write_bytes(content)
        for make in sources_of:
            assert read(make(tmp_path / "x")) == []


def test_the_position_is_the_share_of_the_file(tmp_path: Path) -> None:
    """None while reading has not begun, when the size is not known; a total is never known."""
    path = tmp_path / "rows.txt"
    path.write_bytes(b"123456789\n" * 10)
    source = lines(path)

    assert source.position((10, 0, 0)) is None
    assert source.total() is None
    assert read(source)
    assert source.position(5) is None
    assert source.position(None) is None

    shares = [source.position(job.key) for job in source.iterate(None)]

    assert shares == pytest.approx([n / 10 for n in range(1, 11)])
    path.write_bytes(b"")
    assert read(source) == []
    assert source.position((0, 0, 0)) is None


def test_the_position_in_a_compressed_file_is_estimated(tmp_path: Path) -> None:
    """By how much of it was decompressed: it never goes beyond 1, and gets there."""
    path = tmp_path / "rows.gz"
    path.write_bytes(gzip.compress("".join(f"{n}\n" for n in range(200_000)).encode()))
    source = lines(path)
    shares = [source.position(job.key) for job in source.iterate(None)]

    assert all(share is not None and 0 < share <= 1 for share in shares)
    assert shares[-1] == pytest.approx(1.0, abs=0.01)


# -- a file that is not what it was ----------------------------------------------------------------

MAKERS = {
    "lines": (lines, b"one\ntwo\nthree\nfour\n"),
    "csv": (csv_rows, b"n\none\ntwo\nthree\nfour\n"),
    "jsonl": (jsonl, b'"one"\n"two"\n"three"\n"four"\n'),
}
CHANGES = {
    "edited to the same length": lambda old: old.replace(b"one", b"ONE"),
    "lines moved": lambda old: old.replace(b"one", b"tmp").replace(b"two", b"one").replace(b"tmp", b"two"),
    "edited to another length": lambda old: old.replace(b"one", b"once"),
    "truncated": lambda old: old[:9],
    "empty": lambda old: b"",
    "replaced by a longer one": lambda old: b"something else\n" * 10,
}


def change(path: Path, content: bytes) -> None:
    """Write a file anew, later than it was written before, however coarse the clock of the file
    system is.
    """
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("how", CHANGES)
def test_a_file_that_was_changed_before_the_key_is_refused(tmp_path: Path, kind: str, how: str, suffix: str) -> None:
    """Whatever has changed, with the file's name, the byte, and the cure."""
    make, content = MAKERS[kind]
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(PACKERS[suffix](content))
    third = read(make(path))[2]
    change(path, PACKERS[suffix](CHANGES[how](content)))

    with pytest.raises(StateRefused, match=rf"{path}.*come to byte {third.key[0]}.*--reset"):
        read(make(path), third.key)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_that_was_changed_behind_the_key_is_read_on(tmp_path: Path, kind: str, suffix: str) -> None:
    """Copied, appended to, or with another end: what was read is what it was. The keys stay those
    of this run.
    """
    make, content = MAKERS[kind]
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(PACKERS[suffix](content))
    before = read(make(path))
    more = b'"five"\n' if kind == "jsonl" else b"five\n"
    change(path, PACKERS[suffix](content + more))
    after = read(make(path), before[1].key)

    assert after[:2] == before[2:]
    assert payloads(make(path), before[3].key) == ["five"] if kind != "csv" else [{"n": "five"}]


def test_a_file_that_has_become_shorter_is_told_so(tmp_path: Path) -> None:
    """With its size, and at once, if it is not compressed."""
    for suffix, how in (("", "it has only 4 now"), (".gz", "it ends after 4 now")):
        path = tmp_path / f"rows{suffix}"
        path.write_bytes(PACKERS[suffix](b"one\ntwo\n"))
        last = read(lines(path))[-1]
        change(path, PACKERS[suffix](b"one\n"))
        with pytest.raises(StateRefused, match=how):
            read(lines(path), last.key)


def test_a_compressed_file_is_compared_whatever_its_size_and_time_are(tmp_path: Path) -> None:
    """It has to be read again anyway."""
    path = tmp_path / "rows.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\n", 0, mtime=0))
    first = read(lines(path))[0]
    about = path.stat()
    path.write_bytes(gzip.compress(b"ONE\ntwo\n", 0, mtime=0))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))

    assert path.stat().st_size == about.st_size
    with pytest.raises(StateRefused, match="something before that has changed"):
        read(lines(path), first.key)


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run resumes at once."""
    path = tmp_path / "rows.txt"
    path.write_bytes(b"one\ntwo\nthree\n")
    first = read(lines(path))[0]
    monkeypatch.setattr(resumable_file, "_checksum", lambda *_: pytest.fail("it was read again"))

    assert payloads(lines(path), first.key) == ["two", "three"]


def write_as_if_never(path: Path, content: bytes) -> None:
    """Write a file anew, and set its time of change back, as ``cp -p`` and ``rsync -t`` do."""
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # however coarse the clock of the file system is
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("how", ["in place", "another file"])
def test_a_change_that_size_and_time_do_not_show_is_noticed(tmp_path: Path, how: str) -> None:
    """The system's own time of change cannot be set back; what lies behind the place may change."""
    path = tmp_path / "rows.txt"
    path.write_bytes(b"one\ntwo\nthree\n")
    first = read(lines(path))[0]
    write_as_if_never(path, b"one\nTWO\nthree\n")
    assert payloads(lines(path), first.key) == ["TWO", "three"]

    if how == "another file":
        copy = tmp_path / "copy"
        copy.write_bytes(b"ONE\ntwo\nthree\n")
        os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        copy.replace(path)
    else:
        write_as_if_never(path, b"ONE\ntwo\nthree\n")
    with pytest.raises(StateRefused, match="something before that has changed"):
        read(lines(path), first.key)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_last_line_without_an_end_may_be_ended_but_not_continued(tmp_path: Path, suffix: str) -> None:
    """The job was the line as it was; a line that has become longer was never run."""
    path = tmp_path / f"rows{suffix}"

    def write(content: bytes) -> None:
        path.write_bytes(PACKERS[suffix](content))

    write(b"one\ntwo")
    last = read(lines(path))[-1]

    assert payloads(lines(path), last.key) == []
    for end in (b"\n", b"\r\n"):
        write(b"one\ntwo" + end + b"three\nfour\n")
        rest = read(lines(path), last.key)

        assert [job.payload for job in rest] == ["three", "four"]
        assert payloads(lines(path), rest[0].key) == ["four"]
    for more in (b"fold\n", b"\r", b"\rfold\n"):
        write(b"one\ntwo" + more)
        with pytest.raises(StateRefused, match="goes on now"):
            read(lines(path), last.key)


def test_a_key_of_another_source_is_refused(tmp_path: Path) -> None:
    """A run that was begun with something else cannot go on here."""
    path = tmp_path / "rows.txt"
    path.write_bytes(b"one\n")
    for key in (5, "one", (4, 0), (4, 0, "x"), (-1, 0, 0), (True, 0, 0)):
        with pytest.raises(StateRefused, match=r"not a position in a file.*rows\.txt"):
            read(lines(path), key)


# -- a file that changes while it is read ----------------------------------------------------------


def begun(path: Path) -> Iterator[Job]:
    """A source of which the first line was read."""
    jobs = lines(path).iterate(None)
    assert next(jobs).payload == "line 0"
    return jobs


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of ten lines, of which hardly more than one is read at once."""
    monkeypatch.setattr(resumable_file, "BLOCK", 8)
    path = tmp_path / "rows.txt"
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(10)))
    os.utime(path, ns=(10**18, 10**18))
    return path


def test_a_file_that_grows_is_read_up_to_the_size_that_it_had(path: Path) -> None:
    """What is appended is for the next session."""
    jobs = begun(path)
    with path.open("ab") as file:
        file.write(b"more\n")
    rest = list(jobs)

    assert [job.payload for job in rest] == [f"line {n}" for n in range(1, 10)]
    assert payloads(lines(path), rest[-1].key) == ["more"]


def test_a_file_that_has_become_shorter_behind_the_place_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut off by a full disk, or an older copy: the rest is not there, and the run would be done
    without a word. A longer one is what is remembered from then on.
    """
    path = tmp_path / "rows.txt"
    path.write_bytes(b"one\ntwo\nthree\n")
    source = lines(path)
    whole = source.bounds(None)
    first = read(source)[0]
    assert source.bounds(whole) == whole == 14
    path.write_bytes(b"one\ntwo\nthree\nfour\n")
    longer = source.bounds(whole)
    assert (longer, source.remarks(), caplog.messages) == (19, [], [])

    path.write_bytes(b"one\ntwo\n")
    assert source.bounds(longer) == longer
    assert payloads(source, first.key) == ["two"]
    (remark,) = source.remarks()
    assert "11 bytes less" in remark
    assert caplog.messages == [remark]
    path.unlink()
    assert source.bounds(longer) is None


def test_a_last_line_that_is_ended_while_the_file_is_opened_is_read_on_later(path: Path) -> None:
    """Its end lies beyond the size that the file had: nothing behind that is read in this
    session.
    """
    path.write_bytes(b"one\ntwo")
    last = read(lines(path))[-1]
    with resumable_file.ResumableFile(str(path), 100) as file:
        with path.open("ab") as more:
            more.write(b"\nthree\n")
        file.resume_at(last.key)

        assert list(file.pieces()) == []

        here = file.at

    assert payloads(lines(path), here) == ["three"]


def test_half_a_line_of_a_growing_file_is_left_for_later(path: Path) -> None:
    """Its writer had not come to its end when the reading began."""
    with path.open("ab") as file:
        file.write(b"hal")
    jobs = begun(path)
    with path.open("ab") as file:
        file.write(b"f\n")
    rest = list(jobs)

    assert rest[-1].payload == "line 9"
    assert payloads(lines(path), rest[-1].key) == ["half"]


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (b"line 0\nline 1\n", "become shorter"),
        (b"LINE 0\n" + b"line n\n" * 9, "not in it any more"),
        (b"LINE 0\n" + b"line n\n" * 20, "not in it any more"),
    ],
)
def test_a_file_that_is_written_over_while_it_is_read_ends_the_reading(path: Path, content: bytes, how: str) -> None:
    """Shorter, of the same size, or longer."""
    jobs = begun(path)
    path.write_bytes(content)

    with pytest.raises(SourceError, match=rf"rows\.txt was changed while it was read.*{how}"):
        list(jobs)


def test_a_file_that_is_touched_while_it_is_read_is_looked_at_and_read_on(path: Path) -> None:
    """It holds what it held."""
    jobs = begun(path)
    os.utime(path)

    assert len(list(jobs)) == 9


def test_a_file_that_is_replaced_or_removed_while_it_is_read_ends_the_reading(path: Path) -> None:
    """The open file would still be read to its end, but nobody would find it again."""
    jobs = begun(path)
    path.rename(path.with_name("old"))
    with pytest.raises(SourceError, match="cannot be found any more"):
        list(jobs)
    path.with_name("old").rename(path)
    jobs = begun(path)
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").rename(path)
    with pytest.raises(SourceError, match="another file under its name"):
        list(jobs)


def test_a_file_that_is_written_over_as_if_it_were_not_ends_the_reading(path: Path) -> None:
    """Its size is what it was, and its time of change was set back."""
    jobs = begun(path)
    write_as_if_never(path, path.read_bytes().replace(b"line 0", b"LINE 0"))

    with pytest.raises(SourceError, match="not in it any more"):
        list(jobs)


def test_a_compressed_file_may_get_another_mode_while_it_is_read(tmp_path: Path) -> None:
    """That is no change of its content."""
    path = tmp_path / "rows.gz"
    path.write_bytes(gzip.compress(b"line 0\nline 1\n"))
    jobs = begun(path)
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.chmod(0o640)

    assert [job.payload for job in jobs] == ["line 1"]


def test_a_compressed_file_must_not_be_written_to_while_it_is_read(path: Path) -> None:
    """Not even to its end."""
    path = path.with_suffix(".gz")
    path.write_bytes(gzip.compress(b"line 0\nline 1\nline 2\n"))
    jobs = begun(path)
    with path.open("ab") as file:
        file.write(gzip.compress(b"more\n"))

    with pytest.raises(SourceError, match="written to"):
        list(jobs)


# -- what is no line, no row, no JSON --------------------------------------------------------------


def failing(source: FileSource, match: str) -> list[Any]:
    """What a source yields before it raises."""
    found = []
    with pytest.raises(SourceError, match=match):
        for job in source.iterate(None):
            found.append(job.payload)  # noqa: PERF401  # what came before the error is looked at
    return found


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    """With the file and the byte; what lies before that line is done."""
    path = tmp_path / "rows.txt"
    path.write_bytes(b"one\ncaf\xc3\xa9\ncaf\xe9\nfour\n")

    assert failing(lines(path), r"rows\.txt.*begins at byte 10: byte 13 \(0xe9\) is no utf-8.*encoding=") == [
        "one",
        "caf\u00e9",
    ]
    assert payloads(lines(path, encoding="latin-1"))[2] == "caf\u00e9"
    assert len(failing(csv_rows(path), "begins at byte 10: byte 13 ")) == 1


def test_an_encoding_in_which_lines_cannot_be_found_is_refused() -> None:
    """At once, where it was written."""
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-7", "cp500", "hex"):
        with pytest.raises(UsageError, match="encoding="):
            lines("x", encoding=encoding)
    with pytest.raises(UsageError, match="unknown to Python"):
        lines("x", encoding="utf-9")


def test_a_line_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    """Before it fills the memory; one byte less is not too long."""
    path = tmp_path / "rows.txt"
    for block in (1, 4, 10, 100):
        with blocks_of(block):
            path.write_bytes(b"one\n" + b"x" * 9 + b"\nthree\n")
            assert len(read(lines(path, max_line=10))) == 3
            assert failing(lines(path, max_line=9), "begins at byte 4: a line has more than 9 bytes.*max_line") == [
                "one"
            ]
            path.write_bytes(b"one\n" + b"x" * 1000)
            assert failing(lines(path, max_line=9), "begins at byte 4") == ["one"]


def test_a_line_that_never_ends_does_not_fill_the_memory(tmp_path: Path) -> None:
    """What is held of it is hardly more than what is allowed."""
    path = tmp_path / "rows.txt"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    tracemalloc.start()
    try:
        failing(lines(path, max_line=1_000_000), "begins at byte 0: a line has more than 1000000 bytes")

        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_damaged_compressed_file_is_an_error(tmp_path: Path) -> None:
    """As is one that is not compressed at all."""
    for suffix, pack in list(PACKERS.items())[1:]:
        path = tmp_path / f"rows{suffix}"
        path.write_bytes(pack(os.urandom(100_000).hex().encode())[:50_000])
        failing(lines(path), f"is damaged, .*or is no {suffix} file")
        path.write_bytes(b"one\ntwo\n")
        failing(lines(path), f"is damaged, .*or is no {suffix} file")


def test_rows_of_another_width_are_errors(tmp_path: Path) -> None:
    """With the byte where they begin, on a resume too, with a header or without."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n1,2\n3,4\n\n5\n6,7\n")
    for header, rows in ((True, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]), (False, [("1", "2"), ("3", "4")])):
        source = csv_rows(path, header=header)

        assert failing(source, r"begins at byte 1[23]: it has 1 field where the first row has 2")[-2:] == rows

        key = next(job.key for job in source.iterate(None) if job.payload == rows[0])
        with pytest.raises(SourceError, match="it has 1 field where the first row has 2"):
            read(source, key)


def test_what_is_no_csv_is_an_error(tmp_path: Path) -> None:
    """A quote that is never closed must not swallow the rest of the file as one field; an option
    lets it.
    """
    path = tmp_path / "rows.csv"
    path.write_bytes(b'a,b\n1,2\n3,"4\n5,6\n')

    assert failing(csv_rows(path), "begins at byte 8: this is not CSV: unexpected end of data") == [
        {"a": "1", "b": "2"}
    ]
    assert payloads(csv_rows(path, strict=False))[1]["b"] == "4\n5,6\n"

    path.write_bytes(b"a\n" + b"x" * 200_000)
    failing(csv_rows(path), r"csv\.field_size_limit")


def test_a_header_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    """One of the columns would be lost."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b,a\n1,2,3\n")

    assert failing(csv_rows(path), "the name 'a' more than once.*header=False") == []
    assert payloads(csv_rows(path, header=False)) == [("a", "b", "a"), ("1", "2", "3")]


def test_the_dialect_is_passed_on(tmp_path: Path) -> None:
    """And an option that there is not is refused where it was written."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a;b\n'1;2';3\n")

    assert payloads(csv_rows(path, delimiter=";", quotechar="'")) == [{"a": "1;2", "b": "3"}]
    with pytest.raises(TypeError, match="delimitr"):
        csv_rows(path, delimitr=";")


def test_lines_that_end_otherwise_are_refused(tmp_path: Path) -> None:
    """``csv.reader`` takes the option and does not read by it: the file had a header and no row."""
    path = tmp_path / "semicolons.csv"
    path.write_bytes(b"id,name;1,Ann;2,Bob;")
    with pytest.raises(UsageError, match=r"lineterminator=';'.* tr ';' '\\n'"):
        csv_rows(path, lineterminator=";")
    with pytest.raises(UsageError, match=r"lineterminator='\\r'.* tr '\\r' '\\n'"):
        csv_rows(path, lineterminator="\r")

    path.write_bytes(b"id,name\r\n1,Ann\r\n")
    assert [job.payload for job in csv_rows(path, lineterminator="\r\n").iterate()] == [{"id": "1", "name": "Ann"}]


def test_what_is_no_json_is_an_error(tmp_path: Path) -> None:
    """With the byte where the line begins."""
    path = tmp_path / "rows.jsonl"
    for bad in (b"{'a': 1}", b"[" * 100_000, b"1" * 5000):
        path.write_bytes(b'{"a": 1}\n\n' + bad + b"\n2\n")

        assert failing(jsonl(path), "begins at byte 10: this is not JSON: ") == [{"a": 1}]


def test_the_module_names_what_it_offers() -> None:
    """What the documents use is public."""
    assert {"lines", "csv_rows", "jsonl"} <= set(sources.__all__)


# -- what cannot be read ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", ["rows", "rows.txt", "rows.csv.old"])
def test_a_compressed_file_is_known_by_its_first_bytes(tmp_path: Path, suffix: str, name: str) -> None:
    """Its name need not say so."""
    (tmp_path / name).write_bytes(PACKERS[suffix](b"one\ntwo\n"))

    assert payloads(lines(tmp_path / name)) == ["one", "two"]


@pytest.mark.parametrize("suffix", [suffix for suffix in PACKERS if suffix])
def test_a_compressed_file_that_is_cut_is_an_error(tmp_path: Path, suffix: str) -> None:
    """Its lines so far are read; that it is all there is is never believed."""
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(PACKERS[suffix](os.urandom(1000).hex().encode() + b"\n")[:-5])

    with pytest.raises(SourceError, match="damaged"):
        read(lines(path))


BEHIND: dict[str, Callable[[bytes], bytes]] = {
    "text": lambda member: b"three\n",
    "a member with a damaged beginning": lambda member: b"XX" + member[2:],
    "one byte of a member": lambda member: member[:1],
    "half a member": lambda member: member[: len(member) // 2],
    "zero bytes and text": lambda member: bytes(512) + b"three\n",
    "a member of another kind": lambda member: (bz2 if member.startswith(b"\x1f") else gzip).compress(b"three\n"),
}


@pytest.mark.parametrize("suffix", [suffix for suffix in PACKERS if suffix])
@pytest.mark.parametrize("what", BEHIND)
def test_what_is_behind_a_compressed_file_is_not_taken_for_its_end(tmp_path: Path, what: str, suffix: str) -> None:
    """Of two parts of which the second is damaged, the first alone is not all there is."""
    path = tmp_path / f"rows{suffix}"
    pack = PACKERS[suffix]
    path.write_bytes(pack(b"one\ntwo\n") + BEHIND[what](pack(b"three\n")))
    with pytest.raises(SourceError, match="damaged"):
        read(lines(path))
    with pytest.raises(SourceError, match="damaged"):
        read(lines(path.rename(tmp_path / "rows")))


@pytest.mark.parametrize("zeros", [0, 4, 512, 200_000])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_compressed_file_may_have_many_members_and_zero_bytes(tmp_path: Path, suffix: str, zeros: int) -> None:
    """As tapes and parallel compressors leave them; each place in it can be gone on from."""
    path = tmp_path / f"rows{suffix}"
    pack = PACKERS[suffix]
    path.write_bytes(b"".join(pack(b"line %d\n" % number) + bytes(zeros) for number in range(3)))
    jobs = read(lines(path))

    assert [job.payload for job in jobs] == ["line 0", "line 1", "line 2"]
    check_every_resume(lines(path), jobs)


@pytest.mark.parametrize("suffix", [suffix for suffix in PACKERS if suffix])
def test_an_empty_file_with_a_compressed_ones_name_is_an_error(tmp_path: Path, suffix: str) -> None:
    """What should have written it has not: no content at all is a member, too."""
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"has no bytes.*make or copy it again"):
        read(lines(path))
    path.write_bytes(PACKERS[suffix](b""))

    assert read(lines(path)) == []


@pytest.mark.parametrize("size", [0, 4096])
def test_what_the_system_makes_up_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Its size says nothing, as in /proc and /sys: what was read would be nothing, or half."""
    path = tmp_path / "rows.txt"
    path.write_bytes(b"one\n")
    with monkeypatch.context() as patched:
        lie = os.stat_result((*path.stat()[:6], size, *path.stat()[7:10]))
        patched.setattr(resumable_file.os, "fstat", lambda _: lie)
        patched.setattr(Path, "stat", lambda _, **__: lie)
        with pytest.raises(UsageError, match=r"rows\.txt is not a file on a disk.*cat FILE"):
            read(lines(path))


def test_a_file_that_cannot_be_read_from_its_first_byte_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad disk is no fault of Taskmaster."""

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "rows.txt").write_bytes(b"one\n")
    monkeypatch.setattr("taskmaster.sources.resumable_file.os.pread", broken)
    with pytest.raises(UsageError, match=r"rows\.txt cannot be read: Input/output error"):
        read(lines(tmp_path / "rows.txt"))


NO_TEXT = {
    "UTF-16 with a mark": ("a,b\n1,2\n".encode("utf-16"), "UTF-16.*iconv"),
    "UTF-16 without a mark": ("a,b\n1,2\n1,2\n".encode("utf-16-le"), "UTF-16.*iconv"),
    "big-endian UTF-16": (b"\xfe\xff" + "a,b\n".encode("utf-16-be"), "UTF-16.*iconv"),
    "UTF-32": ("a,b\n1,2\n".encode("utf-32"), "UTF-32.*iconv"),
    "a zip archive": (b"PK\x03\x04" + bytes(100), "zip.*unzip"),
    "a database": (b"SQLite format 3\0" + bytes(100), "SQLite"),
    "lines that end with CR": (b"a,b\r1,2\r3,4\r", "CR alone.*tr"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "latin-1"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", NO_TEXT)
def test_what_has_no_lines_is_named(tmp_path: Path, kind: str, suffix: str, encoding: str) -> None:
    """With the command that converts it, also where any byte is a character, and inside of a
    compressed file.
    """
    content, why = NO_TEXT[kind]
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(PACKERS[suffix](content))
    for make in (lines, csv_rows, jsonl):
        with pytest.raises(UsageError, match=why):
            read(make(path, encoding=encoding))


def test_a_text_may_have_zeros_and_crs(tmp_path: Path) -> None:
    """A few of them say nothing."""
    content = b"10%\r20%\r30%\rdone\nnul\0\n" + b"text\n" * 10
    (tmp_path / "rows.txt").write_bytes(content)

    assert payloads(lines(tmp_path / "rows.txt"))[:2] == ["10%\r20%\r30%\rdone", "nul\0"]


def test_a_cr_alone_in_a_row_is_named(tmp_path: Path) -> None:
    """Csv's own message speaks of a mode in which nobody has opened the file."""
    (tmp_path / "rows.csv").write_bytes(b"a,b\n1,x\ry\n")

    with pytest.raises(SourceError, match=r"byte 4: this is not CSV: a CR stands alone.*tr "):
        read(csv_rows(tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    "encoding", ["unicode_escape", "raw_unicode_escape", "utf-7", "hz", "iso2022_jp", "utf-16", "cp037", "punycode"]
)
def test_an_encoding_in_which_lines_are_not_found_is_refused(encoding: str) -> None:
    """One in which an escape can stand for a line end, or in which lines depend on those before."""
    with pytest.raises(UsageError, match="iconv"):
        lines("rows.txt", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252", "koi8-r", "gb18030", "euc_jp", "big5"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    """Those that have ASCII's characters as single bytes."""
    (tmp_path / "rows.txt").write_bytes("a\\u000a\nb\n".encode(encoding))

    assert payloads(lines(tmp_path / "rows.txt", encoding=encoding)) == ["a\\u000a", "b"]


BAD = b"one\nb\xe9d\ntwo\n\xff\nthree\n"


def test_errors_say_what_becomes_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    """As for ``open``; an unknown name is refused where it was written."""
    (tmp_path / "rows.txt").write_bytes(BAD)
    for errors, second in (("replace", "b\ufffdd"), ("ignore", "bd"), ("backslashreplace", "b\\xe9d")):
        source = lines(tmp_path / "rows.txt", errors=errors)
        assert payloads(source)[1] == second
        check_every_resume(source, read(source))
    with pytest.raises(UsageError, match=r"errors='nonsense'.*replace"):
        lines("rows.txt", errors="nonsense")


@given(st.lists(st.sampled_from([b"good", b"b\xe9d", b"", b"\xff", b"long" * 9]), max_size=12), BLOCKS)
def test_bad_lines_are_left_out_and_counted(content: list[bytes], block: int) -> None:
    """Each good one comes, wherever the blocks end, and every key can be the last."""
    good = [line.decode() for line in content if line.isascii() and len(line) < 30]
    assume(good)
    with file_of(b"".join(line + b"\n" for line in content)) as path, blocks_of(block):
        source = lines(path, skip_bad=True, max_line=30)
        jobs = read(source)

        assert [job.payload for job in jobs] == good
        assert bool(source.remarks()) == (len(good) < len(content))
        if len(good) < len(content):
            assert source.remarks()[0].startswith(f"{len(content) - len(good)} bad line")
        check_every_resume(source, jobs)


ROWS = b'id,name\n1,one\n2,two,too much\n3,b\xe9d\n4\n5,"quo"ted"\n6,"two\nl\xefnes"\n7,"good\nlines"\n8,eight\n'


def test_bad_rows_are_left_out_whole(tmp_path: Path) -> None:
    """Also one that has several lines, of which one is no text."""
    (tmp_path / "rows.csv").write_bytes(ROWS)
    source = csv_rows(tmp_path / "rows.csv", skip_bad=True)

    assert [row["id"] for row in payloads(source)] == ["1", "7", "8"]
    (said,) = source.remarks()
    assert said.startswith("5 bad lines or rows")
    assert "byte 14" in said
    check_every_resume(source, read(source))


def test_bad_values_are_left_out(tmp_path: Path) -> None:
    """Lines that are no JSON, or no text."""
    (tmp_path / "rows.jsonl").write_bytes(b'1\n{"a":\n\n"\xff"\n[2]\n')
    source = jsonl(tmp_path / "rows.jsonl", skip_bad=True)

    assert payloads(source) == [1, [2]]
    assert source.remarks()[0].startswith("2 bad")


def test_only_so_many_are_left_out(tmp_path: Path) -> None:
    """The next one ends the run, and says how many there were."""
    (tmp_path / "rows.txt").write_bytes(BAD)

    assert payloads(lines(tmp_path / "rows.txt", skip_bad=2)) == ["one", "two", "three"]
    with pytest.raises(SourceError, match=r"byte 12 .*1 bad one was left out before"):
        read(lines(tmp_path / "rows.txt", skip_bad=1))
    with pytest.raises(SourceError, match="byte 5 "):
        read(lines(tmp_path / "rows.txt"))
    for wrong in (-1, "yes", 0.5):
        with pytest.raises(UsageError, match="skip_bad"):
            lines("rows.txt", skip_bad=wrong)  # type: ignore[arg-type]


def test_a_file_of_nothing_but_bad_lines_is_an_error(tmp_path: Path) -> None:
    """It has another encoding, or is another file: that is not "all done"."""
    (tmp_path / "rows.txt").write_bytes(b"\xe9\n" * 50)

    with pytest.raises(SourceError, match=r"No line of .* \(50 read\)"):
        read(lines(tmp_path / "rows.txt", skip_bad=True))


@pytest.mark.parametrize("content", [b'a,b\n1,"two\n3,4\n5,6\n', b'"a,b\n1,2\n', b"a,b,a\n1,2,3\n", b"\xe9,b\n1,2\n"])
def test_a_lost_quote_and_a_bad_header_are_never_left_out(tmp_path: Path, content: bytes) -> None:
    """All that lies behind them would be lost, or read wrongly."""
    (tmp_path / "rows.csv").write_bytes(content)

    with pytest.raises(SourceError):
        read(csv_rows(tmp_path / "rows.csv", skip_bad=True))


def test_what_was_left_out_is_listed_up_to_a_point(tmp_path: Path) -> None:
    """The end of a run is read by a person."""
    (tmp_path / "rows.txt").write_bytes(b"\xff\n" * 1000 + b"good\n")
    source = lines(tmp_path / "rows.txt", skip_bad=True)
    read(source)
    (said,) = source.remarks()

    assert said.startswith("1000 bad")
    assert len(said.splitlines()) == 22
    assert said.endswith("and 980 more")


DOCUMENTS = (
    '[{"a": 1}, {"a": 2}]',
    "[1, 2, 3]\n\n",
    '[\n{"a": 1},\n{"a": 2}\n]\n',
    '\n[{"a": 1},\n{"a": 2}]',
    '{\n"a": 1\n}',
)


@pytest.mark.parametrize("text", DOCUMENTS)
def test_a_document_of_json_is_no_lines_of_it(tmp_path: Path, text: str) -> None:
    """Not even where bad lines are left out; the error says how to make lines of it."""
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    for skip_bad in (False, True):
        assert failing(jsonl(path, skip_bad=skip_bad), re.escape("jq -c '.[]' FILE > NEW")) == []


@pytest.mark.parametrize("text", ["[1, 2]\n[3, 4]\n", "[1]\n", "[]", '{"a": [1, 2]}\n'])
def test_lines_that_are_arrays_are_jobs(tmp_path: Path, text: str) -> None:
    """Each of them."""
    path = tmp_path / "rows.jsonl"
    path.write_text(text)

    assert [job.payload for job in read(jsonl(path))] == [json.loads(line) for line in text.splitlines()]
