"""A file of rows in one batch beside the same rows straight to Triton, with interactive calls."""

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import aiohttp
import numpy as np

from tests.bench.batches.client import batch_client
from tests.bench.batches.site import Site
from workers.backends.triton.fraud.transactions import generate, write_csv
from workers.backends.triton.repository import BATCH_ROWS_MAX

MODEL = "waypost/fraud-scorer"
SIZES = (64, 128, 256, 512, 1_024)
TRIED_SHARE = 10
"""One row of so many is enough to find the best size of a call."""
AT_ONCE = 4
"""Calls to each Triton: more than its instances."""
SEED = 19
P99 = 0.99


def run(site: Site, count: int, seconds: float, rate_hz: float) -> str:
    """Measure all three; returns the table."""
    features = generate(count, seed=SEED).features
    size, straight_s = asyncio.run(_straight(site.tritons, features))
    _say(f"straight, {size} rows a call: {count / straight_s:,.0f} rows/s")
    key = site.key().key
    without = Interactive(site.router_url, key, rate_hz)
    with without:
        time.sleep(seconds)
    _say(f"interactive without a batch: p99 {without.p99_ms:.1f} ms")
    during = Interactive(site.router_url, key, rate_hz)
    with tempfile.TemporaryDirectory() as folder, during:
        path = Path(folder, "transactions.csv")
        with path.open("w") as out:
            write_csv(features, out)
        checked_s, batch_s = _batch(site.router_url, key, path, count)
    share, slower = straight_s / batch_s, during.p99_ms / without.p99_ms
    lines = [
        f"{count:,} rows of the fraud scorer, on one machine with everything else of the stack.",
        "",
        "| | rows/s | of straight |",
        "|---|---|---|",
        f"| straight to the Tritons, {size} rows a call | {count / straight_s:,.0f} | 1 |",
        f"| one batch, from upload to output | {count / batch_s:,.0f} | {share:.2f} |",
        f"| the same without the check of the file | {count / (batch_s - checked_s):,.0f} "
        f"| {straight_s / (batch_s - checked_s):.2f} |",
        "",
        "| interactive calls | p50, ms | p99, ms | calls | of without |",
        "|---|---|---|---|---|",
        f"| without the batch | {without.p50_ms:.1f} | {without.p99_ms:.1f} "
        f"| {len(without.seconds):,} | 1 |",
        f"| during the batch | {during.p50_ms:.1f} | {during.p99_ms:.1f} "
        f"| {len(during.seconds):,} | {slower:.2f} |",
    ]
    return "\n".join(lines)


def _batch(url: str, key: str, path: Path, count: int) -> tuple[float, float]:
    """Seconds until its file was checked, and until its output was there."""
    client = batch_client(url, key)
    begun_s = time.monotonic()
    checked_s = 0.0

    def show(batch: dict) -> None:
        nonlocal checked_s
        if not checked_s and batch["status"] != "validating":
            checked_s = time.monotonic() - begun_s
        _say(f"batch {batch['status']}: {batch['request_counts']['completed']:,} rows")

    with closing(client):
        batch = client.follow(client.begin(path, model=MODEL), show)
    if batch["request_counts"]["completed"] != count:
        raise RuntimeError(f"not all rows were scored: {json.dumps(batch)}")
    return checked_s, time.monotonic() - begun_s


async def _straight(urls: Sequence[str], features: np.ndarray) -> tuple[int, float]:
    """The best size of a call, and seconds for all rows in calls of it."""
    async with aiohttp.ClientSession(trust_env=False) as client:
        few = features[: max(len(features) // TRIED_SHARE, 1)]
        sizes = [size for size in SIZES if size <= BATCH_ROWS_MAX]
        await _scored(client, urls, few, sizes[-1])
        taken = {size: await _scored(client, urls, few, size) for size in sizes}
        size = min(taken, key=lambda one: taken[one])
        return size, await _scored(client, urls, features, size)


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
    """Calls of one row each at a steady rate, within a ``with``; waits for those under way."""

    def __init__(self, url: str, key: str, rate_hz: float) -> None:
        self._url, self._key, self._rate_hz = f"{url}/v2/models/{MODEL}/infer", key, rate_hz
        self._thread = threading.Thread(target=lambda: asyncio.run(self._calls()), daemon=True)
        self._over = threading.Event()
        self.seconds: list[float] = []
        self.failed = 0

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self.failed or not self.seconds:
            raise RuntimeError(f"{self.failed} interactive calls failed")

    @property
    def p50_ms(self) -> float:
        return float(np.quantile(self.seconds, 0.5) * 1_000)

    @property
    def p99_ms(self) -> float:
        return float(np.quantile(self.seconds, P99) * 1_000)

    async def _calls(self) -> None:
        async with aiohttp.ClientSession(trust_env=False) as client:
            await self._call(client, asyncio.get_running_loop().time())
            self.seconds.clear()
            begun_s, tasks = asyncio.get_running_loop().time(), []
            while not self._over.is_set():
                due_s = begun_s + len(tasks) / self._rate_hz
                await asyncio.sleep(due_s - asyncio.get_running_loop().time())
                tasks.append(asyncio.create_task(self._call(client, due_s)))
            await asyncio.gather(*tasks)

    async def _call(self, client: aiohttp.ClientSession, due_s: float) -> None:
        """Timed from when it was due, so that a late sender hides nothing."""
        tensor = {"name": "FEATURES", "datatype": "FP32", "shape": [1, 8]}
        body = {"inputs": [{**tensor, "data": [84.2, 14, 3, 60, 2, 0.1, 1, 900]}]}
        headers = {"Authorization": f"Bearer {self._key}"}
        async with client.post(self._url, json=body, headers=headers) as response:
            await response.read()
            self.failed += response.status != 200
        self.seconds.append(asyncio.get_running_loop().time() - due_s)


def _say(text: str) -> None:
    print(f"bench: {text}", flush=True)
