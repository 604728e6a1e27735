"""Who may add workers: to a pool the platform's staff, and a provider that alone sells on it; to
an own endpoint its organisation.
"""

from django.db.models import Exists, OuterRef, Q, QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from marketplace.accounts.access import (
    is_staff,
    organisation_acted_for,
    organisations_seen_by,
)
from marketplace.accounts.models import Organisation
from marketplace.accounts.permissions import Permission
from marketplace.agents.models import Agent, WorkerToken
from marketplace.catalog.models import Deployment, Pool
from marketplace.endpoints.models import OwnEndpoint


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


def sites_seen_by(request: Request) -> Q:
    """Of agents and tokens: those of pools and of own endpoints that the caller sees."""
    own = OwnEndpoint.objects.filter(organisation__in=organisations_seen_by(request))
    return Q(pool__in=pools_seen_by(request)) | Q(endpoint__in=own)


def endpoint_demand(request: Request, pk: int) -> OwnEndpoint:
    """The endpoint, if the caller may change it; 404 for a stranger, 403 for a lesser role."""
    seen = OwnEndpoint.objects.filter(organisation__in=organisations_seen_by(request))
    endpoint = seen.select_related("organisation").filter(pk=pk).first()
    if endpoint is None:
        raise NotFound(f"You have no endpoint {pk}.")
    organisation_acted_for(request, endpoint.organisation.slug, Permission.KEYS)
    return endpoint


def site_demand(request: Request, row: Agent | WorkerToken) -> None:
    """The same for the pool or the endpoint of an agent or a token."""
    if row.endpoint is not None:
        endpoint_demand(request, row.endpoint.pk)
    else:
        pool_demand(request, row.pool.name if row.pool else "")


def owners_of(pool: Pool) -> QuerySet[Organisation]:
    """The organisations whose providers sell on it."""
    return Organisation.objects.filter(providers__deployments__pool=pool).distinct()
