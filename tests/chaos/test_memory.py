"""Promise 11's other half: a router under mixed load stays as large as it was.

The short form takes seconds. Thirty minutes are ``make chaos CHAOS_SCALE=300 ARGS="-k memory"``.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.harness import KEY, MODEL, SCALE, Worker, routing, working

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

DURATION_S = 6 * SCALE
CALLERS = 12
CALLS_EACH_MIN = 40
"""However slow the machine is: that one of the sorts is missing has a chance of 1e-9 then."""
GROWTH_MIB = 16.0
"""What the second half of the run may add: less than a kept record of each call would."""


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
    sizes: list[float] = []

    async def call(port: int, seed: int, until_s: float) -> None:
        for number, (sort, sent, leaves) in enumerate(mixed(seed)):
            if number >= CALLS_EACH_MIN and time.perf_counter() > until_s:
                return
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
            until_s = time.perf_counter() + DURATION_S
            calls = asyncio.gather(*(call(router.port, seed, until_s) for seed in range(CALLERS)))
            while not calls.done():
                sizes.append(router.rss_mib)
                await asyncio.wait([calls], timeout=DURATION_S / 60)
            await calls
            sizes.append(router.rss_mib)
    series = " ".join(f"{size:.0f}" for size in sizes[:: max(len(sizes) // 12, 1)])
    print(f"{statuses.total()} calls in {DURATION_S:.0f} s, MiB: {series}; {dict(statuses)}")
    assert sizes[-1] - sizes[len(sizes) // 2] < GROWTH_MIB
    assert statuses.keys() == {
        "plain: 200",
        "stream: 200",
        "traced: 200",
        "unknown model: 404",
        "wrong key: 401",
        "not JSON: 422",
    }
