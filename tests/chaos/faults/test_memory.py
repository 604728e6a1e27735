"""Promises 11 and 13: what a router keeps in memory.

Under mixed load the short form counts calls, the long one takes eight minutes.
"""

import asyncio
import contextlib
import itertools
import json
import random
import resource
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from router.pipeline.recorders.recent import RECENT_MAX
from router.settings import Limits
from tests.chaos.harness import (
    KEY,
    MODEL,
    SCALE,
    Router,
    Worker,
    ask,
    ask_and_leave,
    request,
    routing,
    working,
)
from tests.patience import PATIENCE_S

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


STREAMS = 10_000
STREAMS_MIB_MAX = 600
SPARE_FILES = 500


async def test_11_ten_thousand_idle_streams_take_little_memory(tmp_path: Path) -> None:
    """The short form holds some and counts what each takes; the long one holds all of them, or as
    many as the machine lets a process have files.
    """
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Each takes two of the router, and two of this.
    count = min(int(1_000 * SCALE), STREAMS, (files_max - SPARE_FILES) // 2)
    assert count >= 1_000, f"{files_max} open files are allowed: ulimit -Hn 2500, or more"
    writers: list[asyncio.StreamWriter] = []
    with open_files(2 * count + SPARE_FILES):
        async with working(Worker(events=1, idles=True, slots=count)) as (worker,):
            with routing(tmp_path, worker, silence_timeout_s=600) as router:
                await ask_and_leave(router.port, worker)
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
                    while worker.cancelled < count + 1:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
    all_of_them = before + (after - before) / count * STREAMS
    print(
        f"{count} idle streams: {before:.0f} to {after:.0f} MiB, "
        f"{(after - before) / count * 1024:.1f} KiB each, so {all_of_them:.0f} MiB for {STREAMS}"
    )
    assert all_of_them <= STREAMS_MIB_MAX


@contextlib.contextmanager
def open_files(count: int) -> Iterator[None]:
    """Allow this process and its children that many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


REFUSAL_MIB_MAX = 2.0
SETTLED_S = 0.2
UPLOAD_BYTES = Limits().body_bytes_max


async def test_13_a_body_over_the_limit_is_refused_without_being_kept(tmp_path: Path) -> None:
    """The client says how large it is; or sends in chunks, which are let in up to the limit; or
    leaves before it is over."""
    head = request().partition(b"content-length")[0]
    declared = head + b"content-length: %d\r\n\r\n"
    piece = b"x" * 65_536
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)

    async def upload(port: int, head: bytes, piece: bytes, times: int) -> bytes:
        """What begins the answer; nothing when the client leaves after so many pieces."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        for _ in range(times):
            writer.write(piece)
            await writer.drain()
        received = b"" if head == declared % UPLOAD_BYTES else await reader.read(12)
        writer.transport.abort()
        return received

    async def settled_mib(router: Router) -> float:
        """Its size once it has seen that they are gone: when it no longer changes."""
        earlier, mib = inf, router.rss_mib
        async with asyncio.timeout(PATIENCE_S):
            while mib != earlier:
                await asyncio.sleep(SETTLED_S)
                earlier, mib = mib, router.rss_mib
        return mib

    async with working(Worker()) as workers:
        with routing(tmp_path, *workers) as router:
            await asyncio.gather(*(ask(router.port) for _ in range(50)))
            before = router.rss_mib
            router.forget_peak()
            too_large = (router.port, declared % (100 * UPLOAD_BYTES), piece, 1)
            told = await asyncio.gather(*(upload(*too_large) for _ in range(50)))
            at_most = router.peak_mib - before
            kept: list[float] = []
            pieces = UPLOAD_BYTES // len(piece)
            for how in (
                (head + b"transfer-encoding: chunked\r\n\r\n", chunk, pieces + 1),
                (declared % UPLOAD_BYTES, piece, pieces - 1),
            ):
                told.append(await upload(router.port, *how))
                before = await settled_mib(router)
                for _ in range(10):
                    told.append(await upload(router.port, *how))
                kept.append(await settled_mib(router) - before)
    print(
        f"50 refused at once: {at_most:.2f} MiB more at most; of 10 refused at their end "
        f"{kept[0]:.2f} MiB are kept, of 10 abandoned {kept[1]:.2f} MiB"
    )
    assert set(told) == {b"HTTP/1.1 413", b""}
    assert at_most <= REFUSAL_MIB_MAX
    assert max(kept) <= REFUSAL_MIB_MAX
