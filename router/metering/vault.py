"""Takes holds, and fetches more credit when the local slice does not suffice."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from router.domain.errors import CreditExhausted
from router.domain.money import format_usd
from router.metering.lease import Hold, LeaseBook
from router.ports import LeaseBank


class Vault:
    """The only thing on the hot path that may wait for the database, and only when a lease is out.

    ``clock`` returns Unix seconds. ``lease_nano`` is the slice asked for at a time.
    """

    def __init__(self, bank: LeaseBank, *, lease_nano: int, clock: Callable[[], float]) -> None:
        self._bank = bank
        self._lease_nano = lease_nano
        self._clock = clock
        self._refills: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.book = LeaseBook()

    async def hold(self, account_id: int, amount_nano: int) -> Hold:
        """Reserve money for a call. Raises ``CreditExhausted`` or ``LedgerUnavailable``."""
        hold = self.book.reserve(account_id, amount_nano, self._clock())
        if hold is not None:
            return hold
        async with self._refills[account_id]:
            # Whoever waited here finds the lease that the first one fetched.
            hold = self.book.reserve(account_id, amount_nano, self._clock())
            if hold is not None:
                return hold
            return await self._refill(account_id, amount_nano)

    async def _refill(self, account_id: int, amount_nano: int) -> Hold:
        want = max(amount_nano, self._lease_nano)
        grant = await self._bank.take(account_id, amount_nano, want)
        if grant is not None:
            self.book.add(grant)
            hold = self.book.reserve(account_id, amount_nano, self._clock())
            if hold is not None:
                return hold
        raise CreditExhausted(
            f"this call may cost up to ${format_usd(amount_nano)}, more than the credit that is "
            "left; top up, or lower max_tokens"
        )

    async def return_finished(self) -> None:
        """Give back leases that are retired or out of time, and fully settled.

        Raises ``LedgerUnavailable``; what was not given back is tried again the next time.
        """
        self.book.retire_expired(self._clock())
        for lease_id in self.book.finished():
            await self._bank.close(lease_id)
            self.book.forget(lease_id)
