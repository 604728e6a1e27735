"""Slices of credit, leased by this router."""

from collections.abc import AsyncIterator
from typing import Protocol

from msgspec import Struct

from router.domain.money import Purse


class LeaseGrant(Struct, frozen=True, gc=False):
    """A slice of an account's credit, reserved for this router. Seconds are Unix time."""

    id: str
    purse: Purse
    amount_nano: int
    expires_at_s: float


class Shortage(Struct, frozen=True, gc=False):
    """Why a lease was not given: an account or a budget has too little left.

    ``budget_id`` is 0 if it is the account. ``leased_nano`` is what open leases hold of it now,
    part of which may come back. ``stranded_nano`` is the part of that held by routers that are
    gone; how much of it is spent is known only after their journals are settled.
    """

    budget_id: int
    left_nano: int
    leased_nano: int
    stranded_nano: int = 0


class LeaseBank(Protocol):
    """Gives out slices of credit. Raises ``LedgerUnavailable`` if the ledger is away.

    A lease belongs to one run of one router; a restarted router closes those of its earlier runs.
    """

    async def take(
        self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
    ) -> LeaseGrant | Shortage:
        """Reserve ``want_nano`` if possible, at least ``need_nano``, under a new id.

        A router gets more than its need only up to an equal part among the routers. If credit is
        short, every router is told to give back what it does not use (:meth:`recalls`).
        """
        ...

    async def grow(self, lease_id: str, need_nano: int, want_nano: int) -> int | Shortage:
        """Add to a lease, as :meth:`take` reserves; returns how much. The need is above 0."""
        ...

    async def shrink(self, lease_id: str, amount_nano: int) -> None:
        """Keep at most ``amount_nano`` of a lease and free the rest. Safe to repeat."""
        ...

    async def extend(self, lease_id: str) -> float:
        """Restart a lease's time; returns the Unix seconds at which it ends."""
        ...

    async def close(self, lease_id: str) -> None:
        """Give back what a lease has not spent. Closing an unknown lease changes nothing."""
        ...

    async def close_earlier(self) -> None:
        """Give back every open lease of this router's earlier runs.

        Raises ``LedgerUnavailable`` while it is not sure that these have ended.
        """
        ...

    def recalls(self) -> AsyncIterator[int]:
        """The accounts whose idle credit is needed elsewhere; never ends by itself.

        Raises :class:`Taken` if another router of the same name runs.
        """
        ...
