"""The last good snapshot on the router's own disk, for a start without the database."""

import os
import tempfile
from pathlib import Path

from router.contracts.snapshot import Snapshot, decode_snapshot, encode_snapshot


class SnapshotFile:
    """One file, replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Snapshot | None:
        """The kept snapshot; None when there is none. Raises ``ValueError`` when it is damaged."""
        try:
            body = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return decode_snapshot(body)

    def save(self, snapshot: Snapshot) -> None:
        """Keep this one instead. Blocking: call it from a thread."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Its own, since several routers may share the file; nobody else's to read: it holds the
        # digests of keys and the workers' addresses.
        descriptor, temporary = tempfile.mkstemp(prefix=".snapshot-", dir=self._path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode_snapshot(snapshot))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
