"""In-memory adapters, for a standalone router and for tests; shipped and tested like the others."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct, structs

from router.contracts.record import UsageRecord
from router.contracts.snapshot import Snapshot
from router.contracts.word import SILENT, Word
from router.domain.money import Purse
from router.ports.bank import LeaseGrant, Shortage
from router.ports.books import BudgetState, Spending
from router.ports.cluster import Beat, Member, SlotClaim
from router.ports.idempotency import Claim, Claimant, ClaimState, KeptAnswer
from router.ports.records import RecordRejected

UNLIMITED_NANO = 1 << 60


class MemoryCluster:
    """The meeting place of routers in one process. ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._members: dict[str, tuple[Member, float]] = {}
        self._leases: dict[str, dict[str, int]] = {}

    async def beat(
        self,
        me: Member,
        ttl_s: float,
        demands: Mapping[str, float],
        claims: Mapping[str, SlotClaim],
        word: Word = SILENT,
    ) -> Beat:
        now_s = self._clock()
        for router_id in [r for r, (_, until_s) in self._members.items() if until_s <= now_s]:
            await self.leave(router_id)
        member = Member(me.router_id, me.url, demands, word)
        self._members[me.router_id] = (member, now_s + ttl_s)
        self._leases[me.router_id] = {}
        granted = {
            worker_id: max(0, min(claim.wanted, claim.slots - self._leased(worker_id)))
            for worker_id, claim in claims.items()
        }
        self._leases[me.router_id] = granted
        return Beat(tuple(member for _, (member, _) in sorted(self._members.items())), granted)

    async def leave(self, router_id: str) -> None:
        self._members.pop(router_id, None)
        self._leases.pop(router_id, None)

    def _leased(self, worker_id: str) -> int:
        return sum(leases.get(worker_id, 0) for leases in self._leases.values())


class _KeptKey(Struct, frozen=True, gc=False):
    fingerprint: str
    token: str
    expires_s: float
    answer: KeptAnswer | None = None
    is_ended: bool = False


class MemoryIdempotencyStore:
    """Answers kept in one process. ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: dict[tuple[str, str], _KeptKey] = {}

    async def claim(self, claimant: Claimant, fingerprint: str, ttl_s: float) -> Claim:
        now_s = self._clock()
        self._rows = {k: row for k, row in self._rows.items() if row.expires_s > now_s}
        row = self._rows.get((claimant.scope, claimant.key))
        own = self._running(claimant)
        if row is None or (own is not None and not own.is_ended):
            self._rows[claimant.scope, claimant.key] = _KeptKey(
                fingerprint, claimant.token, now_s + ttl_s
            )
            return Claim(ClaimState.NEW)
        if row.fingerprint != fingerprint:
            return Claim(ClaimState.OTHER)
        done = row.answer is not None
        return Claim(ClaimState.DONE, row.answer) if done else Claim(ClaimState.RUNNING)

    async def keep(self, claimant: Claimant, answer: KeptAnswer, ttl_s: float) -> None:
        row = self._running(claimant)
        if row is not None:
            self._rows[claimant.scope, claimant.key] = structs.replace(
                row, expires_s=self._clock() + ttl_s, answer=answer
            )

    async def forget(self, claimant: Claimant) -> None:
        if self._running(claimant) is not None:
            del self._rows[claimant.scope, claimant.key]

    async def end(self, scope: str, key: str) -> bool:
        row = self._rows.get((scope, key))
        if row is None or row.answer is not None or row.expires_s <= self._clock():
            return False
        self._rows[scope, key] = structs.replace(row, is_ended=True)
        return True

    async def is_ended(self, claimant: Claimant) -> bool:
        row = self._running(claimant)
        return row is not None and row.is_ended

    def _running(self, claimant: Claimant) -> _KeptKey | None:
        """The entry of a call that still has its key and no answer."""
        row = self._rows.get((claimant.scope, claimant.key))
        own = row is not None and row.token == claimant.token and row.answer is None
        return row if own else None


class MemorySnapshotSource:
    """Yields the snapshots given to :meth:`publish`."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshots: asyncio.Queue[Snapshot] = asyncio.Queue()
        self._snapshots.put_nowait(snapshot)

    def publish(self, snapshot: Snapshot) -> None:
        """Make a newer snapshot current."""
        self._snapshots.put_nowait(snapshot)

    async def snapshots(self) -> AsyncIterator[Snapshot | None]:
        while True:
            yield await self._snapshots.get()


class MemoryBudget(Struct):
    """A cap on spending. Its window never ends."""

    limit_nano: int
    spent_nano: int = 0
    held_nano: int = 0
    window: str = "month"

    @property
    def left_nano(self) -> int:
        """How much of it may still be leased."""
        return self.limit_nano - self.spent_nano - self.held_nano


class MemoryLease(Struct):
    """A lease as the ledger keeps it. ``owner`` is one run of a router."""

    owner: str
    purse: Purse
    amount_nano: int
    expires_at_s: float
    spent_nano: int = 0

    @property
    def rest_nano(self) -> int:
        """The part of it that is still held."""
        return self.amount_nano - self.spent_nano


class MemoryLedger:
    """Books and a record sink over a dict of balances, with the rules of the SQL ledger.

    ``balances_nano`` maps account ids to credit; other accounts have ``default_nano``. ``clock``
    returns Unix seconds. Each router has its leases from its own :class:`MemoryBank`.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        balances_nano: dict[int, int] | None = None,
        budgets: dict[int, MemoryBudget] | None = None,
        default_nano: int = 0,
        records_kept: int = 1000,
    ) -> None:
        self.clock = clock
        self._default_nano = default_nano
        self._seen: set[str] = set()
        self.banks: dict[str, MemoryBank] = {}
        """The banks in use, by router."""
        self.leases: dict[str, MemoryLease] = {}
        """The open leases."""
        self.budgets = budgets or {}
        self.posted: dict[int, int] = dict(balances_nano or {})
        self.held: dict[int, int] = {}
        self.expense_nano = 0
        """Late charges that an account could not cover."""
        self.records: deque[UsageRecord] = deque(maxlen=records_kept)

    def left(self, purse: Purse) -> Shortage:
        """A purse's account or budget with the least left, which bounds what can be leased."""
        least = self._least(purse)
        if not least.leased_nano:
            return least
        there = {bank.owner for bank in self.banks.values()}
        stranded = sum(
            lease.rest_nano
            for lease in self.leases.values()
            if lease.owner not in there
            and lease.purse.account_id == purse.account_id
            and (not least.budget_id or least.budget_id in lease.purse.budgets)
        )
        return structs.replace(least, stranded_nano=stranded)

    def _least(self, purse: Purse) -> Shortage:
        account_id = purse.account_id
        posted = self.posted.setdefault(account_id, self._default_nano)
        held = self.held.get(account_id, 0)
        lefts = [Shortage(0, posted - held, held)]
        for budget_id in purse.budgets:
            budget = self.budgets[budget_id]
            lefts.append(Shortage(budget_id, budget.left_nano, budget.held_nano))
        return min(lefts, key=lambda shortage: shortage.left_nano)

    def hold(self, purse: Purse, amount_nano: int) -> None:
        """Set this much more aside, or less if negative."""
        self.held[purse.account_id] = self.held.get(purse.account_id, 0) + amount_nano
        for budget_id in purse.budgets:
            self.budgets[budget_id].held_nano += amount_nano

    async def posted_nano(self, account_id: int) -> int:
        return self.posted.get(account_id, self._default_nano)

    async def budget(self, budget_id: int) -> BudgetState | None:
        budget = self.budgets.get(budget_id)
        if budget is None:
            return None
        return BudgetState(budget.limit_nano, budget.spent_nano, budget.window)

    async def spent(self, organisation_id: int, key_id: int | None) -> Spending:
        """See :class:`router.ports.books.Books`. Counts only the records that are kept."""
        now = datetime.fromtimestamp(self.clock(), UTC)
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        since = (day, day - timedelta(days=day.weekday()), day.replace(day=1))
        mine = [
            record
            for record in self.records
            if record.organisation_id == organisation_id and key_id in (None, record.key_id)
        ]
        return Spending(
            sum(record.charge_nano for record in mine),
            *(
                sum(
                    record.charge_nano
                    for record in mine
                    if record.created_at_ms >= start.timestamp() * 1e3
                )
                for start in since
            ),
        )

    async def call(self, request_id: str) -> UsageRecord | None:
        return next((record for record in self.records if record.request_id == request_id), None)

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        for record in records:
            if record.charge_nano > record.hold_nano:
                raise RecordRejected(f"{record.request_id}: charge exceeds hold")
        for record in records:
            if record.request_id not in self._seen:
                self._seen.add(record.request_id)
                self.records.append(record)
                self._move(record)

    def _move(self, record: UsageRecord) -> None:
        account_id, charge = record.account_id, record.charge_nano
        lease = self.leases.get(record.lease_id)
        if lease is not None:
            lease.spent_nano += charge
            self.hold(lease.purse, -charge)
            for budget_id in lease.purse.budgets:
                self.budgets[budget_id].spent_nano += charge
        else:  # The lease was given up: what the account cannot cover is the platform's loss.
            left = self.left(Purse(account_id)).left_nano
            self.expense_nano += max(charge - left, 0)
            charge = min(charge, left)
        self.posted[account_id] = self.posted.get(account_id, self._default_nano) - charge


class MemoryBank:
    """One router's access to its leases. ``life`` tells a restarted router from its earlier run."""

    def __init__(
        self, ledger: MemoryLedger, *, router_id: str, life: str = "1", lease_ttl_s: float = 600.0
    ) -> None:
        self._ledger = ledger
        self._router_id = router_id
        self.owner = f"{router_id}/{life}"
        self._lease_ttl_s = lease_ttl_s
        self._recalled: asyncio.Queue[int] = asyncio.Queue()
        ledger.banks[router_id] = self

    async def take(
        self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
    ) -> LeaseGrant | Shortage:
        found = self._ledger.left(purse)
        if found.left_nano < max(need_nano, 1):
            return self._short(purse, found) if need_nano else found
        amount = self._part(found, need_nano, want_nano)
        expires_at_s = self._ledger.clock() + self._lease_ttl_s
        self._ledger.leases[lease_id] = MemoryLease(self.owner, purse, amount, expires_at_s)
        self._ledger.hold(purse, amount)
        return LeaseGrant(lease_id, purse, amount, expires_at_s)

    async def grow(self, lease_id: str, need_nano: int, want_nano: int) -> int | Shortage:
        lease = self._ledger.leases.get(lease_id)
        if lease is None:
            return Shortage(0, 0, 0)
        found = self._ledger.left(lease.purse)
        if found.left_nano < need_nano:
            return self._short(lease.purse, found)
        more = self._part(found, need_nano, want_nano, lease.rest_nano)
        lease.amount_nano += more
        self._ledger.hold(lease.purse, more)
        return more

    def _short(self, purse: Purse, found: Shortage) -> Shortage:
        for bank in self._ledger.banks.values():
            bank.recall(purse.account_id)
        return found

    def _part(self, found: Shortage, need_nano: int, want_nano: int, has_nano: int = 0) -> int:
        even = (found.left_nano + found.leased_nano) // len(self._ledger.banks) - has_nano
        return min(want_nano, found.left_nano, max(need_nano, even, 1))

    async def shrink(self, lease_id: str, amount_nano: int) -> None:
        lease = self._ledger.leases.get(lease_id)
        if lease is not None and amount_nano < lease.amount_nano:
            amount_nano = max(amount_nano, lease.spent_nano)
            self._ledger.hold(lease.purse, amount_nano - lease.amount_nano)
            lease.amount_nano = amount_nano

    async def extend(self, lease_id: str) -> float:
        lease = self._ledger.leases.get(lease_id)
        if lease is None:
            return 0.0
        lease.expires_at_s = self._ledger.clock() + self._lease_ttl_s
        return lease.expires_at_s

    async def close(self, lease_id: str) -> None:
        lease = self._ledger.leases.pop(lease_id, None)
        if lease is not None:
            self._ledger.hold(lease.purse, -lease.rest_nano)

    async def close_earlier(self) -> None:
        mine = f"{self._router_id}/"
        for lease_id, lease in list(self._ledger.leases.items()):
            if lease.owner.startswith(mine) and lease.owner != self.owner:
                await self.close(lease_id)

    async def recalls(self) -> AsyncIterator[int]:
        while True:
            yield await self._recalled.get()

    def recall(self, account_id: int) -> None:
        """Ask for the idle credit of an account."""
        self._recalled.put_nowait(account_id)
