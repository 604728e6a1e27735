"""Keeps what a router learned, on its own disk."""

from pathlib import Path

from router.adapters.atomic_file import replace_file
from router.contracts.learned import KeptLearned, decode_learned, encode_learned


class LearnedFile:
    """See :class:`router.ports.catalog.LearnedStore`. One file, replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> KeptLearned | None:
        try:
            body = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return decode_learned(body)

    def save(self, kept: KeptLearned) -> None:
        replace_file(self._path, encode_learned(kept))
