"""Routers that take calls, die, lose power and lose the ledger; and what must hold all the same.

:func:`simulate` runs one seed: the real vault, settler and journal of a few routers over one
ledger, until every fault is over and every router has stopped in order. It raises :class:`Broken`.
"""

import asyncio

from router.contracts.record import UsageRecord
from router.pipeline.settlement.settle import CHECKPOINT_TOKENS
from tests.simulation.router import Router
from tests.simulation.virtual_time import run
from tests.simulation.world import SETTLING_S, Truth, World

STEP_MAX_S = 0.5


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
