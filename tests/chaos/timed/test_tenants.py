"""Promise 10: a tenant at ten times its share takes nothing from the others.

A real router over a real PostgreSQL, in front of workers on bare sockets.
"""

from pathlib import Path

import pytest

from router.contracts.snapshot import Snapshot
from router.domain.catalog import ApiKey, Deployment, Model, Pool
from router.domain.catalog import Worker as Listed
from router.domain.keys import digest_key
from router.domain.pricing import Price
from tests.chaos.harness import MODEL, SCALE, Worker, working
from tests.chaos.load import Flow, load, percentile
from tests.contract.router.conftest import ledger_database, open_accounts
from tests.integration.router.routers import PEPPER, publish, running

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

__all__ = ["ledger_database"]

WORKERS = 3
SLOTS = 24
SERVICE_S = 0.6
SPREAD = 0.5
"""If all workers finished at the same moment, everyone would wait for that moment."""
CALM = ("c1", "c2", "c3", "c4")
SHARE_PER_S = WORKERS * SLOTS / SERVICE_S / (len(CALM) + 1)
CALM_PER_S = 0.5 * SHARE_PER_S
NOISY_PER_S = 10 * SHARE_PER_S
PRIORITIES = ("standard", "batch", "interactive", "standard")
"""Of the calm ones."""
NOISES = ("standard", "interactive")
"""Of the noisy one, in turn: a queue is not to be jumped by saying so."""
QUEUE_MAX = 100
"""Full within a second of noise."""
QUIET_S, NOISE_S = 2.5, 3.0
SETTLING_S = 0.8
"""Of noise, before it counts: the queue fills."""
EBBING_S = 1.2
"""Of quiet, before it counts: the queue empties."""
ROUNDS = len(NOISES) * max(round(SCALE), 1)
SLOWER_MAX = 1.25


async def test_10_a_noisy_tenant_takes_nothing_from_calm_ones(
    ledger_database: str, tmp_path: Path
) -> None:
    customer, provider = open_accounts(ledger_database, 10**12)
    workers = [Worker(service_s=SERVICE_S, spread=SPREAD, slots=SLOTS) for _ in range(WORKERS)]
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
                for n, name in enumerate((*CALM, "noisy"), start=1)
            ),
        )
        publish(ledger_database, shop)
        with running("one", ledger_database, tmp_path, ROUTER_QUEUE_MAX=str(QUEUE_MAX)) as router:
            port = int(router.url.rpartition(":")[2])
            await load(port, [Flow([(0.0, 1.0)], SHARE_PER_S, key=CALM[0])])
            calm, noisy = await load(port, calm_flows(), noisy_flows())
    assert {call.status for call in calm} == {200}, "nothing of the calm ones is shed"
    before_s = percentile([answer.seconds for answer in calm if quiet(answer.due_s)], 0.99)
    for number, priority in enumerate(NOISES):
        asked = [answer for answer in noisy if answer.flow == number]
        served = sum(answer.status == 200 for answer in asked)
        beside = [answer.seconds for answer in calm if noise(answer.due_s) == number]
        after_s = percentile(beside, 0.99)
        print(
            f"p99 of {len(beside)} calm calls {before_s * 1e3:.0f} ms alone, "
            f"{after_s * 1e3:.0f} ms beside {len(asked)} {priority} ones of a noisy tenant, "
            f"{served} of them served: {after_s / before_s:.2f} times"
        )
        assert served > len(beside), "the noisy tenant uses what is left"
        assert after_s <= SLOWER_MAX * before_s


def calm_flows() -> list[Flow]:
    """All the time, at a rate below their share."""
    over_s = ROUNDS * (QUIET_S + NOISE_S)
    return [
        Flow([(0.0, over_s)], CALM_PER_S, key=key, wishes={"priority": priority})
        for key, priority in zip(CALM, PRIORITIES, strict=True)
    ]


def noisy_flows() -> list[Flow]:
    """Quiet and noise take turns, so that other load on the machine affects both."""
    flows: list[Flow] = []
    for number, priority in enumerate(NOISES):
        starts_s = [
            QUIET_S + turn * (QUIET_S + NOISE_S) for turn in range(number, ROUNDS, len(NOISES))
        ]
        windows = [(start_s, start_s + NOISE_S) for start_s in starts_s]
        flows.append(Flow(windows, NOISY_PER_S, key="noisy", wishes={"priority": priority}))
    return flows


def quiet(due_s: float) -> bool:
    """Whether this moment is one without noise or its remains."""
    return EBBING_S <= due_s % (QUIET_S + NOISE_S) < QUIET_S


def noise(due_s: float) -> int | None:
    """The noise at this moment, once it is at full strength."""
    turn, since_s = divmod(due_s, QUIET_S + NOISE_S)
    return int(turn) % len(NOISES) if since_s >= QUIET_S + SETTLING_S else None
