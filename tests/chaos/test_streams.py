"""Promises 7 and 8: how a stream ends when its worker dies or its router restarts.

The short forms have short streams and limits; the long ones the defaults, and streams of 50 s.
"""

import asyncio
import itertools
import os
import signal
import time
from pathlib import Path

import pytest

from router.settings import Limits
from tests.chaos.clients import CONTENT, Seen, call, insist
from tests.chaos.harness import SCALE
from tests.chaos.market import OWNED, SHARED, TOKEN_NANO, Market, Worker
from tests.chaos.worker import SLOW_GAP_S, produced
from tests.patience import PATIENCE_S
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

IS_LONG = SCALE > 1
ENDS = ("killed", "stopped", "silent")
"""Ways to fail: SIGKILL, SIGSTOP, and silence."""
TOLD_S = 1.0
TOKENS = 24
SILENCE_S = Limits().silence_timeout_s if IS_LONG else 1.5
STREAM_S = 50.0 if IS_LONG else 2.0
DRAIN_S = Limits().drain_s if IS_LONG else 6.0
CALLERS = 6


def hire_apart(shop: Market, count: int) -> dict[Path, Worker]:
    """Workers, each by its own log of what it produced."""
    found: dict[Path, Worker] = {}
    for port in free_ports(count):
        log = shop.home / f"produced-{port}.log"
        found[log] = Worker(port, log, shop.home / f"{port}.log")
        found[log].start()
    shop.workers += found.values()
    return found


async def began(logs: dict[Path, Worker], name: str) -> Worker:
    """The worker that has produced all tokens of this call."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for log, worker in logs.items():
                if produced(log)[name] == TOKENS:
                    return worker
            await asyncio.sleep(0.01)


async def test_7_a_worker_that_is_gone_after_its_first_byte_is_told_within_a_second(
    shop: Market,
) -> None:
    """Of one that is only silent, within a second of the longest silence that is allowed."""
    workers = hire_apart(shop, len(ENDS) + 1)
    shop.publish()
    shop.open(1, silence_timeout_s=str(SILENCE_S))
    port = shop.routers[0].port
    reports: list[Seen] = []
    for name in ENDS:
        made = call(port, name, TOKENS, "idle", stream=True, models=[OWNED, SHARED])
        running = asyncio.create_task(made)
        worker = await began(workers, name)
        began_s = time.monotonic()
        if name == "killed":
            worker.kill()
        elif name == "stopped":
            os.kill(worker.pid, signal.SIGSTOP)
        reports.append(await running)
        late_s = time.monotonic() - began_s - (0.0 if name == "killed" else SILENCE_S)
        print(f"of a worker that is {name} the client heard {late_s:.2f} s after it had to")
        assert -TOLD_S < late_s < TOLD_S
    shop.close()
    ledger = shop.ledger()
    for seen in reports:
        assert seen.status == 200
        assert seen.tokens == TOKENS
        last = seen.body.rpartition(CONTENT)[2]
        assert b'data: {"error"' in last
        assert b"worker_failed" in last
        assert not seen.whole
        asked = [produced(log, "asked")[seen.call] for log in workers]
        assert sum(asked) == 1, "nobody else's words are put behind it"
        row = ledger[seen.id]
        assert (row["outcome"], row["charge_nano"]) == ("truncated", TOKENS * TOKEN_NANO)


def test_8_a_stopping_router_lets_streams_run_for_a_minute() -> None:
    assert Limits().drain_s >= 60


async def test_8_routers_restarted_one_after_the_other_lose_no_call(shop: Market) -> None:
    """Callers use the other router when one refuses the connection, as a load balancer does."""
    shop.hire(2)
    shop.publish()
    shop.open(2, drain_s=str(DRAIN_S))
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
