"""Sets and removes budgets."""

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.translation import gettext as _

from marketplace.accounts.models import ApiKey, Organisation, User
from marketplace.billing.models import Budget, Window
from marketplace.billing.services import account_lock, customer_account_open
from marketplace.shared.signals import catalog_changed


@transaction.atomic
def budget_set(
    *,
    organisation: Organisation,
    limit_nano: int,
    window: Window = Window.MONTH,
    user: User | None = None,
    key: ApiKey | None = None,
) -> Budget:
    """Cap what a key, a member or (with neither) the whole organisation may spend in a window.

    A new budget includes the cost of earlier calls in its window, except running ones; without a
    window it counts from now. It is in force when routers have the snapshot. A changed budget
    keeps what was spent and is in force at once; routers give back what a lower limit no longer
    covers.
    """
    budget_holder_check(organisation, user=user, key=key)
    _lock(organisation)
    budget = Budget.objects.filter(organisation=organisation, user=user, key=key).first()
    is_new = budget is None
    budget = budget or Budget(organisation=organisation, user=user, key=key)
    budget.limit_nano, budget.window = limit_nano, window
    budget.full_clean()
    if is_new:
        budget.save()
        with connection.cursor() as cursor:
            cursor.execute("SELECT billing_budget_begin(%s)", [budget.pk])
        catalog_changed.send(None)
    else:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT billing_budget_change(%s, %s, %s)", [budget.pk, limit_nano, str(window)]
            )
    budget.refresh_from_db()
    return budget


def budget_holder_check(
    organisation: Organisation, *, user: User | None, key: ApiKey | None
) -> None:
    """ValidationError unless user or key belongs to the organisation."""
    if key is not None and key.organisation_id != organisation.pk:
        raise ValidationError({"key": _("This key is another organisation's.")})
    if user is not None and not organisation.memberships.filter(user=user).exists():
        raise ValidationError({"member": _("A budget is for members: add them first.")})


@transaction.atomic
def budget_remove(*, budget: Budget) -> None:
    """Remove a budget; it is gone when routers have the snapshot."""
    _lock(budget.organisation)
    budget.delete()
    catalog_changed.send(None)


def _lock(organisation: Organisation) -> None:
    """Lock the account: its budgets change only under this lock."""
    account_lock(account=customer_account_open(organisation=organisation))
