"""Usage over the management API: every call of the caller's organisations, with its route."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.models import Organisation
from marketplace.accounts.permissions import Permission
from marketplace.shared.numbers import ID_MAX
from marketplace.shared.paging import NewestFirst
from marketplace.usage.models import OUTCOMES, UsageEvent
from marketplace.usage.partitions import id_floor
from marketplace.usage.rollups.summary import GROUPS, summary_of
from marketplace.usage.selectors import usage_of
from marketplace.usage.windows import (
    CUSTOM,
    DAYS_MAX,
    DEFAULT,
    RANGES,
    filters_of,
    window_of,
)


class TermsSerializer(serializers.Serializer[Any]):
    """Of what a generation's cost on an engine was made, as was expected when it was placed."""

    ahead_ms = serializers.FloatField(help_text="Until the prompts before it are read.")
    prefill_ms = serializers.FloatField(help_text="Reading what of its prompt is not cached.")
    decode_ms = serializers.FloatField(help_text="Writing the answer.")
    others_ms = serializers.FloatField(help_text="What it adds to all others there, together.")
    prompt_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    answer_tokens = serializers.IntegerField()


class CandidateSerializer(serializers.Serializer[Any]):
    """A place that was considered; the lowest score wins. Engines have ``terms``."""

    deployment_id = serializers.IntegerField()
    worker_id = serializers.CharField()
    pool = serializers.CharField()
    verdict = serializers.CharField()
    wait_ms = serializers.FloatField()
    service_ms = serializers.FloatField()
    score = serializers.FloatField()
    terms = TermsSerializer(required=False)


@extend_schema_field(CandidateSerializer(many=True))
class CandidatesField(serializers.JSONField):
    """The decision as it is recorded."""


class UsageSerializer(serializers.ModelSerializer[UsageEvent]):
    candidates = CandidatesField(read_only=True)

    class Meta:
        model = UsageEvent
        exclude = ["router_id", "lease_id", "provider_account_id"]


class UsageFilter(filters.FilterSet):
    organisation = filters.CharFilter(method="of_organisation")
    created_after = filters.IsoDateTimeFilter(method="after")
    created_before = filters.IsoDateTimeFilter(method="before")

    class Meta:
        model = UsageEvent
        fields = ["model", "kind", "outcome", "pool", "worker_id", "key_id", "user_id"]

    def of_organisation(
        self, rows: QuerySet[UsageEvent], name: str, slug: str
    ) -> QuerySet[UsageEvent]:
        found = Organisation.objects.filter(slug=slug).first()
        return rows.filter(organisation_id=found.pk) if found else rows.none()

    def after(self, rows: QuerySet[UsageEvent], name: str, at: datetime) -> QuerySet[UsageEvent]:
        return rows.filter(request_id__gte=id_floor(at))

    def before(self, rows: QuerySet[UsageEvent], name: str, at: datetime) -> QuerySet[UsageEvent]:
        return rows.filter(request_id__lt=id_floor(at))


class SummaryQuery(serializers.Serializer[Any]):
    """As in the usage page's address; ``from`` and ``to`` are dates of a custom range, included."""

    organisation = serializers.SlugField()
    range = serializers.ChoiceField([*RANGES, CUSTOM], default=DEFAULT)
    by = serializers.ChoiceField(list(GROUPS), default="model")
    model = serializers.CharField(required=False)
    outcome = serializers.ChoiceField(list(OUTCOMES), required=False)
    key = serializers.IntegerField(required=False, min_value=0, max_value=ID_MAX)
    member = serializers.IntegerField(required=False, min_value=0, max_value=ID_MAX)

    def get_fields(self) -> dict[str, Any]:
        # "from" is a keyword, so it cannot be a class attribute.
        dates = {name: serializers.DateField(required=False) for name in ("from", "to")}
        return {**super().get_fields(), **dates}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["range"] != CUSTOM:
            return attrs
        start, until = attrs.get("from"), attrs.get("to")
        if not start or not until or not 0 <= (until - start).days <= DAYS_MAX:
            raise serializers.ValidationError(
                {"from": f"A custom range needs from and to, at most {DAYS_MAX} days apart."}
            )
        return attrs


class FiguresSerializer(serializers.Serializer[Any]):
    """Sums over some calls; latencies in ms of the completed ones, null without any."""

    calls = serializers.IntegerField()
    failed = serializers.IntegerField()
    charge_nano = serializers.IntegerField()
    tokens_in = serializers.IntegerField()
    tokens_out = serializers.IntegerField()
    ttft_ms_p50 = serializers.FloatField(allow_null=True)
    total_ms_p50 = serializers.FloatField(allow_null=True)
    total_ms_p95 = serializers.FloatField(allow_null=True)
    total_ms_p99 = serializers.FloatField(allow_null=True)


class GroupSerializer(serializers.Serializer[Any]):
    value = serializers.CharField(help_text="What the filter of the same name takes.")
    name = serializers.CharField()
    figures = FiguresSerializer()


class StepSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    figures = FiguresSerializer()


class SummarySerializer(serializers.Serializer[Any]):
    """``groups`` (the dearest) and ``others`` add up to ``totals``, and so do ``steps``."""

    start = serializers.DateTimeField(source="window.start")
    until = serializers.DateTimeField(source="window.until", help_text="Not included.")
    step = serializers.CharField(source="window.span")
    totals = FiguresSerializer(source="summary.totals")
    steps = StepSerializer(source="summary.steps", many=True)
    groups = GroupSerializer(source="summary.groups", many=True)
    others = FiguresSerializer(source="summary.others")
    others_count = serializers.IntegerField(source="summary.others_count")


class NewestCallFirst(NewestFirst):
    ordering = "-request_id"


class UsageViewSet(viewsets.ReadOnlyModelViewSet[Any]):
    """Calls, with cost, timings, attempts and the candidates that were considered."""

    serializer_class = UsageSerializer
    queryset = UsageEvent.objects.all()
    filterset_class = UsageFilter
    pagination_class = NewestCallFirst

    def get_queryset(self) -> QuerySet[UsageEvent]:
        return usage_of(organisations_seen_by(self.request))

    @extend_schema(parameters=[SummaryQuery], responses=SummarySerializer, filters=False)
    @action(detail=False, pagination_class=None, filterset_class=None)
    def summary(self, request: Request) -> Response:
        """An organisation's calls over time and in groups, as on the usage page."""
        query = SummaryQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = {name: str(value) for name, value in query.validated_data.items()}
        organisation = organisation_acted_for(request, asked["organisation"], Permission.LOOK)
        window = window_of(asked, timezone.now())
        found = summary_of(organisation, window, by=asked["by"], **filters_of(asked))
        return Response(SummarySerializer({"window": window, "summary": found}).data)
