"""Usage over the management API: every call of the caller's organisations, with its route."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework import serializers, viewsets

from marketplace.accounts.access import organisations_seen_by
from marketplace.accounts.models import Organisation
from marketplace.config.paging import NewestFirst
from marketplace.usage.models import UsageEvent
from marketplace.usage.selectors import usage_of


class UsageSerializer(serializers.ModelSerializer[UsageEvent]):
    class Meta:
        model = UsageEvent
        exclude = ["router_id", "lease_id", "provider_account_id"]


class UsageFilter(filters.FilterSet):
    organisation = filters.CharFilter(method="of_organisation")
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = UsageEvent
        fields = ["model", "kind", "outcome", "pool", "worker_id", "key_id"]

    def of_organisation(
        self, rows: QuerySet[UsageEvent], name: str, slug: str
    ) -> QuerySet[UsageEvent]:
        return rows.filter(organisation_id__in=Organisation.objects.filter(slug=slug).values("pk"))


class NewestCallFirst(NewestFirst):
    ordering = ("-created_at", "-request_id")


class UsageViewSet(viewsets.ReadOnlyModelViewSet[Any]):
    """Calls, with cost, timings, attempts and the candidates that were considered."""

    serializer_class = UsageSerializer
    queryset = UsageEvent.objects.all()
    filterset_class = UsageFilter
    pagination_class = NewestCallFirst

    def get_queryset(self) -> QuerySet[UsageEvent]:
        return usage_of(organisations_seen_by(self.request))
