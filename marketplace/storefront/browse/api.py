"""Models over the management API: public, found and sorted as on the catalog's page."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.catalog.api import CatalogViewSet
from marketplace.catalog.models import AIModel, ModelVersion, Offer, Task
from marketplace.catalog.selectors import models_published
from marketplace.catalog.visibility import versions_on_market
from marketplace.storefront.browse.filters import (
    CONTEXT_MAX,
    MODALITIES,
    PRICE_MAX,
    SORTS,
    filters_of,
)
from marketplace.storefront.browse.listing import Listing, found, listings
from marketplace.usage.models import ModelFigures
from router.domain.pricing import PRICE_FIELDS


class ModelVersionSerializer(serializers.ModelSerializer[ModelVersion]):
    class Meta:
        model = ModelVersion
        fields = ["id", "version", "notes", "created_at"]


class ModelFiguresSerializer(serializers.ModelSerializer[ModelFigures]):
    """Of all customers' calls in the last 24 hours; latencies in ms of completed ones."""

    uptime = serializers.FloatField(
        allow_null=True, read_only=True, help_text="Share of calls that no worker failed, 0 to 1."
    )

    class Meta:
        model = ModelFigures
        fields = ["calls", "ttft_ms_p50", "total_ms_p50", "total_ms_p99", "tokens_per_s", "uptime"]


class CheapestSerializer(serializers.ModelSerializer[Offer]):
    """The price in force that a typical call pays least by."""

    provider = serializers.CharField(source="deployment.provider.slug")

    class Meta:
        model = Offer
        fields = ["id", "deployment", "provider", "unit", *PRICE_FIELDS]


class ModelSerializer(serializers.ModelSerializer[AIModel]):
    """``cheapest`` and ``measured`` are null where there is no price, or no call recently.

    ``left_out`` says why it cannot be called here; "" where it can.
    """

    versions = ModelVersionSerializer(many=True, read_only=True)
    cheapest = serializers.SerializerMethodField()
    measured = serializers.SerializerMethodField()
    hardware = serializers.SerializerMethodField()
    providers = serializers.SerializerMethodField()
    left_out = serializers.SerializerMethodField()

    class Meta:
        model = AIModel
        fields = [
            "id",
            "name",
            "display_name",
            "task",
            "description",
            "license",
            "source_url",
            "context_tokens_max",
            "completion_tokens_max",
            "input_schema",
            "tensors",
            "emulated",
            "created_at",
            "versions",
            "cheapest",
            "measured",
            "hardware",
            "providers",
            "left_out",
        ]

    @extend_schema_field(CheapestSerializer(allow_null=True))
    def get_cheapest(self, model: AIModel) -> Any:
        offer = self._listing(model).cheapest
        return offer and self._cheapest.to_representation(offer)

    @extend_schema_field(ModelFiguresSerializer(allow_null=True))
    def get_measured(self, model: AIModel) -> Any:
        figures = self._listing(model).measured
        return figures and self._measured.to_representation(figures)

    def get_hardware(self, model: AIModel) -> list[str]:
        return self._listing(model).hardware

    def get_providers(self, model: AIModel) -> list[str]:
        return self._listing(model).providers

    def get_left_out(self, model: AIModel) -> str:
        return self._listing(model).left_out

    # Shared by all models: building a serializer's fields takes longer than using them.
    @cached_property
    def _cheapest(self) -> CheapestSerializer:
        return CheapestSerializer()

    @cached_property
    def _measured(self) -> ModelFiguresSerializer:
        return ModelFiguresSerializer()

    def _listing(self, model: AIModel) -> Listing:
        listing: Listing = self.context["listings"][model.pk]
        return listing


class ModelQuery(serializers.Serializer[Any]):
    """What the catalog's page filters by, under the same names. Each but the numbers repeats."""

    q = serializers.CharField(required=False, max_length=200, help_text="Words, or beginnings.")
    task = serializers.MultipleChoiceField(choices=Task.choices, required=False)
    takes = serializers.MultipleChoiceField(choices=sorted(MODALITIES), required=False)
    context = serializers.IntegerField(  # type: ignore[assignment]
        required=False, min_value=0, max_value=CONTEXT_MAX, help_text="Tokens at least."
    )
    price = serializers.DecimalField(
        required=False,
        min_value=0,
        max_value=PRICE_MAX,
        max_digits=13,
        decimal_places=6,
        help_text="USD at most for 1M tokens in and 1M out, or 1,000 calls, rows or images.",
    )
    provider = serializers.ListField(child=serializers.CharField(), required=False)
    hardware = serializers.ListField(child=serializers.CharField(), required=False)
    parameter = serializers.ListField(child=serializers.CharField(), required=False)
    private = serializers.ChoiceField(choices=["0", "1"], required=False)
    kind = serializers.ChoiceField(choices=["real", "emulated"], required=False)
    measured = serializers.ChoiceField(choices=["0", "1"], required=False)
    sort = serializers.ChoiceField(
        choices=sorted(SORTS), required=False, help_text="The newest first, or the best match."
    )


class ModelPages(PageNumberPagination):
    """By number: each sort has its own order. ``?page=``, ``?page_size=`` up to 200."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200


def _versions() -> Any:
    return Prefetch("versions", queryset=versions_on_market())


class ModelViewSet(CatalogViewSet):
    """Published models, by their public names."""

    serializer_class = ModelSerializer
    queryset = AIModel.objects.all()
    pagination_class = ModelPages
    lookup_field = "name"
    lookup_value_regex = "[^/]+/[^/]+"
    filterset_fields = ["emulated"]

    def get_queryset(self) -> QuerySet[Any]:
        return models_published().prefetch_related(_versions())

    @extend_schema(parameters=[ModelQuery])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The catalog, with its filters, search and sorts. Page by page."""
        query = ModelQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        # A program writes "1.125" in one way only.
        price_max = query.validated_data.get("price")
        filters = replace(filters_of(request.query_params), price_max=price_max)
        if not filters.sort and not filters.words:
            filters = replace(filters, sort="newest")
        rows = self.filter_queryset(found(filters)[0].prefetch_related(_versions()))
        page = self.paginate_queryset(rows) or []
        return self.get_paginated_response(self._data(page, many=True))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(self._data([self.get_object()], many=False))

    def _data(self, models: Sequence[AIModel], *, many: bool) -> Any:
        """The models serialized with price and figures, in a fixed number of queries."""
        rows = {listing.model.pk: listing for listing in listings(models)}
        context = {**self.get_serializer_context(), "listings": rows}
        return ModelSerializer(models if many else models[0], many=many, context=context).data
