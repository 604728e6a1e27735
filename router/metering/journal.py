"""An append-only file of finished calls on the router's own disk.

Frames are ``length, crc32`` (little-endian u32 each) and the payload. ``write()`` alone survives a
killed process; :meth:`Journal.sync`, called every few milliseconds by a thread, covers a power
loss. A segment is deleted only once every record in it was acknowledged by the ledger. A torn tail
is cut off when a segment is read.
"""

import os
import shutil
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

FRAME = struct.Struct("<II")
SEGMENT_BYTES_MAX = 8 * 1024 * 1024
RECORD_BYTES_MAX = 1024 * 1024


class JournalBroken(Exception):
    """The disk refused a write or a sync: no call may be admitted any more."""


class Journal:
    """Segments ``<number>.journal`` in one folder. One process writes; see :meth:`sync`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._unacknowledged: dict[int, int] = {}
        self._broken: str = ""
        self._dirty = False
        self._rotating = threading.Lock()
        self._segment = max(self._numbers(), default=0)
        self._file = -1
        self._bytes = 0
        self.recovered = list(self._recover())
        self._rotate()

    @property
    def broken(self) -> str:
        """Why nothing can be written any more, or ""."""
        return self._broken

    @property
    def dirty(self) -> bool:
        """Whether something was written since the last sync."""
        return self._dirty

    def append(self, payload: bytes) -> int:
        """Write one record; returns its segment, for :meth:`acknowledge`."""
        if self._broken:
            raise JournalBroken(self._broken)
        if len(payload) > RECORD_BYTES_MAX:
            raise ValueError(f"record of {len(payload)} bytes exceeds {RECORD_BYTES_MAX}")
        if self._bytes >= SEGMENT_BYTES_MAX:
            self._rotate()
        frame = FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            written = os.write(self._file, frame)
        except OSError as error:
            self._broken = f"journal write failed: {error.strerror}"
            raise JournalBroken(self._broken) from error
        if written != len(frame):
            self._broken = f"journal write was cut short at {written} of {len(frame)} bytes"
            raise JournalBroken(self._broken)
        self._bytes += written
        self._dirty = True
        self._unacknowledged[self._segment] += 1
        return self._segment

    def sync(self) -> None:
        """Make what was written survive a power loss. Blocking: call it from a thread."""
        if not self._dirty or self._broken:
            return
        self._dirty = False
        with self._rotating:
            try:
                os.fdatasync(self._file)
            except OSError as error:
                # After a failed fsync the kernel may have dropped the pages: trust nothing.
                self._broken = f"journal sync failed: {error.strerror}"

    def acknowledge(self, segment: int) -> None:
        """One record of the segment is safe in the ledger; deletes a finished segment."""
        self._unacknowledged[segment] -= 1
        if self._unacknowledged[segment] == 0 and segment != self._segment:
            del self._unacknowledged[segment]
            self._path(segment).unlink(missing_ok=True)

    def close(self) -> None:
        """Sync and close; an empty or fully acknowledged last segment is deleted."""
        self.sync()
        os.close(self._file)
        if self._unacknowledged.get(self._segment) == 0:
            self._path(self._segment).unlink(missing_ok=True)

    def _rotate(self) -> None:
        """Go on in a new segment. The old one is let go only once there is a new one."""
        number = self._segment + 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        try:
            file = os.open(self._path(number), flags, 0o600)
            with self._rotating:
                self._finish_segment()
                self._file = file
        except OSError as error:
            self._broken = f"journal segment cannot be changed: {error.strerror}"
            raise JournalBroken(self._broken) from error
        self._segment = number
        self._unacknowledged[number] = 0
        self._bytes = 0

    def _finish_segment(self) -> None:
        if self._file < 0:
            return
        os.fdatasync(self._file)
        os.close(self._file)
        if self._unacknowledged[self._segment] == 0:
            del self._unacknowledged[self._segment]
            self._path(self._segment).unlink(missing_ok=True)

    def _recover(self) -> Iterator[tuple[int, bytes]]:
        """Every whole record that an earlier process left, with its segment."""
        for number in self._numbers():
            path = self._path(number)
            payloads = list(read_segment(path))
            if sum(FRAME.size + len(payload) for payload in payloads) < path.stat().st_size:
                # A torn tail, or worse: kept beside, for whoever has to find out.
                shutil.copyfile(path, path.with_suffix(".torn"))
            if not payloads:
                path.unlink()
                continue
            self._unacknowledged[number] = len(payloads)
            for payload in payloads:
                yield number, payload

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("*.journal"))

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:08d}.journal"


def read_segment(path: Path) -> Iterator[bytes]:
    """The whole records of a segment; stops at the first torn or damaged one."""
    raw = path.read_bytes()
    position = 0
    while position + FRAME.size <= len(raw):
        length, crc = FRAME.unpack_from(raw, position)
        payload = raw[position + FRAME.size : position + FRAME.size + length]
        if len(payload) != length or length > RECORD_BYTES_MAX or zlib.crc32(payload) != crc:
            return
        yield payload
        position += FRAME.size + length
