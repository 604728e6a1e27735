"""Promise 10: a tenant at ten times its share takes nothing from the others.

A real router over a real PostgreSQL, before workers on bare sockets.
"""

import asyncio
import time
from pathlib import Path

import pytest

from router.contracts.snapshot import Snapshot
from router.domain.catalog import ApiKey, Deployment, Model, Pool
from router.domain.catalog import Worker as Listed
from router.domain.keys import digest_key
from router.domain.pricing import Price
from tests.chaos.harness import MODEL, SCALE, Told, Worker, ask, working
from tests.chaos.load import percentile
from tests.contract.router.conftest import ledger_database, open_accounts
from tests.integration.router.routers import PEPPER, publish, running

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

__all__ = ["ledger_database"]

WORKERS = 3
SERVICE_S = 0.1
SPREAD = 0.5
"""Workers that all finish at the same moment would make everyone wait for that moment."""
SLOTS = 8
CALM_PER_S = 20
"""A tenth of what the workers can do; the share of each of the two tenants is a half."""
NOISY_AT_ONCE = 240
"""Ten times the slots: as much as would keep ten such fleets busy."""


async def calm(port: int, seconds: float) -> list[Told]:
    """The answers of a tenant that asks at a steady rate, whatever it gets."""
    asked: list[asyncio.Task[Told]] = []
    began_s = time.perf_counter()
    while (due_s := began_s + len(asked) / CALM_PER_S) < began_s + seconds:
        await asyncio.sleep(max(due_s - time.perf_counter(), 0))
        asked.append(asyncio.create_task(ask(port, key="calm")))
    return list(await asyncio.gather(*asked))


async def noisy(port: int, stopping: asyncio.Event) -> int:
    """How many answers a caller got that asks again and again."""
    count = 0
    while not stopping.is_set():
        count += (await ask(port, key="noisy")).status == 200
    return count


async def test_10_a_noisy_tenant_takes_nothing_from_a_calm_one(
    ledger_database: str, tmp_path: Path
) -> None:
    seconds = 3 * SCALE
    customer, provider = open_accounts(ledger_database, 10**12)
    workers = [Worker(service_s=SERVICE_S, spread=SPREAD) for _ in range(WORKERS)]
    async with working(*workers):
        shop = Snapshot(
            version=1,
            published_at_ms=1,
            models=(Model(MODEL, "chat", "1", 1),),
            pools=(Pool("p", "cpu"),),
            workers=tuple(
                Listed(f"w{n}", "p", f"http://127.0.0.1:{worker.port}", "openai", SLOTS)
                for n, worker in enumerate(workers)
            ),
            deployments=(Deployment(1, MODEL, "lab", provider, "p", MODEL, Price(1)),),
            keys=tuple(
                ApiKey(n, digest_key(name, PEPPER.encode()), n, customer)
                for n, name in enumerate(("calm", "noisy"), start=1)
            ),
        )
        publish(ledger_database, shop)
        with running("one", ledger_database, tmp_path) as router:
            port = int(router.url.rpartition(":")[2])
            await calm(port, 1)
            alone = await calm(port, seconds)
            stopping = asyncio.Event()
            crowd = [asyncio.create_task(noisy(port, stopping)) for _ in range(NOISY_AT_ONCE)]
            await asyncio.sleep(0.5)
            beside = await calm(port, seconds)
            stopping.set()
            served = sum(await asyncio.gather(*crowd))
    before_s, after_s = (percentile([t.seconds for t in told], 0.99) for told in (alone, beside))
    print(
        f"calm p99 {before_s * 1e3:.0f} ms alone, {after_s * 1e3:.0f} ms beside {served} calls "
        f"of a noisy tenant: {after_s / before_s:.2f} times"
    )
    assert served > len(beside), "the noisy tenant uses what is left"
    assert {told.status for told in (*alone, *beside)} == {200}, "nothing of the calm one is shed"
    # In turn, 240 waiting calls would take over a second.
    assert after_s < 0.6
