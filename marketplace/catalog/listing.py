"""A model as a catalog row: its live offers joined with what was measured of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus, Offer
from marketplace.usage.measured import Measured, measured_by_model

MEASURED_WINDOW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Priced:
    """A live deployment with the offer in force."""

    deployment: Deployment
    offer: Offer


@dataclass(frozen=True, slots=True)
class Listing:
    """``measured`` is None when nobody called the model in the window."""

    model: AIModel
    priced: tuple[Priced, ...]
    measured: Measured | None

    @property
    def cheapest(self) -> Offer | None:
        """The offer that a typical call pays least with."""
        return min((p.offer for p in self.priced), key=typical_price, default=None)

    @property
    def hardware(self) -> list[str]:
        """The kinds of hardware it runs on, each once."""
        return sorted({p.deployment.pool.hardware for p in self.priced})

    @property
    def providers(self) -> list[str]:
        """Slugs of those who offer it."""
        return sorted({p.deployment.provider.slug for p in self.priced})


def listings(models: QuerySet[AIModel]) -> list[Listing]:
    """Catalog rows of these models, in a fixed number of queries."""
    offers = Offer.objects.filter(effective_at__lte=timezone.now()).order_by("-effective_at", "-id")
    live = (
        Deployment.objects.filter(status=DeploymentStatus.LIVE)
        .select_related("version__model", "provider", "pool")
        .prefetch_related("pool__workers", Prefetch("offers", queryset=offers))
        .order_by("id")
    )
    by_model: dict[int, list[Priced]] = {}
    for deployment in live.filter(version__model__in=models.order_by().values("pk")):
        offer = next(iter(deployment.offers.all()), None)
        if offer is not None:
            by_model.setdefault(deployment.version.model_id, []).append(Priced(deployment, offer))
    measured = measured_by_model(since=timezone.now() - MEASURED_WINDOW)
    return [
        Listing(model, tuple(by_model.get(model.pk, ())), measured.get(model.name))
        for model in models
    ]


def typical_price(offer: Offer) -> int:
    """What orders offers by price: a thousand tokens each way, a request, a row and an image."""
    tokens = (offer.prompt_nano_per_million + offer.completion_nano_per_million) // 1000
    return tokens + offer.request_nano + offer.row_nano + offer.image_nano


def sort_listings(rows: Iterable[Listing], order: str) -> list[Listing]:
    """By ``price`` (cheapest first), ``speed`` (fastest first byte), ``use`` or ``name``."""
    unmeasured = float("inf")
    if order == "price":
        return sorted(rows, key=lambda r: typical_price(r.cheapest) if r.cheapest else unmeasured)
    if order == "speed":
        return sorted(rows, key=lambda r: r.measured.ttft_ms_p50 if r.measured else unmeasured)
    if order == "use":
        return sorted(rows, key=lambda r: -r.measured.calls if r.measured else 0)
    return sorted(rows, key=lambda r: (r.model.emulated, r.model.display_name.lower()))
