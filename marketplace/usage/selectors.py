"""Reading what was called."""

from django.db.models import QuerySet

from marketplace.accounts.models import Organisation
from marketplace.usage.models import UsageEvent


def usage_of(organisations: QuerySet[Organisation]) -> QuerySet[UsageEvent]:
    """Calls of these organisations, newest first."""
    return UsageEvent.objects.filter(organisation_id__in=organisations.order_by().values("pk"))
