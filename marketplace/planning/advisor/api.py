"""The hardware advisor over the management API."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.models import User
from marketplace.accounts.permissions import Permission
from marketplace.planning.advisor.models import Advice, AdviceState
from marketplace.planning.advisor.question import question_of
from marketplace.planning.advisor.services import PilotImpossible, advice_make, pilot_start
from marketplace.planning.asking import QuestionInvalid, QueueFull


class AdviceSerializer(serializers.ModelSerializer[Advice]):
    """``question`` is the workload; ``check`` false answers by the model alone."""

    organisation: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    state = serializers.ChoiceField(AdviceState.choices, source="check_state", read_only=True)
    seconds_left = serializers.IntegerField(read_only=True, allow_null=True)

    class Meta:
        model = Advice
        fields = [
            "id",
            "organisation",
            "model",
            "state",
            "progress",
            "seconds_left",
            "stage",
            "runs",
            "error",
            "emulated",
            "question",
            "answer",
            "created_at",
            "ended_at",
        ]
        read_only_fields = fields


class QuestionSerializer(serializers.Serializer[Any]):
    organisation = serializers.SlugField()
    question = serializers.DictField()
    check = serializers.BooleanField(default=True)


class PilotSerializer(serializers.Serializer[Any]):
    deployment = serializers.IntegerField(min_value=1)
    benchmark = serializers.IntegerField(read_only=True)


class AdviceViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet[Advice]):
    """Which hardware to have for a workload. Any member may ask; the organisation keeps it."""

    serializer_class = AdviceSerializer
    queryset = Advice.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[Advice]:
        seen = organisations_seen_by(self.request)
        return Advice.objects.filter(organisation__in=seen).select_related("organisation")

    @extend_schema(request=QuestionSerializer, responses={201: AdviceSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Answer at once by the model; the check by emulation follows (``state``)."""
        asked = QuestionSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        values = asked.validated_data
        organisation = organisation_acted_for(request, values["organisation"], Permission.LOOK)
        try:
            advice = advice_make(
                organisation=organisation,
                user=request.user if isinstance(request.user, User) else None,
                question=question_of(values["question"]),
                check=values["check"],
            )
        except QuestionInvalid as error:
            raise ValidationError({"question": {error.field: str(error)}}) from error
        except QueueFull as error:
            raise Throttled(detail=str(error)) from error
        return Response(AdviceSerializer(advice).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=PilotSerializer, responses={201: PilotSerializer})
    @action(detail=True, methods=["post"])
    def pilot(self, request: Request, pk: str | None = None) -> Response:
        """Benchmark a deployment whose figures the answer doubts. For staff: it is load."""
        advice = self.get_object()
        if not (isinstance(request.user, User) and request.user.is_staff):
            self.permission_denied(request, "Only the platform's staff start benchmarks.")
        wanted = PilotSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        deployment = wanted.validated_data["deployment"]
        try:
            benchmark = pilot_start(advice=advice, deployment_id=deployment, user=request.user)
        except PilotImpossible as error:
            raise ValidationError({"deployment": [str(error)]}) from error
        made = {"deployment": deployment, "benchmark": benchmark.pk}
        return Response(made, status=status.HTTP_201_CREATED)
