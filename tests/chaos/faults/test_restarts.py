"""Promise 8: how a stream ends when its router restarts.

The long form has streams of 50 s.
"""

import asyncio
import itertools
import time

import pytest

from router.settings import Limits
from tests.chaos.clients import Seen, insist
from tests.chaos.harness import SCALE
from tests.chaos.market import OWNED, SHARED, TOKEN_NANO, Market
from tests.chaos.worker import SLOW_GAP_S

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

STREAM_S = 50.0 if SCALE > 1 else 2.0
CALLERS = 6


def test_8_a_stopping_router_lets_streams_run_for_a_minute() -> None:
    assert Limits().drain_s >= 60


async def test_8_routers_restarted_one_after_the_other_lose_no_call(shop: Market) -> None:
    """Callers use the other router when one refuses the connection, as a load balancer does."""
    shop.hire(2)
    shop.publish()
    shop.open(2)
    ports = [router.port for router in shop.routers]
    numbers = itertools.count()
    stopping = asyncio.Event()
    log: list[Seen | None] = []

    async def caller(number: int) -> None:
        """Two of three are streams; they begin in turn, so that some are always new."""
        await asyncio.sleep(number / CALLERS * STREAM_S)
        streams = number % 3 > 0
        tokens, deed = (int(STREAM_S / SLOW_GAP_S), "slow") if streams else (3, "answer")
        order = [ports[(number + attempt) % 2] for attempt in range(2)]
        while not stopping.is_set():
            name = f"c{next(numbers)}"
            model = (OWNED, SHARED)[number // 2 % 2]
            log.append(await insist(order, name, tokens, deed, stream=streams, model=model))

    callers = [asyncio.create_task(caller(number)) for number in range(CALLERS)]
    took_s: list[float] = []
    for router in shop.routers:
        await asyncio.sleep(STREAM_S)
        began_s = time.monotonic()
        assert await asyncio.to_thread(router.stop) == 0
        took_s.append(time.monotonic() - began_s)
        router.start()
        await asyncio.to_thread(router.wait)
    stopping.set()
    await asyncio.gather(*callers)
    shop.close()
    lost = [seen for seen in log if seen is None or seen.status != 200 or not seen.whole]
    streams = [seen for seen in log if seen is not None and seen.streamed]
    print(
        f"{len(log)} calls, {len(streams)} of them streams of {STREAM_S:g} s, over two restarts of "
        f"{min(took_s):.1f} and {max(took_s):.1f} s; {len(lost)} lost"
    )
    assert not lost, [(seen.call, seen.status, seen.body[-200:]) for seen in lost if seen]
    assert len(streams) >= CALLERS
    assert min(took_s) > STREAM_S / 4, "both had streams to wait for"
    ledger = shop.ledger()
    whole = int(STREAM_S / SLOW_GAP_S) * TOKEN_NANO
    assert {ledger[seen.id]["charge_nano"] for seen in streams} == {whole}
