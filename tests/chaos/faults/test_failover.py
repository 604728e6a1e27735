"""Promise 6: a worker that dies before its first byte costs nobody a call."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.chaos.harness import SCALE, Told, Worker, ask, routing, working

pytestmark = [pytest.mark.integration, pytest.mark.chaos]


async def calls(port: int, seconds: float, at_once: int) -> tuple[list[Told], int]:
    """What repeated callers received, and how many received nothing."""
    until_s = time.perf_counter() + seconds
    told: list[Told] = []
    lost = 0

    async def one() -> None:
        nonlocal lost
        while time.perf_counter() < until_s:
            try:
                told.append(await ask(port))
            except OSError:
                lost += 1

    await asyncio.gather(*(one() for _ in range(at_once)))
    return told, lost


async def test_6_a_worker_that_dies_before_its_first_byte_costs_nobody_a_call(
    tmp_path: Path,
) -> None:
    async with working(*(Worker(service_s=0.05) for _ in range(3))) as workers:
        with routing(tmp_path, *workers) as router:
            running = asyncio.ensure_future(calls(router.port, 3 * SCALE, 8))
            await asyncio.sleep(SCALE)
            while (busiest := max(workers, key=lambda worker: worker.running)).running < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # Otherwise its death might hit no call.
            busiest.die()
            received, lost = await running
    made = lost + len(received)
    failed = lost + sum(answer.status != 200 for answer in received)
    retries = sum(
        int(answer.headers["x-route-attempts"]) - 1 for answer in received if answer.status == 200
    )
    print(f"{made} calls, {failed} failed, {retries} retries")
    assert made > 100
    assert failed <= made * 0.001
    assert 0 < retries <= made * 0.2
