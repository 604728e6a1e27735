"""The catalog over the management API: public to read; staff drain workers and publish prices."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import StaffWritesAllRead
from marketplace.accounts.models import User
from marketplace.catalog.models import Deployment, Offer, Pool, Provider, Worker
from marketplace.catalog.services import offer_publish, pool_put, worker_drain, worker_put
from marketplace.catalog.visibility import pools_seen_by, seen_by
from marketplace.shared.known_fields import KnownFieldsOnly
from router.domain.pricing import PRICE_FIELDS, Price


class ProviderSerializer(serializers.ModelSerializer[Provider]):
    class Meta:
        model = Provider
        fields = ["id", "slug", "name", "description", "website", "emulated"]


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
            "kv_events_port",
            "kv_replay_port",
            "healthy",
            "health_error",
            "draining",
            "drain_reason",
        ]
        read_only_fields = ["healthy", "draining"]


class WorkerChangeSerializer(KnownFieldsOnly, serializers.ModelSerializer[Worker]):
    """Any of them. ``why`` is kept with a drain, ``confirmed`` drains a model's last worker too."""

    pool = serializers.SlugRelatedField("name", queryset=Pool.objects.all(), required=False)
    draining = serializers.BooleanField(required=False)
    why = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)
    confirmed = serializers.BooleanField(required=False, default=False)

    class Meta:
        model = Worker
        fields = [
            *("pool", "url", "protocol", "slots", "kv_events_port", "kv_replay_port"),
            *("draining", "why", "confirmed"),
        ]
        extra_kwargs = {name: {"required": False} for name in ("url", "protocol", "slots")}


class PoolWriteSerializer(KnownFieldsOnly, serializers.ModelSerializer[Pool]):
    """``name`` and ``emulated`` are set once, on creation."""

    class Meta:
        model = Pool
        fields = [
            *("id", "name", "hardware", "engine", "region", "cost_nano_per_hour", "emulated"),
            *("workers_min", "workers_max", "start_s"),
        ]

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
        fields = [
            *("id", "model", "version", "provider", "pool", "emulated"),
            *("status", "published", "created_at"),
        ]


class OfferSerializer(serializers.ModelSerializer[Offer]):
    class Meta:
        model = Offer
        fields = [
            *("id", "deployment", *PRICE_FIELDS),
            *("unit", "batch_discount_bps", "effective_at", "created_at"),
        ]
        read_only_fields = ["unit", "created_at"]
        extra_kwargs = {name: {"min_value": 0} for name in PRICE_FIELDS}

    def validate_effective_at(self, value: Any) -> Any:
        if value < timezone.now():
            raise serializers.ValidationError(
                "A price takes effect now or later, never in the past."
            )
        return value


class ChargeLineSerializer(serializers.Serializer[Any]):
    """``quantity`` × ``unit_nano`` / ``per``, before the one rounding of their sum."""

    item = serializers.CharField()
    quantity = serializers.IntegerField()
    unit_nano = serializers.IntegerField()
    per = serializers.IntegerField()


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


class PoolViewSet(CatalogViewSet):
    """Interchangeable workers on one kind of hardware. Made and changed by staff."""

    serializer_class = PoolSerializer
    queryset = Pool.objects.all()
    lookup_field = "name"
    lookup_value_regex = "[^/]+"
    filterset_fields = ["emulated", "region"]

    def get_queryset(self) -> QuerySet[Any]:
        return self.visible(Pool.objects.filter(pools_seen_by(self.request)), "emulated")

    @extend_schema(request=PoolWriteSerializer, responses={201: PoolWriteSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a pool. For staff."""
        wanted = PoolWriteSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        pool = pool_put(pool=Pool(), **wanted.validated_data)
        return Response(PoolWriteSerializer(pool).data, status.HTTP_201_CREATED)

    @extend_schema(request=PoolWriteSerializer, responses=PoolWriteSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change a pool's description. For staff."""
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
        pools = Pool.objects.filter(pools_seen_by(self.request)).order_by()
        rows = Worker.objects.filter(pool__in=pools).select_related("pool")
        return self.visible(rows, "pool__emulated")

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
    """Which provider serves which model version on which pool.

    One that staff have not approved yet is seen by its provider's members and by staff.
    """

    serializer_class = DeploymentSerializer
    queryset = Deployment.objects.all()
    filterset_fields = ["version__model__name", "provider__slug", "pool__name", "status"]

    def get_queryset(self) -> QuerySet[Any]:
        rows = Deployment.objects.filter(seen_by(self.request))
        return self.visible(
            rows.select_related("version__model", "provider", "pool"), "pool__emulated"
        )


class OfferViewSet(mixins.CreateModelMixin, CatalogViewSet):
    """Price versions. A new one supersedes; none is ever edited. Created by staff."""

    serializer_class = OfferSerializer
    queryset = Offer.objects.all()
    filterset_fields = ["deployment", "deployment__version__model__name"]

    def get_queryset(self) -> QuerySet[Any]:
        rows = Offer.objects.filter(seen_by(self.request, "deployment__"))
        return self.visible(rows, "deployment__pool__emulated")

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        values = serializer.validated_data
        serializer.instance = offer_publish(
            deployment=values["deployment"],
            price=Price(id=0, **{name: values.get(name, 0) for name in PRICE_FIELDS}),
            effective_at=values.get("effective_at"),
            batch_discount_bps=values.get("batch_discount_bps"),
        )
