"""The filter of the audit log, for page and API."""

from datetime import UTC, datetime, time

from auditlog.models import AbstractLogEntry
from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters

from marketplace.audit.acting import Source
from marketplace.audit.models import AuditEntry
from marketplace.audit.registry import AUDITED

KINDS = tuple((label.lower(), label.rpartition(".")[2]) for label in sorted(AUDITED))
"""The audited models, as ``app.model``."""


class AuditFilter(filters.FilterSet):
    """``?organisation=&who=&what=&action=&source=&since=&until=``; days of UTC, both included."""

    organisation = filters.CharFilter(field_name="organisation__slug")
    who = filters.CharFilter(method="by_whom", help_text="Part of an address, or of a key's name.")
    what = filters.ChoiceFilter(choices=KINDS, method="of_kind")
    action = filters.ChoiceFilter(choices=AbstractLogEntry.Action.choices[:3])
    source = filters.ChoiceFilter(choices=Source.choices)
    since = filters.DateFilter(method="from_day")
    until = filters.DateFilter(method="to_day")

    class Meta:
        model = AuditEntry
        fields: tuple[str, ...] = ()

    def by_whom(self, entries: QuerySet[AuditEntry], name: str, value: str) -> QuerySet[AuditEntry]:
        """Entries whose actor's name contains the value."""
        return entries.filter(actor_name__icontains=value)

    def of_kind(self, entries: QuerySet[AuditEntry], name: str, value: str) -> QuerySet[AuditEntry]:
        """Entries about one model."""
        app, _, model = value.partition(".")
        return entries.filter(Q(content_type__app_label=app) & Q(content_type__model=model))

    def from_day(
        self, entries: QuerySet[AuditEntry], name: str, value: datetime
    ) -> QuerySet[AuditEntry]:
        """Entries of that day or later."""
        return entries.filter(timestamp__gte=datetime.combine(value, time.min, UTC))

    def to_day(
        self, entries: QuerySet[AuditEntry], name: str, value: datetime
    ) -> QuerySet[AuditEntry]:
        """Entries of that day or earlier."""
        return entries.filter(timestamp__lte=datetime.combine(value, time.max, UTC))
