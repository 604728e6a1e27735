"""A folder of files that survive the process."""

from typing import Protocol


class AppendFile(Protocol):
    """A file that only grows. Everything raises ``OSError``."""

    def append(self, data: bytes) -> int:
        """Write at the end; returns how many bytes. They survive the death of the process."""
        ...

    def sync(self) -> None:
        """Make everything written survive a power loss."""
        ...

    def close(self) -> None:
        """Close the file: nothing more is written."""
        ...


class Disk(Protocol):
    """A folder of files that belongs to one process. Everything raises ``OSError``."""

    def names(self) -> list[str]:
        """The names of its files, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """The whole content of a file."""
        ...

    def create(self, name: str) -> AppendFile:
        """Create an empty file."""
        ...

    def copy(self, name: str, to: str) -> None:
        """Copy a file to another name."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file. A missing file is no error."""
        ...
