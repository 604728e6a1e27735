"""What every store of answers promises: in memory, and in PostgreSQL with the real function."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from router.adapters.memory import MemoryIdempotencyStore
from router.adapters.postgres.bank import PostgresBank
from router.adapters.postgres.idempotency import PostgresIdempotencyStore
from router.adapters.postgres.pool import open_pool
from router.app import free_keys
from router.ports.idempotency import Claim, Claimant, ClaimState, IdempotencyStore, KeptAnswer
from router.ports.taken import Taken
from tests.contract.router.test_ledger import following
from tests.databases import as_routers
from tests.patience import PATIENCE_S

ANSWER = KeptAnswer(
    200, (("x-a", "b"), ("content-type", "application/json")), b'{"a":"\xc3\xa9"}\0'
)
DAY_S = 86_400.0


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[IdempotencyStore]:
    if request.param == "memory":
        yield MemoryIdempotencyStore(time.monotonic)
        return
    pool = open_pool(as_routers(request.getfixturevalue("ledger_database")))
    await pool.open()
    try:
        yield PostgresIdempotencyStore(pool, router_id="r1", life="1")
    finally:
        await pool.close()


def claimant(key: str, scope: str = "1") -> Claimant:
    """Another call of the same caller."""
    return Claimant(scope, key, str(uuid.uuid4()))


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


async def test_the_first_claim_runs_and_those_after_it_get_its_answer(
    store: IdempotencyStore, key: str
) -> None:
    me = claimant(key)
    assert await store.claim(me, "f", DAY_S) == Claim(ClaimState.NEW)
    assert await store.claim(claimant(key), "f", DAY_S) == Claim(ClaimState.RUNNING)
    await store.keep(me, ANSWER, DAY_S)
    assert await store.claim(claimant(key), "f", DAY_S) == Claim(ClaimState.DONE, ANSWER)
    await store.forget(me)
    assert (await store.claim(claimant(key), "f", DAY_S)).state is ClaimState.DONE


async def test_another_request_under_the_same_key_is_told_apart(
    store: IdempotencyStore, key: str
) -> None:
    me = claimant(key)
    await store.claim(me, "f", DAY_S)
    assert await store.claim(claimant(key), "g", DAY_S) == Claim(ClaimState.OTHER)
    await store.keep(me, ANSWER, DAY_S)
    assert await store.claim(claimant(key), "g", DAY_S) == Claim(ClaimState.OTHER)


async def test_a_claim_is_renewed_by_its_own_call(store: IdempotencyStore, key: str) -> None:
    me = claimant(key)
    await store.claim(me, "f", 0.001)
    await asyncio.sleep(0.01)
    assert await store.claim(me, "f", DAY_S) == Claim(ClaimState.NEW)
    assert await store.claim(claimant(key), "f", DAY_S) == Claim(ClaimState.RUNNING)
    await store.keep(me, ANSWER, DAY_S)
    assert await store.claim(me, "f", DAY_S) == Claim(ClaimState.DONE, ANSWER)


async def test_a_call_that_lost_its_key_does_not_change_the_one_that_took_it(
    store: IdempotencyStore, key: str
) -> None:
    late, me = claimant(key), claimant(key)
    await store.claim(late, "f", 0.001)
    await asyncio.sleep(0.01)
    assert await store.claim(me, "f", DAY_S) == Claim(ClaimState.NEW)
    assert await store.claim(late, "f", DAY_S) == Claim(ClaimState.RUNNING)
    await store.forget(late)
    assert await store.claim(claimant(key), "f", DAY_S) == Claim(ClaimState.RUNNING)
    await store.keep(late, KeptAnswer(200, (), b"late"), DAY_S)
    assert await store.claim(claimant(key), "f", DAY_S) == Claim(ClaimState.RUNNING)
    await store.keep(me, ANSWER, DAY_S)
    await store.keep(late, KeptAnswer(200, (), b"late"), DAY_S)
    assert await store.claim(claimant(key), "f", DAY_S) == Claim(ClaimState.DONE, ANSWER)


async def test_keys_are_each_callers_own(store: IdempotencyStore, key: str) -> None:
    await store.claim(claimant(key), "f", DAY_S)
    assert await store.claim(claimant(key, "2"), "f", DAY_S) == Claim(ClaimState.NEW)


async def test_a_claim_without_an_answer_can_be_forgotten(
    store: IdempotencyStore, key: str
) -> None:
    me = claimant(key)
    await store.claim(me, "f", DAY_S)
    await store.forget(me)
    assert await store.claim(claimant(key), "g", DAY_S) == Claim(ClaimState.NEW)


async def test_claims_and_answers_expire(store: IdempotencyStore, key: str) -> None:
    await store.claim(claimant(key), "f", 0.001)
    await asyncio.sleep(0.01)
    me = claimant(key)
    assert await store.claim(me, "g", DAY_S) == Claim(ClaimState.NEW)
    await store.keep(me, ANSWER, 0.001)
    await asyncio.sleep(0.01)
    assert await store.claim(claimant(key), "h", DAY_S) == Claim(ClaimState.NEW)


async def test_a_call_that_was_asked_to_end_keeps_its_key_until_it_has(
    store: IdempotencyStore, key: str
) -> None:
    me = claimant(key)
    assert not await store.end("1", key), "nothing runs"
    await store.claim(me, "f", DAY_S)
    assert not await store.is_ended(me)
    assert not await store.end("2", key), "it is another's"
    assert await store.end("1", key)
    assert await store.end("1", key)
    assert await store.is_ended(me)
    assert not await store.is_ended(claimant(key))
    assert (await store.claim(me, "f", DAY_S)).state is ClaimState.RUNNING, "it is not renewed"
    assert (await store.claim(claimant(key), "f", DAY_S)).state is ClaimState.RUNNING
    await store.forget(me)
    assert not await store.end("1", key)
    assert await store.claim(claimant(key), "g", DAY_S) == Claim(ClaimState.NEW)


async def test_a_call_that_was_done_before_it_ended_keeps_its_answer(
    store: IdempotencyStore, key: str
) -> None:
    me = claimant(key)
    await store.claim(me, "f", DAY_S)
    await store.end("1", key)
    await store.keep(me, ANSWER, DAY_S)
    assert await store.claim(claimant(key), "f", DAY_S) == Claim(ClaimState.DONE, ANSWER)
    assert not await store.end("1", key)


async def test_of_many_at_once_one_runs(store: IdempotencyStore, key: str) -> None:
    claims = await asyncio.gather(*(store.claim(claimant(key), "f", DAY_S) for _ in range(8)))
    assert [claim.state for claim in claims].count(ClaimState.NEW) == 1
    assert {claim.state for claim in claims} == {ClaimState.NEW, ClaimState.RUNNING}


async def test_a_router_that_starts_again_frees_what_its_earlier_life_had_under_way(
    ledger_database: str,
) -> None:
    answered, died, elsewhere, mine = (str(uuid.uuid4()) for _ in range(4))
    pool = open_pool(as_routers(ledger_database))
    await pool.open()
    try:
        earlier = PostgresIdempotencyStore(pool, router_id="r1", life="1")
        other = PostgresIdempotencyStore(pool, router_id="r11", life="1")
        again = PostgresIdempotencyStore(pool, router_id="r1", life="2")
        done = claimant(answered)
        await earlier.claim(done, "f", DAY_S)
        await earlier.keep(done, ANSWER, DAY_S)
        await earlier.claim(claimant(died), "f", DAY_S)
        await other.claim(claimant(elsewhere), "f", DAY_S)
        await again.claim(claimant(mine), "f", DAY_S)
        assert await again.forget_earlier() >= 1
        states = [
            (await again.claim(claimant(key), "f", DAY_S)).state
            for key in (died, answered, elsewhere, mine)
        ]
    finally:
        await pool.close()
    assert states == [ClaimState.NEW, ClaimState.DONE, ClaimState.RUNNING, ClaimState.RUNNING]


async def test_a_router_whose_name_is_taken_frees_no_keys_until_it_is_alone(
    ledger_database: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(uuid.uuid4())
    pool = open_pool(as_routers(ledger_database))
    first, second = (
        PostgresBank(pool, ledger_database, router_id=name, life=life, lease_ttl_s=9)
        for life in ("1", "2")
    )
    running = PostgresIdempotencyStore(pool, router_id=name, life="1")
    again = PostgresIdempotencyStore(pool, router_id=name, life="2")
    async with pool, asyncio.timeout(PATIENCE_S):
        async with following(first):
            await first.alone.wait()
            await running.claim(claimant(key), "f", DAY_S)
            freeing = asyncio.ensure_future(free_keys(second, again))
            with monkeypatch.context() as impatient:
                impatient.setattr("router.adapters.postgres.bank.ALONE_WITHIN_S", 0.0)
                with pytest.raises(Taken):
                    await anext(aiter(second.recalls()))
            assert (await again.claim(claimant(key), "f", DAY_S)).state is ClaimState.RUNNING
        async with following(second):
            await freeing
            assert (await again.claim(claimant(key), "f", DAY_S)).state is ClaimState.NEW
