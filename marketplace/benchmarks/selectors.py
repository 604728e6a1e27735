"""Reading profiles and benchmarks."""

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from marketplace.benchmarks.models import Benchmark, Profile
from marketplace.catalog.models import (
    AIModel,
    Deployment,
    DeploymentStatus,
    Worker,
)
from marketplace.catalog.selectors import is_served_over

PROFILES_COMPARED = 100


def profiles_in_force() -> QuerySet[Profile]:
    """Of each deployment the newest one that is published and has not expired."""
    return (
        Profile.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=timezone.now()), published=True
        )
        .order_by("deployment_id", "-created_at", "-id")
        .distinct("deployment_id")
    )


def rows_best(model: str) -> int:
    """With how many rows a call most rows a second were measured; 0: that was not compared.

    Over the newest profiles of a model's live deployments, whether they are published or not.
    """
    profiles = Profile.objects.filter(
        deployment__version__model__name=model,
        deployment__status=DeploymentStatus.LIVE,
        benchmark__isnull=False,
    ).select_related("benchmark")
    rates: dict[int, float] = {}
    for profile in profiles.order_by("-id")[:PROFILES_COMPARED]:
        rows = int(profile.benchmark.settings.get("rows", 1)) if profile.benchmark else 1
        rates[rows] = max(rates.get(rows, 0.0), profile.throughput_hz * rows)
    return max(rates, key=lambda rows: rates[rows]) if len(rates) > 1 else 0


def deployment_of(model: AIModel, worker: Worker) -> Deployment | None:
    """The model's live deployment that a worker serves, the first one if there are several."""
    return (
        Deployment.objects.filter(
            version__model=model, pool=worker.pool_id, status=DeploymentStatus.LIVE
        )
        .select_related("version__model", "pool", "provider")
        .first()
    )


def workers_of(
    model: AIModel, *, deployment: Deployment | None = None, worker: Worker | None = None
) -> list[Worker]:
    """The ready workers that a benchmark would call: one, a deployment's, or all of a model's."""
    rows = Worker.objects.filter(healthy=True, draining=False).select_related("pool")
    if worker is not None:
        rows = rows.filter(pk=worker.pk)
    elif deployment is not None:
        rows = rows.filter(pool=deployment.pool_id)
    else:
        pools = Deployment.objects.filter(version__model=model, status=DeploymentStatus.LIVE)
        rows = rows.filter(pool__in=pools.values("pool"))
    return [row for row in rows.order_by("worker_id") if is_served_over(model, row.protocol)]


def pools_of(benchmark: Benchmark) -> list[int]:
    """The ids of the pools that a benchmark uses: its deployment's, or all that serve its model."""
    if benchmark.deployment is not None:
        return [benchmark.deployment.pool_id]
    rows = Deployment.objects.filter(
        version__model=benchmark.model_id, status=DeploymentStatus.LIVE
    ).order_by("pool_id")
    return list(rows.values_list("pool_id", flat=True).distinct())


def benchmarks_shown(seen: Q) -> QuerySet[Benchmark]:
    """Those ``seen``, newest first, with what their rows name at hand."""
    rows = Benchmark.objects.filter(seen).select_related(
        "model",
        "worker__pool",
        "deployment__pool",
        "deployment__version__model",
        "deployment__provider__organisation",
    )
    return rows if settings.WAYPOST_EMULATED else rows.filter(model__emulated=False)


def profiles_shown(seen: Q) -> QuerySet[Profile]:
    """Every profile ``seen``, newest first, with its deployment at hand."""
    rows = Profile.objects.filter(seen)
    rows = rows.select_related("deployment__version__model", "deployment__pool")
    if not settings.WAYPOST_EMULATED:
        rows = rows.filter(emulated=False)
    return rows.order_by("-id")
