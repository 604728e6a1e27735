"""The page of an organisation's and its members' budgets; those of keys are on the Keys page."""

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.billing.budgets.forms import BudgetForm
from marketplace.billing.budgets.selectors import BudgetState, budget_states


@dataclass(frozen=True, slots=True)
class Row:
    """A budget with its state and form. Without a user it is the organisation's.

    The keys of a member who left may still spend; such a budget can only be removed.
    """

    user: User | None
    role: str
    state: BudgetState | None
    form: BudgetForm


@require_safe
@organisation_required
def budgets(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The budgets of the organisation and its members."""
    return _page(request, organisation)


@require_POST
@organisation_required
def budget_put(request: HttpRequest, organisation: Organisation, user_id: int = 0) -> HttpResponse:
    """Set, change or (with an empty limit) remove a budget."""
    demand(request, organisation, Permission.MONEY)
    row = next((row for row in _rows(organisation) if _id(row.user) == user_id), None)
    if row is None:
        raise Http404
    form = BudgetForm(request.POST, prefix=_prefix(row.user))
    if not form.is_valid() or (form.cleaned_data["budget_usd"] is not None and not row.role):
        return _page(request, organisation, form, status=422)
    form.put(organisation=organisation, user=row.user)
    return redirect("budgets")


def _page(
    request: HttpRequest,
    organisation: Organisation,
    refused: BudgetForm | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "rows": _rows(organisation, refused),
        "may_change": may(request.user, organisation, Permission.MONEY),
    }
    return render(request, "billing/budgets.html", context, status=status)


def _rows(organisation: Organisation, refused: BudgetForm | None = None) -> list[Row]:
    """The rows: the organisation, its members, then members who left."""
    rows = organisation.budgets.filter(key=None).select_related("user").order_by("user__email")
    states = {state.budget.user_id: state for state in budget_states(rows)}
    members = organisation.memberships.select_related("user").order_by("user__email")
    who: list[tuple[User | None, str]] = [(None, _("Organisation"))]
    who += [(member.user, member.get_role_display()) for member in members]
    here = {_id(user) for user, _role in who}
    left = [
        s.budget.user for s in states.values() if s.budget.user_id and s.budget.user_id not in here
    ]
    who += [(user, "") for user in left]
    return [
        Row(user, role, state, _form(user, state, refused))
        for user, role in who
        for state in [states.get(user.pk if user else None)]
    ]


def _form(user: User | None, state: BudgetState | None, refused: BudgetForm | None) -> BudgetForm:
    prefix = _prefix(user)
    if refused is not None and refused.prefix == prefix:
        return refused
    return BudgetForm(prefix=prefix, initial=BudgetForm.initial_of(state.budget if state else None))


def _id(user: User | None) -> int:
    return user.pk if user else 0


def _prefix(user: User | None) -> str:
    return f"u{_id(user)}"
