"""The platform's staff look at pools and workers."""

from django.contrib.admin.views.decorators import staff_member_required
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from marketplace.catalog.models import Deployment, Pool
from marketplace.routing.models import SnapshotRow


@require_GET
@staff_member_required(login_url="login")
def routes(request: HttpRequest) -> HttpResponse:
    """Every pool with its workers' health and the models that it serves."""
    deployments = Deployment.objects.select_related("version__model", "provider").order_by("id")
    pools = Pool.objects.order_by("emulated", "name").prefetch_related(
        "workers", Prefetch("deployments", queryset=deployments)
    )
    context = {"pools": pools, "snapshot": SnapshotRow.objects.defer("body").first()}
    return render(request, "routing/routes.html", context)
