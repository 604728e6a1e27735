"""Live traffic, proposals and trials, as the tests of the loop need them."""

import math
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from marketplace.accounts.models import User
from marketplace.benchmarks.models import Profile
from marketplace.catalog.models import Deployment, Pool, Worker
from marketplace.catalog.services import offer_publish
from marketplace.routing.models import SnapshotRow
from marketplace.routing.trials.evidence import Gain, Replayed
from marketplace.routing.trials.models import (
    Aim,
    RoutingEvent,
    Trial,
)
from marketplace.tuning.proofs import proving
from marketplace.tuning.proofs.proof import Proof, Says, Trust
from marketplace.tuning.services import (
    policy_propose,
    trial_approve,
    tuning_of,
    tuning_set,
)
from router.contracts.record import AttemptRecord, CandidateRecord, Candidates
from router.domain.pricing import Price
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop


def calls(
    deployment: Deployment,
    times_ms: Sequence[float],
    *,
    worker: str = "fast-0",
    expected_ms: float = 0.0,
    policy: int = 0,
    ago_s: float = 10.0,
    outcome: str = "completed",
    others: dict[str, float] | None = None,
    apart_ms: int = 0,
) -> None:
    """Calls that ended so many seconds ago, each so much before the next; ``others`` are workers
    considered too.
    """
    name = deployment.pool.name
    at_ms = time.time_ns() // 1_000_000 - int(ago_s * 1000)

    def candidates(chosen_ms: float) -> Candidates:
        rows = [CandidateRecord(deployment.pk, worker, name, "chosen", 0.0, chosen_ms, 0.0)]
        for other, service_ms in (others or {}).items():
            rows.append(CandidateRecord(deployment.pk, other, name, "slower", 0, service_ms, 1))
        return Candidates(lambda: tuple(rows))

    settle(
        *(
            record(
                created_at_ms=at_ms - place * apart_ms,
                deployment_id=deployment.pk,
                worker_id=worker,
                pool=name,
                policy_id=policy,
                outcome=outcome,
                upstream_ms=ms,
                total_ms=ms,
                attempts=(AttemptRecord(deployment.pk, worker, name, outcome, 0.0, ms),),
                candidates=candidates(expected_ms or ms),
            )
            for place, ms in enumerate(times_ms)
        )
    )


def around(mean_ms: float, count: int, seed: int = 1, spread: float = 0.3) -> list[float]:
    rng = random.Random(seed)
    sigma2 = math.log1p(spread**2)
    return [mean_ms * math.exp(rng.gauss(-sigma2 / 2, math.sqrt(sigma2))) for _ in range(count)]


def profile(shop: Shop, service_ms: float, **values: Any) -> Profile:
    fields = {"published": True, "source": "a test", "batch_curve": [[1, 1.0], [4, 2.0]], **values}
    return Profile.objects.create(deployment=shop.deployment, service_ms=service_ms, **fields)


def second_deployment(shop: Shop) -> Deployment:
    pool = Pool.objects.create(name="slow", hardware="CPU", engine="llama.cpp")
    Worker.objects.create(
        worker_id="slow-0", pool=pool, url="http://127.0.0.1:9", protocol="openai", slots=2
    )
    made = Deployment.objects.create(
        version=shop.deployment.version, provider=shop.provider, pool=pool, upstream_model="slug"
    )
    offer_publish(deployment=made, price=Price(id=0, prompt_nano_per_million=1))
    return made


def peers(shop: Shop) -> None:
    for number in (1, 2):
        Worker.objects.create(
            worker_id=f"fast-{number}",
            pool=shop.deployment.pool,
            url="http://127.0.0.1:9",
            protocol="openai",
        )


def events(shop: Shop) -> list[tuple[str, int, str]]:
    rows = RoutingEvent.objects.filter(model=shop.model.name).order_by("id")
    return [(row.kind, row.version, row.actor) for row in rows]


def snapshot() -> dict[str, Any]:
    row = SnapshotRow.objects.first()
    assert row is not None
    return row.body


GAIN = Gain("wait_weight", 6.0, "mean_ms", 103.0, 100.0, 0.03, 0.01, stretches=10, arrivals=1000)


def proposed(shop: Shop, by: User | None = None) -> Trial:
    return policy_propose(
        model=shop.model,
        changes={"wait_weight": 6.0},
        aim=Aim.LATENCY,
        evidence=Replayed("wait_weight", 5.0, 6.0, GAIN),
        by=by,
    )


def running_trial(shop: Shop, admin: User, **settings: Any) -> Trial:
    """A canary that began half a minute ago, on a route of a million calls a day."""
    values = {"canary_share": 0.3, "slo_ms": 1_000.0, "error_budget": 0.05, **settings}
    tuning_set(tuning=tuning_of(shop.model), by=admin, **values)
    trial = trial_approve(trial=proposed(shop), by=admin)
    trial.started_at = timezone.now() - timedelta(seconds=30)
    trial.budget_calls = 50_000.0
    trial.save()
    return trial


def no_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "arrivals_lately", lambda model: [])
    monkeypatch.setattr(proving, "replay_on", lambda model, slo_ms: lambda *_: [])


def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every replay says that the proposal is better, and is trusted."""
    found = Proof(Trust.TRUSTED, Says.BETTER, 500, 500, 200, "2026-11-30T12:00:00+00:00")
    monkeypatch.setattr(proving, "proof_of", lambda *_: found)
