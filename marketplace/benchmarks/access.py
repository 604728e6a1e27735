"""Who may measure what: staff everything, a provider its own deployments."""

from django.db.models import Q
from django.http import HttpRequest
from rest_framework.request import Request

from marketplace.accounts.access import organisations_seen_by
from marketplace.accounts.models import ApiKey, User
from marketplace.accounts.permissions import Permission, may
from marketplace.benchmarks.models import Benchmark
from marketplace.catalog.models import Deployment
from marketplace.catalog.visibility import seen_by


def may_measure(request: Request | HttpRequest, deployment: Deployment | None) -> bool:
    """Whether the caller may begin, repeat or stop a benchmark of it; None is a whole route.

    A management key acts as a developer of its organisation.
    """
    if is_staff(request):
        return True
    user = request.user
    owner = deployment.provider.organisation if deployment else None
    if owner is None or not user.is_authenticated:
        return False
    if isinstance(request, Request) and isinstance(request.auth, ApiKey):
        return organisations_seen_by(request).filter(pk=owner.pk).exists()
    return may(user, owner, Permission.OFFERINGS)


def may_change(request: Request | HttpRequest, benchmark: Benchmark) -> bool:
    """Whether the caller may cancel or repeat it."""
    return may_measure(request, benchmark.deployment)


def benchmarks_seen_by(request: Request | HttpRequest) -> Q:
    """Those of routes that anybody may call, and of deployments that the caller may see."""
    if is_staff(request):
        return Q()
    return Q(model__published=True, deployment=None) | seen_by(request, "deployment__")


def is_staff(request: Request | HttpRequest) -> bool:
    """Whether the caller is staff, who also see what is not published yet."""
    return isinstance(request.user, User) and request.user.is_staff
