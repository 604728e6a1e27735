"""Quotes over the management API: public, as the prices are."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, viewsets
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.catalog.api import ChargeLineSerializer
from marketplace.catalog.selectors import models_published
from marketplace.storefront.quotes.selectors import Quote, quotes_of
from marketplace.usage.models import ModelFigures
from router.domain.money import format_usd
from router.domain.pricing import MS_PER_SECOND, Usage

COUNT_MAX = 1_000_000_000
SECONDS_MAX = 86_400


def _count() -> serializers.IntegerField:
    return serializers.IntegerField(default=0, min_value=0, max_value=COUNT_MAX)


class QuoteQuery(serializers.Serializer[Any]):
    """What the call would use. Token classes are disjoint: cached ones are no prompt tokens."""

    model = serializers.CharField(help_text="The public name, author/slug.")
    prompt_tokens = _count()
    cached_tokens = _count()
    completion_tokens = _count()
    reasoning_tokens = _count()
    rows = _count()
    images = _count()
    seconds = serializers.DecimalField(
        default=Decimal(0), min_value=0, max_value=SECONDS_MAX, max_digits=8, decimal_places=3
    )


class MeasuredSerializer(serializers.ModelSerializer[ModelFigures]):
    """What the model's completed calls took in the last day, at all of its providers."""

    class Meta:
        model = ModelFigures
        fields = ["calls", "ttft_ms_p50", "total_ms_p50", "tokens_per_s", "computed_at"]


class QuoteSerializer(serializers.Serializer[Any]):
    """One provider's charge, by the price version that a call would be charged by now."""

    provider = serializers.CharField(source="deployment.provider.slug")
    pool = serializers.CharField(source="deployment.pool.name")
    deployment = serializers.IntegerField(source="deployment.pk")
    emulated = serializers.BooleanField(source="deployment.pool.emulated")
    price_id = serializers.IntegerField(source="price.id", help_text="The offer.")
    effective_at = serializers.SerializerMethodField()
    lines = ChargeLineSerializer(many=True)
    charge_nano = serializers.IntegerField()
    charge_usd = serializers.SerializerMethodField()
    measured = serializers.SerializerMethodField()

    def get_effective_at(self, quote: Quote) -> datetime:
        return datetime.fromtimestamp(quote.price.effective_at_ms / 1000, UTC)

    def get_charge_usd(self, quote: Quote) -> str:
        return format_usd(quote.charge_nano)

    @extend_schema_field(MeasuredSerializer(allow_null=True))
    def get_measured(self, quote: Quote) -> Any:
        """Null where nobody called the model in the last day: not measured yet."""
        return self.context["measured"]


class QuoteViewSet(viewsets.ViewSet):
    """What a call would cost at each provider."""

    permission_classes = [AllowAny]

    @extend_schema(parameters=[QuoteQuery], responses=QuoteSerializer(many=True))
    def list(self, request: Request) -> Response:
        """One quote a deployment, cheapest first, each with its price version and lines."""
        query = QuoteQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        wanted = dict(query.validated_data)
        name = wanted.pop("model")
        model = models_published().filter(name=name).first()
        if model is None:
            raise NotFound(f"There is no model {name!r}; see /api/v1/models.")
        hardware_ms = int(wanted.pop("seconds") * MS_PER_SECOND)
        quotes = quotes_of(model, Usage(**wanted, hardware_ms=hardware_ms))
        figures = ModelFigures.objects.filter(model=model.name).first()
        measured = MeasuredSerializer(figures).data if figures else None
        return Response(QuoteSerializer(quotes, many=True, context={"measured": measured}).data)
