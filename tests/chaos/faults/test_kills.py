"""Promises 1 and 2: whatever is killed, no call is lost and none is billed twice.

Clients and workers record what they saw, and the ledger is compared with both. The long form is
``make chaos ARGS="-k kills"``: 200 kills.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.chaos.clients import Seen, insist
from tests.chaos.harness import SCALE
from tests.chaos.market import OWNED, SHARED, TOKEN_NANO, Market
from tests.chaos.processes import Database, Program
from tests.chaos.worker import SLOW_GAP_S, produced

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

KILLS = int(20 * SCALE) if SCALE > 1 else 8
DEATHS = max(KILLS // 4, 3)
CALLERS = 6
APART_TOKENS = 64
APART_S = 1.0
"""How far a bill and what a client got may be apart when the router was killed: so many tokens, or
what the worker makes in so long where that is less."""


async def load(shop: Market, stopping: asyncio.Event, *, streams: float) -> list[Seen]:
    """What clients saw that ask repeatedly, each time another router."""
    rng = random.Random(7)
    numbers = itertools.count()
    log: list[Seen] = []

    async def caller() -> None:
        while not stopping.is_set():
            ports = [router.port for router in shop.routers]
            rng.shuffle(ports)
            streamed = rng.random() < streams
            deed, most = rng.choice((("answer", 600), ("slow", 30))) if streamed else ("answer", 40)
            tokens = rng.randint(1, most)
            model = rng.choice((OWNED, SHARED))
            name = f"{deed}{next(numbers)}"
            seen = await insist(ports, name, tokens, deed, stream=streamed, model=model)
            if seen is not None:
                log.append(seen)
            if seen is None or seen.status != 200:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return log


async def rampage(
    shop: Market, kinds: Sequence[Sequence[Program]], kills: int, pause_s: float
) -> Counter[str]:
    """Kill one or two of them at a time and restart them; returns how often each was killed.

    Each kind has its turn, in random order.
    """
    rng = random.Random(11)
    turns = itertools.chain.from_iterable(rng.sample(kinds, len(kinds)) for _ in itertools.count())
    killed: Counter[str] = Counter()
    while killed.total() < kills:
        await asyncio.sleep(rng.uniform(0.2, pause_s))
        victims = {rng.choice(kind) for kind in itertools.islice(turns, rng.choice((1, 1, 2)))}
        for victim in victims:
            await asyncio.to_thread(victim.kill)
            killed[type(victim).__name__.lower()] += 1
        await asyncio.sleep(rng.uniform(0, 0.3))
        for victim in victims:
            await asyncio.to_thread(victim.start)
    for router in shop.routers:
        await asyncio.to_thread(router.wait)
    return killed


def audit(shop: Market, log: list[Seen]) -> str:
    """Compare the ledger with what the clients and the workers recorded."""
    ledger = shop.ledger()
    whole = [seen for seen in log if seen.status == 200 and seen.whole]
    broken = [seen for seen in log if seen.status == 200 and seen.streamed and not seen.whole]
    for seen in whole:
        assert seen.id in ledger, f"{seen.call} was answered and is not in the ledger"
        row = ledger[seen.id]
        assert row["outcome"] == "completed", seen.call
        charge = seen.tokens * TOKEN_NANO if seen.streamed else seen.charge_nano
        assert row["charge_nano"] == charge, seen.call
    made = produced(shop.log)
    made.pop("probe", None)
    apart = [0]
    for seen in broken:
        billed = ledger[seen.id]["charge_nano"] // TOKEN_NANO if seen.id in ledger else 0
        assert billed <= made[seen.call], f"{seen.call} is billed for more than was produced"
        apart.append(seen.tokens - billed)
        assert abs(apart[-1]) <= apart_max(seen), (seen.call, seen.tokens, billed)
    refused = {seen.status for seen in log} & {401, 402}
    assert not refused, "a fault of ours was told as one of the caller's"
    billed = sum(row["charge_nano"] for row in ledger.values())
    assert billed <= made.total() * TOKEN_NANO, "more was billed than the workers produced"
    statuses = Counter(seen.status for seen in log)
    return (
        f"{len(log)} calls {dict(statuses)}, {len(whole)} whole, {len(broken)} streams broken, "
        f"billed {min(apart)} to {max(apart)} tokens less than received; "
        f"{len(ledger)} in the ledger"
    )


def apart_max(seen: Seen) -> int:
    """In tokens. A slow worker's clock may be one token early."""
    is_slow = seen.call.startswith("slow")
    return int(APART_S / SLOW_GAP_S) + 1 if is_slow else APART_TOKENS


async def test_1_whatever_is_killed_no_call_is_lost_or_billed_twice(
    shop: Market, mortal_database: Database
) -> None:
    shop.hire(2)
    shop.publish()
    shop.open(3)
    stopping = asyncio.Event()
    loading = asyncio.create_task(load(shop, stopping, streams=0.4))
    began_s = time.monotonic()
    kinds = [[mortal_database], shop.workers, shop.routers]
    killed = await rampage(shop, kinds, KILLS, pause_s=1.0)
    stopping.set()
    log = await loading
    took_s = time.monotonic() - began_s
    shop.close()
    print(f"{killed.total()} kills in {took_s:.0f} s {dict(killed)}: {audit(shop, log)}")
    assert any(seen.whole for seen in log)


async def test_2_a_stream_whose_router_is_killed_is_billed_as_it_was_received(
    shop: Market,
) -> None:
    shop.hire(1)
    shop.publish()
    shop.open(2)
    stopping = asyncio.Event()
    loading = asyncio.create_task(load(shop, stopping, streams=1.0))
    rng = random.Random(13)
    for number in range(DEATHS):
        victim = shop.routers[number % len(shop.routers)]
        await asyncio.sleep(rng.uniform(0.5, 1.0))
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)
        await asyncio.to_thread(victim.wait)
    stopping.set()
    log = await loading
    shop.close()
    print(f"{DEATHS} routers killed: {audit(shop, log)}")
    assert any(seen.tokens and not seen.whole for seen in log), "no death met a stream"
    assert any(row["outcome"] == "interrupted" for row in shop.ledger().values())
