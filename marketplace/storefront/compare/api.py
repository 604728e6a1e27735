"""Estimates over the management API: public, as the page that compares is."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.storefront.browse.filters import COMPARED_MAX
from marketplace.storefront.compare.pages import chosen_listings, measured_lately
from marketplace.storefront.compare.workload import BOUNDS, Estimate, Workload, estimates
from marketplace.usage.rollups.deployments import measured_by


def _bounded(name: str) -> serializers.IntegerField:
    bound = BOUNDS[name]
    return serializers.IntegerField(
        default=getattr(Workload(), name), min_value=bound.low, max_value=bound.high
    )


class EstimateQuery(serializers.Serializer[Any]):
    """Up to four models, and a day's calls with what each has."""

    m = serializers.ListField(
        child=serializers.CharField(max_length=120),
        min_length=1,
        max_length=COMPARED_MAX,
        help_text="A public name, author/slug; repeat it for several.",
    )
    calls = _bounded("calls")
    tokens_in = _bounded("tokens_in")
    tokens_out = _bounded("tokens_out")
    rows = _bounded("rows")
    images = _bounded("images")


class EstimateSerializer(serializers.Serializer[Any]):
    """One deployment's. Null: nothing says what it would be, for nothing was measured."""

    model = serializers.CharField(source="listing.model.name")
    provider = serializers.CharField(source="priced.deployment.provider.slug")
    pool = serializers.CharField(source="priced.deployment.pool.name")
    deployment = serializers.IntegerField(source="priced.deployment.pk")
    emulated = serializers.BooleanField(source="priced.deployment.pool.emulated")
    price_id = serializers.IntegerField(source="priced.offer.pk", help_text="The offer.")
    call_nano = serializers.IntegerField(allow_null=True)
    month_nano = serializers.SerializerMethodField(help_text="Of 30 days.")
    ttft_ms_p50 = serializers.FloatField(source="measured.ttft_ms_p50", allow_null=True)
    latency_ms = serializers.FloatField(allow_null=True, help_text="Expected of a call.")
    total_ms_p99 = serializers.FloatField(source="measured.total_ms_p99", allow_null=True)
    samples = serializers.IntegerField(source="measured.completed")

    def get_month_nano(self, estimate: Estimate) -> int | None:
        workload: Workload = self.context["workload"]
        return estimate.month_nano(workload)


class EstimateViewSet(viewsets.ViewSet):
    """What a workload would cost a month, and how long its calls would take."""

    permission_classes = [AllowAny]

    @extend_schema(parameters=[EstimateQuery], responses=EstimateSerializer(many=True))
    def list(self, request: Request) -> Response:
        """One estimate a deployment, by prices in force and by the last seven days' calls."""
        query = EstimateQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = dict(query.validated_data)
        names = tuple(dict.fromkeys(asked.pop("m")))
        shown = {listing.model.name: listing for listing in chosen_listings(names)}
        if missing := [name for name in names if name not in shown]:
            raise NotFound(f"There is no model {missing[0]!r}; see /api/v1/models.")
        workload = Workload(**asked)
        rollups = measured_lately(list(names), timezone.now())
        measured = measured_by(rollups, lambda row: row.deployment_id)
        found = [
            estimate for name in names for estimate in estimates(shown[name], workload, measured)
        ]
        context = {"workload": workload}
        return Response(EstimateSerializer(found, many=True, context=context).data)
