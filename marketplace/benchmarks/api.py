"""Benchmarks and profiles over the management API: public to read; staff and providers measure."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.permissions import IsAuthenticatedOrReadOnly
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.models import User
from marketplace.benchmarks.access import benchmarks_seen_by, may_change, may_measure
from marketplace.benchmarks.models import Benchmark, Point, Profile, Target
from marketplace.benchmarks.results import export
from marketplace.benchmarks.selectors import benchmarks_shown, deployment_of, profiles_shown
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import AIModel, Deployment, Worker
from marketplace.catalog.visibility import seen_by
from marketplace.shared.jobs.services import job_cancel

STAFF_OR_PROVIDER = "Only the platform's staff and the provider of the deployment may do this."


class PointSerializer(serializers.ModelSerializer[Point]):
    class Meta:
        model = Point
        exclude = ["id", "benchmark"]


class BenchmarkSerializer(serializers.ModelSerializer[Benchmark]):
    model = serializers.SlugRelatedField("name", queryset=AIModel.objects.all())
    deployment = serializers.PrimaryKeyRelatedField(
        queryset=Deployment.objects.select_related("version", "provider__organisation", "pool"),
        required=False,
        allow_null=True,
    )
    worker = serializers.SlugRelatedField(
        "worker_id", queryset=Worker.objects.all(), required=False, allow_null=True
    )

    settings = serializers.DictField(required=False)
    seconds_left = serializers.IntegerField(read_only=True, allow_null=True)

    class Meta:
        model = Benchmark
        exclude = ["asked_by", "attempts", "heartbeat_at", "raw_dir"]
        read_only_fields = [
            "trigger",
            "state",
            "progress",
            "stage",
            "error",
            "cancel_requested",
            "fingerprint",
            "emulated",
            "started_at",
            "ended_at",
        ]


class BenchmarkDetailSerializer(BenchmarkSerializer):
    points = PointSerializer(many=True, read_only=True)


class ProfileSerializer(serializers.ModelSerializer[Profile]):
    model = serializers.CharField(source="deployment.version.model.name", read_only=True)
    pool = serializers.CharField(source="deployment.pool.name", read_only=True)
    cost_nano_per_1000 = serializers.IntegerField(read_only=True, allow_null=True)
    cost_nano_per_million_tokens = serializers.IntegerField(read_only=True, allow_null=True)

    class Meta:
        model = Profile
        fields = "__all__"


class BenchmarkViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet[Benchmark]):
    """What was measured by LoadGen, and what is being measured."""

    permission_classes = [IsAuthenticatedOrReadOnly]
    queryset = Benchmark.objects.all()
    filterset_fields = ["model__name", "deployment", "worker__worker_id", "scenario", "state"]

    def get_queryset(self) -> QuerySet[Benchmark]:
        rows = benchmarks_shown(benchmarks_seen_by(self.request))
        return rows if self.action == "list" else rows.prefetch_related("points")

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        return BenchmarkDetailSerializer if self.action == "retrieve" else BenchmarkSerializer

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        asked = dict(serializer.validated_data)
        if asked.get("worker") and not asked.get("deployment"):
            asked["deployment"] = deployment_of(asked["model"], asked["worker"])
        if asked["target"] == Target.ROUTE:
            # Naming a deployment too gives no right to the platform's router.
            asked["deployment"] = None
        if not may_measure(self.request, asked.get("deployment")):
            raise PermissionDenied(STAFF_OR_PROVIDER)
        user = self.request.user
        serializer.instance = benchmark_request(
            asked_by=user if isinstance(user, User) else None, **asked
        )

    @extend_schema(request=None, responses=BenchmarkSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop it: at once while it waits, within two seconds while it runs."""
        benchmark = self.get_object()
        if not may_change(request, benchmark):
            raise PermissionDenied(STAFF_OR_PROVIDER)
        job_cancel(benchmark)
        return Response(BenchmarkSerializer(benchmark).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        parameters=[OpenApiParameter("kind", enum=export.FORMATS)],
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/zip"): OpenApiTypes.BINARY,
        },
    )
    @action(detail=True)
    def export(self, request: Request, pk: str) -> HttpResponse:
        """The benchmark as a file: ``?kind=json``, ``csv``, or ``tensorboard`` for a zip."""
        kind = request.query_params.get("kind", "json")
        if kind not in export.FORMATS:
            raise ValidationError({"kind": f"one of {', '.join(export.FORMATS)}, not {kind!r}"})
        return export.response(self.get_object(), kind)


class ProfileViewSet(viewsets.ReadOnlyModelViewSet[Profile]):
    """What is known of each deployment's speed, with history. ``in_force`` are the priors now."""

    permission_classes = [IsAuthenticatedOrReadOnly]
    serializer_class = ProfileSerializer
    queryset = Profile.objects.all()
    filterset_fields = ["deployment", "deployment__version__model__name", "origin", "published"]

    def get_queryset(self) -> QuerySet[Profile]:
        return profiles_shown(seen_by(self.request, "deployment__"))
