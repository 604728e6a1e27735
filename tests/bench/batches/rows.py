"""Rows in one batch compared with the same rows sent to Triton, with interactive calls."""

import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import aiohttp
import numpy as np
from waypost import Client

from tests.bench.batches.site import Site
from workers.backends.triton.fraud.transactions import generate, write_csv
from workers.backends.triton.repository import FRAUD_ROWS_MAX

MODEL = "waypost/fraud-scorer"
SIZES = (256, 512, 1_024, 2_048, FRAUD_ROWS_MAX)
TRIED_SHARE = 10
"""One row of so many is enough to find the best size of a call."""
AT_ONCE = 4
"""Calls to each Triton: more than its instances."""
SEED = 19
BEGIN_S = 60.0
"""Until the first interactive call is answered."""
P99 = 0.99
SHOWN_US = 0.05
"""Services that use less of a row's time are left out."""


def run(site: Site, count: int, seconds: float, rate_hz: float) -> str:
    """Measure all of it; returns the tables."""
    features = generate(count, seed=SEED).features
    size = asyncio.run(_best_size(site.tritons, features))
    used = site.cpu_s()
    straight_s = asyncio.run(_for(site.tritons, features, size))
    straight_cpu = _used(site, used, count)
    _say(f"straight, {size} rows a call: {count / straight_s:,.0f} rows/s")
    key = site.key().key
    url, headers = f"{site.router_url}/v2/models/{MODEL}/infer", {"Authorization": f"Bearer {key}"}
    first = f"{site.tritons[0]}/v2/models/fraud_scorer/infer"
    without, direct = Interactive(url, headers, rate_hz), Interactive(first, {}, rate_hz)
    idle = site.cpu_s()
    with without:
        time.sleep(seconds)
    idle_hz = {name: (used_s - idle[name]) / seconds for name, used_s in site.cpu_s().items()}
    _say(f"interactive without a batch: p99 {without.p99_ms:.1f} ms")
    with direct:
        time.sleep(seconds)
    beside = Interactive(first, {}, rate_hz)
    with beside:
        both_s = asyncio.run(_for(site.tritons, features, size, seconds))
    _say(f"the same two loads straight: p99 {beside.p99_ms:.1f} ms")
    during = Interactive(url, headers, rate_hz)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "transactions.csv")
        with path.open("w") as out:
            write_csv(features, out)
        used = site.cpu_s()
        with during:
            checked_s, batch_s = _batch(site.router_url, key, path, count)
        used = {name: used_s + idle_hz[name] * batch_s for name, used_s in used.items()}
        batch_cpu = _used(site, used, count)
    share, slower = straight_s / batch_s, during.p99_ms / without.p99_ms
    services = sorted(batch_cpu, key=lambda name: -batch_cpu[name])
    lines = [
        f"{count:,} rows of the fraud scorer, on one machine with everything else of the stack.",
        "",
        "| | rows/s | of straight |",
        "|---|---|---|",
        f"| straight to the Tritons, {size} rows a call | {count / straight_s:,.0f} | 1 |",
        f"| one batch, from upload to output | {count / batch_s:,.0f} | {share:.2f} |",
        f"| the same without the check of the file | {count / (batch_s - checked_s):,.0f} "
        f"| {straight_s / (batch_s - checked_s):.2f} |",
        f"| the same calls straight, beside interactive ones | {count / both_s:,.0f} "
        f"| {straight_s / both_s:.2f} |",
        "",
        "| interactive calls | p50, ms | p99, ms | calls | of without |",
        "|---|---|---|---|---|",
        f"| without the batch | {without.p50_ms:.1f} | {without.p99_ms:.1f} "
        f"| {len(without.seconds):,} | 1 |",
        f"| during the batch | {during.p50_ms:.1f} | {during.p99_ms:.1f} "
        f"| {len(during.seconds):,} | {slower:.2f} |",
        f"| straight to a Triton, without other rows | {direct.p50_ms:.1f} | {direct.p99_ms:.1f} "
        f"| {len(direct.seconds):,} | {direct.p99_ms / without.p99_ms:.2f} |",
        f"| the same beside the rows straight | {beside.p50_ms:.1f} | {beside.p99_ms:.1f} "
        f"| {len(beside.seconds):,} | {beside.p99_ms / without.p99_ms:.2f} |",
        "",
        "| CPU by service, µs a row, beyond what interactive calls alone take | straight | batch |",
        "|---|---|---|",
        *(
            f"| {name} | {straight_cpu.get(name, 0):.2f} | {batch_cpu[name]:.2f} |"
            for name in services
            if batch_cpu[name] >= SHOWN_US
        ),
    ]
    return "\n".join(lines)


def _used(site: Site, before: Mapping[str, float], rows: int) -> dict[str, float]:
    """Microseconds of CPU a row since then, by service."""
    return {name: (s - before.get(name, 0.0)) / rows * 1e6 for name, s in site.cpu_s().items()}


def _batch(url: str, key: str, path: Path, count: int) -> tuple[float, float]:
    """Seconds until its file was checked, and until its output was there."""
    begun_s = time.monotonic()
    checked_s = 0.0

    with Client(api_key=key, base_url=url) as client:
        for batch in client.batches.follow(client.batches.start(path, model=MODEL).id):
            if not checked_s and batch.status != "validating":
                checked_s = time.monotonic() - begun_s
            _say(f"batch {batch.status}: {batch.completed:,} rows")
    if batch.completed != count:
        raise RuntimeError(f"not all rows were scored: {json.dumps(batch.raw)}")
    return checked_s, time.monotonic() - begun_s


async def _best_size(urls: Sequence[str], features: np.ndarray) -> int:
    """With how many rows a call most rows a second are scored."""
    async with aiohttp.ClientSession(trust_env=False) as client:
        few = features[: max(len(features) // TRIED_SHARE, 1)]
        await _scored(client, urls, few, SIZES[-1])
        taken = {size: await _scored(client, urls, few, size) for size in SIZES}
        return min(taken, key=lambda one: taken[one])


async def _for(urls: Sequence[str], features: np.ndarray, size: int, seconds: float = 0.0) -> float:
    """Seconds for all rows: the mean of as many times as begin within ``seconds``, one at least."""
    begun_s, times = time.monotonic(), 0
    async with aiohttp.ClientSession(trust_env=False) as client:
        while not times or time.monotonic() - begun_s < seconds:
            await _scored(client, urls, features, size)
            times += 1
    return (time.monotonic() - begun_s) / times


async def _scored(
    client: aiohttp.ClientSession, urls: Sequence[str], features: np.ndarray, size: int
) -> float:
    begun_s = time.monotonic()
    starts = iter(range(0, len(features), size))

    async def caller(url: str) -> None:
        for start in starts:
            rows = features[start : start + size]
            raw = rows.tobytes()
            tensor = {"name": "FEATURES", "datatype": "FP32", "shape": list(rows.shape)}
            tensor["parameters"] = {"binary_data_size": len(raw)}
            given = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
            head = json.dumps(given).encode()
            headers = {"Inference-Header-Content-Length": str(len(head))}
            infer = f"{url}/v2/models/fraud_scorer/infer"
            async with client.post(infer, data=head + raw, headers=headers) as response:
                response.raise_for_status()
                await response.read()

    await asyncio.gather(*(caller(url) for url in urls for _ in range(AT_ONCE)))
    return time.monotonic() - begun_s


class Interactive:
    """Calls of one row each at a steady rate, within a ``with``; waits for those under way.

    In a process of its own: what else the bench does must not look like a late answer.
    """

    def __init__(self, url: str, headers: Mapping[str, str], rate_hz: float) -> None:
        processes = multiprocessing.get_context("spawn")
        self._over, self._begun = processes.Event(), processes.Event()
        self._told, tells = processes.Pipe(duplex=False)
        given = (url, headers, rate_hz, self._begun, self._over, tells)
        self._process = processes.Process(target=_call_steadily, args=given, daemon=True)
        self.seconds: list[float] = []

    def __enter__(self) -> None:
        self._process.start()
        if not self._begun.wait(BEGIN_S):
            raise RuntimeError("no interactive call was answered")

    def __exit__(self, *_: object) -> None:
        self._over.set()
        failed, self.seconds = self._told.recv()
        self._process.join()
        if failed or not self.seconds:
            raise RuntimeError(f"{failed} interactive calls failed")

    @property
    def p50_ms(self) -> float:
        return float(np.quantile(self.seconds, 0.5) * 1_000)

    @property
    def p99_ms(self) -> float:
        return float(np.quantile(self.seconds, P99) * 1_000)


def _call_steadily(
    url: str,
    headers: Mapping[str, str],
    rate_hz: float,
    begun: Event,
    over: Event,
    tells: Connection,
) -> None:
    """Call until it is over, and tell how many failed and how long each took."""
    seconds: list[float] = []
    failed = 0

    async def call(client: aiohttp.ClientSession, due_s: float) -> None:
        # Timed from when it was due, so that a late sender hides nothing.
        nonlocal failed
        tensor = {"name": "FEATURES", "datatype": "FP32", "shape": [1, 8]}
        body = {"inputs": [{**tensor, "data": [84.2, 14, 3, 60, 2, 0.1, 1, 900]}]}
        async with client.post(url, json=body, headers=headers) as response:
            await response.read()
            failed += response.status != 200
        seconds.append(asyncio.get_running_loop().time() - due_s)

    async def calls() -> None:
        async with aiohttp.ClientSession(trust_env=False) as client:
            await call(client, asyncio.get_running_loop().time())
            seconds.clear()
            begun.set()
            begun_s = asyncio.get_running_loop().time()
            tasks: list[asyncio.Task[None]] = []
            while not over.is_set():
                due_s = begun_s + len(tasks) / rate_hz
                await asyncio.sleep(due_s - asyncio.get_running_loop().time())
                tasks.append(asyncio.create_task(call(client, due_s)))
            await asyncio.gather(*tasks)

    asyncio.run(calls())
    tells.send((failed, seconds))


def _say(text: str) -> None:
    print(f"bench: {text}", flush=True)
