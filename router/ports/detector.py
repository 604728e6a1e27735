"""Finding personal data in the text of calls that ask for it."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Found(Struct, frozen=True, gc=False):
    """Where in a text something of a kind (:class:`router.domain.personal.Personal`) is."""

    kind: str
    begin: int
    end: int


class Detector(Protocol):
    """Looks for personal data. It runs on the path of a call, in time linear in the text."""

    def found(self, text: str, kinds: frozenset[str]) -> Sequence[Found]:
        """What is there of these kinds, in order and without overlaps."""
        ...
