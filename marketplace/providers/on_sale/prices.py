"""Changing a price: what it would mean for the provider and its customers, before it is done."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from msgspec import structs

from marketplace.catalog.models import Deployment, Offer, Task
from marketplace.catalog.prices import price_of
from marketplace.catalog.selectors import offer_in_force
from marketplace.catalog.services import offer_publish
from marketplace.usage.models import Span, UsageRollup
from router.domain.money import commission_nano
from router.domain.outcome import Outcome
from router.domain.pricing import PRICE_FIELDS, Price, PriceClass, Usage, charge_nano

TYPICAL_WINDOW = timedelta(days=30)
TYPICAL_BY_TASK = {
    Task.CHAT: Usage(prompt_tokens=500, completion_tokens=250),
    Task.EMBEDDINGS: Usage(prompt_tokens=200),
    Task.RERANK: Usage(rows=1),
    Task.MODERATION: Usage(rows=1),
    Task.IMAGE: Usage(images=1),
    Task.SPEECH: Usage(rows=500),
    Task.TRANSCRIPTION: Usage(rows=60),
    Task.TABULAR: Usage(rows=1),
    Task.VISION: Usage(rows=1, images=1),
}
"""A call's assumed quantities where none was recorded."""
PRICES_SHOWN = 50
EFFECTIVE_MAX = timedelta(days=366)
COUNTED = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "rows",
    "images",
)


@dataclass(frozen=True, slots=True)
class Typical:
    """A mean call: over ``calls`` recorded ones, or the task's assumed one when that is 0."""

    usage: Usage
    calls: int


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a price makes of a typical call. Nano-USD; ``before`` is None without a price now.

    ``batch_nano`` is what the same call costs in a batch.
    """

    typical: Typical
    charge_nano: int
    batch_nano: int
    commission_nano: int
    before_nano: int | None

    @property
    def earned_nano(self) -> int:
        return self.charge_nano - self.commission_nano

    @property
    def change(self) -> float | None:
        """How much more customers pay, as a share; None where there is nothing to compare."""
        before = self.before_nano
        return (self.charge_nano - before) / before if before else None

    @property
    def saved(self) -> float | None:
        """How much less customers pay, as a share; None where there is nothing to compare."""
        return None if self.change is None else -self.change


@dataclass(frozen=True, slots=True)
class Version:
    """``state`` is ``upcoming``, ``in_force``, ``superseded``, or ``withdrawn``: never in force."""

    offer: Offer
    state: str


def typical_call(deployment: Deployment) -> Typical:
    """The mean of the deployment's completed calls of the last 30 days. One query."""
    rows = UsageRollup.objects.filter(
        span=Span.DAY,
        starts_at__gte=timezone.now() - TYPICAL_WINDOW,
        deployment_id=deployment.pk,
        outcome=Outcome.COMPLETED,
    )
    counts = {f"sum_{name}": Sum(name) for name in COUNTED}
    sums = rows.aggregate(n=Sum("calls"), ms=Sum("total_ms"), **counts)
    calls = sums["n"] or 0
    if not calls:
        return Typical(TYPICAL_BY_TASK[Task(deployment.version.model.task)], 0)
    means = {name: round((sums[f"sum_{name}"] or 0) / calls) for name in COUNTED}
    return Typical(Usage(hardware_ms=round(sums["ms"] / calls), **means), calls)


def meaning_of(
    deployment: Deployment, price: Price, batch_discount_bps: int | None = None
) -> Meaning:
    """What a price would mean, compared with the one in force."""
    typical = typical_call(deployment)
    offer = offer_in_force(deployment)
    charge = charge_nano(price, typical.usage)
    discount = _discount(offer, batch_discount_bps)
    in_batch = structs.replace(price, batch_discount_bps=discount).in_class(PriceClass.BATCH)
    commission = commission_nano(charge, deployment.provider.commission_bps)
    before = charge_nano(price_of(offer), typical.usage) if offer else None
    return Meaning(typical, charge, charge_nano(in_batch, typical.usage), commission, before)


def _discount(offer: Offer | None, batch_discount_bps: int | None) -> int:
    """The one that is given, else that of the price in force, else the platform's."""
    if batch_discount_bps is not None:
        return batch_discount_bps
    return offer.batch_discount_bps if offer else int(settings.WAYPOST_BATCH_DISCOUNT_BPS)


def price_set(
    *,
    deployment: Deployment,
    price: Price,
    effective_at: datetime | None = None,
    batch_discount_bps: int | None = None,
) -> Offer:
    """Publish a price from ``effective_at`` on, None for now. Raises ``ValidationError``.

    ``batch_discount_bps`` None keeps that of the price in force.
    """
    if not any(getattr(price, name) for name in PRICE_FIELDS):
        raise ValidationError({"prices": _("Set at least one price.")})
    if effective_at is not None:
        now = timezone.now()
        if effective_at < now:
            raise ValidationError(
                {"effective_at": _("A price takes effect now or later, never in the past.")}
            )
        if effective_at > now + EFFECTIVE_MAX:
            raise ValidationError({"effective_at": _("At most a year ahead.")})
    return offer_publish(
        deployment=deployment,
        price=price,
        effective_at=effective_at,
        batch_discount_bps=_discount(offer_in_force(deployment), batch_discount_bps),
    )


@transaction.atomic
def price_withdraw(*, offer: Offer) -> Offer:
    """Withdraw an upcoming price: what would be in force without it takes over its date.

    Offers are immutable: a newer one of the same date supersedes it before it was ever in force.
    """
    deployment = Deployment.objects.select_for_update(of=("self",)).get(pk=offer.deployment_id)
    shown = {version.offer.pk: version.state for version in price_versions(deployment)}
    if shown.get(offer.pk) != "upcoming":
        raise ValidationError(_("Only a price that is not in force yet can be withdrawn."))
    before = (
        deployment.offers.filter(effective_at__lt=offer.effective_at)
        .order_by("-effective_at", "-id")
        .first()
    )
    if before is None:
        raise ValidationError(
            _("This is the deployment's first price: publish another one for the same date.")
        )
    return offer_publish(
        deployment=deployment,
        price=price_of(before),
        effective_at=offer.effective_at,
        batch_discount_bps=before.batch_discount_bps,
    )


def price_versions(deployment: Deployment) -> list[Version]:
    """Every price version, the latest first. One query."""
    now = timezone.now()
    rows = list(deployment.offers.order_by("-effective_at", "-id")[:PRICES_SHOWN])
    found, dates, begun = [], set(), False
    for row in rows:
        if row.effective_at in dates:
            # A newer one of the same date replaced it before it was ever in force.
            state = "withdrawn"
        elif row.effective_at > now:
            state = "upcoming"
        else:
            state, begun = ("superseded" if begun else "in_force"), True
        dates.add(row.effective_at)
        found.append(Version(row, state))
    return found
