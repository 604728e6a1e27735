"""Records looks."""

from marketplace.accounts.models import User
from marketplace.support.models import Look, LookKind


def look_record(*, staff: User, kind: LookKind, subject: str, organisation: str = "") -> Look:
    """Record a view permanently, in the request that shows the data."""
    return Look.objects.create(
        staff=staff.email, kind=kind, subject=subject, organisation=organisation
    )
