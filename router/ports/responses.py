"""Responses that are kept, so that later turns can name them."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Turn(Struct, frozen=True, gc=False):
    """One turn of an organisation's: its own input ``items`` (a list) and its response, as JSON.

    ``previous_id`` is the response that it went on from, "" for none.
    """

    id: str
    organisation_id: int
    previous_id: str
    items: str
    body: str


class ResponseStore(Protocol):
    """Turns by organisation and id. Raises ``LedgerUnavailable`` if it is away."""

    async def keep(self, turn: Turn, ttl_s: float) -> None:
        """Keep a turn for so long. Does nothing if its id is taken."""
        ...

    async def turns(
        self, organisation_id: int, id_: str, *, turns_max: int, characters_max: int
    ) -> Sequence[Turn]:
        """A turn and those before it, the oldest first, up to the one that passes a bound."""
        ...

    async def forget(self, organisation_id: int, id_: str) -> bool:
        """Whether there was such a turn. Later turns cannot be gone on from without it."""
        ...
