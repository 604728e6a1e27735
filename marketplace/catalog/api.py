"""The catalog over the management API: public to read; staff drain workers and publish prices."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import StaffWritesAllRead
from marketplace.accounts.models import User
from marketplace.catalog.filters import CONTEXT_MAX, MODALITIES, PRICE_MAX, SORTS, filters_of
from marketplace.catalog.listing import Listing, found, listings
from marketplace.catalog.models import (
    AIModel,
    Deployment,
    ModelVersion,
    Offer,
    Pool,
    Provider,
    Task,
    Worker,
)
from marketplace.catalog.selectors import models_published
from marketplace.catalog.services import offer_publish, pool_put, worker_drain, worker_put
from marketplace.usage.models import ModelFigures
from router.domain.pricing import Price

PRICE_FIELDS = [name for name in Price.__struct_fields__ if "_nano" in name]


class ProviderSerializer(serializers.ModelSerializer[Provider]):
    class Meta:
        model = Provider
        fields = ["id", "slug", "name", "description", "website", "emulated"]


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
        fields = ["id", "deployment", "provider", *PRICE_FIELDS]


class ModelSerializer(serializers.ModelSerializer[AIModel]):
    """``cheapest`` and ``measured`` are null where there is no price, or no call of late.

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

    # One for all models: making the fields of a serializer takes longer than using them.
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


class PoolSerializer(serializers.ModelSerializer[Pool]):
    class Meta:
        model = Pool
        fields = ["id", "name", "hardware", "engine", "region", "emulated"]


class WorkerSerializer(serializers.ModelSerializer[Worker]):
    """Without address and error text: those are the platform's own business."""

    pool = serializers.SlugRelatedField("name", read_only=True)  # type: ignore[var-annotated]

    class Meta:
        model = Worker
        fields = ["id", "worker_id", "pool", "protocol", "slots", "healthy", "draining"]


class StaffWorkerSerializer(serializers.ModelSerializer[Worker]):
    """As staff make and see a worker; ``healthy`` is the prober's, ``draining`` is patched."""

    pool = serializers.SlugRelatedField("name", queryset=Pool.objects.all())

    class Meta:
        model = Worker
        fields = [
            "id",
            "worker_id",
            "pool",
            "url",
            "protocol",
            "slots",
            "healthy",
            "health_error",
            "draining",
            "drain_reason",
        ]
        read_only_fields = ["healthy", "draining"]


class WorkerChangeSerializer(serializers.ModelSerializer[Worker]):
    """Any of them. ``why`` is kept with a drain, ``confirmed`` drains a model's last worker too."""

    pool = serializers.SlugRelatedField("name", queryset=Pool.objects.all(), required=False)
    draining = serializers.BooleanField(required=False)
    why = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)
    confirmed = serializers.BooleanField(required=False, default=False)

    class Meta:
        model = Worker
        fields = ["pool", "url", "protocol", "slots", "draining", "why", "confirmed"]
        extra_kwargs = {name: {"required": False} for name in ("url", "protocol", "slots")}


class PoolWriteSerializer(serializers.ModelSerializer[Pool]):
    """``name`` and ``emulated`` are said once, when it is made."""

    class Meta:
        model = Pool
        fields = ["id", "name", "hardware", "engine", "region", "cost_nano_per_hour", "emulated"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name in ("name", "emulated"):
            if self.instance is not None and attrs.get(name, getattr(self.instance, name)) != (
                getattr(self.instance, name)
            ):
                raise serializers.ValidationError(
                    {name: "This is said when a pool is made; make another pool instead."}
                )
        return attrs


class DeploymentSerializer(serializers.ModelSerializer[Deployment]):
    model = serializers.CharField(source="version.model.name", read_only=True)
    version = serializers.CharField(source="version.version", read_only=True)
    provider = serializers.CharField(source="provider.slug", read_only=True)
    pool = serializers.CharField(source="pool.name", read_only=True)
    emulated = serializers.BooleanField(source="pool.emulated", read_only=True)

    class Meta:
        model = Deployment
        fields = ["id", "model", "version", "provider", "pool", "emulated", "status", "created_at"]


class OfferSerializer(serializers.ModelSerializer[Offer]):
    class Meta:
        model = Offer
        fields = ["id", "deployment", *PRICE_FIELDS, "effective_at", "created_at"]
        read_only_fields = ["created_at"]
        extra_kwargs = {name: {"min_value": 0} for name in PRICE_FIELDS}

    def validate_effective_at(self, value: Any) -> Any:
        if value < timezone.now():
            raise serializers.ValidationError("A price takes effect now or later, never backwards.")
        return value


class CatalogViewSet(viewsets.ReadOnlyModelViewSet[Any]):
    """Public to read."""

    permission_classes = [StaffWritesAllRead]

    def visible(self, rows: QuerySet[Any], emulated: str) -> QuerySet[Any]:
        """Without emulated rows where those are switched off."""
        return rows if settings.WAYPOST_EMULATED else rows.filter(**{emulated: False})


class ProviderViewSet(CatalogViewSet):
    """Who offers deployments."""

    serializer_class = ProviderSerializer
    queryset = Provider.objects.all()
    lookup_field = "slug"
    filterset_fields = ["emulated"]

    def get_queryset(self) -> QuerySet[Any]:
        return self.visible(Provider.objects.all(), "emulated")


class ModelViewSet(CatalogViewSet):
    """Published models, by their public names."""

    serializer_class = ModelSerializer
    queryset = AIModel.objects.all()
    pagination_class = ModelPages
    lookup_field = "name"
    lookup_value_regex = "[^/]+/[^/]+"
    filterset_fields = ["emulated"]

    def get_queryset(self) -> QuerySet[Any]:
        return models_published().prefetch_related("versions")

    @extend_schema(parameters=[ModelQuery])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The catalog, with its filters, search and sorts. Page by page."""
        ModelQuery(data=request.query_params).is_valid(raise_exception=True)
        filters = filters_of(request.query_params)
        if not filters.sort and not filters.words:
            filters = replace(filters, sort="newest")
        rows = self.filter_queryset(found(filters)[0].prefetch_related("versions"))
        page = self.paginate_queryset(rows) or []
        return self.get_paginated_response(self._data(page, many=True))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(self._data([self.get_object()], many=False))

    def _data(self, models: Sequence[AIModel], *, many: bool) -> Any:
        """Serialized with what goes with them, in a fixed number of queries."""
        rows = {one.model.pk: one for one in listings(models)}
        context = {**self.get_serializer_context(), "listings": rows}
        return ModelSerializer(models if many else models[0], many=many, context=context).data


class PoolViewSet(CatalogViewSet):
    """Interchangeable workers on one kind of hardware. Made and changed by staff."""

    serializer_class = PoolSerializer
    queryset = Pool.objects.all()
    lookup_field = "name"
    lookup_value_regex = "[^/]+"
    filterset_fields = ["emulated", "region"]

    def get_queryset(self) -> QuerySet[Any]:
        return self.visible(Pool.objects.all(), "emulated")

    @extend_schema(request=PoolWriteSerializer, responses={201: PoolWriteSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a pool. For staff."""
        wanted = PoolWriteSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        pool = pool_put(pool=Pool(), **wanted.validated_data)
        return Response(PoolWriteSerializer(pool).data, status.HTTP_201_CREATED)

    @extend_schema(request=PoolWriteSerializer, responses=PoolWriteSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change what a pool is said to be. For staff."""
        pool = self.get_object()
        wanted = PoolWriteSerializer(pool, data=request.data, partial=True)
        wanted.is_valid(raise_exception=True)
        return Response(PoolWriteSerializer(pool_put(pool=pool, **wanted.validated_data)).data)


class WorkerViewSet(CatalogViewSet):
    """Inference servers and their health. Made, changed and drained by staff."""

    serializer_class = WorkerSerializer
    queryset = Worker.objects.all()
    filterset_fields = ["pool__name", "healthy", "draining"]

    def get_queryset(self) -> QuerySet[Any]:
        return self.visible(Worker.objects.select_related("pool"), "pool__emulated")

    @extend_schema(request=StaffWorkerSerializer, responses={201: StaffWorkerSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Add a worker to a pool; it gets calls at once. For staff."""
        wanted = StaffWorkerSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        worker = worker_put(worker=Worker(), **wanted.validated_data)
        return Response(StaffWorkerSerializer(worker).data, status.HTTP_201_CREATED)

    @extend_schema(request=WorkerChangeSerializer, responses=StaffWorkerSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change a worker, drain it, or put it back to work. For staff.

        Draining the last worker of a model is refused unless it is ``confirmed``.
        """
        worker = self.get_object()
        wanted = WorkerChangeSerializer(worker, data=request.data, partial=True)
        wanted.is_valid(raise_exception=True)
        values = dict(wanted.validated_data)
        why, confirmed = values.pop("why", ""), values.pop("confirmed", False)
        draining = values.pop("draining", None)
        with transaction.atomic():
            if values:
                worker = worker_put(worker=worker, **values)
            if draining is not None:
                by: User = request.user  # type: ignore[assignment]  # staff only: a User
                worker = worker_drain(
                    worker=worker, draining=draining, by=by, why=why, confirmed=confirmed
                )
        return Response(StaffWorkerSerializer(worker).data)


class DeploymentViewSet(CatalogViewSet):
    """Which provider serves which model version on which pool."""

    serializer_class = DeploymentSerializer
    queryset = Deployment.objects.all()
    filterset_fields = ["version__model__name", "provider__slug", "pool__name", "status"]

    def get_queryset(self) -> QuerySet[Any]:
        rows = Deployment.objects.filter(version__model__published=True)
        return self.visible(
            rows.select_related("version__model", "provider", "pool"), "pool__emulated"
        )


class OfferViewSet(mixins.CreateModelMixin, CatalogViewSet):
    """Price versions. A new one supersedes; none is ever edited. Created by staff."""

    serializer_class = OfferSerializer
    queryset = Offer.objects.all()
    filterset_fields = ["deployment", "deployment__version__model__name"]

    def get_queryset(self) -> QuerySet[Any]:
        rows = Offer.objects.filter(deployment__version__model__published=True)
        return self.visible(rows, "deployment__pool__emulated")

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        values = serializer.validated_data
        serializer.instance = offer_publish(
            deployment=values["deployment"],
            price=Price(id=0, **{name: values.get(name, 0) for name in PRICE_FIELDS}),
            effective_at=values.get("effective_at"),
        )
