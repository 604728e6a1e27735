"""What every store of responses promises: in memory, and in PostgreSQL with the real table."""

import time
import uuid
from collections.abc import AsyncIterator

import pytest

from router.adapters.memory_responses import KEPT_MAX, MemoryResponseStore
from router.adapters.postgres.pool import open_pool
from router.adapters.postgres.responses import PostgresResponseStore
from router.ports.responses import ResponseStore, Turn

DAY_S = 86_400.0
MANY = {"turns_max": 100, "characters_max": 1_000_000}


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ResponseStore]:
    if request.param == "memory":
        yield MemoryResponseStore(time.monotonic)
        return
    pool = open_pool(request.getfixturevalue("ledger_database"))
    await pool.open()
    try:
        yield PostgresResponseStore(pool)
    finally:
        await pool.close()


def turn(previous_id: str = "", organisation_id: int = 1) -> Turn:
    items = '[{"content":"é\\u0000\U0001f600"}]'
    return Turn(f"resp_{uuid.uuid4().hex}", organisation_id, previous_id, items, '{"output":[]}')


async def chain(store: ResponseStore, length: int) -> list[Turn]:
    turns: list[Turn] = []
    for _ in range(length):
        turns.append(turn(turns[-1].id if turns else ""))
        await store.keep(turns[-1], DAY_S)
    return turns


async def test_a_conversation_is_found_from_its_beginning(store: ResponseStore) -> None:
    turns = await chain(store, 3)
    assert list(await store.turns(1, turns[-1].id, **MANY)) == turns
    assert list(await store.turns(1, turns[0].id, **MANY)) == turns[:1]


async def test_nobody_else_finds_or_forgets_it(store: ResponseStore) -> None:
    (kept,) = await chain(store, 1)
    assert list(await store.turns(2, kept.id, **MANY)) == []
    assert not await store.forget(2, kept.id)
    other = turn(kept.id, organisation_id=2)
    await store.keep(other, DAY_S)
    assert list(await store.turns(2, other.id, **MANY)) == [other]


async def test_what_is_forgotten_or_expired_is_gone(store: ResponseStore) -> None:
    turns = await chain(store, 3)
    assert await store.forget(1, turns[1].id)
    assert not await store.forget(1, turns[1].id)
    assert list(await store.turns(1, turns[2].id, **MANY)) == turns[2:]
    short = turn()
    await store.keep(short, 0.0)
    assert list(await store.turns(1, short.id, **MANY)) == []


@pytest.mark.parametrize("id_", ["", "\0", "resp_\0", "r" * 100_000])
async def test_an_id_that_none_has_is_of_nothing(store: ResponseStore, id_: str) -> None:
    assert list(await store.turns(1, id_, **MANY)) == []


async def test_what_is_kept_stays_as_it_is(store: ResponseStore) -> None:
    (kept,) = await chain(store, 1)
    await store.keep(Turn(kept.id, 2, "", "[]", "{}"), DAY_S)
    assert list(await store.turns(1, kept.id, **MANY)) == [kept]


async def test_a_conversation_is_read_up_to_its_bounds(store: ResponseStore) -> None:
    turns = await chain(store, 4)
    last = turns[-1].id
    assert list(await store.turns(1, last, turns_max=2, characters_max=10**6)) == turns[2:]
    size = len(turns[-1].items) + len(turns[-1].body)
    assert list(await store.turns(1, last, turns_max=9, characters_max=size)) == turns[2:]


async def test_memory_keeps_so_many() -> None:
    store = MemoryResponseStore(time.monotonic)
    turns = [turn() for _ in range(KEPT_MAX + 1)]
    for kept in turns:
        await store.keep(kept, DAY_S)
    assert not await store.turns(1, turns[0].id, **MANY)
    assert await store.turns(1, turns[-1].id, **MANY)
