"""The page of the first call, in three steps."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.organisations.new_key import new_key_keep, new_key_take
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.accounts.services import api_key_create
from marketplace.shared.numbers import whole
from marketplace.storefront.start.selectors import call_seen, model_to_try

PROMPT = "What is the capital of France?"
TOKENS_MAX = 24
LOOKS_MAX = 900
"""A page that is left open looks for the first call this often, once a second, and then stops."""


@require_safe
@organisation_required
def start(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Three steps: a key, a request with that key, and where it went."""
    listing = model_to_try()
    keys = organisation.api_keys.filter(disabled_at=None).order_by("-id")
    context = {
        "new_key": new_key_take(request, organisation),
        "last_key": keys.first(),
        "may_make_keys": may(request.user, organisation, Permission.KEYS),
        "may_call": may(request.user, organisation, Permission.CALL),
        "listing": listing,
        "router_url": settings.WAYPOST_ROUTER_URL,
        "prompt": PROMPT,
        "tokens_max": TOKENS_MAX,
        "first_request": _first_request(listing.model.name) if listing else None,
        "seen": call_seen(organisation.pk),
        "look": 1,
    }
    response = render(request, "start/start.html", context)
    response.headers["Cache-Control"] = "no-store"
    return response


@require_POST
@organisation_required
def key_make(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Make another key for the page: the first one was shown once."""
    demand(request, organisation, Permission.KEYS)
    try:
        _row, key = api_key_create(
            organisation=organisation,
            name=_("First steps"),
            created_by=request.user,  # type: ignore[arg-type] # organisation_required
        )
    except ValidationError as refused:
        messages.error(request, " ".join(refused.messages))
    else:
        new_key_keep(request, organisation, key)
    return redirect("start")


@require_safe
@organisation_required
def call(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The third step alone, which the page asks for until there is a call: any, or the one that it
    has sent itself.
    """
    sent = _id_of(request.GET.get("sent", ""))
    context = {
        "seen": call_seen(organisation.pk, sent),
        "sent": sent,
        "look": _next_look(request.GET.get("look", "")),
    }
    return render(request, "start/call.html", context)


def _id_of(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _next_look(text: str) -> int:
    """The number of the next look; 0 after the last, and for what is no number."""
    look = whole(text, LOOKS_MAX - 1)
    return look + 1 if look else 0


def _first_request(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": TOKENS_MAX,
    }
