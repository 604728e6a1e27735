"""What a router gets from the catalog, and what it has learned of workers itself."""

from collections.abc import AsyncIterator
from typing import Protocol

from router.contracts.learned import KeptLearned
from router.contracts.snapshot import Snapshot


class SnapshotSource(Protocol):
    """Gives snapshots of the catalog."""

    def snapshots(self) -> AsyncIterator[Snapshot | None]:
        """Yield the current snapshot at once, then each newer one; never ends by itself.

        None in between means that the last one is still the newest.
        """
        ...


class LearnedStore(Protocol):
    """Keeps what was learned of workers beyond the router's end. Blocking; raises ``OSError``."""

    def load(self) -> KeptLearned | None:
        """What was kept, None if nothing was. Raises ``ValueError`` if it is damaged."""
        ...

    def save(self, kept: KeptLearned) -> None:
        """Replace what is kept, whole or not at all."""
        ...
