"""The product across hosts: every part is rolled, and every host cut off and healed, under load.

Clients are on the switch, and go to the other router when one does not take their connection, as
behind a balancer. What they and the workers saw is compared with the ledger after each fault.
"""

import asyncio
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.clients import Seen, call
from tests.chaos.faults.hosts.network import SWITCH, Network, missing
from tests.chaos.faults.hosts.product import GPUS, LEFT, MODEL, RIGHT, ROUTER_PORT, WEB, Product
from tests.chaos.harness import SCALE
from tests.embedded import wait_until
from tests.patience import PATIENCE_S

pytestmark = [
    pytest.mark.nightly,  # In short: test_cut.
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

CALLERS = 4
PAUSE_S = 0.1
CUT_S = min(15.0 * SCALE, 60.0)
ENDED_WITHIN_S = 90.0
NOTICED_S = 12.0
"""A call that a cut host had is answered within this time by another one."""
RECOVERED_S = 30.0
TAKEN_OVER_S = 8.0
"""A router's membership expires, and one that it still was forwarded to notices."""


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    network = Network((WEB, LEFT, RIGHT, *GPUS))
    with tempfile.TemporaryDirectory(prefix="waypost-test-") as folder:
        home = Path(folder)
        # PostgreSQL runs as another user when the tests run as root.
        home.chmod(0o755)
        try:
            network.make()
            with network.inside(SWITCH):
                product = Product(network, home)
                try:
                    product.open()
                    yield product
                finally:
                    product.close()
        finally:
            network.remove()


class Load:
    """Callers that ask all the time, and what each call got."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()
        self.log: list[tuple[float, float, Seen]] = []
        """When each call began and ended, on the monotonic clock."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._caller())

    def stop(self) -> None:
        self._stopping.set()

    async def answered(self, count: int = 10) -> str:
        """Wait for so many more whole answers; the host of the last one's worker."""
        awaited = len(self._workers) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self._workers) < awaited:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return next(gpu for gpu in GPUS if self._workers[-1].startswith(gpu))

    @property
    def _workers(self) -> list[str]:
        """Of the whole answers."""
        whole = (seen for _, _, seen in self.log if seen.status == 200 and seen.whole)
        return [seen.headers["x-route-worker"] for seen in whole]

    @property
    def failed(self) -> list[Seen]:
        return [seen for _, _, seen in self.log if seen.status != 200 or not seen.whole]

    @property
    def slowest_s(self) -> float:
        """Of the calls that are no streams."""
        return max(ended - began for began, ended, seen in self.log if not seen.streamed)

    async def _caller(self) -> None:
        while not self._stopping.is_set():
            number = next(self._numbers)
            began_s = time.monotonic()
            seen = await self._ask(number)
            self.log.append((began_s, time.monotonic(), seen))
            await asyncio.sleep(PAUSE_S)

    async def _ask(self, number: int) -> Seen:
        streamed = number % 4 == 0
        name = f"{'slow' if streamed else 'answer'}-{id(self)}-{number}"
        asked = name, 20, "slow" if streamed else "answer"
        routers = list(self._product.routers)
        for turn in range(len(routers)):
            host = self._product.network.address(routers[(number + turn) % len(routers)])
            try:
                async with asyncio.timeout(ENDED_WITHIN_S):
                    return await call(
                        ROUTER_PORT,
                        *asked,
                        stream=streamed,
                        model=MODEL,
                        host=host,
                        key=self._product.key,
                    )
            except OSError:
                continue  # No connection, or no end: TimeoutError is one too.
        return Seen(name, streamed)


@asynccontextmanager
async def calling(product: Product) -> AsyncIterator[Load]:
    """Constant load during the block; at its end the books must know every call once."""
    load = Load(product)
    running = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        load.stop()
        await running
    await asyncio.to_thread(accounted, product, load)


def accounted(product: Product, load: Load) -> None:
    """What was answered whole is in the ledger, at the price that was told; all else at most once.

    The ledger's key is the call, so none can be there twice.
    """
    whole = [seen for _, _, seen in load.log if seen.status == 200 and seen.whole]
    ids = {seen.id for seen in whole}
    wait_until(lambda: ids <= product.ledger().keys(), RECOVERED_S, "everything is settled")
    ledger = product.ledger()
    for seen in whole:
        row = ledger[seen.id]
        assert row["outcome"] == "completed", seen.call
        if seen.streamed:
            assert row["completion_tokens"] == seen.tokens, seen.call
        else:
            assert row["charge_nano"] == seen.charge_nano, seen.call
    billed = sum(row["completion_tokens"] for row in ledger.values())
    assert billed <= product.tokens_made, "more was billed than the workers made"
    refused = {seen.status for _, _, seen in load.log} & {401, 402}
    assert not refused, "a fault of ours was told as one of the caller's"
    statuses = Counter(seen.status for _, _, seen in load.log)
    print(
        f"{len(load.log)} calls {dict(statuses)}, {len(whole)} whole, "
        f"the slowest that is no stream {load.slowest_s:.1f} s"
    )


def all_serve(product: Product) -> None:
    wait_until(lambda: all(map(product.is_routed, GPUS)), PATIENCE_S, "both hosts serve")


async def test_8_every_part_is_rolled_and_no_call_fails(product: Product) -> None:
    async with calling(product) as load:
        for part in (*product.routers.values(), product.web, *product.jobs):
            await asyncio.to_thread(part.roll)
        for agent in product.agents.values():
            # As an operator does: one host at a time, while the other one serves.
            await asyncio.to_thread(all_serve, product)
            await asyncio.to_thread(agent.roll)
        await load.answered()
    assert not load.failed, [(seen.call, seen.status, seen.body) for seen in load.failed]
    assert any(seen.streamed for _, _, seen in load.log)


async def test_6_the_calls_of_a_worker_host_that_is_cut_off_are_answered_by_the_other(
    product: Product,
) -> None:
    async with calling(product) as load:
        gpu = await load.answered()
        product.network.cut(gpu)
        await asyncio.sleep(CUT_S)
        product.network.heal(gpu)
        await asyncio.to_thread(wait_until, lambda: product.is_routed(gpu), PATIENCE_S, gpu)
        await load.answered()
    failed = [seen for seen in load.failed if not seen.streamed or not seen.tokens]
    assert len(failed) <= 0.001 * len(load.log), [(seen.call, seen.status) for seen in failed]
    assert load.slowest_s < NOTICED_S


async def test_4_while_the_database_and_the_pages_are_cut_off_no_call_fails(
    product: Product,
) -> None:
    async with calling(product) as load:
        await load.answered()
        product.network.cut(WEB)
        await asyncio.sleep(CUT_S)
        product.network.heal(WEB)
        # The prober was cut off too: what it missed must not take workers away now.
        await asyncio.sleep(CUT_S)
        await load.answered()
    assert not load.failed, [(seen.call, seen.status, seen.body) for seen in load.failed]


async def test_5_a_router_starts_while_the_database_is_cut_off_and_says_503_not_402(
    product: Product,
) -> None:
    router = product.routers[RIGHT]
    product.network.cut(WEB)
    try:
        await asyncio.to_thread(router.roll)
        asked = [call_on(product, RIGHT, f"cold-{number}") for number in range(10)]
        received = await asyncio.gather(*asked)
    finally:
        product.network.heal(WEB)
    assert {seen.status for seen in received} <= {200, 503}
    assert all(b"ledger_unavailable" in seen.body for seen in received if seen.status != 200), (
        received
    )
    async with asyncio.timeout(RECOVERED_S):
        while (await call_on(product, RIGHT, "again")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def call_on(product: Product, router: str, name: str) -> Seen:
    host = product.network.address(router)
    return await call(ROUTER_PORT, name, 2, model=MODEL, host=host, key=product.key)


async def test_a_router_that_is_cut_off_is_replaced_and_returns(product: Product) -> None:
    async with calling(product) as load:
        await load.answered()
        product.network.cut(LEFT)
        cut_s = time.monotonic()
        await asyncio.sleep(CUT_S)
        product.network.heal(LEFT)
        healed_s = time.monotonic()
        await asyncio.sleep(TAKEN_OVER_S)
    late = [
        (seen.call, seen.status)
        for began_s, _, seen in load.log
        if cut_s + TAKEN_OVER_S < began_s < healed_s and not seen.whole
    ]
    assert not late, "the other router had all the time to take over"
    assert all(map(product.is_routed, GPUS))


def test_at_the_end_nothing_is_held_and_the_books_balance(product: Product) -> None:
    for router in product.routers.values():
        assert router.stop() == 0, router.log()[-2000:]
    with product.books() as books:
        held = books.execute("SELECT sum(held_nano) AS nano FROM billing_account").fetchone()
    assert held == {"nano": 0}
    assert [product.journal(name) for name in product.routers] == [[], []]
    product.manage("ledger", "verify")
