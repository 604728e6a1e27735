"""Reading the catalog."""

from django.conf import settings
from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus, Offer, Pool, Worker


def models_published() -> QuerySet[AIModel]:
    """What may be shown and called; emulated models only while they are switched on."""
    rows = AIModel.objects.filter(published=True)
    return rows if settings.SWITCHYARD_EMULATED else rows.filter(emulated=False)


def hardware_offered() -> list[str]:
    """The kinds of hardware that published models run on, each once, by name."""
    pools = Pool.objects.filter(
        deployments__status=DeploymentStatus.LIVE,
        deployments__version__model__in=models_published().order_by(),
    )
    return list(pools.order_by("hardware").values_list("hardware", flat=True).distinct())


def deployments_live(model: AIModel) -> QuerySet[Deployment]:
    """A model's live deployments with version, provider, pool, workers and offers at hand."""
    offers = Offer.objects.filter(effective_at__lte=timezone.now()).order_by("-effective_at", "-id")
    return (
        Deployment.objects.filter(version__model=model, status=DeploymentStatus.LIVE)
        .select_related("version", "provider", "pool")
        .prefetch_related("pool__workers", Prefetch("offers", queryset=offers))
        .order_by("id")
    )


def offer_in_force(deployment: Deployment) -> Offer | None:
    """The price that a call would be charged by now."""
    return (
        deployment.offers.filter(effective_at__lte=timezone.now())
        .order_by("-effective_at", "-id")
        .first()
    )


def workers_to_probe() -> list[Worker]:
    """Workers that could get requests: those that drain are on their way out."""
    rows = Worker.objects.filter(draining=False).order_by("pk")
    return list(rows if settings.SWITCHYARD_EMULATED else rows.filter(pool__emulated=False))
