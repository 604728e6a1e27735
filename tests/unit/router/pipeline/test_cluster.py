"""Routers that meet in memory: who owns what, and who may use how many slots."""

import asyncio
import random

from msgspec import structs

from router.adapters.memory import MemoryCluster
from router.contracts.snapshot import Snapshot
from router.domain.catalog import Model, Policy
from router.domain.errors import LedgerUnavailable
from router.pipeline.cluster import ClusterView
from router.pipeline.dispatch import Dispatcher
from router.pipeline.routing_table import build_table
from router.ports import Beat, Member
from router.scheduling.scheduler import Scheduler
from router.scheduling.sharding import owner
from tests.unit.router.pipeline.line import snapshot

TTL_S = 3.0
MODEL = "a/m"


class Router:
    """A view and the scheduler below it."""

    def __init__(self, name: str, cluster: MemoryCluster, clock: "Clock", shop: Snapshot) -> None:
        self.name = name
        self.scheduler = Scheduler(queue_max=10, random=random.Random(1).random)
        loop = asyncio.get_running_loop()
        dispatcher = Dispatcher(self.scheduler, clock=loop.time)
        me = Member(name, f"http://{name}")
        self.view = ClusterView(me, cluster, dispatcher, ttl_s=TTL_S, clock=clock)
        table = build_table(shop)
        dispatcher.apply(table.endpoints.values())
        self.view.use(table)

    @property
    def slots(self) -> dict[str, int]:
        return {w.id: w.slots for w in self.scheduler.fleet.workers.values()}


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def two(shop: Snapshot) -> tuple[Router, Router, Clock]:
    """An owner of the chat model and another router, after enough beats to have settled."""
    clock = Clock()
    cluster = MemoryCluster(clock)
    names = ["left", "right"]
    first = owner(MODEL, names)
    routers = {name: Router(name, cluster, clock, shop) for name in names}
    for _ in range(3):
        for router in routers.values():
            await router.view.beat()
    (other,) = set(names) - {first}
    return routers[first], routers[other], clock


async def test_a_router_alone_serves_everything_with_every_slot() -> None:
    clock = Clock()
    alone = Router("alone", MemoryCluster(clock), clock, snapshot())
    await alone.view.beat()
    assert alone.view.elsewhere(MODEL) is None
    assert set(alone.slots.values()) == {4}


async def test_calls_go_to_the_owner_who_has_the_slots() -> None:
    mine, other, _ = await two(snapshot())
    assert mine.view.elsewhere(MODEL) is None
    member = other.view.elsewhere(MODEL)
    assert member is not None
    assert member.router_id == mine.name
    assert (mine.slots["one-0"], other.slots["one-0"]) == (4, 0)


async def test_a_shared_model_is_placed_by_everyone_over_leased_slots() -> None:
    shop = structs.replace(snapshot(), policies=(Policy(1, 1, MODEL, shared=True),))
    mine, other, _ = await two(shop)
    assert other.view.elsewhere(MODEL) is None
    assert (mine.slots["one-0"], other.slots["one-0"]) == (2, 2)


async def test_workers_of_models_with_different_owners_are_divided() -> None:
    base = snapshot()
    names = [f"a/m{n}" for n in range(9)]
    more = tuple(
        structs.replace(base.deployments[0], id=10 + n, model=m) for n, m in enumerate(names)
    )
    shop = structs.replace(
        base,
        models=(*base.models, *(Model(name, "chat", "1", 0) for name in names)),
        deployments=(*base.deployments, *more),
    )
    mine, other, _ = await two(shop)
    assert mine.slots["one-0"] + other.slots["one-0"] == 4
    assert min(mine.slots["one-0"], other.slots["one-0"]) > 0


async def test_when_the_owner_falls_silent_another_takes_over() -> None:
    _, other, clock = await two(snapshot())
    clock.now_s += TTL_S
    await other.view.beat()
    assert other.view.elsewhere(MODEL) is None
    await other.view.beat()
    assert other.slots["one-0"] == 4


async def test_an_owner_that_cannot_be_reached_is_done_without_until_its_time_is_up() -> None:
    mine, other, clock = await two(snapshot())
    member = other.view.elsewhere(MODEL)
    assert member is not None
    other.view.suspect(member)
    assert other.view.elsewhere(MODEL) is None
    await mine.view.beat()
    await other.view.beat()
    assert other.slots["one-0"] == 0, "its lease still runs"
    clock.now_s += TTL_S
    await mine.view.beat()
    await other.view.beat()
    again = other.view.elsewhere(MODEL)
    assert again is not None, "it lives after all"


async def test_a_router_that_leaves_frees_its_slots_at_once() -> None:
    mine, other, _ = await two(snapshot())
    await mine.view.leave()
    for _ in range(2):
        await other.view.beat()
    assert other.slots["one-0"] == 4


async def test_without_the_database_everyone_goes_on_with_what_they_have() -> None:
    mine, other, clock = await two(snapshot())

    class Away(MemoryCluster):
        async def beat(self, *_: object) -> Beat:
            raise LedgerUnavailable("away")

    other.view._cluster = Away(clock)
    clock.now_s += 100
    await other.view.beat()
    assert other.view.elsewhere(MODEL) is not None
    assert mine.slots["one-0"] == 4
