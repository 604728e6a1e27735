"""The second half of promise 11: a router's memory does not grow under mixed load.

The short form counts calls, the long one takes eight minutes.
"""

import asyncio
import itertools
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.pipeline.recent import RECENT_MAX
from tests.chaos.harness import KEY, MODEL, SCALE, Worker, routing, working

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

DURATION_S = 50 * SCALE if SCALE > 1 else 0.0
CALLERS = 12
WARM_CALLS = RECENT_MAX + 2_000
"""By then every bounded cache is full."""
CALLS_MIN = WARM_CALLS + 6_000
SAMPLE_EVERY_S = 0.1
GROWTH_KIB_MAX = 1.0
"""A call: a fifth of a mean prompt."""
GROWTH_MIB_MAX = 16.0
"""All together, however long."""


def mixed(seed: int) -> Iterator[tuple[str, bytes, bool]]:
    """Calls of every sort, no two alike: what it is, its bytes, whether the client leaves early."""
    rng = random.Random(seed)
    for number in itertools.count():
        sort = rng.choices(
            ("plain", "stream", "leaves", "unknown model", "wrong key", "not JSON", "traced"),
            (40, 30, 5, 5, 5, 5, 10),
        )[0]
        prompt = f"{seed}.{number} " + "word " * rng.randrange(1, 2_000)
        fields = {
            "model": f"no-{seed}-{number}" if sort == "unknown model" else MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "stream": sort in ("stream", "leaves"),
        }
        body = b"{" if sort == "not JSON" else json.dumps(fields).encode()
        key = f"{KEY}-{seed}-{number}" if sort == "wrong key" else KEY
        trace = f"traceparent: 00-{rng.getrandbits(128):032x}-{rng.getrandbits(64):016x}-01\r\n"
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            f"content-length: {len(body)}\r\n{trace if sort == 'traced' else ''}"
            "connection: close\r\n\r\n"
        )
        yield sort, head.encode() + body, sort == "leaves"


async def test_11_a_router_under_mixed_load_does_not_grow(tmp_path: Path) -> None:
    statuses: Counter[str] = Counter()
    sizes: list[tuple[int, float]] = []
    until_s = time.perf_counter() + DURATION_S
    begun = 0

    async def call(port: int, seed: int) -> None:
        nonlocal begun
        for sort, sent, leaves in mixed(seed):
            if begun >= CALLS_MIN and time.perf_counter() > until_s:
                return
            begun += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            if leaves:
                await reader.read(1)
            else:
                statuses[f"{sort}: {(await reader.read())[9:12].decode()}"] += 1
            writer.close()

    workers = [Worker(service_s=0.002, spread=1), Worker(service_s=0.01), Worker(tears=True)]
    async with working(*workers):
        with routing(tmp_path, *workers) as router:
            calls = asyncio.gather(*(call(router.port, seed) for seed in range(CALLERS)))
            while not calls.done():
                await asyncio.wait([calls], timeout=max(SAMPLE_EVERY_S, DURATION_S / 1_000))
                sizes.append((begun, router.rss_mib))
            await calls
    warm = [(count, size) for count, size in sizes if count >= WARM_CALLS]
    slope, _ = statistics.linear_regression(*zip(*warm, strict=True))
    growth = max(slope, 0.0) * (begun - WARM_CALLS)
    series = " ".join(f"{size:.0f}" for _, size in sizes[:: max(len(sizes) // 12, 1)])
    print(f"{begun} calls, MiB: {series}; {slope * 1024:.2f} KiB a call; {dict(statuses)}")
    assert slope * 1024 <= GROWTH_KIB_MAX
    assert growth <= GROWTH_MIB_MAX
    assert statuses.keys() == {
        "plain: 200",
        "stream: 200",
        "traced: 200",
        "unknown model: 404",
        "wrong key: 401",
        "not JSON: 422",
    }
