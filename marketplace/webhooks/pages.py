"""Pages of webhooks: the signing secret, the delivery log, and one delivery."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.keys.forms import OVERLAPS
from marketplace.shared.shown_once import secret_keep, secret_take
from marketplace.webhooks.models import Delivery, DeliveryState
from marketplace.webhooks.sending import headers_shown
from marketplace.webhooks.services import delivery_resend, secret_rotate

NEW_SECRET = "new_webhook_secret"  # noqa: S105 - the name of a session's key
"""Session key that holds a new secret for the one page view that shows it."""
ROWS_PER_PAGE = 50
BODY_SHOWN_MAX = 4_096


class SecretForm(forms.Form):
    """Asks when the old secret stops signing."""

    overlap_hours = forms.TypedChoiceField(
        choices=tuple(OVERLAPS.items()), coerce=int, initial=24, label=_("Old secret stops working")
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """The request of a delivery as the page shows it."""

    headers: dict[str, str]
    body: str
    is_cut: bool


@require_safe
@organisation_required
def webhooks(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The organisation's secrets and deliveries; a new secret is shown in full once."""
    return _page(request, organisation, SecretForm())


@require_POST
@organisation_required
def secret_make(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Rotate the signing secret and show the new one on the next page view only."""
    demand(request, organisation, Permission.KEYS)
    form = SecretForm(request.POST)
    if not form.is_valid():
        return _page(request, organisation, form, status=422)
    _row, secret = secret_rotate(
        organisation=organisation,
        overlap=timedelta(hours=form.cleaned_data["overlap_hours"]),
        created_by=request.user,  # type: ignore[arg-type] # login_required
    )
    secret_keep(request, f"{NEW_SECRET}:{organisation.pk}", secret)
    return redirect("webhooks")


@require_safe
@organisation_required
def delivery(request: HttpRequest, organisation: Organisation, delivery_id: int) -> HttpResponse:
    """One delivery: what was sent, and what was answered each time."""
    row = get_object_or_404(organisation.webhook_deliveries, pk=delivery_id)
    return _delivery_page(request, organisation, row)


@require_POST
@organisation_required
def resend(request: HttpRequest, organisation: Organisation, delivery_id: int) -> HttpResponse:
    """Send it again now."""
    row = get_object_or_404(organisation.webhook_deliveries, pk=delivery_id)
    demand(request, organisation, Permission.KEYS)
    try:
        delivery_resend(delivery=row)
    except ValidationError as error:
        return _delivery_page(request, organisation, row, problem=" ".join(error.messages))
    return redirect("webhook-delivery", row.pk)


def _page(
    request: HttpRequest, organisation: Organisation, form: SecretForm, status: int = 200
) -> HttpResponse:
    state = request.GET.get("state", "")
    found = organisation.webhook_deliveries.defer("body")
    if state in DeliveryState.values:
        found = found.filter(state=state)
    now = timezone.now()
    lasting = [
        row
        for row in organisation.webhook_secrets.all()
        if not row.expires_at or row.expires_at > now
    ]
    context: dict[str, Any] = {
        "form": form,
        "secrets": lasting,
        "new_secret": secret_take(request, f"{NEW_SECRET}:{organisation.pk}"),
        "may_change": may(request.user, organisation, Permission.KEYS),
        "here": reverse("webhooks"),
        "page": Paginator(found, ROWS_PER_PAGE).get_page(request.GET.get("page")),
        "state": state,
        "states": DeliveryState.choices,
    }
    response = render(request, "webhooks/webhooks.html", context, status=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _delivery_page(
    request: HttpRequest, organisation: Organisation, row: Delivery, problem: str = ""
) -> HttpResponse:
    context = {
        "delivery": row,
        "shown": _shown(row),
        "log": row.log.all(),
        "problem": problem,
        "may_change": may(request.user, organisation, Permission.KEYS),
    }
    status = 422 if problem else 200
    return render(request, "webhooks/delivery.html", context, status=status)


def _shown(row: Delivery) -> Shown:
    is_cut = len(row.body) > BODY_SHOWN_MAX
    body = row.body[:BODY_SHOWN_MAX]
    if row.body and not is_cut:
        body = json.dumps(json.loads(row.body), indent=2, ensure_ascii=False)
    return Shown(headers_shown(row.event_id), body, is_cut)
