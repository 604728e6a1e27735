"""The platform's staff look at pools and workers."""

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from marketplace.catalog.models import Deployment, Pool
from marketplace.routing.models import SnapshotRow


@require_GET
@login_required
def routes(request: HttpRequest) -> HttpResponse:
    """Every pool with its workers' health and the models that it serves."""
    if not request.user.is_staff:
        raise PermissionDenied(_("This page is for the platform's staff."))
    deployments = Deployment.objects.select_related("version__model", "provider").order_by("id")
    pools = Pool.objects.order_by("emulated", "name").prefetch_related(
        "workers", Prefetch("deployments", queryset=deployments)
    )
    context = {"pools": pools, "snapshot": SnapshotRow.objects.defer("body").first()}
    return render(request, "routing/routes.html", context)
