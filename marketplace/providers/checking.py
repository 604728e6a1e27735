"""Running a listing's conformance check, and laying its rows out once it has passed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from marketplace.benchmarks.models import RunState
from marketplace.catalog.addresses import address_policy
from marketplace.catalog.models import (
    AIModel,
    Deployment,
    DeploymentStatus,
    ModelVersion,
    Pool,
    Worker,
)
from marketplace.catalog.prices import price_of
from marketplace.catalog.services import offer_create
from marketplace.providers.conformance.findings import FAIL, Finding, Target
from marketplace.providers.conformance.probing import RUN_S_MAX, Stopped, check_all
from marketplace.providers.models import (
    MODEL_FIELDS,
    ConformanceResult,
    ConformanceRun,
    Listing,
)
from marketplace.providers.services import SYSTEM, listing_act
from marketplace.providers.states import ListingAction, ListingState
from router.domain.pricing import Price

STALE_S = 2 * RUN_S_MAX
"""A check that runs so long by its row has lost its process."""
ERROR_CHARACTERS = 300

log = logging.getLogger(__name__)


def check_next(*, check: Callable[..., None] = check_all) -> int | None:
    """Run the check that has waited longest; returns its id, None where nothing waits."""
    _bury()
    run = _begin()
    if run is None:
        return None
    results: list[str] = []

    def tell(target: Target, finding: Finding) -> None:
        results.append(finding.verdict)
        _keep(run, target, finding)

    try:
        check(
            targets_of(run.listing),
            address_policy(),
            tell=tell,
            is_cancelled=lambda: ConformanceRun.objects.filter(
                pk=run.pk, cancel_requested=True
            ).exists(),
        )
    except Stopped:
        _end(run, RunState.CANCELLED)
    except Exception as error:
        log.warning("check #%s", run.pk, exc_info=True)
        _end(run, RunState.FAILED, f"{type(error).__name__}: {error}")
    else:
        _end(run, RunState.DONE)
    _conclude(run, failed=results.count(FAIL), all_=len(results))
    return run.pk


def targets_of(listing: Listing) -> list[Target]:
    """The endpoints to check: the listing's, or those of its pool that exists."""
    rows = listing.endpoints or [
        {"url": one.url, "protocol": one.protocol, "slots": one.slots}
        for one in Worker.objects.filter(pool__name=listing.pool_name).order_by("worker_id")
    ]
    return [
        Target(
            url=row["url"],
            protocol=row["protocol"],
            slots=row["slots"],
            task=listing.task_asked,
            model=listing.upstream_model,
            parameters=tuple(listing.supported_parameters),
            tensors=listing.tensors_asked,
        )
        for row in rows
    ]


@transaction.atomic
def _begin() -> ConformanceRun | None:
    run = (
        ConformanceRun.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(state=RunState.QUEUED)
        .select_related("listing__provider", "listing__existing_model")
        .order_by("pk")
        .first()
    )
    if run is not None:
        run.state, run.started_at = RunState.RUNNING, timezone.now()
        run.save(update_fields=["state", "started_at"])
    return run


def _bury() -> None:
    """End checks whose process is gone."""
    before = timezone.now() - timedelta(seconds=STALE_S)
    for run in ConformanceRun.objects.filter(state=RunState.RUNNING, started_at__lt=before):
        _end(run, RunState.FAILED, "its process ended before it was done")
        _conclude(run, failed=0, all_=0)


def _keep(run: ConformanceRun, target: Target, finding: Finding) -> None:
    ConformanceResult.objects.create(
        run=run,
        endpoint=target.url[:300],
        check_name=finding.check,
        verdict=finding.verdict,
        code=finding.code,
        params=dict(finding.params),
        sent=finding.sent.replace("\0", "")[:600],
        received=finding.received.replace("\0", "")[:600],
        took_ms=finding.took_ms,
    )


def _end(run: ConformanceRun, state: RunState, error: str = "") -> None:
    run.state, run.error, run.ended_at = state, error[:ERROR_CHARACTERS], timezone.now()
    run.save(update_fields=["state", "error", "ended_at"])


def _conclude(run: ConformanceRun, *, failed: int, all_: int) -> None:
    """Take the listing on, or back to its draft. A cancelled one is back already."""
    listing = Listing.objects.select_related("provider").get(pk=run.listing_id)
    if listing.state != ListingState.CHECKING:
        return
    if run.state == RunState.DONE and all_ and not failed:
        with transaction.atomic():
            listing_stage(listing=listing)
            listing_act(listing=listing, action=ListingAction.PASS, actor=SYSTEM)
        return
    why = run.error or f"{failed} of {all_} checks failed"
    listing_act(listing=listing, action=ListingAction.FAIL, actor=SYSTEM, why=why)


@transaction.atomic
def listing_stage(*, listing: Listing) -> Deployment:
    """Make, or bring in line with the draft, what the listing sells: paused, not for sale yet."""
    row = Listing.objects.select_for_update(of=("self",)).get(pk=listing.pk)
    version = _version(row)
    pool = _pool(row)
    deployment = row.deployment or Deployment(provider=row.provider)
    deployment.version, deployment.pool = version, pool
    deployment.status = DeploymentStatus.PAUSED
    deployment.upstream_model = row.upstream_model
    deployment.quantization = row.quantization
    deployment.supported_parameters = row.supported_parameters
    deployment.collects_data = row.collects_data
    deployment.save()
    newest = deployment.offers.order_by("-effective_at", "-id").first()
    if newest is None or not _same(price_of(newest), row.price):
        offer_create(deployment=deployment, price=row.price)
    row.deployment = deployment
    row.save(update_fields=["deployment", "updated_at"])
    return deployment


def _same(one: Price, other: Price) -> bool:
    names = [name for name in Price.__struct_fields__ if "_nano" in name]
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _version(row: Listing) -> ModelVersion:
    model = row.existing_model
    if model is None:
        made = row.deployment.version.model if row.deployment else None
        model = made or AIModel(published=False, emulated=row.provider.emulated)
        model.name = row.model_name
        for name in MODEL_FIELDS:
            setattr(model, name, getattr(row, name))
        model.full_clean()
        model.save()
    version, _ = ModelVersion.objects.get_or_create(
        model=model, version=row.version, defaults={"notes": row.version_notes}
    )
    return version


def _pool(row: Listing) -> Pool:
    pool = Pool.objects.filter(name=row.pool_name).first()
    if pool is None:
        pool = Pool(name=row.pool_name, emulated=row.provider.emulated)
    elif not row.endpoints:
        return pool
    for name in ("hardware", "engine", "region", "cost_nano_per_hour"):
        setattr(pool, name, getattr(row, name) or getattr(pool, name))
    pool.full_clean()
    pool.save()
    known = {worker.url: worker for worker in pool.workers.all()}
    for number, endpoint in enumerate(row.endpoints):
        worker = known.pop(endpoint["url"], None) or Worker(
            pool=pool, url=endpoint["url"], worker_id=_worker_id(pool, number)
        )
        worker.protocol, worker.slots = endpoint["protocol"], endpoint["slots"]
        worker.healthy, worker.draining, worker.health_error = True, False, ""
        worker.full_clean()
        worker.save()
    for gone in known.values():
        gone.delete()
    return pool


def _worker_id(pool: Pool, number: int) -> str:
    """The first free name from this number on; ids are unique over all pools."""
    while Worker.objects.filter(worker_id=f"{pool.name}-{number}").exists():
        number += 1
    return f"{pool.name}-{number}"
