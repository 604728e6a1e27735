"""The page of a pool's agents: how to add a worker, and who was added."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from marketplace.accounts.access import is_staff
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.accounts.selectors import organisations_of
from marketplace.agents.access import owners_of, pools_run_by
from marketplace.agents.models import Agent
from marketplace.agents.services import agent_revoke
from marketplace.agents.tokens import HOURS_DEFAULT, worker_token_create
from marketplace.catalog.models import Pool
from marketplace.shared.confirming import confirmation, is_confirmed

NEW_TOKEN = "new_worker_token"  # noqa: S105  # a session key
"""Session key that holds a new token for the one page view that shows it."""

TOKENS_SHOWN = 20


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def pool_workers(request: HttpRequest, name: str) -> HttpResponse:
    """The pool's agents. A ``POST`` makes a one-time token, shown on the next view only."""
    pool = _pool(request, name)
    if request.method == "POST":
        _demand(request, pool)
        _row, token = worker_token_create(
            pool=pool,
            created_by=request.user,  # type: ignore[arg-type]  # login_required
        )
        request.session[NEW_TOKEN] = [pool.name, token]
        return redirect("pool-workers", pool.name)
    of_pool, token = request.session.pop(NEW_TOKEN, ("", ""))
    context = {
        "pool": pool,
        "token": token if of_pool == pool.name else "",
        "hours": HOURS_DEFAULT,
        "marketplace": settings.WAYPOST_PUBLIC_URL,
        "agents": pool.agents.prefetch_related("workers__worker"),
        "tokens": pool.worker_tokens.select_related("created_by")[:TOKENS_SHOWN],
        "may_change": _may(request, pool),
    }
    return render(request, "agents/pool.html", context)


@require_POST
@login_required
def revoke(request: HttpRequest, name: str, agent: str) -> HttpResponse:
    """Revoke an agent permanently."""
    pool = _pool(request, name)
    row = get_object_or_404(Agent, pool=pool, name=agent)
    _demand(request, pool)
    if not is_confirmed(request):
        return confirmation(
            request,
            question=_("Revoke the agent “%(name)s” permanently?") % {"name": row.name},
            effects=[
                _("Its workers finish what they run and get nothing new."),
                _("The agent stops. To let its host join again, create a new token."),
            ],
            verb=_("Revoke"),
            back=reverse("pool-workers", args=[pool.name]),
        )
    agent_revoke(agent=row)
    return redirect("pool-workers", pool.name)


def _pool(request: HttpRequest, name: str) -> Pool:
    seen = Pool.objects.all() if is_staff(request) else pools_run_by(organisations_of(request.user))
    pool = seen.filter(name=name).first()
    if pool is None:
        raise Http404
    return pool


def _demand(request: HttpRequest, pool: Pool) -> None:
    if not is_staff(request):
        for owner in owners_of(pool):
            demand(request, owner, Permission.OFFERINGS)


def _may(request: HttpRequest, pool: Pool) -> bool:
    return is_staff(request) or all(
        may(request.user, owner, Permission.OFFERINGS) for owner in owners_of(pool)
    )
