"""Key rotation: a new key replaces the old one, which works for a while longer."""

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import GUARD_FIELDS, LIMIT_FIELDS, ApiKey, User
from marketplace.accounts.services import api_key_create, api_key_revoke, api_key_update
from marketplace.billing.budgets.services import budget_set
from marketplace.billing.models import Budget, Window

HOUR = timedelta(hours=1)
OVERLAP_MAX = timedelta(days=30)


@transaction.atomic
def api_key_rotate(
    *, api_key: ApiKey, overlap: timedelta, created_by: User | None = None
) -> tuple[ApiKey, str]:
    """Create a key with the old one's name, scopes, models, limits, rules, masks, guard, expiry
    and budget.

    Returns the row and the key itself. The old one ends after ``overlap`` (at once for none), or
    at its own expiry if that is earlier. The new budget has the same limit and counts from now.
    ValidationError for a key that is not active, an overlap beyond `OVERLAP_MAX`, or where no
    further key may be.
    """
    old = ApiKey.objects.select_for_update().get(pk=api_key.pk)
    if old.status != "active":
        raise ValidationError(_("Only an active key can be rotated: create a new one."))
    if not timedelta() <= overlap <= OVERLAP_MAX:
        raise ValidationError(
            {"overlap_hours": _("From 0 to %(n)s hours.") % {"n": OVERLAP_MAX // HOUR}}
        )
    if not overlap:
        api_key_revoke(api_key=old)
    row, key = api_key_create(
        organisation=old.organisation,
        name=old.name,
        created_by=created_by,
        scopes=old.scopes,
        models_allowed=old.models_allowed,
        expires_at=old.expires_at,
        rules=old.rules,
        masks=old.masks,
        **{name: getattr(old, name) for name in (*LIMIT_FIELDS, *GUARD_FIELDS)},
    )
    budget = Budget.objects.filter(key=old).first()
    if budget is not None:
        budget_set(
            organisation=old.organisation,
            key=row,
            limit_nano=budget.limit_nano,
            window=Window(budget.window),
        )
    end = timezone.now() + overlap
    if overlap and (old.expires_at is None or old.expires_at > end):
        api_key_update(api_key=old, expires_at=end)
    return row, key
