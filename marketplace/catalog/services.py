"""Services that change the catalog. Each ends by publishing a snapshot."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.catalog.models import (
    Deployment,
    Offer,
    Pool,
    Provider,
    Server,
    Worker,
    WorkerMember,
)
from marketplace.catalog.selectors import drain_effect
from marketplace.catalog.signals import draining_changed
from marketplace.shared.signals import catalog_changed
from router.domain.pricing import Price
from router.domain.protocols import TASKS

HEALTH_ERROR_CHARACTERS = 200


@transaction.atomic
def provider_create(
    *, slug: str, name: str, description: str = "", commission_bps: int = 1_000
) -> Provider:
    """Register a provider. Billing opens its account for earnings."""
    provider = Provider(
        slug=slug, name=name, description=description, commission_bps=commission_bps
    )
    provider.full_clean()
    provider.save()
    return provider


@transaction.atomic
def offer_publish(
    *,
    deployment: Deployment,
    price: Price,
    effective_at: datetime | None = None,
    batch_discount_bps: int | None = None,
) -> Offer:
    """Publish a price version; it supersedes the earlier ones from ``effective_at`` on."""
    offer = offer_create(
        deployment=deployment,
        price=price,
        effective_at=effective_at,
        batch_discount_bps=batch_discount_bps,
    )
    catalog_changed.send(None)
    return offer


def offer_create(
    *,
    deployment: Deployment,
    price: Price,
    effective_at: datetime | None = None,
    batch_discount_bps: int | None = None,
) -> Offer:
    """Like :func:`offer_publish`, but the caller publishes.

    Of ``price`` only the prices count. What batches pay less is the setting
    ``WAYPOST_BATCH_DISCOUNT_BPS`` by default.
    """
    if batch_discount_bps is None:
        batch_discount_bps = settings.WAYPOST_BATCH_DISCOUNT_BPS
    return Offer.objects.create(
        deployment=deployment,
        prompt_nano_per_million=price.prompt_nano_per_million,
        cached_nano_per_million=price.cached_nano_per_million,
        completion_nano_per_million=price.completion_nano_per_million,
        reasoning_nano_per_million=price.reasoning_nano_per_million,
        request_nano=price.request_nano,
        row_nano=price.row_nano,
        unit=TASKS[deployment.version.model.task].unit,
        image_nano=price.image_nano,
        second_nano=price.second_nano,
        batch_discount_bps=batch_discount_bps,
        effective_at=effective_at or timezone.now(),
    )


@transaction.atomic
def pool_put(*, pool: Pool, **values: Any) -> Pool:
    """Create or change a pool; see the fields of :class:`Pool`. Raises ``ValidationError``."""
    return _put(pool, values)


@transaction.atomic
def worker_put(*, worker: Worker, **values: Any) -> Worker:
    """Create or change a worker; routers have it within about a second.

    Raises ``ValidationError``. To drain it, use :func:`worker_drain`.
    """
    return _put(worker, values)


Row = TypeVar("Row", Pool, Worker)


def _put(row: Row, values: Mapping[str, Any]) -> Row:
    for name, value in values.items():
        setattr(row, name, value)
    row.full_clean()
    row.save()
    catalog_changed.send(None)
    return row


def workers_lock(workers: QuerySet[Any]) -> list[Any]:
    """Lock servers, or members of gangs, until the transaction ends, and return them as they are.

    Whoever changes several in a transaction locks them first, all at once and by this: in another
    order, two sessions could each have a row that the other waits for.
    """
    return list(workers.select_for_update(of=("self",)).order_by("pk"))


@transaction.atomic
def worker_drain(
    *,
    worker: Worker,
    draining: bool,
    by: User | None = None,
    why: str = "",
    confirmed: bool = False,
) -> Worker:
    """Start or end draining a worker, and record it in the history of its routes.

    Raises ``ValidationError`` if models would be left without any worker, unless ``confirmed``.
    """
    # Else the last two workers, drained at once, would each count the other as working.
    workers_lock(Worker.objects.filter(pool=worker.pool_id))
    worker.refresh_from_db()
    effect = drain_effect(worker)
    if draining and not worker.draining and effect.left_alone and not confirmed:
        raise ValidationError(
            {
                "confirmed": _(
                    "No worker would be left for %(models)s: their calls would be refused. "
                    "Confirm it, or put another worker there first."
                )
                % {"models": ", ".join(effect.left_alone)}
            },
            code="last_worker",
        )
    changed = worker.draining != draining
    worker.draining, worker.drain_reason = draining, why if draining else ""
    worker.save(update_fields=["draining", "drain_reason"])
    if changed:
        draining_changed.send(None, worker=worker, models=effect.models, by=by, why=why)
    catalog_changed.send(None)
    return worker


@dataclass(frozen=True, slots=True)
class HealthReading:
    """One probe of one worker; ``error`` is "" when it was ready.

    A ``certain`` error counts at once; else the second in a row does. ``reached`` is false where
    nobody answered at all.
    """

    worker_pk: int
    error: str = ""
    certain: bool = False
    reached: bool = True

    @property
    def healthy(self) -> bool:
        return not self.error


@transaction.atomic
def worker_health_record(
    *, readings: Iterable[HealthReading], of: type[Server] = Worker
) -> list[str]:
    """Store probe readings and publish; returns the ids of workers whose health changed.

    ``of`` is the kind of servers that were probed. The second failed probe in a row marks a worker
    unhealthy: one slow answer of a busy worker is not an outage, and routers eject a dead one by
    themselves.
    """
    by_pk = {reading.worker_pk: reading for reading in readings}
    now = timezone.now()
    changed = []
    servers = of._default_manager
    rows = workers_lock(servers.filter(pk__in=by_pk))
    for worker in rows:
        reading = by_pk[worker.pk]
        is_doubtful = not reading.healthy and not reading.certain and not worker.health_error
        first_failure = worker.healthy and is_doubtful
        if worker.healthy != reading.healthy and not first_failure:
            changed.append(worker.worker_id)
            worker.healthy = reading.healthy
        # It may have words of the worker's own.
        worker.health_error = reading.error.replace("\0", "")[:HEALTH_ERROR_CHARACTERS]
        worker.health_checked_at = now
    servers.bulk_update(rows, ["healthy", "health_error", "health_checked_at"])
    if changed:
        catalog_changed.send(None)
    return changed


@transaction.atomic
def member_health_record(*, faults: Mapping[int, str]) -> None:
    """Store what is wrong with members of gangs, by key; "" for nothing."""
    rows = workers_lock(WorkerMember.objects.filter(pk__in=faults))
    for row in rows:
        row.healthy = not faults[row.pk]
        row.health_error = faults[row.pk][:HEALTH_ERROR_CHARACTERS]
    WorkerMember.objects.bulk_update(rows, ["healthy", "health_error"])
