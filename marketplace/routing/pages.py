"""The page of pools and workers, for staff."""

from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from marketplace.accounts.access import staff_required
from marketplace.catalog.models import Deployment, Pool, Worker
from marketplace.routing.models import SnapshotRow
from marketplace.routing.trials.models import Straggler


@require_safe
@staff_required
def routes(request: HttpRequest) -> HttpResponse:
    """All pools with their workers' health and the models they serve."""
    deployments = Deployment.objects.select_related("version__model", "provider").order_by("id")
    strayings = Straggler.objects.filter(cleared_at=None).order_by("-id")
    workers = Worker.objects.prefetch_related(Prefetch("strayings", queryset=strayings))
    pools = Pool.objects.order_by("emulated", "name").prefetch_related(
        Prefetch("workers", queryset=workers), Prefetch("deployments", queryset=deployments)
    )
    context = {"pools": pools, "snapshot": SnapshotRow.objects.defer("body").first()}
    return render(request, "routing/routes.html", context)
