"""A folder on the router's own disk."""

import fcntl
import os
import shutil
from pathlib import Path

from router.ports.taken import Taken

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND


class FileDisk:
    """See :class:`router.ports.disk.Disk`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def claim(self) -> None:
        """Reserve the folder until this process ends. Raises :class:`router.ports.taken.Taken`."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Taken(
                f"another router keeps its journal in {self._folder}; give each a WAYPOST_HOME "
                "or a ROUTER_PORT of its own"
            ) from None

    def names(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir())

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def create(self, name: str) -> "OpenFile":
        return OpenFile(os.open(self._folder / name, _FLAGS, 0o600))

    def copy(self, name: str, to: str) -> None:
        shutil.copyfile(self._folder / name, self._folder / to)

    def delete(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


class OpenFile:
    """See :class:`router.ports.disk.AppendFile`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def append(self, data: bytes) -> int:
        return os.write(self._descriptor, data)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class LineFile:
    """A file of lines for a person to look at, made with its first line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def size(self) -> int:
        """The size in bytes; 0 without a file."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, line: bytes) -> None:
        """Add a line."""
        with self._path.open("ab") as file:
            file.write(line + b"\n")
