"""Keeps the last good snapshot on the router's own disk, for a start without the database."""

from pathlib import Path

from router.adapters.atomic_file import replace_file
from router.contracts.snapshot import Snapshot, decode_snapshot, encode_snapshot


class SnapshotFile:
    """One file, replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Snapshot | None:
        """The kept snapshot, None without one. Raises ``ValueError`` if it is damaged."""
        try:
            body = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return decode_snapshot(body)

    def save(self, snapshot: Snapshot) -> None:
        """Replace the kept snapshot. Blocking: call it from a thread."""
        replace_file(self._path, encode_snapshot(snapshot))
