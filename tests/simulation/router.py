"""One life of a router: the real vault, settler and journal, over a ledger that may be away."""

import asyncio
import contextlib
from collections.abc import Callable

from router.adapters.memory import MemoryBank
from router.adapters.memory_disk import MemoryDisk
from router.contracts.journal import newest_records, read_segment
from router.contracts.record import UsageRecord
from router.domain.errors import BudgetExhausted, CreditExhausted, LedgerUnavailable
from router.metering.journal import Journal
from router.metering.lease import Hold
from router.metering.settler import Settler
from router.metering.vault import Vault
from router.pipeline.settlement.settle import CHECKPOINT_S, CHECKPOINT_TOKENS
from tests.simulation.network import RemoteBank
from tests.simulation.world import SETTLING_S, Broken, Truth, World

LEASE_TTL_S = 60.0
SYNC_COSTS_S = 0.003
CALL_S = 0.4


class Router:
    """One life of a router: what runs in its process."""

    def __init__(self, world: World, name: str, life: int) -> None:
        self.world = world
        self.name = name
        self.disk = world.disks.setdefault(name, MemoryDisk())
        bank = MemoryBank(world.ledger, router_id=name, life=str(life), lease_ttl_s=LEASE_TTL_S)
        self.journal = Journal(self.disk)
        self.settler = Settler(
            self.journal,
            world.sink,
            settled=self._settled,
            set_aside=self._set_aside,
            unsettled_max=10_000,
            offload=self._sync,
        )
        self.vault = Vault(
            RemoteBank(bank, world.network),
            lease_nano=world.credit_nano // 10,
            lease_ttl_s=LEASE_TTL_S,
            clock=world.now_s,
            new_id=lambda: f"lease-{next(world.numbers)}",
            earlier_is_settled=lambda: self.settler.earlier_is_settled,
        )
        self.calls: list[asyncio.Task[None]] = []
        self.tasks = [
            asyncio.ensure_future(self.settler.run()),
            asyncio.ensure_future(self.vault.run()),
        ]

    def call(self) -> None:
        """Somebody calls."""
        self.calls.append(asyncio.ensure_future(self._call()))

    @property
    def is_busy(self) -> bool:
        """Whether a call runs or is owed for."""
        return self.settler.unsettled > 0 or not all(call.done() for call in self.calls)

    def kill(self) -> None:
        """As by ``kill -9``: nothing of it runs any more, and the page cache stays."""
        for task in [*self.tasks, *self.calls]:
            task.cancel()
        for truth in self.world.truths.values():
            if truth.router == self.name and not truth.ended:
                self._ended(truth, "broken")

    async def stop(self) -> None:
        """As by SIGTERM, with nothing running any more."""
        await self.settler.flush(SETTLING_S)
        for task in self.tasks:
            task.cancel()
        self.vault.book.retire_all()
        while self.vault.book.finished() or self.vault._doubtful:
            with contextlib.suppress(LedgerUnavailable):
                await self.vault.sweep()
            await asyncio.sleep(1)
        with contextlib.suppress(LedgerUnavailable):
            await self.vault.sweep()
        self.journal.close()

    def lose_power(self) -> None:
        """The machine's: what was not synced is gone, in part or whole."""
        before = _newest(self.disk)
        self.disk.lose_power(lambda unsynced: self.world.draw.randint(0, unsynced))
        after = _newest(self.disk)
        self.world.lost |= {id_ for id_, newest in before.items() if after.get(id_) != newest}

    async def _call(self) -> None:
        world, draw = self.world, self.world.draw
        purse = draw.choice(world.purses)
        tokens_max = draw.choice((1, 10, 300))
        token_nano = draw.choice((1, 1, 7))
        is_stream = draw.random() < 0.7
        grows = is_stream and draw.random() < 0.5
        hold_nano = (max(tokens_max // 8, 1) if grows else tokens_max) * token_nano
        try:
            self.settler.admit()
            with world.watching(purse) as free:
                hold = await self.vault.hold(purse, hold_nano)
        except (CreditExhausted, BudgetExhausted):
            world.refused += 1
            world.expect(
                not free or min(free) < hold_nano,
                f"a call for {hold_nano} of {purse} was refused with {min(free, default=0)} free",
            )
            return
        except LedgerUnavailable:
            world.expect(not world.calm, "the ledger was away without a fault")
            return
        truth = Truth(f"call-{next(world.numbers)}", self.name, purse, hold_nano, token_nano)
        world.truths[truth.request_id] = truth
        if is_stream:
            hold = await self._stream(truth, hold, tokens_max)
        else:
            await asyncio.sleep(draw.expovariate(1 / CALL_S))
            truth.delivered = draw.randint(0, tokens_max)
        how = "whole" if truth.delivered or draw.random() < 0.9 else "gone"
        # The account is resolved and journalled before the last byte goes out.
        charge_nano = truth.delivered * token_nano
        self.vault.book.settle(hold, charge_nano)
        self.settler.append(_record(truth, hold.lease_id, "completed", truth.delivered))
        self._ended(truth, how)

    async def _stream(self, truth: Truth, hold: Hold, tokens_max: int) -> Hold:
        """Deliver, and have more held where the hold does not cover it. Returns the last hold."""
        draw = self.world.draw
        tokens = draw.randint(0, tokens_max)
        at_once = draw.choice((1, 5, 40))
        pause_s = draw.expovariate(1 / CALL_S) * at_once / max(tokens, 1)
        next_tokens, next_s = CHECKPOINT_TOKENS, self.world.now_s() + CHECKPOINT_S
        while truth.delivered < tokens:
            await asyncio.sleep(pause_s)
            coming = min(truth.delivered + at_once, tokens)
            short_nano = coming * truth.token_nano - hold.amount_nano
            if short_nano > 0:
                try:
                    hold = await self.vault.raised(hold, short_nano)
                except (CreditExhausted, BudgetExhausted, LedgerUnavailable):
                    self.world.cut += 1
                    return hold
                truth.hold_nano = hold.amount_nano
                self.world.raised += 1
            truth.delivered = coming
            if truth.delivered >= next_tokens or self.world.now_s() >= next_s:
                next_tokens = truth.delivered + CHECKPOINT_TOKENS
                next_s = self.world.now_s() + CHECKPOINT_S
                so_far = _record(truth, hold.lease_id, "interrupted", truth.delivered)
                self.settler.checkpoint(so_far)
        return hold

    def _ended(self, truth: Truth, how: str) -> None:
        truth.ended, truth.ended_s = how, self.world.now_s()

    def _settled(self, record: UsageRecord) -> None:
        self.world.settled_ids.add(record.request_id)
        self.vault.book.acknowledge(record.lease_id)

    def _set_aside(self, payload: bytes) -> None:
        raise Broken(f"seed {self.world.seed}: a record was set aside: {payload!r}")

    async def _sync(self, work: Callable[[], None]) -> None:
        await asyncio.sleep(SYNC_COSTS_S)
        work()


def _record(truth: Truth, lease_id: str, outcome: str, tokens: int) -> UsageRecord:
    return UsageRecord(
        request_id=truth.request_id,
        router_id=truth.router,
        lease_id=lease_id,
        account_id=truth.purse.account_id,
        organisation_id=1,
        key_id=1,
        model="m",
        kind="chat",
        outcome=outcome,
        http_status=200,
        streamed=True,
        created_at_ms=0,
        hold_nano=truth.hold_nano,
        charge_nano=tokens * truth.token_nano,
        completion_tokens=tokens,
    )


def _newest(disk: MemoryDisk) -> dict[str, UsageRecord]:
    names = [name for name in disk.names() if name.endswith(".journal")]
    frames = [(0, payload) for name in names for payload in read_segment(disk.read(name)).payloads]
    return {kept.record.request_id: kept.record for kept in newest_records(frames)[0]}
