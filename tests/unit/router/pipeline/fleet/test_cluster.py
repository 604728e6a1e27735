"""Routers that meet in memory: who owns what, and who may use how many slots."""

import asyncio

from msgspec import structs

from router.adapters.memory import MemoryCluster
from router.contracts.snapshot import Snapshot
from router.domain.catalog import Limit, Model, Policy, RateLimits
from router.scheduling.fleet.sharding import owner
from router.scheduling.ticket import Ticket
from router.scheduling.worker_models.engines import EngineWorker
from tests.unit.router.pipeline.line import snapshot
from tests.unit.router.pipeline.routers import TTL_S, Clock, Router, meeting

MODEL = "a/m"


async def two(shop: Snapshot) -> tuple[Router, Router, Clock]:
    """The owner of the chat model and another router, after enough beats to have settled."""
    left, right, clock = await meeting(shop)
    routers = (left, right) if owner(MODEL, ["left", "right"]) == "left" else (right, left)
    return *routers, clock


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


async def test_a_router_with_more_to_place_gets_more_of_the_slots() -> None:
    shop = structs.replace(snapshot(), policies=(Policy(1, 1, MODEL, shared=True),))
    mine, other, _ = await two(shop)
    for n in range(4):
        ticket = Ticket(f"t{n}", ("1@one-0",), Policy(1, 1, MODEL), arrived_s=0, expires_s=1e9)
        mine.scheduler.arrive(ticket, 0.0)
    for _ in range(3):
        await mine.view.beat()
        await other.view.beat()
    assert (mine.slots["one-0"], other.slots["one-0"]) == (3, 1)


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


async def test_a_router_that_leaves_in_the_middle_of_a_beat_is_gone() -> None:
    mine, other, _ = await two(snapshot())
    await asyncio.gather(mine.view.beat(), mine.view.leave(), mine.view.beat())
    await other.view.beat()
    assert other.view.members.keys() == {other.name}


async def test_a_stopping_router_owns_nothing_and_keeps_the_slots_of_its_calls() -> None:
    mine, other, _ = await two(snapshot())
    ticket = Ticket("t", ("1@one-0",), Policy(1, 1, MODEL), arrived_s=0, expires_s=1e9)
    (sent,) = mine.scheduler.arrive(ticket, 0.0)
    await mine.view.withdraw()
    for _ in range(2):
        await other.view.beat()
        await mine.view.beat()
    assert other.view.elsewhere(MODEL) is None
    forwarded = mine.view.elsewhere(MODEL)
    assert forwarded is not None
    assert forwarded.router_id == other.name
    assert (mine.slots["one-0"], other.slots["one-0"]) == (1, 3), sent


async def test_a_router_that_stops_alone_serves_what_still_comes() -> None:
    clock = Clock()
    alone = Router("alone", MemoryCluster(clock), clock, snapshot())
    await alone.view.beat()
    await alone.view.withdraw()
    assert alone.view.elsewhere(MODEL) is None


async def test_without_the_database_everyone_goes_on_with_what_they_have() -> None:
    mine, other, clock = await two(snapshot())
    other.go_away()
    clock.now_s += 100
    await other.view.beat()
    assert other.view.elsewhere(MODEL) is not None
    assert mine.slots["one-0"] == 4


async def test_when_the_database_is_back_nobody_takes_itself_for_alone() -> None:
    mine, other, clock = await two(snapshot())
    for router in (mine, other):
        router.go_away()
    clock.now_s += 100
    await other.view.beat()
    other.come_back()
    await other.view.beat()
    assert other.view.elsewhere(MODEL) is not None, "the owner has yet to beat"
    clock.now_s += TTL_S
    await other.view.beat()
    assert other.view.elsewhere(MODEL) is None, "it had its time"


async def test_each_hears_what_the_others_have_on_engines_while_they_are_there() -> None:
    shop = structs.replace(snapshot(), policies=(Policy(1, 1, MODEL, shared=True),))
    mine, other, clock = await two(shop)
    for router in (mine, other):
        ticket = Ticket(
            "opens",
            ("1@one-0",),
            Policy(1, 1, MODEL),
            arrived_s=0,
            expires_s=1e9,
            prompt_tokens=500.0,
            answer_tokens=50.0,
            streams=True,
        )
        router.scheduler.arrive(ticket, asyncio.get_running_loop().time())
    assert others_on("one-0", mine) == 0
    for _ in range(2):
        await mine.view.beat()
        await other.view.beat()
    assert others_on("one-0", mine) == 1
    mine.go_away()
    clock.now_s += TTL_S - 0.1
    await mine.view.beat()
    assert others_on("one-0", mine) == 1, "a member would still be there"
    clock.now_s += 0.1
    await mine.view.beat()
    assert others_on("one-0", mine) == 0


def others_on(worker: str, router: Router) -> float:
    """How many prompts others have there, as far as a router knows."""
    model = router.scheduler.fleet.workers[worker].model
    assert isinstance(model, EngineWorker)
    return model.batch.others.prefilling


async def test_a_limit_that_is_new_here_is_asked_for_at_once() -> None:
    left, right, _ = await meeting()
    beating = asyncio.create_task(right.view.run())
    try:
        right.limiter.join = right.view.beat_now
        limits = (Limit("key:1", RateLimits(calls_at_once=3), "this key is"),)
        for _ in range(3):
            await right.limiter.admit(limits, 0)
    finally:
        beating.cancel()
    await left.view.beat()
    assert left.view.members["right"].demands["calls:key:1"] > 0
