"""Running a listing's conformance check, and laying its rows out once it has passed."""

from collections.abc import Callable
from math import isfinite
from typing import Any

from django.db import transaction

from marketplace.catalog.addresses import address_policy
from marketplace.catalog.models import (
    AIModel,
    Deployment,
    DeploymentStatus,
    ModelVersion,
    Pool,
    Worker,
)
from marketplace.catalog.selectors import offer_in_force
from marketplace.catalog.services import offer_create
from marketplace.providers.conformance.findings import FAIL, Finding, Target
from marketplace.providers.conformance.probing import Stopped, check_all
from marketplace.providers.listings.drafts import model_made, pool_fits
from marketplace.providers.listings.states import ListingAction, ListingState
from marketplace.providers.models import ConformanceResult, ConformanceRun, Listing
from marketplace.providers.services import SYSTEM, listing_act
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import JobFailed, JobStopped, Run
from router.domain.pricing import PRICE_FIELDS
from router.domain.protocols import TASKS

TEXT_CHARACTERS = 600
"""As many as a result keeps of each of its texts."""


def listing_check(run: Run, *, check: Callable[..., None] = check_all) -> dict[str, Any]:
    """The work of the job: a row for each finding, as it is made."""
    row: ConformanceRun = run.job
    row.results.all().delete()  # Of an attempt that lost its process.
    targets = targets_of(row.listing)

    def tell(target: Target, finding: Finding) -> None:
        _keep(row, target, finding)
        run.progress(targets.index(target) / len(targets))

    try:
        check(targets, address_policy(), tell=tell, is_cancelled=run.is_stopped)
    except Stopped as error:
        raise JobStopped from error
    except TimeoutError as error:
        raise JobFailed(str(error)) from error
    return {}


def listing_conclude(run: ConformanceRun) -> None:
    """Take the listing on, or back to its draft. A cancelled one is back already."""
    listing = Listing.objects.select_related("provider").get(pk=run.listing_id)
    if listing.state != ListingState.CHECKING:
        return
    verdicts = list(run.results.values_list("verdict", flat=True))
    failed = verdicts.count(FAIL)
    if run.state == JobState.SUCCEEDED and verdicts and not failed:
        listing_stage(listing=listing)
        listing_act(listing=listing, action=ListingAction.PASS, actor=SYSTEM)
        return
    why = run.error or f"{failed} of {len(verdicts)} checks failed"
    listing_act(listing=listing, action=ListingAction.FAIL, actor=SYSTEM, why=why)


def targets_of(listing: Listing) -> list[Target]:
    """The endpoints to check: the listing's, or those of its pool that exists."""
    rows = listing.endpoints or [
        {"url": item.url, "protocol": item.protocol, "slots": item.slots}
        for item in Worker.objects.filter(pool__name=listing.pool_name).order_by("worker_id")
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


def _keep(run: ConformanceRun, target: Target, finding: Finding) -> None:
    ConformanceResult.objects.create(
        run=run,
        endpoint=target.url[:300],
        check_name=finding.check,
        verdict=finding.verdict,
        code=finding.code,
        params={name: _kept(value) for name, value in finding.params.items()},
        sent=_kept(finding.sent),
        received=_kept(finding.received),
        took_ms=finding.took_ms,
    )


def _kept(value: Any) -> Any:
    """A number, or as much of any other value as text as the table keeps: servers say anything."""
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    # JSON may have halves of characters.
    text = str(value).encode(errors="replace").decode()
    return text.replace("\0", "")[:TEXT_CHARACTERS]


@transaction.atomic
def listing_stage(*, listing: Listing) -> Deployment:
    """Make, or bring in line with the draft, what the listing sells: paused, not for sale yet.

    Raises ``JobFailed`` where its pool has become another listing's since it was submitted.
    """
    row = Listing.objects.select_for_update(of=("self",)).get(pk=listing.pk)
    version = _version(row)
    pool = _pool(row)
    deployment = row.deployment or Deployment(provider=row.provider)
    deployment.version, deployment.pool = version, pool
    deployment.status, deployment.published = DeploymentStatus.PAUSED, False
    deployment.upstream_model = row.upstream_model
    deployment.quantization = row.quantization
    deployment.supported_parameters = row.supported_parameters
    deployment.collects_data = row.collects_data
    deployment.save()
    _price(row, deployment)
    row.deployment = deployment
    row.save(update_fields=["deployment", "updated_at"])
    return deployment


def _price(row: Listing, deployment: Deployment) -> None:
    """Publish the draft's price, unless it is that in force. What batches pay less stays."""
    offer = offer_in_force(deployment)
    if offer is None:
        offer_create(deployment=deployment, price=row.price)
        return
    unit = TASKS[deployment.version.model.task].unit
    if offer.unit != unit or any(
        getattr(offer, name) != getattr(row, name) for name in PRICE_FIELDS
    ):
        offer_create(
            deployment=deployment, price=row.price, batch_discount_bps=offer.batch_discount_bps
        )


def _version(row: Listing) -> ModelVersion:
    """What is said of a model that is published changes once staff approve it."""
    model = row.existing_model
    if model is None:
        model = model_made(row) or AIModel(published=False, emulated=row.provider.emulated)
        if not model.published:
            row.describe(model)
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
    elif not pool_fits(row, pool):
        raise JobFailed(f"Another listing has made a pool {pool.name} since this was submitted.")
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
