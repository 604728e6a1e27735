"""A disk in memory that can lose power: unsynced bytes are then gone, some or all of them."""

from collections.abc import Callable


class MemoryDisk:
    """See :class:`router.ports.disk.Disk`. It outlives the process that writes to it.

    ``fault`` is called with ``append``, ``sync``, ``create`` or ``delete`` and may raise
    ``OSError``, or return a number of bytes after which an append is cut short.
    """

    def __init__(self, fault: Callable[[str], int | None] = lambda _: None) -> None:
        self.fault = fault
        self._files: dict[str, MemoryFile] = {}

    def names(self) -> list[str]:
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        return bytes(self._file(name).content)

    def create(self, name: str) -> "MemoryFile":
        self.fault("create")
        if name in self._files:
            raise FileExistsError(17, "File exists", name)
        file = self._files[name] = MemoryFile(self)
        return file

    def copy(self, name: str, to: str) -> None:
        self._files[to] = MemoryFile(self, self.read(name))

    def delete(self, name: str) -> None:
        self.fault("delete")
        self._files.pop(name, None)

    def lose_power(self, kept: Callable[[int], int]) -> None:
        """Keep the synced bytes of each file, and ``kept(n)`` of the n bytes after them."""
        for file in self._files.values():
            unsynced = len(file.content) - file.synced
            del file.content[file.synced + kept(unsynced) :]

    def _file(self, name: str) -> "MemoryFile":
        if name not in self._files:
            raise FileNotFoundError(2, "No such file or directory", name)
        return self._files[name]


class MemoryFile:
    """See :class:`router.ports.disk.AppendFile`."""

    def __init__(self, disk: MemoryDisk, content: bytes = b"") -> None:
        self._disk = disk
        self.content = bytearray(content)
        self.synced = len(content)

    def append(self, data: bytes) -> int:
        cut = self._disk.fault("append")
        data = data if cut is None else data[:cut]
        self.content += data
        return len(data)

    def sync(self) -> None:
        self._disk.fault("sync")
        self.synced = len(self.content)

    def close(self) -> None:
        """See :class:`router.ports.disk.AppendFile`."""
