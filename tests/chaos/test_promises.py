"""Promises of the data plane, each against real processes with a log kept on both sides.

The short forms run with every test run; ``make chaos`` runs them longer and larger. Figures that a
machine's noise decides are printed, not asserted.
"""

import asyncio
import resource
import time
from pathlib import Path

import pytest

from tests.chaos.harness import (
    SCALE,
    Told,
    Worker,
    ask,
    percentile,
    request,
    routing,
    working,
)

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

PATIENCE_S = 60.0


async def calls(port: int, seconds: float, at_once: int) -> tuple[list[Told], int]:
    """What callers got who ask again and again, and how many got nothing."""
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
                await asyncio.sleep(0.001)  # Else its death might meet no call.
            busiest.die()
            told, lost = await running
    failed = lost + sum(one.status != 200 for one in told)
    attempts = sum(int(one.headers["x-route-attempts"]) for one in told if one.status == 200)
    print(f"{len(told)} calls, {failed} failed, {attempts} attempts")
    assert len(told) > 100
    assert failed <= len(told) * 0.001
    assert len(told) < attempts <= len(told) * 1.2


async def test_9_three_times_too_much_is_refused_early_and_the_rest_is_served(
    tmp_path: Path,
) -> None:
    seconds = 3 * SCALE
    # Slow enough for the slots to be what is short, on any machine, and not its processors.
    async with working(Worker(service_s=0.2), Worker(service_s=0.2)) as workers:
        with routing(tmp_path, *workers, queue_max=40) as router:
            peak, _ = await calls(router.port, seconds, 10)
            rate = 3 * len(peak) / seconds
            pending: list[asyncio.Task[Told]] = []
            began = time.perf_counter()
            while (due := began + len(pending) / rate) < began + seconds:
                await asyncio.sleep(max(due - time.perf_counter(), 0))
                pending.append(asyncio.ensure_future(ask(router.port)))
            told = await asyncio.gather(*pending)
    served = [one for one in told if one.status == 200]
    refused = [one for one in told if one.status in (429, 503)]
    assert len(served) + len(refused) == len(told)
    assert refused
    assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
    late_ms = percentile([one.seconds for one in refused], 0.99) * 1e3
    share = len(served) / len(peak)
    print(f"goodput {share:.0%} of the peak, refusals' p99 {late_ms:.1f} ms")
    assert share > 0.8


async def test_11_idle_streams_cost_little_memory(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Each takes two files of the router, and two of this process.
    count = min(int(1_000 * SCALE), (hard - 300) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    writers: list[asyncio.StreamWriter] = []
    try:
        async with working(Worker(events=1, idles=True)) as (worker,):
            worker.slots = count
            with routing(tmp_path, worker, silence_timeout_s=600) as router:
                await ask_and_leave(router.port)
                before = router.rss_mib

                async def begin() -> None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
                    writers.append(writer)
                    writer.write(request(stream=True))
                    await reader.readuntil(b'"x "')

                for start in range(0, count, 100):
                    many = min(100, count - start)
                    await asyncio.gather(*(begin() for _ in range(many)))
                after = router.rss_mib
                for writer in writers:
                    writer.transport.abort()
                async with asyncio.timeout(PATIENCE_S):
                    while worker.cancelled < count:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    each_kib = (after - before) / count * 1024
    print(f"{count} idle streams: {before:.0f} to {after:.0f} MiB, {each_kib:.1f} KiB each")
    assert after < 600
    assert each_kib < 50


async def ask_and_leave(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(stream=True))
    await reader.readuntil(b'"x "')
    writer.transport.abort()


async def test_12_slow_headers_hold_nobody_up_and_are_ended(tmp_path: Path) -> None:
    count = int(200 * min(SCALE, 5))
    async with working(Worker(), Worker()) as workers:
        with routing(tmp_path, *workers, header_timeout_s=2) as router:
            calm, _ = await calls(router.port, 1, 4)
            slow: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
            for _ in range(count):
                slow.append(await asyncio.open_connection("127.0.0.1", router.port))
                slow[-1][1].write(b"POST /v1/chat/completions HTTP/1.1\r\nx-a")
            busy, lost = await calls(router.port, 1, 4)
            async with asyncio.timeout(PATIENCE_S):
                ends = await asyncio.gather(*(reader.read() for reader, _ in slow))
            for _, writer in slow:
                writer.close()
    before, during = (percentile([t.seconds for t in told], 0.99) * 1e3 for told in (calm, busy))
    print(f"p99 {before:.1f} ms alone, {during:.1f} ms beside {count} slow sockets")
    assert not lost
    assert all(one.status == 200 for one in busy)
    assert all(end.startswith(b"HTTP/1.1 408") for end in ends)


async def test_13_a_body_over_the_limit_is_refused_without_being_kept(tmp_path: Path) -> None:
    async with working(Worker()) as workers:
        with routing(tmp_path, *workers) as router:
            await ask(router.port)
            before = router.rss_mib
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
                head = request().partition(b"content-length")[0]
                writer.write(head + b"content-length: 1000000000\r\n\r\n" + b"x" * 65_536)
                assert (await reader.read(100)).startswith(b"HTTP/1.1 413")
                writer.close()
            grown = router.rss_mib - before
    print(f"{grown:.2f} MiB more")
    assert grown <= 2


async def test_14_clients_that_leave_stop_their_workers_within_a_second(tmp_path: Path) -> None:
    took_s: list[float] = []
    async with working(Worker(events=1, idles=True)) as (worker,):
        with routing(tmp_path, worker) as router:
            for number in range(1, int(5 * SCALE) + 1):
                await ask_and_leave(router.port)
                left_s = time.perf_counter()
                async with asyncio.timeout(PATIENCE_S):
                    while worker.cancelled < number:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                took_s.append(time.perf_counter() - left_s)
    print(f"stopped after {max(took_s) * 1e3:.0f} ms at most")
    assert max(took_s) < 1.0
