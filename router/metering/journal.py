"""An append-only file of finished calls and running streams on the router's own disk.

``write()`` alone survives a killed process. :meth:`Journal.sync` also survives a power loss; a
thread calls it every few milliseconds. A segment is deleted once every record in it is
acknowledged. Torn or damaged bytes are skipped, logged and kept. The frames are those of
:mod:`router.contracts.journal`.
"""

import logging
import threading
from collections.abc import Iterator

from router.contracts.journal import frame, read_segment
from router.ports.disk import AppendFile, Disk

SEGMENT_BYTES_MAX = 8 * 1024 * 1024
SUFFIX = ".journal"
TORN = ".torn"

log = logging.getLogger(__name__)


class JournalBroken(Exception):
    """The disk refused a write or a sync, so no call may be admitted any more."""


class Journal:
    """Segments ``<number>.journal`` on a disk. One process writes; see :meth:`sync`."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._unacknowledged: dict[int, int] = {}
        self._broken: str = ""
        self._dirty = False
        self._rotating = threading.Lock()
        self._segment = max(self._numbers(), default=0)
        self._file: AppendFile | None = None
        self._bytes = 0
        self.recovered = list(self._recover())
        self._rotate()

    @property
    def broken(self) -> str:
        """Why nothing can be written any more, or ""."""
        return self._broken

    @property
    def damaged(self) -> int:
        """Segments with bytes that are no record whose copies still lie on the disk.

        0 where the folder is gone: the next write says so.
        """
        try:
            return sum(name.endswith(TORN) for name in self._disk.names())
        except OSError:
            return 0

    def append(self, payload: bytes) -> int:
        """Write one record; returns its segment, for :meth:`acknowledge`."""
        if self._broken or self._file is None:
            raise JournalBroken(self._broken)
        framed = frame(payload)
        if self._bytes >= SEGMENT_BYTES_MAX:
            self._rotate()
        try:
            written = self._file.append(framed)
        except OSError as error:
            self._broken = f"journal write failed: {error.strerror}"
            raise JournalBroken(self._broken) from error
        if written != len(framed):
            self._broken = f"journal write was cut short at {written} of {len(framed)} bytes"
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
            self._sync_file()

    def acknowledge(self, segment: int) -> None:
        """One record of the segment is safe elsewhere. Deletes a finished segment."""
        self._unacknowledged[segment] -= 1
        if self._unacknowledged[segment] == 0 and segment != self._segment:
            self._forget(segment)

    def close(self) -> None:
        """Sync and close. An empty or fully acknowledged last segment is deleted."""
        self.sync()
        if self._file is not None:
            self._file.close()
        if self._unacknowledged.get(self._segment) == 0:
            self._forget(self._segment)

    def _rotate(self) -> None:
        """Continue in a new segment. The old one is closed only once the new one exists."""
        number = self._segment + 1
        try:
            file = self._disk.create(_name(number))
            with self._rotating:
                before, self._file = self._file, file
                if before is not None:
                    before.sync()
                    before.close()
        except OSError as error:
            self._broken = f"journal segment cannot be changed: {error.strerror}"
            raise JournalBroken(self._broken) from error
        old, self._segment = self._segment, number
        self._unacknowledged[number] = 0
        self._bytes = 0
        if self._unacknowledged.get(old) == 0:
            self._forget(old)

    def _sync_file(self) -> None:
        if self._file is None:
            return
        try:
            self._file.sync()
        except OSError as error:
            # After a failed fsync the kernel may have dropped the pages: trust nothing.
            self._broken = f"journal sync failed: {error.strerror}"

    def _recover(self) -> Iterator[tuple[int, bytes]]:
        """Every whole record that an earlier process left, with its segment."""
        for number in self._numbers():
            raw = self._disk.read(_name(number))
            found = read_segment(raw)
            payloads = found.payloads
            if found.lost_bytes:
                kept = f"{number:08d}{TORN}"
                log.critical(
                    "%d of %d bytes of %s are no record (%s): calls may be unbilled; see %s",
                    found.lost_bytes,
                    len(raw),
                    _name(number),
                    "records follow them" if found.lost_inside else "at its end",
                    kept,
                )
                self._disk.copy(_name(number), kept)
            if not payloads:
                self._disk.delete(_name(number))
                continue
            self._unacknowledged[number] = len(payloads)
            for payload in payloads:
                yield number, payload

    def _forget(self, segment: int) -> None:
        del self._unacknowledged[segment]
        try:
            self._disk.delete(_name(segment))
        except OSError as error:  # The next start settles its records again, which changes nothing.
            log.error("%s is settled and cannot be deleted: %s", _name(segment), error.strerror)

    def _numbers(self) -> list[int]:
        names = self._disk.names()
        return sorted(int(name[: -len(SUFFIX)]) for name in names if name.endswith(SUFFIX))


def _name(segment: int) -> str:
    return f"{segment:08d}{SUFFIX}"
