"""A file that is read once, from its beginning or from the position of an earlier session, and must
not change meanwhile.

A key in a file is three numbers: the number of bytes before it, their CRC-32, and a stamp of the
file's size and times of change when the run began. The checksum is carried on from key to key, so
that it covers the file from its first byte without reading a byte twice.

Guarantees: only whole lines are yielded. Reading does not go on from a key if the content before it
has changed since, and it ends with an error if the file changes meanwhile. Memory is bounded by the
longest line.
"""

from __future__ import annotations

import io
import logging
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO, Self

from taskmaster.errors import SourceError, StateRefused, UsageError
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.file_format import BROKEN, HEAD_BYTES, Opener, opener_of, why_damaged, why_no_lines
from taskmaster.units import show_count

__all__ = ["FileKey", "ResumableFile"]

logger = clean_logger(__name__)

BLOCK = 256 * 1024  # bytes of one read
NOTICEABLE_BYTES = 1024**3  # reading more than these again takes seconds, and is logged as a warning

FileKey = tuple[int, int, int]
"""Position in bytes, CRC-32 of the bytes before it, and the stamp. In a compressed file, position
and CRC-32 are those of the decompressed content.
"""


class ResumableFile:
    """An open file, for a ``with`` statement.

    Args:
        path: The path of the file.
        max_line: Most bytes of a line.
        mark: A byte order mark, which is left out if the file begins with it.
        too_long: Function that is called with the error of a line that is too long, which is then
            left out; None: the error is raised.

    Attributes:
        path: The absolute path.
        at: The key of the beginning of the newest piece.

    Raises:
        UsageError: There is no such file, or it cannot be read.
    """

    def __init__(
        self,
        path: str,
        max_line: int,
        mark: bytes = b"",
        too_long: Callable[[SourceError], None] | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self._max_line = max_line
        self._mark = mark
        self._too_long = too_long
        try:
            about = self.path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise UsageError(
                    f"{self.path} is not a regular file, so that a run could not go on in its middle: give a file, or "
                    "a function that yields the jobs."
                )
            self._raw: IO[bytes] = self.path.open("rb")
            try:
                head = os.pread(self._raw.fileno(), HEAD_BYTES, 0)
            except OSError:
                self._raw.close()
                raise
        except OSError as exc:
            raise UsageError(
                f"The file {self.path} cannot be read: {exc.strerror}. It is read by the master alone; give the path "
                "by which that machine knows it."
            ) from None
        # fstat of the open file: its path may lead to another file by now, which the first check
        # notices.
        self._seen = os.fstat(self._raw.fileno())
        self._bound = self._seen.st_size
        try:
            opener = self._opener(head)
            self._stream: IO[bytes] = opener(self._raw) if opener else self._raw
        except BaseException:
            self._raw.close()
            raise
        self._packed = opener is not None
        self._grown = False
        self.at: FileKey = (0, 0, zlib.crc32(" ".join(map(str, _state_of(self._seen))).encode()))
        self._scale = None if self._packed or not self._bound else 1.0 / self._bound

    def _opener(self, head: bytes) -> Opener | None:
        """Return the function that opens a compressed file; None if it is not compressed.

        Raises:
            UsageError: The file is not on a disk, but made by the system.
            SourceError: It is empty, and has the name of a compressed file.
        """
        if head and not self._bound:
            raise self._made_up("it has no bytes by its size, but some when it is read, as files in /proc have")
        suffix = self.path.suffix.lower()
        opener = opener_of(head, suffix)
        if opener is not None and not self._bound:
            raise SourceError(f"{self.path} has no bytes: it {why_damaged(suffix, 'it is empty')}.")
        return opener

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._raw.close()

    def fraction_before(self, position: int) -> float | None:
        """Return the fraction of the file before a position, 0 to 1, which is an estimate in a
        compressed file; None if unknown.
        """
        return None if self._scale is None else min(1.0, position * self._scale)

    # -- resuming ----------------------------------------------------------------------------------

    def resume_at(self, key: FileKey) -> None:
        """Go on after a key, if the content before it is the same as then.

        A file with the same size and times of change is not read again; any other file is, up to
        the key's position.

        Raises:
            StateRefused: The content has changed.
        """
        position, crc, stamp = key
        if not self._packed and position > self._bound:
            raise self._refusal(position, f"it has only {self._bound} now")
        if self._packed or stamp != self.at[2]:
            newest = self._compare(position, crc)
        else:
            self._stream.seek(max(0, position - 1))
            newest = self._read(1) if position else b""
        self.at = key
        if newest not in (b"", b"\n"):
            self._end_line()

    def _compare(self, position: int, crc: int) -> bytes:
        """Read up to the position, and compare the checksum; return the last byte before it.

        Raises:
            StateRefused: The content has changed.
        """
        logger.log(
            logging.WARNING if position > NOTICEABLE_BYTES else logging.INFO,
            "the beginning of %s, %s, is read again, to check that it has not changed: %s",
            self.path,
            show_count(position, "byte", form=","),
            "it is compressed" if self._packed else "its size or a time of change differs",
        )
        found, read, newest = _checksum(self._read, position)
        if read < position:
            raise self._refusal(position, f"it ends after {read} now")
        if found != crc:
            raise self._refusal(
                position, f"something before that has changed (its checksum was {crc:08x} and is {found:08x})"
            )
        return newest

    def _end_line(self) -> None:
        """Read the line end that may follow now. The line before this position was the last one and
        had no end; a writer may have added the end since, but nothing else.

        Raises:
            StateRefused: The line was continued.
        """
        position, crc, stamp = self.at
        end = self._read(1)
        if end == b"\r":
            end += self._read(1)
        if end not in (b"", b"\n", b"\r\n"):
            raise self._refusal(position, "the line before that, which was the last and had no end, goes on now")
        self.at = (position + len(end), zlib.crc32(end, crc), stamp)

    def _refusal(self, position: int, why: str) -> StateRefused:
        return StateRefused(
            f"{self.path} is not the file with which this run was begun, or was changed since: the run has come to "
            f"byte {position}, and {why}. The state was left as it is. Give the former file, or start a new run with "
            "--reset."
        )

    # -- reading -----------------------------------------------------------------------------------

    def pieces(self) -> Iterator[bytes]:
        """Yield pieces of many whole lines with their ends; the last line may have none. ``at`` is
        the key of the newest piece's beginning.

        Raises:
            UsageError: The file has no lines: it is no text.
            SourceError: The file cannot be read on, is being changed, or has a line that is too
                long and is not left out.
        """
        held: list[bytes] = []
        size = 0
        first = self.at[0] == 0
        dropping = False  # whether the rest of a line that is too long is being skipped
        while block := self._next_block(size):
            if first:
                block = self._beginning(block)
                first = False
            if dropping:
                end = block.find(b"\n") + 1 or len(block)
                dropping = not block.endswith(b"\n", 0, end)
                self._advance(block[:end])
                block = block[end:]
            cut = block.rfind(b"\n") + 1
            if cut:
                yield from self._whole(b"".join((*held, block[:cut])))
                held, size = [], 0
            held.append(block[cut:])
            size += len(block) - cut
            if size > self._max_line:
                self._report_long()
                self._advance(b"".join(held))
                held, size, dropping = [], 0, True
        # If the file has grown meanwhile, the last line may not be complete: it is left for the
        # next session.
        if size and not self._grown:
            yield from self._whole(b"".join(held))
        if self._grown:
            self._verify()

    def _beginning(self, block: bytes) -> bytes:
        """Return the first block without the byte order mark.

        Raises:
            UsageError: The file has no lines: it is no text.
        """
        whole = len(block) < BLOCK
        why = why_no_lines(block) if whole or len(block) >= HEAD_BYTES else ""
        if why:
            inside = "what it decompresses to is" if self._packed else "it is"
            raise UsageError(f"{self.path} has no lines that could be read: {inside} {why}.")
        if block.startswith(self._mark):
            self._advance(self._mark)
            return block[len(self._mark) :]
        return block

    def _whole(self, piece: bytes) -> Iterator[bytes]:
        """Yield a piece, in parts where a line that is too long is left out."""
        while len(piece) > self._max_line:
            ends = accumulate(map(len, io.BytesIO(piece)), initial=0)
            found = next(((begin, end) for begin, end in pairwise(ends) if end - begin > self._max_line), None)
            if found is None:
                break
            begin, end = found
            if begin:
                yield piece[:begin]
                self._advance(piece[:begin])
            self._report_long()
            self._advance(piece[begin:end])
            piece = piece[end:]
        if piece:
            yield piece
            self._advance(piece)

    def _report_long(self) -> None:
        """Raise the error of a line that is too long, or pass it to ``too_long``."""
        error = self.error(
            self.at[0],
            f"a line has more than {show_count(self._max_line, 'byte')}: is it a text file? max_line= allows more",
        )
        if self._too_long is None:
            raise error
        self._too_long(error)

    def error(self, position: int, what: str) -> SourceError:
        """Return an error that names the file and the byte."""
        return SourceError(
            f"{self.path}, in the line or record that begins at byte {position}{self._of_content()}: {what}."
        )

    def _of_content(self) -> str:
        return " of what it decompresses to" if self._packed else ""

    def _advance(self, piece: bytes) -> None:
        position, crc, stamp = self.at
        self.at = (position + len(piece), zlib.crc32(piece, crc), stamp)

    def _next_block(self, held: int) -> bytes:
        left = BLOCK if self._packed else max(0, min(BLOCK, self._bound - self.at[0] - held))
        block = self._read(left) if left else b""
        self._check_unchanged()
        if left and not block and not self._packed:
            raise self._made_up(f"it has fewer bytes than its size says, {self._bound}, as files in /sys have")
        if self._packed and block:
            read = self.at[0] + held + len(block)
            self._scale = self._raw.tell() / (read * max(1, self._bound))
        return block

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except BROKEN as exc:
            what = why_damaged(self.path.suffix.lower(), exc) if self._packed else f"cannot be read on ({exc})"
            raise SourceError(
                f"{self.path}, after byte {self.at[0]}{self._of_content()}: it {what}. The same command goes on there."
            ) from exc

    def _check_unchanged(self) -> None:
        """Check that the file is still the one that was opened, and has at most grown.

        Raises:
            SourceError: It has changed otherwise.
        """
        try:
            now = self.path.stat()
        except OSError as exc:
            raise self._changed(f"it cannot be found any more ({exc.strerror})") from None
        before, self._seen = self._seen, now
        if (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino):
            raise self._changed("there is another file under its name")
        if _state_of(now) == _state_of(before):
            return
        if self._packed:
            if (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
                return  # most likely its owner or name has changed; the content cannot be read again from here
            raise self._changed("it was written to")
        if now.st_size < before.st_size:
            raise self._changed("it has become shorter")
        if now.st_size > before.st_size:
            self._grown = True  # compared once at the end: a log may grow a thousand times before that
        else:
            self._verify()

    def _verify(self) -> None:
        """Check that the file still begins with the content that was read.

        Raises:
            SourceError: That content has changed.
        """
        position, crc, _ = self.at
        with self.path.open("rb") as again:
            if _checksum(again.read, position)[:2] != (crc, position):
                raise self._changed(f"what was read up to byte {position} is not in it any more")

    def _made_up(self, why: str) -> UsageError:
        return UsageError(
            f"{self.path} is not a file on a disk: {why}. The system makes its content while it is read, so that a run "
            "could not resume in it: copy it first, cat FILE > NEW, and give the copy."
        )

    def _changed(self, how: str) -> SourceError:
        return SourceError(
            f"{self.path} was changed while it was read: {how}. Some of its lines may have been read before the change "
            "and some after it. Work on a copy that nobody writes to, and begin anew with --reset; or restore the file "
            "and run the same command again."
        )


def _state_of(about: os.stat_result) -> tuple[int, int, int]:
    """Return a file's size, the time of change of its content, which a program may set back (``cp
    -p``, ``rsync -t``, ``touch -r``), and that of its inode, which only the system sets.
    """
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _checksum(read: Callable[[int], bytes], size: int) -> tuple[int, int, bytes]:
    """Return the CRC-32 of the next ``size`` bytes, how many there were, and the last one."""
    crc = got = 0
    newest = b""
    while got < size and (block := read(min(BLOCK, size - got))):
        crc = zlib.crc32(block, crc)
        got += len(block)
        newest = block[-1:]
    return crc, got, newest
