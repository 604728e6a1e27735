"""Pages that list, create, change, rotate and revoke keys."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.models import ApiKey, Organisation, Scope
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.organisations.new_key import new_key_keep, new_key_take
from marketplace.accounts.organisations.pages import organisation_page
from marketplace.accounts.permissions import Permission, demand, may, permission_over
from marketplace.accounts.services import (
    api_key_create,
    api_key_revoke,
    api_key_update,
    organisation_guard,
)
from marketplace.billing.budgets.selectors import BudgetState, budget_states
from marketplace.keys.forms import KeyForm, NewKeyForm, RotationForm, RuleForms
from marketplace.keys.guards import guard_model_check
from marketplace.keys.rotation import api_key_rotate
from marketplace.shared.confirming import confirmation, is_confirmed
from marketplace.shared.numbers import whole
from marketplace.usage.selectors import calls_lately, calls_lately_text

RULES_GIVEN = "rules-TOTAL_FORMS"
ROWS_PER_PAGE = 100


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key in the list, its budget, and whether the viewer may change it."""

    key: ApiKey
    budget: BudgetState | None
    may_change: bool


@require_safe
@organisation_required
def keys(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The organisation's keys, masked; a new one is shown in full once."""
    return _keys_page(request, organisation, NewKeyForm())


@require_POST
@organisation_required
def key_create(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Create a key and show it on the next page view only."""
    demand(request, organisation, Permission.KEYS)
    form = NewKeyForm(request.POST)
    if not form.is_valid():
        return _keys_page(request, organisation, form, status=422)
    if Scope.MANAGEMENT in form.cleaned_data["scopes"]:
        demand(request, organisation, Permission.MANAGEMENT_KEYS)
    try:
        with transaction.atomic():
            row, key = api_key_create(
                organisation=organisation,
                created_by=request.user,  # type: ignore[arg-type] # login_required
                **form.key_fields,
            )
            form.put(organisation=organisation, key=row)
    except ValidationError as refused:
        form.add_error("name", refused.messages)
        return _keys_page(request, organisation, form, status=422)
    new_key_keep(request, organisation, key)
    return redirect("keys")


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def key(request: HttpRequest, organisation: Organisation, key_id: int) -> HttpResponse:
    """Change a key's name, models, expiry, budget, limits and rules."""
    row = _changeable(request, organisation, key_id)
    if request.method == "POST":
        form = KeyForm(request.POST, api_key=row)
        # A form without rules leaves them as they are.
        rules = RuleForms(row, request.POST) if RULES_GIVEN in request.POST else None
    else:
        form = KeyForm(initial=KeyForm.initial_for(row), api_key=row)
        rules = None
    if form.is_bound and form.is_valid() and (rules is None or rules.is_valid()):
        with transaction.atomic():
            changed = {} if rules is None else {"rules": rules.stored}
            api_key_update(api_key=row, **form.key_fields, **changed)
            form.put(organisation=organisation, key=row)
        return redirect("keys")
    context = {
        "key": row,
        "form": form,
        "rules": rules or RuleForms(row),
        "state": _budgets([row]).get(row.pk),
    }
    return render(request, "accounts/key.html", context, status=422 if form.is_bound else 200)


@require_POST
@organisation_required
def organisation_guards(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Have a moderation model judge the organisation's calls, or none."""
    demand(request, organisation, Permission.ORGANISATION)
    wanted = request.POST.get("guard_model", "")
    ticked = {name: f"guard_{name}" in request.POST for name in ("inputs", "answers", "passes")}
    try:
        organisation_guard(
            organisation=organisation,
            model=guard_model_check(wanted, before=organisation.guard_model),
            **ticked,
        )
    except ValidationError as error:
        for name, is_on in ticked.items():
            setattr(organisation, f"guard_{name}", is_on)  # For the page alone.
        problem = " ".join(error.messages)
        return organisation_page(request, organisation, error=problem)
    return redirect("organisation")


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def key_rotate(request: HttpRequest, organisation: Organisation, key_id: int) -> HttpResponse:
    """Create a key that replaces this one, and set when this one ends."""
    row = _changeable(request, organisation, key_id)
    form = RotationForm(request.POST or None)
    if form.is_bound and form.is_valid() and row.status == "active":
        try:
            _new, made = api_key_rotate(
                api_key=row,
                overlap=form.overlap,
                created_by=request.user,  # type: ignore[arg-type] # login_required
            )
        except ValidationError as refused:
            form.add_error("overlap_hours", refused.messages)
        else:
            new_key_keep(request, organisation, made)
            return redirect("keys")
    context = {"key": row, "form": form}
    status = 422 if form.is_bound else 200
    return render(request, "accounts/key_rotate.html", context, status=status)


@require_POST
@organisation_required
def key_revoke(request: HttpRequest, organisation: Organisation, key_id: int) -> HttpResponse:
    """Revoke a key permanently."""
    row = get_object_or_404(organisation.api_keys, pk=key_id)
    demand(request, organisation, permission_over(row))
    if not is_confirmed(request):
        calls = calls_lately(organisation_id=organisation.pk, key_id=row.pk)
        return confirmation(
            request,
            question=_("Revoke “%(name)s” permanently?") % {"name": row.name},
            effects=[
                _("Calls with %(key)s are refused within two seconds.") % {"key": row.masked},
                _("It made:") + " " + calls_lately_text(calls),
                _("This cannot be undone. To replace a key without a break, rotate it."),
            ],
            verb=_("Revoke"),
            back=reverse("keys"),
        )
    api_key_revoke(api_key=row)
    return redirect("keys")


def _changeable(request: HttpRequest, organisation: Organisation, key_id: int) -> ApiKey:
    rows = organisation.api_keys.filter(disabled_at=None).select_related("budget")
    row = get_object_or_404(rows, pk=key_id)
    demand(request, organisation, permission_over(row))
    return row


def _budgets(rows: Iterable[ApiKey]) -> dict[int | None, BudgetState]:
    """The budget states of keys, by key."""
    budgets = [row.budget for row in rows if hasattr(row, "budget")]
    return {state.budget.key_id: state for state in budget_states(budgets)}


def _keys_page(
    request: HttpRequest, organisation: Organisation, form: KeyForm, status: int = 200
) -> HttpResponse:
    allowed = {permission: may(request.user, organisation, permission) for permission in Permission}
    rows = organisation.api_keys.order_by("-id")
    shown = rows.select_related("created_by", "budget", "consent")
    page = Paginator(shown, ROWS_PER_PAGE).get_page(_page_of(request, rows))
    listed = list(page.object_list)
    budgets = _budgets(listed)
    context = {
        "form": form,
        "page": page,
        "here": reverse("keys"),
        "rows": [KeyRow(row, budgets.get(row.pk), allowed[permission_over(row)]) for row in listed],
        "new_key": new_key_take(request, organisation),
        "router_url": settings.WAYPOST_ROUTER_URL,
        "may_change": allowed[Permission.KEYS],
        "may_manage": allowed[Permission.MANAGEMENT_KEYS],
    }
    response = render(request, "accounts/keys.html", context, status=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _page_of(request: HttpRequest, rows: QuerySet[ApiKey]) -> str | int:
    """The page asked for, or that of a key (``?key=``), newest first."""
    key = whole(request.GET.get("key", ""))
    if "page" in request.GET or key is None:
        return request.GET.get("page", 1)
    return rows.filter(pk__gt=key).count() // ROWS_PER_PAGE + 1
