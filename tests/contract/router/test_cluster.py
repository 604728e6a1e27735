"""Where routers meet, in memory and in PostgreSQL: the same rules."""

import time
import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.adapters.memory import MemoryCluster
from router.adapters.postgres.cluster import PostgresCluster
from router.adapters.postgres.pool import open_pool
from router.contracts.word import SILENT, Load, Word
from router.domain.errors import LedgerUnavailable
from router.ports.cluster import Member, SlotClaim
from tests.databases import as_routers
from tests.examples import stored_examples

TTL_S = 60.0
EXPIRED_S = 1e-6


@pytest.fixture(params=["memory", "postgres"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[MemoryCluster | PostgresCluster]:
    if request.param == "memory":
        yield MemoryCluster(time.monotonic)
        return
    url = request.getfixturevalue("ledger_database")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM routing_router")
    pool = open_pool(as_routers(url))
    await pool.open()
    try:
        yield PostgresCluster(pool)
    finally:
        await pool.close()


def member() -> Member:
    name = f"r-{uuid.uuid4().hex[:8]}"
    return Member(name, f"http://{name}")


async def test_a_beat_tells_who_is_there_and_what_they_need(
    cluster: MemoryCluster | PostgresCluster,
) -> None:
    left, right = sorted((member(), member()), key=lambda one: one.router_id)
    await cluster.beat(left, TTL_S, {"w": 1.5}, {})
    beat = await cluster.beat(right, TTL_S, {}, {})
    assert beat.members == (Member(left.router_id, left.url, {"w": 1.5}), right)


async def test_what_one_says_of_engines_the_others_hear_until_it_is_gone(
    cluster: MemoryCluster | PostgresCluster,
) -> None:
    left, right = member(), member()
    word = Word({"e": Load(1.5, 300.0, 4.0, 5e3, 20.0)}, {"d@e": (7, 4_294_967_295)})
    await cluster.beat(left, TTL_S, {}, {}, word)
    beat = await cluster.beat(right, TTL_S, {}, {})
    words = {member.router_id: member.word for member in beat.members}
    assert words == {left.router_id: word, right.router_id: SILENT}
    await cluster.beat(left, EXPIRED_S, {}, {}, word)
    beat = await cluster.beat(right, TTL_S, {}, {})
    assert [member.router_id for member in beat.members] == [right.router_id]


async def test_leases_never_add_up_to_more_than_the_slots(
    cluster: MemoryCluster | PostgresCluster,
) -> None:
    left, right = member(), member()
    assert (await cluster.beat(left, TTL_S, {}, {"w": SlotClaim(3, 4)})).granted == {"w": 3}
    assert (await cluster.beat(right, TTL_S, {}, {"w": SlotClaim(4, 4)})).granted == {"w": 1}
    assert (await cluster.beat(left, TTL_S, {}, {"w": SlotClaim(1, 4)})).granted == {"w": 1}
    assert (await cluster.beat(right, TTL_S, {}, {"w": SlotClaim(4, 4)})).granted == {"w": 3}


async def test_a_worker_that_lost_slots_grants_no_negative_number(
    cluster: MemoryCluster | PostgresCluster,
) -> None:
    left, right = member(), member()
    await cluster.beat(left, TTL_S, {}, {"w": SlotClaim(4, 4)})
    assert (await cluster.beat(right, TTL_S, {}, {"w": SlotClaim(2, 2)})).granted == {"w": 0}


async def test_a_silent_router_is_forgotten_with_its_leases(
    cluster: MemoryCluster | PostgresCluster,
) -> None:
    silent, other = member(), member()
    await cluster.beat(silent, EXPIRED_S, {}, {"w": SlotClaim(4, 4)})
    beat = await cluster.beat(other, TTL_S, {}, {"w": SlotClaim(4, 4)})
    assert beat.members == (other,)
    assert beat.granted == {"w": 4}


async def test_a_router_that_leaves_is_gone_at_once(
    cluster: MemoryCluster | PostgresCluster,
) -> None:
    left, right = member(), member()
    await cluster.beat(left, TTL_S, {}, {"w": SlotClaim(4, 4)})
    await cluster.leave(left.router_id)
    await cluster.leave(left.router_id)
    beat = await cluster.beat(right, TTL_S, {}, {"w": SlotClaim(4, 4)})
    assert (beat.members, beat.granted) == ((right,), {"w": 4})


@settings(
    max_examples=stored_examples(10),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    beats=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.booleans()), max_size=12),
)
async def test_whatever_is_asked_for_the_sum_of_leases_holds(
    cluster: MemoryCluster | PostgresCluster, beats: list[tuple[int, int, bool]]
) -> None:
    routers = [member() for _ in range(3)]
    held: dict[str, int] = {}
    worker = uuid.uuid4().hex
    for number, wanted, leaves in beats:
        router = routers[number]
        if leaves:
            await cluster.leave(router.router_id)
            held.pop(router.router_id, None)
        else:
            beat = await cluster.beat(router, TTL_S, {}, {worker: SlotClaim(wanted, 4)})
            held[router.router_id] = beat.granted[worker]
            assert 0 <= beat.granted[worker] <= wanted
        assert sum(held.values()) <= 4
    for router in routers:
        await cluster.leave(router.router_id)


async def test_a_database_that_is_away_is_said_to_be() -> None:
    pool = open_pool("postgres://nobody@127.0.0.1:1/nowhere")
    await pool.open(wait=False)
    try:
        with pytest.raises(LedgerUnavailable):
            await PostgresCluster(pool).beat(member(), TTL_S, {}, {})
    finally:
        await pool.close()
