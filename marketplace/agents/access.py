"""Who may add workers to a pool: the platform's staff, and a provider that alone sells on it."""

from django.db.models import Exists, OuterRef, QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from marketplace.accounts.access import (
    is_staff,
    organisation_acted_for,
    organisations_seen_by,
)
from marketplace.accounts.models import Organisation
from marketplace.accounts.permissions import Permission
from marketplace.catalog.models import Deployment, Pool


def pools_run_by(organisations: QuerySet[Organisation]) -> QuerySet[Pool]:
    """Pools on which only providers of these organisations sell. Theirs are the workers."""
    sold = Deployment.objects.filter(pool=OuterRef("pk")).order_by()
    theirs = sold.filter(provider__organisation__in=organisations)
    others = sold.exclude(provider__organisation__in=organisations)
    nobodys = sold.filter(provider__organisation=None)
    return Pool.objects.filter(Exists(theirs), ~Exists(others), ~Exists(nobodys))


def pools_seen_by(request: Request) -> QuerySet[Pool]:
    """The pools whose agents and tokens the caller may see."""
    return Pool.objects.all() if is_staff(request) else pools_run_by(organisations_seen_by(request))


def pool_demand(request: Request, name: str) -> Pool:
    """The pool, if the caller may add workers to it; 404 for a stranger, 403 for a lesser role."""
    pool = pools_seen_by(request).filter(name=name).first()
    if pool is None:
        raise NotFound(f"You run no pool {name!r}.")
    if not is_staff(request):
        for owner in owners_of(pool):
            organisation_acted_for(request, owner.slug, Permission.OFFERINGS)
    return pool


def owners_of(pool: Pool) -> QuerySet[Organisation]:
    """The organisations whose providers sell on it."""
    return Organisation.objects.filter(providers__deployments__pool=pool).distinct()
