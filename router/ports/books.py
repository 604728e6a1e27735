"""What is settled, and what it adds up to."""

from typing import Protocol

from msgspec import Struct

from router.contracts.record import UsageRecord


class Spending(Struct, frozen=True, gc=False):
    """Charges in nano-USD: of all time, and since the last midnight, Monday and first (UTC)."""

    total_nano: int = 0
    day_nano: int = 0
    week_nano: int = 0
    month_nano: int = 0


class BudgetState(Struct, frozen=True, gc=False):
    """The state of a spending cap. ``window``: ``ever``, ``day``, ``week`` or ``month`` (UTC)."""

    limit_nano: int
    spent_nano: int
    window: str


class Books(Protocol):
    """What is settled. Raises ``LedgerUnavailable`` if the ledger is away."""

    async def budget(self, budget_id: int) -> BudgetState | None:
        """A budget and its spending in the current window."""
        ...

    async def posted_nano(self, account_id: int) -> int:
        """What an account has, held or not."""
        ...

    async def spent(self, organisation_id: int, key_id: int | None) -> Spending:
        """What an organisation's calls have cost; with ``key_id`` only those of one key."""
        ...

    async def call(self, request_id: str) -> UsageRecord | None:
        """A settled call by its id, which must be a UUID."""
        ...
