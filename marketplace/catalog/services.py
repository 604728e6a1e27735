"""Verbs of the catalog. Each ends by publishing, so that what was changed is in force."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from marketplace.billing.services import provider_account_open
from marketplace.catalog.models import Deployment, Offer, Provider, Worker
from marketplace.routing.services import snapshot_publish
from router.domain.pricing import Price

HEALTH_ERROR_CHARACTERS = 200


@transaction.atomic
def provider_create(
    *, slug: str, name: str, description: str = "", commission_bps: int = 1_000
) -> Provider:
    """Register a provider together with the account it earns into."""
    provider = Provider(
        slug=slug, name=name, description=description, commission_bps=commission_bps
    )
    provider.full_clean()
    provider.save()
    provider_account_open(provider=provider)
    return provider


@transaction.atomic
def offer_publish(
    *, deployment: Deployment, price: Price, effective_at: datetime | None = None
) -> Offer:
    """Publish a price version; it supersedes the ones before it from ``effective_at`` on."""
    offer = offer_create(deployment=deployment, price=price, effective_at=effective_at)
    snapshot_publish()
    return offer


def offer_create(
    *, deployment: Deployment, price: Price, effective_at: datetime | None = None
) -> Offer:
    """As :func:`offer_publish`, in force once its caller publishes. ``price.id`` is ignored."""
    return Offer.objects.create(
        deployment=deployment,
        prompt_nano_per_million=price.prompt_nano_per_million,
        cached_nano_per_million=price.cached_nano_per_million,
        completion_nano_per_million=price.completion_nano_per_million,
        reasoning_nano_per_million=price.reasoning_nano_per_million,
        request_nano=price.request_nano,
        row_nano=price.row_nano,
        image_nano=price.image_nano,
        effective_at=effective_at or timezone.now(),
    )


@transaction.atomic
def worker_drain(*, worker: Worker, draining: bool) -> Worker:
    """Stop, or resume, giving new requests to a worker."""
    worker.draining = draining
    worker.save(update_fields=["draining"])
    snapshot_publish()
    return worker


@dataclass(frozen=True, slots=True)
class HealthReading:
    """One probe of one worker; ``error`` is "" when it was ready."""

    worker_pk: int
    error: str = ""

    @property
    def healthy(self) -> bool:
        return not self.error


@transaction.atomic
def worker_health_record(*, readings: Iterable[HealthReading]) -> list[str]:
    """Keep what the prober saw; returns the ids of workers whose health changed, published.

    The first failed probe is only noted, the second in a row marks the worker unhealthy: one slow
    answer of a busy worker is not an outage, and routers eject a dead one by themselves anyway.
    """
    by_pk = {reading.worker_pk: reading for reading in readings}
    now = timezone.now()
    changed = []
    rows = list(Worker.objects.select_for_update().filter(pk__in=by_pk).order_by("pk"))
    for worker in rows:
        reading = by_pk[worker.pk]
        first_failure = worker.healthy and not reading.healthy and not worker.health_error
        if worker.healthy != reading.healthy and not first_failure:
            changed.append(worker.worker_id)
            worker.healthy = reading.healthy
        worker.health_error = reading.error[:HEALTH_ERROR_CHARACTERS]
        worker.health_checked_at = now
    Worker.objects.bulk_update(rows, ["healthy", "health_error", "health_checked_at"])
    if changed:
        snapshot_publish()
    return changed
