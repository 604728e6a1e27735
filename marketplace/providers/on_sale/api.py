"""What a provider has on sale, over the management API: prices, traffic and withdrawal."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisations_seen_by
from marketplace.catalog.models import Deployment
from marketplace.providers.access import provider_demand
from marketplace.providers.listings.drafts import PRICE_NANO_MAX
from marketplace.providers.on_sale.lost_calls import lost_of
from marketplace.providers.on_sale.prices import (
    meaning_of,
    price_set,
    price_versions,
    price_withdraw,
)
from marketplace.providers.on_sale.token_counts import counted_of
from marketplace.providers.on_sale.traffic import traffic_of
from marketplace.routing.topology import polling
from marketplace.usage.windows import RANGES, window_of
from router.domain.pricing import PRICE_FIELDS, Price


class PriceSerializer(serializers.Serializer[Any]):
    """A price version; amounts in nano-USD, as in offers."""

    batch_discount_bps = serializers.IntegerField(
        min_value=0,
        max_value=10_000,
        allow_null=True,
        default=None,
        help_text="What a batch pays less, in basis points; null keeps that of the price in force.",
    )
    effective_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    preview = serializers.BooleanField(
        default=False, write_only=True, help_text="Only say what it would mean."
    )

    def get_fields(self) -> dict[str, Any]:
        amounts = {
            name: serializers.IntegerField(min_value=0, max_value=PRICE_NANO_MAX, default=0)
            for name in PRICE_FIELDS
        }
        return {**super().get_fields(), **amounts}


class MeaningSerializer(serializers.Serializer[Any]):
    """What a typical call would cost and earn; with ``calls`` 0 it is an assumption."""

    calls = serializers.IntegerField(source="typical.calls")
    charge_nano = serializers.IntegerField()
    batch_nano = serializers.IntegerField(help_text="What the same call costs in a batch.")
    commission_nano = serializers.IntegerField()
    earned_nano = serializers.IntegerField()
    before_nano = serializers.IntegerField(allow_null=True)
    change = serializers.FloatField(allow_null=True)


class PriceVersionSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="offer.pk")
    state = serializers.CharField(help_text="upcoming, in_force, superseded, or withdrawn.")
    effective_at = serializers.DateTimeField(source="offer.effective_at")
    batch_discount_bps = serializers.IntegerField(source="offer.batch_discount_bps")

    def get_fields(self) -> dict[str, Any]:
        amounts = {name: serializers.IntegerField(source=f"offer.{name}") for name in PRICE_FIELDS}
        return {**super().get_fields(), **amounts}


class WithdrawSerializer(serializers.Serializer[Any]):
    offer = serializers.IntegerField(min_value=1)


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField()
    calls = serializers.IntegerField()
    share = serializers.FloatField(help_text="Of those lost, 0 to 1.")


class WorkerHealthSerializer(serializers.Serializer[Any]):
    worker_id = serializers.CharField()
    url = serializers.CharField()
    slots = serializers.IntegerField()
    healthy = serializers.BooleanField()
    draining = serializers.BooleanField()
    health_error = serializers.CharField()
    health_checked_at = serializers.DateTimeField(allow_null=True)


class RatioSerializer(serializers.Serializer[Any]):
    """Tokens that workers report per token that the router counts."""

    of = serializers.CharField(help_text="prompt, stream or whole.")
    ratio = serializers.FloatField()
    median = serializers.FloatField(help_text="The model's, over all its workers.")
    most = serializers.FloatField(help_text="Up to what they are believed.")


class CountedSerializer(serializers.Serializer[Any]):
    """How the workers counted in their last answers; ``unheard`` routers did not answer."""

    answers = serializers.IntegerField()
    cut = serializers.IntegerField(help_text="Answers that said more than is believed.")
    unbilled_tokens = serializers.IntegerField()
    ratios = RatioSerializer(many=True)
    unheard = serializers.IntegerField()


class TrafficSerializer(serializers.Serializer[Any]):
    """``lost`` is out of ``decisions`` recorded ones, the newest of the range."""

    calls = serializers.IntegerField(source="traffic.totals.calls")
    not_completed = serializers.IntegerField(source="traffic.totals.failed")
    model_calls = serializers.IntegerField(source="traffic.model_calls")
    share = serializers.FloatField(source="traffic.share", allow_null=True)
    total_ms_p50 = serializers.FloatField(source="traffic.totals.total_ms_p50", allow_null=True)
    total_ms_p99 = serializers.FloatField(source="traffic.totals.total_ms_p99", allow_null=True)
    tokens_in = serializers.IntegerField(source="traffic.totals.tokens_in")
    tokens_out = serializers.IntegerField(source="traffic.totals.tokens_out")
    decisions = serializers.IntegerField(source="lost.calls")
    lost = ReasonSerializer(source="reasons", many=True)
    workers = WorkerHealthSerializer(many=True)
    counted = CountedSerializer()


class OfferingViewSet(viewsets.GenericViewSet[Deployment]):
    """What the caller's providers sell, by deployment: price, health and traffic."""

    permission_classes = [IsAuthenticated]
    serializer_class = TrafficSerializer
    queryset = Deployment.objects.all()

    def get_queryset(self) -> QuerySet[Deployment]:
        return Deployment.objects.filter(
            provider__organisation__in=organisations_seen_by(self.request)
        ).select_related("version__model", "provider__organisation", "pool")

    @extend_schema(
        parameters=[OpenApiParameter("range", OpenApiTypes.STR, enum=list(RANGES))],
        responses=TrafficSerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """Workers' health, calls, share of the model's traffic, and why other calls were lost."""
        row = self.get_object()
        window = window_of(request.query_params, timezone.now())
        lost = lost_of(row, window)
        shown = {
            "traffic": traffic_of(row, window),
            "lost": lost,
            "reasons": [
                {"reason": reason, "calls": calls, "share": part}
                for reason, calls, part, _remedy in lost.rows
            ],
            "workers": row.pool.workers.all(),
            "counted": counted_of(row, polling.WATCH.read()),
        }
        return Response(TrafficSerializer(shown).data)

    @extend_schema(methods=["get"], request=None, responses=PriceVersionSerializer(many=True))
    @extend_schema(
        methods=["post"],
        request=PriceSerializer,
        responses={200: MeaningSerializer, 201: PriceVersionSerializer(many=True)},
    )
    @action(detail=True, methods=["get", "post"], pagination_class=None)
    def prices(self, request: Request, pk: str) -> Response:
        """Price versions; ``POST`` publishes one, or with ``preview`` says what it would mean."""
        row = self.get_object()
        if request.method != "POST":
            return self._versions(row)
        provider_demand(request, row.provider)
        asked = PriceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        values = asked.validated_data
        price = Price(id=0, **{name: values[name] for name in PRICE_FIELDS})
        discount = values["batch_discount_bps"]
        if values["preview"]:
            return Response(MeaningSerializer(meaning_of(row, price, discount)).data)
        price_set(
            deployment=row,
            price=price,
            effective_at=values["effective_at"],
            batch_discount_bps=discount,
        )
        return self._versions(row, status.HTTP_201_CREATED)

    @extend_schema(request=WithdrawSerializer, responses=PriceVersionSerializer(many=True))
    @action(detail=True, methods=["post"], url_path="prices/withdraw", pagination_class=None)
    def withdraw(self, request: Request, pk: str) -> Response:
        """Withdraw an upcoming price: the previous one is republished for its date."""
        row = self.get_object()
        provider_demand(request, row.provider)
        asked = WithdrawSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        offer = row.offers.filter(pk=asked.validated_data["offer"]).first()
        if offer is None:
            raise NotFound("This deployment has no such offer.")
        price_withdraw(offer=offer)
        return self._versions(row)

    def _versions(self, row: Deployment, code: int = status.HTTP_200_OK) -> Response:
        return Response(PriceVersionSerializer(price_versions(row), many=True).data, code)
