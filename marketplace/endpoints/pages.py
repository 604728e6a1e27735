"""Pages of an organisation's own endpoints: list, add, change, rotate a key, try, remove."""

from dataclasses import asdict, dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.endpoints.forms import KeyForm, NewEndpointForm, NewHostedForm, UseForm
from marketplace.endpoints.models import OwnEndpoint
from marketplace.endpoints.selectors import own_endpoints_of, own_figures
from marketplace.endpoints.services import (
    own_endpoint_change,
    own_endpoint_key_rotate,
    own_endpoint_list,
    own_endpoint_remove,
)
from marketplace.endpoints.trying import own_endpoint_try
from marketplace.inference.callers import Caller
from marketplace.shared.confirming import confirmation, is_confirmed
from marketplace.usage.rollups.selectors import Figures
from marketplace.usage.selectors import calls_lately, calls_lately_text

TRIED = "own_endpoint_tried"
"""Session key that holds the result of a test call for the one page view that shows it."""


@dataclass(frozen=True, slots=True)
class Row:
    """An endpoint, and its calls of the last day."""

    endpoint: OwnEndpoint
    figures: Figures


@require_safe
@organisation_required
def endpoints(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The organisation's own endpoints, each with its latency of the last day."""
    figures = own_figures(organisation)
    rows = [
        Row(row, figures.get(row.deployment_id, Figures()))
        for row in own_endpoints_of(organisation)
    ]
    context = {
        "rows": rows,
        "may_change": may(request.user, organisation, Permission.KEYS),
        "fee_nano": settings.WAYPOST_ENDPOINT_FEE_NANO,
    }
    return render(request, "endpoints/endpoints.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def endpoint_new(
    request: HttpRequest, organisation: Organisation, hosted: bool = False
) -> HttpResponse:
    """List an endpoint: one with a URL, or one whose servers are on the organisation's hosts."""
    demand(request, organisation, Permission.KEYS)
    form: UseForm = (NewHostedForm if hosted else NewEndpointForm)(request.POST or None)
    if form.is_bound and form.is_valid():
        try:
            row = own_endpoint_list(
                organisation=organisation, created_by=_person(request), **form.use
            )
        except ValidationError as error:
            _tell(form, error)
        else:
            return redirect("own-endpoint-hosts" if hosted else "own-endpoint", row.pk)
    context = {"form": form, "hosted": hosted}
    return _private(request, "endpoints/new.html", context, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def endpoint(request: HttpRequest, organisation: Organisation, endpoint_id: int) -> HttpResponse:
    """One endpoint: how to call it, how it does, and how it is used, which a ``POST`` changes."""
    row = _row(organisation, endpoint_id)
    form = UseForm(request.POST if request.method == "POST" else None, instance=row)
    if form.is_bound:
        demand(request, organisation, Permission.KEYS)
        if form.is_valid():
            try:
                own_endpoint_change(endpoint=row, **form.use)
            except ValidationError as error:
                _tell(form, error)
            else:
                return redirect("own-endpoint", row.pk)
    of_row, tried = request.session.pop(TRIED, (0, None))
    context = {
        "endpoint": row,
        "workers": row.workers.filter(draining=False),
        "form": form,
        "figures": own_figures(organisation).get(row.deployment_id, Figures()),
        "tried": tried if of_row == row.pk else None,
        "router_url": settings.WAYPOST_ROUTER_URL,
        "fee_nano": settings.WAYPOST_ENDPOINT_FEE_NANO,
        "may_change": may(request.user, organisation, Permission.KEYS),
        "may_call": may(request.user, organisation, Permission.CALL),
    }
    status = 422 if form.is_bound else 200
    return _private(request, "endpoints/endpoint.html", context, status=status)


@require_POST
@organisation_required
def endpoint_try(
    request: HttpRequest, organisation: Organisation, endpoint_id: int
) -> HttpResponse:
    """Make a short call now; the next view shows how it went."""
    row = _row(organisation, endpoint_id)
    demand(request, organisation, Permission.CALL)
    account = organisation.billing_account
    caller = Caller(organisation.pk, account.pk, user_id=_person(request).pk)
    request.session[TRIED] = [row.pk, asdict(own_endpoint_try(endpoint=row, caller=caller))]
    return redirect("own-endpoint", row.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def endpoint_rotate(
    request: HttpRequest, organisation: Organisation, endpoint_id: int
) -> HttpResponse:
    """Call the endpoint with another key."""
    row = _row(organisation, endpoint_id)
    demand(request, organisation, Permission.KEYS)
    form = KeyForm(request.POST or None)
    if form.is_bound and form.is_valid():
        try:
            own_endpoint_key_rotate(endpoint=row, key=form.cleaned_data["key"])
        except ValidationError as error:
            _tell(form, error)
        else:
            return redirect("own-endpoint", row.pk)
    context = {"endpoint": row, "form": form}
    status = 422 if form.is_bound else 200
    return _private(request, "endpoints/rotate.html", context, status=status)


@require_POST
@organisation_required
def endpoint_remove(
    request: HttpRequest, organisation: Organisation, endpoint_id: int
) -> HttpResponse:
    """Take an endpoint out of routing for good."""
    row = _row(organisation, endpoint_id)
    demand(request, organisation, Permission.KEYS)
    if not is_confirmed(request):
        calls = calls_lately(organisation_id=organisation.pk, deployment_id=row.deployment_id)
        return confirmation(
            request,
            question=_("Remove “%(name)s”?") % {"name": row.name},
            effects=[
                _("Calls to %(name)s are refused within seconds.") % {"name": row.name},
                *(
                    [_("Calls to %(model)s go to the market.") % {"model": row.stands_for}]
                    if row.stands_for
                    else []
                ),
                _("It took:") + " " + calls_lately_text(calls),
                *([_("The agents on its hosts end.")] if row.hosted else []),
                _("Its key is forgotten. Its calls stay on your usage page."),
            ],
            verb=_("Remove"),
            back=reverse("own-endpoint", args=[row.pk]),
        )
    own_endpoint_remove(endpoint=row)
    return redirect("own-endpoints")


def _row(organisation: Organisation, endpoint_id: int) -> OwnEndpoint:
    return get_object_or_404(own_endpoints_of(organisation), pk=endpoint_id)


def _person(request: HttpRequest) -> User:
    return request.user  # type: ignore[return-value]  # organisation_required


def _tell(form: forms.BaseForm, error: ValidationError) -> None:
    """Put each message at its field, or at the top where the form has none of that name."""
    messages = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    for name, texts in messages.items():
        for text in texts:
            form.add_error(name if name in form.fields else None, text)


def _private(
    request: HttpRequest, template: str, context: dict[str, Any], status: int
) -> HttpResponse:
    response = render(request, template, context, status=status)
    response.headers["Cache-Control"] = "no-store"
    return response
