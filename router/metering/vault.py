"""Takes holds, and keeps enough leased credit at hand that they rarely wait for the ledger."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable
from math import inf

from msgspec import Struct

from router.domain.errors import BudgetExhausted, CallError, CreditExhausted, LedgerUnavailable
from router.domain.money import Purse, format_usd
from router.metering.lease import Hold, Lease, LeaseBook
from router.ports.bank import LeaseBank, LeaseGrant, Shortage

COVER_S = 120.0
"""How long a lease should last, at the speed at which the previous one was used."""
RECALL_TRIES = 20
RECALL_STEP_S = 0.05
"""How often, and how far apart, to ask for credit that lies idle in other routers."""
STRANDED_RETRY_S = 5.0
"""When to ask again for credit held by a router that is down: a restart takes seconds."""
DOUBT_S = 60.0
"""How long a lease is closed again and again if its grant was never confirmed.

It counts from the ledger's first answer: the earlier request may still be running there.
"""
SWEEP_S = 1.0
RECONNECT_S = 1.0

log = logging.getLogger(__name__)


class Refusal(Struct, frozen=True):
    """What the ledger answered to question number ``asked``.

    It also answers calls that arrived before that question and need at least as much, so that a
    storm of calls is one question. Later calls ask again, since credit may have come back.
    """

    asked: int
    amount_nano: int
    found: LeaseGrant | Shortage | LedgerUnavailable

    def error(self, amount_nano: int, pages_url: str) -> CallError:
        """The error for a call that needs this amount; each call is told its own amount."""
        if isinstance(self.found, LedgerUnavailable):
            away = self.found
            return LedgerUnavailable(away.message, retry_after_s=away.retry_after_s)
        return _refusal(amount_nano, self.found, pages_url)


class Vault:
    """The only thing on the hot path that may wait for the ledger, and only when leases are out.

    ``clock`` returns Unix seconds. ``lease_nano`` is the least to ask for at a time, a lease lasts
    ``lease_ttl_s``, ``new_id`` makes lease ids. ``earlier_is_settled`` says whether the ledger has
    everything that earlier processes of this router journalled. ``pages_url`` is where people add
    credit, for messages; "": not known.
    """

    def __init__(
        self,
        bank: LeaseBank,
        *,
        lease_nano: int,
        lease_ttl_s: float,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        earlier_is_settled: Callable[[], bool] = lambda: True,
        pages_url: str = "",
    ) -> None:
        self.pages_url = pages_url
        self._bank = bank
        self._lease_nano = lease_nano
        self._extend_below_s = lease_ttl_s / 2
        self._clock = clock
        self._new_id = new_id
        self._earlier_is_settled = earlier_is_settled
        self._has_earlier = True
        self._fetching: defaultdict[Purse, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._changing: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asked = 0
        self._refusals: dict[Purse, Refusal] = {}
        self._doubtful: dict[str, float] = {}
        self._low = asyncio.Event()
        self.book = LeaseBook()
        self.failures = 0
        """Requests of leases, and sweeps of them, for which the ledger was away."""

    async def hold(self, purse: Purse, amount_nano: int) -> Hold:
        """Reserve money for a call.

        Raises ``CreditExhausted``, ``BudgetExhausted`` or ``LedgerUnavailable``.
        """
        hold = self.book.reserve(purse, amount_nano, self._clock())
        if hold is None:
            hold = await self._fetched_hold(purse, amount_nano)
        if self.book.low:
            self._low.set()
        return hold

    async def raised(self, hold: Hold, more_nano: int) -> Hold:
        """The hold with this much more from its lease, for a call that runs on.

        Raises what :meth:`hold` raises; the hold is then unchanged.
        """
        raised = self.book.raised(hold, more_nano)
        if raised is None:
            raised = await self._grown_hold(hold, more_nano)
        if self.book.low:
            self._low.set()
        return raised

    async def run(self) -> None:
        """Fetch ahead, give back and extend leases until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fetch_ahead())
            group.create_task(self._sweep_forever())
            group.create_task(self._follow_recalls())

    async def sweep(self) -> None:
        """Close finished leases, extend those in use, and give back what could not be.

        Raises ``LedgerUnavailable``; the next sweep does what was left undone.
        """
        now_s = self._clock()
        self.book.retire_expired(now_s)
        for lease_id in self.book.finished():
            await self._bank.close(lease_id)
            self.book.forget(lease_id)
        for lease_id, until_s in list(self._doubtful.items()):
            await self._bank.close(lease_id)
            if until_s == inf:
                self._doubtful[lease_id] = now_s + DOUBT_S
            elif now_s >= until_s:
                del self._doubtful[lease_id]
        if self._has_earlier and self._earlier_is_settled():
            await self._bank.close_earlier()
            self._has_earlier = False
        for lease in list(self.book.usable()):
            if lease.used and lease.expires_at_s - now_s < self._extend_below_s:
                lease.expires_at_s = await self._bank.extend(lease.grant.id)
                lease.used = False
        for account_id in self.book.unsure():
            await self.give_back(account_id)

    async def give_back(self, account_id: int) -> None:
        """Give back the part of an account's leases that no call holds: it is needed elsewhere.

        Raises ``LedgerUnavailable``; the next sweep does what was left undone.
        """
        async with self._changing[account_id]:
            for lease_id, amount_nano in self.book.give_up(account_id):
                await self._bank.shrink(lease_id, amount_nano)
                self.book.shrunk(lease_id)

    async def _fetched_hold(self, purse: Purse, amount_nano: int) -> Hold:
        arrived = self._asked
        async with self._fetching[purse]:
            # A call that waited here finds the lease that another call fetched, or its refusal.
            hold = self.book.reserve(purse, amount_nano, self._clock())
            if hold is not None:
                return hold
            refusal = self._refusals.get(purse)
            if refusal and refusal.asked > arrived and refusal.amount_nano <= amount_nano:
                raise refusal.error(amount_nano, self.pages_url)
            self._asked += 1
            asked = self._asked
            want_nano = max(amount_nano, self._lease_nano)
            found = await self._take(purse, amount_nano, want_nano)
            if isinstance(found, Shortage):
                found = await self._recalled(purse, amount_nano, found)
            hold = self.book.reserve(purse, amount_nano, self._clock())
            if hold is None:
                refusal = self._refusals[purse] = Refusal(asked, amount_nano, found)
                raise refusal.error(amount_nano, self.pages_url)
            return hold

    async def _grown_hold(self, hold: Hold, more_nano: int) -> Hold:
        found: int | Shortage = 0
        for _ in range(RECALL_TRIES):
            # Meanwhile no recall may shrink the lease to its earlier amount.
            async with self._changing[hold.purse.account_id]:
                raised = self.book.raised(hold, more_nano)
                if raised is not None:
                    return raised
                if not self.book.can_grow(hold.lease_id):
                    raise LedgerUnavailable("what this call's lease has is not known for sure")
                want_nano = max(more_nano, self._lease_nano)
                found = await self._bank.grow(hold.lease_id, more_nano, want_nano)
                if not isinstance(found, Shortage):
                    self.book.grow(hold.lease_id, found)
                    continue
            if found.left_nano + found.leased_nano - hold.amount_nano < more_nano:
                break
            await self.give_back(hold.purse.account_id)
            await asyncio.sleep(RECALL_STEP_S)
        raise _refusal(more_nano, found, self.pages_url)

    async def _recalled(
        self, purse: Purse, need_nano: int, found: LeaseGrant | Shortage
    ) -> LeaseGrant | Shortage:
        """Gather credit that lies idle in leases, here and in other routers."""
        await self.give_back(purse.account_id)
        for _ in range(RECALL_TRIES):
            if isinstance(found, LeaseGrant) or found.left_nano + found.leased_nano < need_nano:
                break
            found = await self._take(purse, need_nano, need_nano)
            if isinstance(found, Shortage):
                await asyncio.sleep(RECALL_STEP_S)
        return found

    async def _take(self, purse: Purse, need_nano: int, want_nano: int) -> LeaseGrant | Shortage:
        lease_id = self._new_id()
        try:
            found = await self._bank.take(lease_id, purse, need_nano, want_nano)
        except BaseException as error:
            # The ledger may have granted it all the same; the sweep gives it back.
            self._doubtful[lease_id] = inf
            if isinstance(error, LedgerUnavailable):
                self.failures += 1
                self._asked += 1  # So it answers calls that arrived during the wait too.
                self._refusals[purse] = Refusal(self._asked, 0, error)
            raise
        if isinstance(found, LeaseGrant):
            self.book.add(found)
        return found

    async def _fetch_ahead(self) -> None:
        while True:
            await self._low.wait()
            self._low.clear()
            low, self.book.low = self.book.low, []
            for lease in low:
                if not lease.retired:
                    try:
                        await self._follow(lease)
                    except LedgerUnavailable:
                        self.book.low.append(lease)
            if self.book.low:
                await asyncio.sleep(RECONNECT_S)
                self._low.set()

    async def _follow(self, lease: Lease) -> None:
        """Have the next lease ready before this one runs out, sized by the speed of use."""
        purse = lease.grant.purse
        async with self._fetching[purse]:
            used_nano = lease.grant.amount_nano - lease.remaining_nano
            lasted_s = max(self._clock() - lease.begun_s, 1.0)
            want_nano = max(int(used_nano / lasted_s * COVER_S), self._lease_nano)
            await self._take(purse, 0, want_nano)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.sweep()
            except LedgerUnavailable as error:
                self.failures += 1
                log.warning("leases could not be swept: %s", error)

    async def _follow_recalls(self) -> None:
        async for account_id in self._bank.recalls():
            with contextlib.suppress(LedgerUnavailable):
                await self.give_back(account_id)


def page_named(name: str, pages_url: str) -> str:
    """Where a page is: its address, or its name if the pages' URL is not known."""
    return f"at {pages_url}/{name}" if pages_url else f"on the {name.capitalize()} page"


def _refusal(amount_nano: int, found: LeaseGrant | Shortage | int, pages_url: str) -> CallError:
    if isinstance(found, Shortage) and found.left_nano + found.stranded_nano >= amount_nano:
        return LedgerUnavailable(
            "credit of this account is set aside in a router that is down, until that one has "
            "started again; try again",
            retry_after_s=STRANDED_RETRY_S,
        )
    cost = f"${format_usd(amount_nano)} has to be set aside for this call"
    if isinstance(found, Shortage) and found.budget_id:
        return BudgetExhausted(
            f"{cost}, more than is left of a budget of this key, its member or the organisation; "
            f"raise the budget {page_named('budgets', pages_url)}, wait for its reset, or lower "
            "max_tokens"
        )
    return CreditExhausted(
        f"{cost}, more than the credit that is left; add credit or ask for it "
        f"{page_named('billing', pages_url)}, or lower max_tokens"
    )
