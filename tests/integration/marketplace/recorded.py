"""A fleet in the catalog and a past that the simulator made, stored as settled calls are."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from django.utils import timezone

from marketplace.benchmarks.models import Profile
from marketplace.benchmarks.recorded_calls.replay import fleet_now
from marketplace.catalog.models import AIModel, Deployment, Pool, Worker
from marketplace.catalog.services import offer_publish
from router.contracts.record import UsageRecord
from router.domain.catalog import Policy
from router.domain.ids import uuid7
from router.domain.pricing import Price, Usage, charge_nano
from router.simulator.slots.machine import Machine
from router.simulator.slots.scenarios import capacity_hz
from router.simulator.slots.simulation import MODEL, Result, Setup, Simulation
from router.simulator.workload import Arrival, Sizes, poisson
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop

PRICE_NANO = {"fast": 4_000, "middle": 2_000, "slow": 1_000}
SERVICE_MS = {"fast": 50.0, "middle": 100.0, "slow": 300.0}
HOURLY_NANO = {"fast": 3 * 10**9, "middle": 10**9, "slow": 10**8}
TOKENS_MEAN = 200
HOLD_NANO = 100_000
"""The same for each: what a call would be was not known before."""

CHUNK = 1_000


def stretch() -> datetime:
    """When the past begins: a while ago, in this month or the default partition."""
    return timezone.now().astimezone(UTC).replace(microsecond=0) - timedelta(hours=3)


def fleet_open(shop: Shop, *, profiles: bool = True) -> dict[str, Deployment]:
    """Pools fast, middle and slow with two workers of two slots each, priced by the token."""
    Worker.objects.all().delete()
    made: dict[str, Deployment] = {}
    for name, service_ms in SERVICE_MS.items():
        pool, _ = Pool.objects.update_or_create(
            name=name,
            defaults={
                "hardware": f"{name} chip",
                "engine": "test",
                "cost_nano_per_hour": HOURLY_NANO[name],
            },
        )
        for n in range(2):
            Worker.objects.create(
                worker_id=f"{name}-{n}",
                pool=pool,
                url="http://127.0.0.1:9",
                protocol="openai",
                slots=2,
            )
        deployment, _ = Deployment.objects.get_or_create(
            version=shop.deployment.version,
            provider=shop.provider,
            pool=pool,
            defaults={"upstream_model": "slug"},
        )
        per_million = PRICE_NANO[name] * 10**6 // TOKENS_MEAN
        offer_publish(
            deployment=deployment, price=Price(id=0, completion_nano_per_million=per_million)
        )
        if profiles:
            Profile.objects.create(
                deployment=deployment, service_ms=service_ms, source="the test", published=True
            )
        made[name] = deployment
    return made


def machines_of(deployments: dict[str, Deployment]) -> tuple[Machine, ...]:
    """What the past ran on."""
    return tuple(
        Machine(
            f"{name}-{n}",
            name,
            SERVICE_MS[name],
            2,
            SERVICE_MS[name],
            price_nano=PRICE_NANO[name],
            deployment_id=deployment.pk,
        )
        for name, deployment in deployments.items()
        for n in range(2)
    )


def past(
    machines: tuple[Machine, ...], *, count: int, load: float = 0.7, seed: int = 7
) -> tuple[list[Arrival], list[Result]]:
    """What came and what happened to it, under the default policy."""
    stream = poisson(load * capacity_hz(machines), Sizes(0.8, None))
    source = stream.arrivals(Random(seed))
    arrivals = [next(source) for _ in range(count)]
    simulation = Simulation(Setup(machines, policy=Policy(1, 1, MODEL)), seed)
    return arrivals, simulation.run(arrivals, count)


def store(
    shop: Shop,
    deployments: dict[str, Deployment],
    since: datetime,
    arrivals: list[Arrival],
    results: list[Result],
    *,
    model: AIModel | None = None,
) -> None:
    """The results as settled records: tokens tell the size, times are the simulated ones.

    The same at each run: a queue is chaotic, and one call that is a millisecond later (by a
    rounded time, or by an id that sorts otherwise) moves the p99 of 4,000 calls by up to 12 %.
    """
    since_ms = int(since.timestamp()) * 1_000
    by_at = {arrival.at_s: arrival for arrival in arrivals}
    records: list[UsageRecord] = []
    payer, payee = shop.customer_account.pk, shop.provider_account.pk
    for number, result in enumerate(results):
        created_at_ms = since_ms + int(result.at_s * 1_000)
        size = by_at[result.at_s].size
        pool = result.machine.rpartition("-")[0]
        service_s = size * SERVICE_MS[pool] / 1e3 + 0.001
        tokens = max(round(TOKENS_MEAN * size), 1)
        price = Price(0, completion_nano_per_million=PRICE_NANO[pool] * 10**6 // TOKENS_MEAN)
        values: dict[str, Any] = {
            "model": (model or shop.model).name,
            "account_id": payer,
            "organisation_id": shop.organisation.pk,
            "provider_account_id": payee,
            "created_at_ms": created_at_ms,
            "request_id": uuid7(created_at_ms, number),
            "deployment_id": deployments[pool].pk,
            "worker_id": result.machine,
            "pool": pool,
            "charge_nano": charge_nano(price, Usage(completion_tokens=tokens)),
            "hold_nano": HOLD_NANO,
            "completion_tokens": tokens,
            "queue_ms": max(result.latency_s - service_s, 0.0) * 1e3,
            "upstream_ms": min(service_s, result.latency_s) * 1e3,
            "total_ms": result.latency_s * 1e3,
        }
        records.append(record(**values))
    for start in range(0, len(records), CHUNK):
        settle(*records[start : start + CHUNK])


def lived(shop: Shop, *, count: int = 2_000, load: float = 0.7) -> tuple[datetime, list[Result]]:
    """Open the fleet, let the past happen on it and store it."""
    deployments = fleet_open(shop)
    since = stretch()
    arrivals, results = past(machines_of(deployments), count=count, load=load)
    store(shop, deployments, since, arrivals, results)
    assert fleet_now(shop.model).machines
    return since, results
