"""The catalog over the management API: public to read; staff drain workers and publish prices."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import StaffWritesAllRead
from marketplace.catalog.models import (
    AIModel,
    Deployment,
    ModelVersion,
    Offer,
    Pool,
    Provider,
    Worker,
)
from marketplace.catalog.selectors import models_published
from marketplace.catalog.services import offer_publish, worker_drain
from router.domain.pricing import Price

PRICE_FIELDS = [name for name in Price.__struct_fields__ if name != "id"]


class ProviderSerializer(serializers.ModelSerializer[Provider]):
    class Meta:
        model = Provider
        fields = ["id", "slug", "name", "description", "website", "emulated"]


class ModelVersionSerializer(serializers.ModelSerializer[ModelVersion]):
    class Meta:
        model = ModelVersion
        fields = ["id", "version", "notes", "created_at"]


class ModelSerializer(serializers.ModelSerializer[AIModel]):
    versions = ModelVersionSerializer(many=True, read_only=True)

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
        ]


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
        read_only_fields = ["worker_id", "protocol", "slots", "healthy"]
        extra_kwargs = {"draining": {"required": True}}


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
        return rows if settings.SWITCHYARD_EMULATED else rows.filter(**{emulated: False})


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
    lookup_field = "name"
    lookup_value_regex = "[^/]+/[^/]+"
    filterset_fields = ["task", "emulated"]

    def get_queryset(self) -> QuerySet[Any]:
        return models_published().prefetch_related("versions")


class PoolViewSet(CatalogViewSet):
    """Interchangeable workers on one kind of hardware."""

    serializer_class = PoolSerializer
    queryset = Pool.objects.all()
    lookup_field = "name"
    lookup_value_regex = "[^/]+"
    filterset_fields = ["emulated", "region"]

    def get_queryset(self) -> QuerySet[Any]:
        return self.visible(Pool.objects.all(), "emulated")


class WorkerViewSet(CatalogViewSet):
    """Inference servers and their health."""

    serializer_class = WorkerSerializer
    queryset = Worker.objects.all()
    filterset_fields = ["pool__name", "healthy", "draining"]

    def get_queryset(self) -> QuerySet[Any]:
        return self.visible(Worker.objects.select_related("pool"), "pool__emulated")

    @extend_schema(request=WorkerSerializer, responses=WorkerSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Drain a worker, or put it back to work. For staff."""
        worker = self.get_object()
        wanted = WorkerSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        worker_drain(worker=worker, draining=wanted.validated_data["draining"])
        return Response(WorkerSerializer(worker).data)


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
