"""Promises 4 and 5: calls continue without the database, and our faults are not blamed on callers.

The outage lasts 8 s in the short form and 60 s in the long one.
"""

import asyncio
import time
from collections.abc import Callable

import pytest

from router.metering.lease import REFILL_BELOW
from router.metering.vault import COVER_S
from tests.chaos.clients import Seen, call
from tests.chaos.harness import SCALE
from tests.chaos.market import OWNED, PLENTY_NANO, SHARED, Market
from tests.chaos.processes import Database
from tests.embedded import wait_until
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

OUTAGE_S = min(8.0 * SCALE, 60.0)
RECOVERED_S = 30.0
EVERY_S = 0.1
LEASE_NANO = 10_000
"""Small, so that it is the load that decides what routers hold."""


async def steady(shop: Market, stopping: asyncio.Event) -> list[Seen]:
    """A call at intervals, each to the next router, sometimes a stream."""
    calls: list[asyncio.Task[Seen]] = []
    while not stopping.is_set():
        number = len(calls)
        port = shop.routers[number % len(shop.routers)].port
        made = call(
            port, f"c{number}", 3, stream=number % 5 == 0, model=(OWNED, SHARED)[number % 2]
        )
        calls.append(asyncio.create_task(made))
        await asyncio.sleep(EVERY_S)
    return list(await asyncio.gather(*calls))


def leased(shop: Market) -> int:
    return shop.balance()[1]


@pytest.mark.parametrize(
    ("leave", "come_back"),
    [
        pytest.param(Database.kill, Database.start, id="killed"),
        pytest.param(Database.freeze, Database.thaw, id="frozen"),
    ],
)
async def test_4_an_outage_of_the_database_fails_no_call(
    shop: Market,
    mortal_database: Database,
    leave: Callable[[Database], None],
    come_back: Callable[[Database], None],
) -> None:
    shop.hire(2)
    shop.publish()
    shop.open(2, lease_nano=str(LEASE_NANO))
    stopping = asyncio.Event()
    loading = asyncio.create_task(steady(shop, stopping))
    # Warm: what is leased lasts longer than the outage.
    spent_per_s = 3 * 1_000 / EVERY_S
    await asyncio.to_thread(
        wait_until,
        lambda: leased(shop) > spent_per_s * COVER_S * REFILL_BELOW,
        PATIENCE_S,
        "leases that last",
    )
    await asyncio.to_thread(leave, mortal_database)
    await asyncio.sleep(OUTAGE_S)
    await asyncio.to_thread(come_back, mortal_database)
    back_s = time.monotonic()
    stopping.set()
    log = await loading
    failed = [(seen.call, seen.status, seen.body[:200]) for seen in log if not seen.whole]
    assert not failed
    assert {seen.status for seen in log} == {200}
    ids = {seen.id for seen in log}
    await asyncio.to_thread(
        wait_until, lambda: ids <= shop.ledger().keys(), RECOVERED_S, "everything is settled"
    )
    settled_s = time.monotonic() - back_s
    print(f"{len(log)} calls over {OUTAGE_S:.0f} s, settled {settled_s:.1f} s after the return")
    shop.close()


async def test_4_routers_that_stop_without_the_database_keep_what_is_owed(
    shop: Market, mortal_database: Database
) -> None:
    """One comes back; what the other left is settled by a command."""
    shop.hire(1)
    shop.publish()
    shop.open(2)
    ports = [router.port for router in shop.routers]
    warm = await asyncio.gather(*(call(port, "warm", model=SHARED) for port in ports))
    assert {seen.status for seen in warm} == {200}
    await asyncio.to_thread(mortal_database.kill)
    owed = await asyncio.gather(
        *(call(port, f"owed{n}", model=SHARED) for n in range(5) for port in ports)
    )
    assert {seen.status for seen in owed} == {200}
    for router in shop.routers:
        assert await asyncio.to_thread(router.stop) == 0
        assert len(router.journal) == 1
    await asyncio.to_thread(mortal_database.start)
    back, gone = shop.routers
    back.start()
    await asyncio.to_thread(gone.settle)
    assert not list((gone.home / "journal").iterdir())
    await asyncio.to_thread(back.wait)
    shop.close()
    assert {seen.id for seen in owed} <= shop.ledger().keys()


async def test_5_without_the_database_a_router_starts_and_says_503_not_402(
    shop: Market, mortal_database: Database
) -> None:
    shop.hire(1)
    shop.publish()
    shop.open(1)
    (router,) = shop.routers
    assert (await call(router.port, "warm")).status == 200
    router.kill()
    await asyncio.to_thread(mortal_database.kill)
    router.start()
    await asyncio.to_thread(router.wait)
    began_s = time.monotonic()
    received = await asyncio.gather(*(call(router.port, f"cold{n}") for n in range(20)))
    took_s = time.monotonic() - began_s
    assert {seen.status for seen in received} == {503}
    assert all(b"ledger_unavailable" in seen.body for seen in received)
    assert all(int(seen.headers["retry-after"]) >= 1 for seen in received)
    assert took_s < 10, "they do not wait one after the other"
    await asyncio.to_thread(mortal_database.start)

    async with asyncio.timeout(RECOVERED_S):
        while (await call(router.port, "again")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    shop.close()
    posted, held = shop.balance()
    assert (posted, held) == (PLENTY_NANO - 2 * 2 * 1_000, 0)


async def test_5_a_database_that_stands_still_is_told_as_503_within_seconds(
    shop: Market, mortal_database: Database
) -> None:
    shop.hire(1)
    shop.publish()
    shop.open(1)
    (router,) = shop.routers
    mortal_database.freeze()
    try:
        began_s = time.monotonic()
        received = await asyncio.gather(*(call(router.port, f"cold{n}") for n in range(20)))
        took_s = time.monotonic() - began_s
    finally:
        mortal_database.thaw()
    print(f"told after {took_s:.1f} s")
    assert {seen.status for seen in received} == {503}
    assert took_s < 10
    shop.close()
