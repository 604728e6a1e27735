"""The meeting place of several routers."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from router.contracts.word import SILENT, Word


class Member(Struct, frozen=True):
    """One of several routers. ``demands`` are its running and waiting requests, by worker id;
    ``word`` is what it last said of engines.
    """

    router_id: str
    url: str
    demands: Mapping[str, float] = {}
    word: Word = SILENT


class SlotClaim(Struct, frozen=True, gc=False):
    """How many of a worker's slots a router asks for."""

    wanted: int
    slots: int


class Beat(Struct, frozen=True):
    """The answer to a beat: the members, and the slots leased until the time to live ends."""

    members: tuple[Member, ...]
    granted: Mapping[str, int]


class Cluster(Protocol):
    """The meeting place of routers. Raises ``LedgerUnavailable`` if it is away.

    The leases on one worker never add up to more than its slots.
    """

    async def beat(
        self,
        me: Member,
        ttl_s: float,
        demands: Mapping[str, float],
        claims: Mapping[str, SlotClaim],
        word: Word = SILENT,
    ) -> Beat:
        """Stay a member for ``ttl_s`` more, tell the others ``word``, and lease as many of the
        claimed slots as are free.
        """
        ...

    async def leave(self, router_id: str) -> None:
        """End the membership and give the leases back."""
        ...
