"""Between a router and the ledger: delays, outages, and answers that are lost on their way."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from router.adapters.memory import MemoryBank, MemoryLedger
from router.contracts.record import UsageRecord
from router.domain.errors import LedgerUnavailable
from router.domain.money import Purse
from router.ports.bank import LeaseGrant, Shortage

T = TypeVar("T")
DELAY_S = 0.003
TIMEOUT_S = 3.0


class Network:
    """Calm unless configured otherwise. ``applied`` is called after each change of the ledger."""

    def __init__(self, draw: random.Random, applied: Callable[[], None]) -> None:
        self._draw = draw
        self._applied = applied
        self.fault_share = 0.0
        self.is_down = False
        self._serving: set[asyncio.Task[object]] = set()

    async def ask(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have the ledger do something. Whether it did is not always known."""
        await self._delay()
        if self.is_down or self._draw.random() < self.fault_share:
            await asyncio.sleep(self._draw.choice((0.0, TIMEOUT_S)))
            raise LedgerUnavailable("the ledger cannot be reached")
        # What has reached the ledger is done, even if the caller is killed in the meantime.
        serving = asyncio.ensure_future(self._serve(work))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        outcome = await asyncio.shield(serving)
        if self._draw.random() < self.fault_share:
            raise LedgerUnavailable("the answer was lost")
        return outcome

    async def _serve(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            await self._delay()
            return await work()
        finally:
            self._applied()

    async def _delay(self) -> None:
        await asyncio.sleep(self._draw.expovariate(1 / DELAY_S))


class RemoteBank:
    """See :class:`router.ports.bank.LeaseBank`."""

    def __init__(self, bank: MemoryBank, network: Network) -> None:
        self._bank = bank
        self._network = network

    async def take(
        self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
    ) -> LeaseGrant | Shortage:
        return await self._network.ask(
            lambda: self._bank.take(lease_id, purse, need_nano, want_nano)
        )

    async def grow(self, lease_id: str, need_nano: int, want_nano: int) -> int | Shortage:
        return await self._network.ask(lambda: self._bank.grow(lease_id, need_nano, want_nano))

    async def shrink(self, lease_id: str, amount_nano: int) -> None:
        await self._network.ask(lambda: self._bank.shrink(lease_id, amount_nano))

    async def extend(self, lease_id: str) -> float:
        return await self._network.ask(lambda: self._bank.extend(lease_id))

    async def close(self, lease_id: str) -> None:
        await self._network.ask(lambda: self._bank.close(lease_id))

    async def close_earlier(self) -> None:
        await self._network.ask(self._bank.close_earlier)

    async def recalls(self) -> AsyncIterator[int]:
        async for account_id in self._bank.recalls():
            if not self._network.is_down:  # Notifications are not kept for who is away.
                yield account_id


class RemoteSink:
    """See :class:`router.ports.records.RecordSink`."""

    def __init__(self, ledger: MemoryLedger, network: Network) -> None:
        self._ledger = ledger
        self._network = network
        self.late = 0
        """Records whose lease had been closed before they came."""

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        async def settle() -> None:
            known = {record.request_id for record in self._ledger.records}
            self.late += sum(
                record.lease_id not in self._ledger.leases and record.request_id not in known
                for record in records
            )
            await self._ledger.settle(records)

        await self._network.ask(settle)
