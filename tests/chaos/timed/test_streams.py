"""Promise 7: how a stream ends when its worker dies.

The short form has a short limit of silence; the long one the default.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.settings import Limits
from tests.chaos.clients import CONTENT, Seen, call
from tests.chaos.harness import SCALE
from tests.chaos.market import OWNED, SHARED, TOKEN_NANO, Market, market
from tests.chaos.processes import Worker
from tests.chaos.worker import produced
from tests.contract.router.conftest import ledger_database
from tests.patience import PATIENCE_S
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

__all__ = ["ledger_database"]

ENDS = ("killed", "stopped", "silent")
"""Ways to fail: SIGKILL, SIGSTOP, and silence."""
TOLD_S = 1.0
TOKENS = 24
SILENCE_S = Limits().silence_timeout_s if SCALE > 1 else 1.5


@pytest.fixture
def shop(ledger_database: str, tmp_path: Path) -> Iterator[Market]:
    """Over the run's own database, which is not killed here."""
    with market(tmp_path, ledger_database) as made:
        yield made


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
