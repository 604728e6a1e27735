"""In-memory adapters, for a router alone and for tests; they ship and are tested like the rest."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from router.contracts.record import UsageRecord
from router.contracts.snapshot import Snapshot
from router.ports import (
    Beat,
    Claim,
    ClaimState,
    KeptAnswer,
    LeaseGrant,
    Member,
    RecordRejected,
    SlotClaim,
    Spending,
)

UNLIMITED_NANO = 1 << 60


class MemoryCluster:
    """Where routers of one process meet. ``clock`` returns seconds."""

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
    ) -> Beat:
        """See :class:`router.ports.Cluster`."""
        now_s = self._clock()
        for router_id in [r for r, (_, until_s) in self._members.items() if until_s <= now_s]:
            await self.leave(router_id)
        member = Member(me.router_id, me.url, demands)
        self._members[me.router_id] = (member, now_s + ttl_s)
        self._leases[me.router_id] = {}
        granted = {
            worker_id: max(0, min(claim.wanted, claim.slots - self._leased(worker_id)))
            for worker_id, claim in claims.items()
        }
        self._leases[me.router_id] = granted
        return Beat(tuple(member for _, (member, _) in sorted(self._members.items())), granted)

    async def leave(self, router_id: str) -> None:
        """See :class:`router.ports.Cluster`."""
        self._members.pop(router_id, None)
        self._leases.pop(router_id, None)

    def _leased(self, worker_id: str) -> int:
        return sum(leases.get(worker_id, 0) for leases in self._leases.values())


class MemoryIdempotencyStore:
    """Answers of one process. ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: dict[tuple[str, str], tuple[str, float, KeptAnswer | None]] = {}

    async def claim(self, scope: str, key: str, fingerprint: str, ttl_s: float) -> Claim:
        """See :class:`router.ports.IdempotencyStore`."""
        now_s = self._clock()
        self._rows = {k: row for k, row in self._rows.items() if row[1] > now_s}
        row = self._rows.get((scope, key))
        if row is None:
            self._rows[scope, key] = (fingerprint, now_s + ttl_s, None)
            return Claim(ClaimState.NEW)
        if row[0] != fingerprint:
            return Claim(ClaimState.OTHER)
        return Claim(ClaimState.RUNNING) if row[2] is None else Claim(ClaimState.DONE, row[2])

    async def keep(self, scope: str, key: str, answer: KeptAnswer, ttl_s: float) -> None:
        """See :class:`router.ports.IdempotencyStore`."""
        row = self._rows.get((scope, key))
        if row is not None:
            self._rows[scope, key] = (row[0], self._clock() + ttl_s, answer)

    async def forget(self, scope: str, key: str) -> None:
        """See :class:`router.ports.IdempotencyStore`."""
        row = self._rows.get((scope, key))
        if row is not None and row[2] is None:
            del self._rows[scope, key]


class MemorySnapshotSource:
    """Yields the snapshots that :meth:`publish` is given."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshots: asyncio.Queue[Snapshot] = asyncio.Queue()
        self._snapshots.put_nowait(snapshot)

    def publish(self, snapshot: Snapshot) -> None:
        """Make a newer snapshot current."""
        self._snapshots.put_nowait(snapshot)

    async def snapshots(self) -> AsyncIterator[Snapshot | None]:
        """See :class:`router.ports.SnapshotSource`."""
        while True:
            yield await self._snapshots.get()


class MemoryLedger:
    """A lease bank and record sink over a dict of balances, with the ledger's own rules.

    ``balances_nano`` maps account ids to credit; an account that is not listed has
    ``default_nano``. ``clock`` returns Unix seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        balances_nano: dict[int, int] | None = None,
        default_nano: int = 0,
        lease_ttl_s: float = 600.0,
        records_kept: int = 1000,
    ) -> None:
        self._clock = clock
        self._default_nano = default_nano
        self._lease_ttl_s = lease_ttl_s
        self._leases: dict[str, LeaseGrant] = {}
        self._spent: dict[str, int] = {}
        self._seen: set[str] = set()
        self._taken = 0
        self.posted: dict[int, int] = dict(balances_nano or {})
        self.held: dict[int, int] = {}
        self.records: deque[UsageRecord] = deque(maxlen=records_kept)

    async def take(self, account_id: int, need_nano: int, want_nano: int) -> LeaseGrant | None:
        """See :class:`router.ports.LeaseBank`."""
        posted = self.posted.setdefault(account_id, self._default_nano)
        available = posted - self.held.get(account_id, 0)
        if available < need_nano:
            return None
        amount = min(want_nano, available)
        self._taken += 1
        expires_at_s = self._clock() + self._lease_ttl_s
        grant = LeaseGrant(f"memory-{self._taken}", account_id, amount, expires_at_s)
        self.held[account_id] = self.held.get(account_id, 0) + amount
        self._leases[grant.id] = grant
        self._spent[grant.id] = 0
        return grant

    async def close(self, lease_id: str) -> None:
        """See :class:`router.ports.LeaseBank`."""
        grant = self._leases.pop(lease_id, None)
        if grant is not None:
            self.held[grant.account_id] -= grant.amount_nano - self._spent.pop(lease_id)

    async def close_all(self) -> None:
        """See :class:`router.ports.LeaseBank`."""
        for lease_id in list(self._leases):
            await self.close(lease_id)

    async def posted_nano(self, account_id: int) -> int:
        """See :class:`router.ports.Books`."""
        return self.posted.get(account_id, self._default_nano)

    async def spent(self, organisation_id: int, key_id: int | None) -> Spending:
        """See :class:`router.ports.Books`. Of the records that are kept."""
        now = datetime.fromtimestamp(self._clock(), UTC)
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
                sum(r.charge_nano for r in mine if r.created_at_ms >= start.timestamp() * 1e3)
                for start in since
            ),
        )

    async def call(self, request_id: str) -> UsageRecord | None:
        """See :class:`router.ports.Books`."""
        return next((r for r in self.records if r.request_id == request_id), None)

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        """See :class:`router.ports.RecordSink`."""
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
        self.posted[account_id] = self.posted.get(account_id, self._default_nano) - charge
        if record.lease_id in self._leases:
            self._spent[record.lease_id] += charge
            self.held[account_id] -= charge
