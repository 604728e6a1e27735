"""Pages of agents: how to add a host to a pool or to an own endpoint, and who was added."""

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from marketplace.accounts.access import is_staff
from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.accounts.selectors import organisations_of
from marketplace.agents.access import owners_of, pools_run_by
from marketplace.agents.models import Agent, WorkerToken
from marketplace.agents.services import agent_revoke
from marketplace.agents.tokens import HOURS_DEFAULT, worker_token_create, worker_token_end
from marketplace.catalog.models import Pool
from marketplace.endpoints.models import OwnEndpoint
from marketplace.endpoints.selectors import own_endpoints_of
from marketplace.shared.confirming import confirmation, is_confirmed
from marketplace.shared.shown_once import secret_keep, secret_take

NEW_TOKEN = "new_worker_token"  # noqa: S105  # a session key
"""Session key that holds a new token for the one page view that shows it."""

TOKENS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Page:
    """A pool or an endpoint with agents, for a person who ``may_change`` them or not."""

    url: str
    template: str
    may_change: bool
    pool: Pool | None = None
    endpoint: OwnEndpoint | None = None

    @property
    def agents(self) -> QuerySet[Agent]:
        return Agent.objects.filter(pool=self.pool, endpoint=self.endpoint)

    @property
    def tokens(self) -> QuerySet[WorkerToken]:
        return WorkerToken.objects.filter(pool=self.pool, endpoint=self.endpoint)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def pool_workers(request: HttpRequest, name: str) -> HttpResponse:
    """The pool's agents. A ``POST`` makes a one-time token, shown on the next view only."""
    return _hosts(request, _of_pool(request, name))


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def endpoint_hosts(
    request: HttpRequest, organisation: Organisation, endpoint_id: int
) -> HttpResponse:
    """The same for an endpoint of the organisation's own."""
    return _hosts(request, _of_endpoint(request, organisation, endpoint_id))


@require_POST
@login_required
def pool_revoke(request: HttpRequest, name: str, agent: str) -> HttpResponse:
    """Revoke an agent permanently."""
    page = _of_pool(request, name)
    return _revoke(request, page, get_object_or_404(page.agents, name=agent))


@require_POST
@organisation_required
def endpoint_agent_revoke(
    request: HttpRequest, organisation: Organisation, endpoint_id: int, agent_id: int
) -> HttpResponse:
    """Revoke an agent permanently."""
    page = _of_endpoint(request, organisation, endpoint_id)
    return _revoke(request, page, get_object_or_404(page.agents, pk=agent_id))


@require_POST
@login_required
def pool_token_end(request: HttpRequest, name: str, token_id: int) -> HttpResponse:
    """Let no host join by a token any longer."""
    return _token_end(request, _of_pool(request, name), token_id)


@require_POST
@organisation_required
def endpoint_token_end(
    request: HttpRequest, organisation: Organisation, endpoint_id: int, token_id: int
) -> HttpResponse:
    """Let no host join by a token any longer."""
    return _token_end(request, _of_endpoint(request, organisation, endpoint_id), token_id)


def _of_pool(request: HttpRequest, name: str) -> Page:
    staff = is_staff(request)
    seen = Pool.objects.all() if staff else pools_run_by(organisations_of(request.user))
    pool = seen.filter(name=name).first()
    if pool is None:
        raise Http404
    owners = [] if staff else list(owners_of(pool))
    if request.method == "POST":
        for owner in owners:
            demand(request, owner, Permission.OFFERINGS)
    may_change = all(may(request.user, owner, Permission.OFFERINGS) for owner in owners)
    return Page(reverse("pool-workers", args=[name]), "agents/pool.html", may_change, pool=pool)


def _of_endpoint(request: HttpRequest, organisation: Organisation, endpoint_id: int) -> Page:
    rows = own_endpoints_of(organisation).filter(hosted=True)
    endpoint = get_object_or_404(rows, pk=endpoint_id)
    if request.method == "POST":
        demand(request, organisation, Permission.KEYS)
    may_change = may(request.user, organisation, Permission.KEYS)
    url = reverse("own-endpoint-hosts", args=[endpoint.pk])
    return Page(url, "agents/endpoint.html", may_change, endpoint=endpoint)


def _hosts(request: HttpRequest, page: Page) -> HttpResponse:
    if request.method == "POST":
        _row, token = worker_token_create(
            pool=page.pool,
            endpoint=page.endpoint,
            created_by=request.user,  # type: ignore[arg-type]  # login_required
        )
        secret_keep(request, f"{NEW_TOKEN}:{page.url}", token)
        return redirect(page.url)
    agents = page.agents.select_related("pool", "endpoint")
    context = {
        "pool": page.pool,
        "endpoint": page.endpoint,
        "token": secret_take(request, f"{NEW_TOKEN}:{page.url}"),
        "hours": HOURS_DEFAULT,
        "marketplace": settings.WAYPOST_PUBLIC_URL,
        "agents": agents.prefetch_related("workers__worker", "workers__own_worker"),
        "tokens": page.tokens.select_related("created_by")[:TOKENS_SHOWN],
        "may_change": page.may_change,
    }
    response = render(request, page.template, context)
    response.headers["Cache-Control"] = "no-store"
    return response


def _revoke(request: HttpRequest, page: Page, row: Agent) -> HttpResponse:
    if not is_confirmed(request):
        return confirmation(
            request,
            question=_("Revoke the agent “%(name)s” permanently?") % {"name": row.called},
            effects=[
                _("Its workers finish what they run and get nothing new."),
                _("The agent stops. To let its host join again, create a new token."),
            ],
            verb=_("Revoke"),
            back=page.url,
        )
    agent_revoke(agent=row)
    return redirect(page.url)


def _token_end(request: HttpRequest, page: Page, token_id: int) -> HttpResponse:
    worker_token_end(get_object_or_404(page.tokens, pk=token_id))
    return redirect(page.url)
