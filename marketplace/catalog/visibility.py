"""Who sees what of the catalog: a deployment that staff have not approved is its provider's."""

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from rest_framework.request import Request

from marketplace.accounts.access import is_staff, organisations_seen_by
from marketplace.accounts.models import Organisation
from marketplace.accounts.selectors import organisations_of
from marketplace.catalog.models import Deployment, DeploymentStatus, ModelVersion


def on_market(deployment: str = "") -> Q:
    """Deployments that anybody may see; ``deployment`` is the path to one: ``deployment__``."""
    shown = Q(**{f"{deployment}published": True}) | Q(
        **{f"{deployment}status": DeploymentStatus.LIVE}
    )
    return shown & Q(**{f"{deployment}version__model__published": True})


def versions_on_market() -> QuerySet[ModelVersion]:
    """Versions with a deployment that anybody may see."""
    return ModelVersion.objects.filter(
        pk__in=Deployment.objects.filter(on_market()).order_by().values("version")
    )


def seen_by(request: Request | HttpRequest, deployment: str = "") -> Q:
    """Deployments that the caller may see: all for staff, and for members their providers' own."""
    if is_staff(request):
        return Q()
    own = Q(**{f"{deployment}provider__organisation__in": _organisations(request)})
    return on_market(deployment) | own


def pools_seen_by(request: Request | HttpRequest) -> Q:
    """Pools of deployments that the caller may see, and all of them for staff."""
    if is_staff(request):
        return Q()
    seen = Deployment.objects.filter(seen_by(request)).order_by()
    return Q(pk__in=seen.values("pool"))


def _organisations(request: Request | HttpRequest) -> QuerySet[Organisation]:
    if isinstance(request, Request):
        return organisations_seen_by(request)
    return organisations_of(request.user)
