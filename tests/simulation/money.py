"""Routers that take calls, die, lose power and lose the ledger; and what must hold all the same.

:func:`simulate` runs one seed: the real vault, settler and journal of a few routers over one
ledger, until every fault is over and every router has stopped in order. It raises :class:`Broken`.
"""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from router.adapters.memory import MemoryBank, MemoryBudget, MemoryLedger
from router.adapters.memory_disk import MemoryDisk
from router.contracts.journal import newest_records, read_segment
from router.contracts.record import UsageRecord
from router.domain.errors import BudgetExhausted, CreditExhausted, LedgerUnavailable
from router.domain.money import Purse
from router.metering.journal import Journal
from router.metering.lease import Hold
from router.metering.settler import Settler
from router.metering.vault import Vault
from router.pipeline.settlement.settle import CHECKPOINT_S, CHECKPOINT_TOKENS
from tests.simulation.network import Network, RemoteBank, RemoteSink
from tests.simulation.virtual_time import run

LEASE_TTL_S = 60.0
SYNC_COSTS_S = 0.003
STEP_MAX_S = 0.5
CALL_S = 0.4
LOOK_S = 0.02
SETTLING_S = 300.0
"""How long everything may take to come to rest once the faults are over."""


class Broken(Exception):
    """Something that was promised does not hold."""


@dataclass
class Truth:
    """What happened to one call, as its client knows it."""

    request_id: str
    router: str
    purse: Purse
    hold_nano: int
    """What is held by now: a stream's grows."""
    token_nano: int
    delivered: int = 0
    ended: str = ""
    """``whole``, ``gone`` or ``broken``, "" while it runs."""
    ended_s: float = 0.0


@dataclass
class World:
    """One history. ``calm`` ones have no faults but those of the clients' own making."""

    seed: int
    draw: random.Random = field(init=False)
    truths: dict[str, Truth] = field(default_factory=dict)
    refused: int = 0
    raised: int = 0
    cut: int = 0
    """Streams that ended since nothing more could be held."""
    faults: Counter[str] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)
    """Calls whose newest record a power loss took."""
    settled_ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.calm = self.draw.random() < 0.25
        self.credit_nano = self.draw.choice((300, 3_000, 100_000))
        budgets = {1: MemoryBudget(self.credit_nano // 3), 2: MemoryBudget(self.credit_nano // 2)}
        self.purses = (Purse(1), Purse(1, (1,)), Purse(1, (1, 2)), Purse(2))
        self.ledger = MemoryLedger(
            clock=self.now_s,
            balances_nano={1: self.credit_nano, 2: self.credit_nano},
            budgets=budgets,
            records_kept=10**6,
        )
        self.network = Network(self.draw, self.check_now)
        self.numbers = itertools.count(1)
        self.sink = RemoteSink(self.ledger, self.network)
        self.disks: dict[str, MemoryDisk] = {}

    def now_s(self) -> float:
        """The clock of every machine."""
        return asyncio.get_running_loop().time()

    def check_now(self) -> None:
        """What holds at every moment."""
        for account_id, posted in self.ledger.posted.items():
            held = self.ledger.held.get(account_id, 0)
            self.expect(posted >= held >= 0, f"account {account_id} has {posted}, holds {held}")
        for budget_id, budget in self.ledger.budgets.items():
            fits = budget.held_nano >= 0 and budget.left_nano >= 0
            self.expect(fits, f"budget {budget_id} is {budget}")

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise Broken(f"seed {self.seed} at {self.now_s():.3f} s: {what}")

    def free_nano(self, purse: Purse) -> int:
        """What of a purse no call has: neither holds it, nor owes it."""
        left = self.ledger.posted[purse.account_id]
        budgets = {b: self.ledger.budgets[b] for b in purse.budgets}
        lefts = {b: budget.limit_nano - budget.spent_nano for b, budget in budgets.items()}
        for truth in self.truths.values():
            if truth.request_id in self.settled_ids:
                continue
            owed = truth.delivered * truth.token_nano if truth.ended else truth.hold_nano
            if truth.purse.account_id == purse.account_id:
                left -= owed
            for budget_id in set(truth.purse.budgets) & set(lefts):
                lefts[budget_id] -= owed
        return min([left, *lefts.values()])

    @contextlib.contextmanager
    def watching(self, purse: Purse) -> Iterator[list[int]]:
        """What is free of a purse, again and again, while somebody waits for some of it.

        Only in calm histories: otherwise credit may be out of reach with a router that is down.
        """
        free: list[int] = []
        if not self.calm:
            yield free
            return
        loop = asyncio.get_running_loop()

        def look() -> None:
            nonlocal timer
            free.append(self.free_nano(purse))
            timer = loop.call_later(LOOK_S, look)

        timer: asyncio.Handle = loop.call_later(LOOK_S, look)
        free.append(self.free_nano(purse))
        try:
            yield free
        finally:
            timer.cancel()
            free.append(self.free_nano(purse))


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


async def _history(world: World) -> None:
    """Take calls and suffer faults for a while, then come to rest."""
    draw = world.draw
    names = [f"r{i}" for i in range(draw.randint(1, 4))]
    lives = dict.fromkeys(names, 1)
    routers = {name: Router(world, name, 1) for name in names}
    for _ in range(draw.randint(5, 40)):
        await asyncio.sleep(draw.random() * STEP_MAX_S)
        for _ in range(draw.choice((1, 1, 3, 10))):
            name = draw.choice(names)
            if name in routers:
                routers[name].call()
        if not world.calm:
            _fault(world, routers, lives)
    world.network.is_down, world.network.fault_share = False, 0.0
    for name in names:
        if name not in routers:
            lives[name] += 1
            routers[name] = Router(world, name, lives[name])
    await _at_rest(world, routers)
    for router in routers.values():
        await router.stop()


def _fault(world: World, routers: dict[str, Router], lives: dict[str, int]) -> None:
    draw = world.draw
    what = draw.choices(
        ("none", "kill", "power", "restart", "outage", "mend", "write_off"), (6, 2, 1, 4, 1, 2, 0.3)
    )[0]
    name = draw.choice(list(lives))
    router = routers.get(name)
    if what in ("kill", "power") and router is not None:
        world.faults[what] += 1
        del routers[name]
        router.kill()
        if what == "power":
            router.lose_power()
    elif what == "restart" and router is None:
        lives[name] += 1
        routers[name] = Router(world, name, lives[name])
    elif what == "outage":
        world.faults[what] += 1
        world.network.is_down = draw.random() < 0.5
        world.network.fault_share = draw.choice((0.05, 0.3))
    elif what == "mend":
        world.network.is_down, world.network.fault_share = False, 0.0
    elif what == "write_off" and router is None:
        world.faults[what] += 1
        for lease_id, lease in list(world.ledger.leases.items()):
            if lease.owner.startswith(f"{name}/"):
                world.ledger.hold(lease.purse, -lease.rest_nano)
                del world.ledger.leases[lease_id]


async def _at_rest(world: World, routers: dict[str, Router]) -> None:
    until_s = world.now_s() + SETTLING_S
    while any(router.is_busy for router in routers.values()):
        world.expect(world.now_s() < until_s, "it does not come to rest")
        for router in routers.values():
            for task in [*router.tasks, *router.calls]:
                if task.done():
                    await task  # It raises what broke it.
        await asyncio.sleep(0.1)


def _prove(world: World) -> None:
    """What holds in the end."""
    records = {record.request_id: record for record in world.ledger.records}
    world.expect(len(records) == len(world.ledger.records), "a call was settled twice")
    world.expect(set(records) <= set(world.truths), "a call was settled that nobody made")
    for truth in world.truths.values():
        _prove_call(world, truth, records.get(truth.request_id))
    late = world.sink.late
    world.expect(not late or world.faults["write_off"] > 0, f"{late} charges were late")
    charged = sum(record.charge_nano for record in records.values())
    posted = sum(world.ledger.posted.values())
    world.expect(
        posted == 2 * world.credit_nano - charged + world.ledger.expense_nano,
        f"{posted} is left of {2 * world.credit_nano} after charges of {charged}",
    )
    world.expect(not any(world.ledger.held.values()), f"still held: {world.ledger.held}")
    world.expect(not world.ledger.leases, f"still open: {world.ledger.leases}")
    for name, disk in world.disks.items():
        left = [n for n in disk.names() if n.endswith(".journal")]
        world.expect(not left, f"{name} left {left}")


def _prove_call(world: World, truth: Truth, record: UsageRecord | None) -> None:
    lost = truth.request_id in world.lost
    if truth.ended == "broken" or lost:
        billed = record.completion_tokens if record is not None else 0
        world.expect(billed <= truth.delivered, f"{truth} was billed for {billed} tokens")
        world.expect(
            lost or truth.delivered - billed < CHECKPOINT_TOKENS,
            f"{truth} was billed for {billed} tokens only",
        )
        return
    world.expect(record is not None, f"{truth} was never settled")
    assert record is not None
    world.expect(record.completion_tokens == truth.delivered, f"{truth} was settled as {record}")


def _only(group: ExceptionGroup[Exception]) -> Exception:
    first = group.exceptions[0]
    return _only(first) if isinstance(first, ExceptionGroup) else first


def simulate(seed: int) -> World:
    """One history from its seed. Raises :class:`Broken` when a promise does not hold in it."""

    async def history() -> World:
        world = World(seed)
        try:
            await _history(world)
        except ExceptionGroup as group:  # From one of a router's task groups.
            raise _only(group) from group
        world.check_now()
        _prove(world)
        return world

    return run(history())
