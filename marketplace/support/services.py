"""Keeping that somebody looked."""

from marketplace.accounts.models import User
from marketplace.support.models import Look, LookKind


def look_record(*, staff: User, kind: LookKind, subject: str, organisation: str = "") -> Look:
    """Keep it for good; within the request that shows what was looked at."""
    return Look.objects.create(
        staff=staff.email, kind=kind, subject=subject, organisation=organisation
    )
