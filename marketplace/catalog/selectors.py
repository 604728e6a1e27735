"""Reading the catalog."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.core.cache import caches
from django.db.models import Func, Prefetch, QuerySet
from django.utils import timezone

from marketplace.catalog.models import (
    AIModel,
    Deployment,
    DeploymentStatus,
    Offer,
    Protocol,
    Worker,
)
from marketplace.catalog.prices import typical_price
from router.domain.protocols import speaks

PRICES_SHOWN = 50
FACETS_AGE_S = 60
"""How long they are cached: reading them takes as long as the rest of the page."""


def models_published() -> QuerySet[AIModel]:
    """Models that may be shown and called; emulated ones only if ``WAYPOST_EMULATED`` is on."""
    rows = AIModel.objects.filter(published=True)
    return rows if settings.WAYPOST_EMULATED else rows.filter(emulated=False)


@dataclass(frozen=True, slots=True)
class Facets:
    """Values to filter the catalog by: provider names by slug, hardware, parameters."""

    providers: dict[str, str]
    hardware: list[str]
    parameters: list[str]


def facets() -> Facets:
    """Facets of published models' live deployments, cached for ``FACETS_AGE_S``; 0 or 3 queries."""
    key = f"catalog-facets:{settings.WAYPOST_EMULATED}"
    cache = caches["process"]
    kept = cache.get(key)
    if not isinstance(kept, Facets):
        live = Deployment.objects.filter(
            status=DeploymentStatus.LIVE, version__model__in=models_published().order_by()
        ).order_by()
        names = live.values_list("provider__slug", "provider__name").distinct()
        parameters = live.annotate(one=Func("supported_parameters", function="unnest"))
        kept = Facets(
            providers=dict(sorted(names, key=lambda pair: str(pair[1]).casefold())),
            hardware=sorted(live.values_list("pool__hardware", flat=True).distinct()),
            parameters=sorted(set(parameters.values_list("one", flat=True).distinct())),
        )
        cache.set(key, kept, FACETS_AGE_S)
    return kept


def deployments_live(model: AIModel) -> QuerySet[Deployment]:
    """A model's live deployments; version, provider, pool, workers and offers are prefetched."""
    offers = Offer.objects.filter(effective_at__lte=timezone.now()).order_by("-effective_at", "-id")
    return (
        Deployment.objects.filter(version__model=model, status=DeploymentStatus.LIVE)
        .select_related("version", "provider", "pool")
        .prefetch_related("pool__workers", Prefetch("offers", queryset=offers))
        .order_by("id")
    )


@dataclass(frozen=True, slots=True)
class Priced:
    """A live deployment with its offer in force."""

    deployment: Deployment
    offer: Offer


def priced_by_model(models: Iterable[AIModel]) -> dict[int, list[Priced]]:
    """By the ids of these models what is offered of them, in a fixed number of queries."""
    offers = Offer.objects.filter(effective_at__lte=timezone.now()).order_by("-effective_at", "-id")
    live = (
        Deployment.objects.filter(status=DeploymentStatus.LIVE)
        .select_related("version__model", "provider", "pool")
        .prefetch_related("pool__workers", Prefetch("offers", queryset=offers))
        .order_by("id")
    )
    found: dict[int, list[Priced]] = {}
    for deployment in live.filter(version__model__in=[model.pk for model in models]):
        offer = next(iter(deployment.offers.all()), None)
        if offer is not None:
            found.setdefault(deployment.version.model_id, []).append(Priced(deployment, offer))
    return found


def cheapest_of(priced: Iterable[Priced]) -> Offer | None:
    """The offer with the lowest price of a typical call."""
    return min((one.offer for one in priced), key=typical_price, default=None)


def offer_in_force(deployment: Deployment) -> Offer | None:
    """The offer that a call is charged by now, or None."""
    return (
        deployment.offers.filter(effective_at__lte=timezone.now())
        .order_by("-effective_at", "-id")
        .first()
    )


def batch_discounts(models: Iterable[str]) -> tuple[int, int] | None:
    """The least and the most that batches pay less for these models now, in basis points.

    None if they pay what everybody pays.
    """
    newest = (
        Offer.objects.filter(
            deployment__version__model__name__in=list(models),
            deployment__status=DeploymentStatus.LIVE,
            effective_at__lte=timezone.now(),
        )
        .order_by("deployment_id", "-effective_at", "-id")
        .distinct("deployment_id")
    )
    found = [offer.batch_discount_bps for offer in newest]
    return (min(found), max(found)) if any(found) else None


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """``state`` is ``upcoming``, ``in_force`` or ``superseded``."""

    offer: Offer
    state: str


def price_history(model: AIModel) -> list[PriceVersion]:
    """The price versions of the model's live deployments, the latest first."""
    offers = (
        Offer.objects.filter(
            deployment__version__model=model, deployment__status=DeploymentStatus.LIVE
        )
        .select_related("deployment__provider", "deployment__pool")
        .order_by("-effective_at", "-id")[:PRICES_SHOWN]
    )
    now = timezone.now()
    begun: set[int] = set()
    history = []
    for offer in offers:
        if offer.effective_at > now:
            state = "upcoming"
        else:
            state = "superseded" if offer.deployment_id in begun else "in_force"
            begun.add(offer.deployment_id)
        history.append(PriceVersion(offer, state))
    return history


def workers_to_probe() -> list[Worker]:
    """Workers that can get requests: neither draining nor left out."""
    rows = Worker.objects.filter(draining=False, left_out="").order_by("pk")
    rows = rows.prefetch_related("members")
    return list(rows if settings.WAYPOST_EMULATED else rows.filter(pool__emulated=False))


@dataclass(frozen=True, slots=True)
class DrainEffect:
    """The effect of draining a worker. ``models`` are those of its pool that it can serve.

    ``left_alone`` names those that no other worker, of any pool, serves while it is healthy and
    not draining.
    """

    models: tuple[AIModel, ...]
    left_alone: tuple[str, ...]
    others: int
    """Other workers of its pool and protocol that take calls."""


def drain_effect(worker: Worker) -> DrainEffect:
    """The effect of draining this worker now. Three queries."""
    live = Deployment.objects.filter(status=DeploymentStatus.LIVE, version__model__published=True)
    here = [
        model
        for model in AIModel.objects.filter(
            pk__in=live.filter(pool=worker.pool_id).order_by().values("version__model")
        ).order_by("name")
        if is_served_over(model, worker.protocol)
    ]
    usable = Worker.objects.filter(healthy=True, draining=False).exclude(pk=worker.pk)
    others = usable.filter(pool__deployments__in=live.filter(version__model__in=here))
    served: dict[int, set[str]] = {}
    for model_id, protocol in others.order_by().values_list(
        "pool__deployments__version__model", "protocol"
    ):
        served.setdefault(model_id, set()).add(protocol)
    return DrainEffect(
        models=tuple(here),
        left_alone=tuple(
            model.name
            for model in here
            if not any(is_served_over(model, protocol) for protocol in served.get(model.pk, ()))
        ),
        others=usable.filter(pool=worker.pool_id, protocol=worker.protocol).count(),
    )


def is_served_over(model: AIModel, protocol: str) -> bool:
    """Whether a worker of that protocol takes the model's requests."""
    if not speaks(protocol, model.task):
        return False
    return protocol == Protocol.OPENAI or bool(model.tensors.get("inputs"))
