"""Agents over the management API: what they send, and what people see of them."""

from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, RegexValidator
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.models import User
from marketplace.agents.access import pool_demand, pools_seen_by
from marketplace.agents.authentication import AgentAuthentication, AgentsOnly
from marketplace.agents.models import (
    AGENT_NAME_CHARACTERS,
    Agent,
    AgentWorker,
    ReportedState,
    WorkerToken,
)
from marketplace.agents.reports import WORKERS_MAX, Heartbeat, Introduction, WorkerReport
from marketplace.agents.services import (
    TokenRefused,
    agent_register,
    agent_revoke,
    heartbeat_take,
)
from marketplace.agents.tokens import (
    HOURS_DEFAULT,
    HOURS_REUSABLE_MAX,
    worker_token_create,
    worker_token_end,
)
from marketplace.catalog.models import BASE_URL, GANG_SIZE_MAX, NAME, Protocol

HEARTBEAT_S = 5
"""How often an agent is to report. Three that are missed take its workers out of routing."""

DEVICES_MAX = 64
SLOTS_MAX = 10_000
STATES = [choice for choice in ReportedState.choices if choice[0] != ReportedState.GONE]


class DeviceSerializer(serializers.Serializer[Any]):
    """An accelerator of the host."""

    name = serializers.CharField(max_length=120)
    memory_mib = serializers.IntegerField(min_value=0, max_value=2**31 - 1)
    driver = serializers.CharField(max_length=40, required=False, default="", allow_blank=True)


class HostSerializer(serializers.Serializer[Any]):
    """Where an agent runs; no ``hardware`` is a host without accelerators."""

    hardware = serializers.ListField(child=DeviceSerializer(), max_length=DEVICES_MAX)
    fingerprint = serializers.RegexField(
        r"^[0-9a-f]{16,64}$", help_text="A digest that changes with anything that changes speed."
    )
    version = serializers.CharField(max_length=40, help_text="Of the agent.")


class RegistrationSerializer(HostSerializer):
    token = serializers.CharField(
        max_length=200, help_text="Made for a pool; it works once, unless it is reusable."
    )
    name = serializers.CharField(
        max_length=AGENT_NAME_CHARACTERS,
        validators=[NAME],
        help_text="Its workers are called by it; a taken one gets a number.",
    )


class RegisteredSerializer(serializers.Serializer[Any]):
    """``credential`` is shown here and nowhere else."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    pool = serializers.CharField()
    credential = serializers.CharField()
    heartbeat_s = serializers.IntegerField()


class WorkerReportSerializer(serializers.Serializer[Any]):
    """An inference server as its agent sees it, or a process of a ``gang``.

    The gang is named alike by all its agents; rank 0 has its address.
    """

    name = serializers.CharField(max_length=20, validators=[NAME])
    state = serializers.ChoiceField(choices=STATES)
    url = serializers.CharField(max_length=300, default="", allow_blank=True)
    protocol = serializers.ChoiceField(choices=Protocol.choices)
    slots = serializers.IntegerField(min_value=1, validators=[MaxValueValidator(SLOTS_MAX)])
    engine = serializers.CharField(max_length=40)
    engine_version = serializers.CharField(max_length=80, default="", allow_blank=True)
    served_model = serializers.CharField(max_length=200, default="", allow_blank=True)
    model_version = serializers.CharField(max_length=80, default="", allow_blank=True)
    error = serializers.CharField(max_length=200, default="", allow_blank=True)
    gang = serializers.CharField(max_length=80, default="", allow_blank=True)
    gang_size = serializers.IntegerField(min_value=1, max_value=GANG_SIZE_MAX, default=1)
    rank = serializers.IntegerField(min_value=0, max_value=GANG_SIZE_MAX - 1, default=0)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["rank"] == 0:
            _valid("url", attrs["url"], BASE_URL)
        if attrs["gang"]:
            _valid("gang", attrs["gang"], NAME)
        if bool(attrs["gang"]) != (attrs["gang_size"] > 1):
            raise serializers.ValidationError({"gang_size": "A gang has a name and two members."})
        if attrs["rank"] >= attrs["gang_size"]:
            raise serializers.ValidationError({"rank": "Ranks are from 0 to the gang's size."})
        return attrs


def _valid(field: str, value: str, rule: RegexValidator) -> None:
    try:
        rule(value)
    except ValidationError as error:
        raise serializers.ValidationError({field: error.messages}) from error


class HeartbeatSerializer(HostSerializer):
    """All servers of an agent. One that it no longer names is drained."""

    workers = serializers.ListField(child=WorkerReportSerializer(), max_length=WORKERS_MAX)

    def validate_workers(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len({row["name"] for row in rows}) < len(rows):
            raise serializers.ValidationError("Two workers have the same name.")
        return rows


class WorkerWordSerializer(serializers.Serializer[Any]):
    """``in_flight`` is of a worker that drains; null while it is not known for sure."""

    name = serializers.CharField()
    worker_id = serializers.CharField()
    routable = serializers.BooleanField()
    in_flight = serializers.IntegerField(allow_null=True)
    fault = serializers.CharField(help_text="Why it is not healthy.")


class HeardSerializer(serializers.Serializer[Any]):
    heartbeat_s = serializers.IntegerField()
    workers = WorkerWordSerializer(many=True)


class AgentWorkerSerializer(serializers.ModelSerializer[AgentWorker]):
    worker_id = serializers.CharField(source="worker.worker_id")

    class Meta:
        model = AgentWorker
        fields = [
            "worker_id",
            "rank",
            "state",
            "engine",
            "engine_version",
            "served_model",
            "model_version",
        ]


class AgentSerializer(serializers.ModelSerializer[Agent]):
    """``hardware`` is what it found; empty for a host without accelerators."""

    pool = serializers.CharField(source="pool.name")
    hardware = DeviceSerializer(many=True)
    workers = AgentWorkerSerializer(many=True)

    class Meta:
        model = Agent
        fields = [
            "id",
            "name",
            "pool",
            "hardware",
            "fingerprint",
            "version",
            "registered_at",
            "seen_at",
            "revoked_at",
            "workers",
        ]


class WorkerTokenSerializer(serializers.ModelSerializer[WorkerToken]):
    """``token`` is in the answer to its creation and nowhere else."""

    pool = serializers.CharField(source="pool.name", max_length=60)
    hours = serializers.IntegerField(
        min_value=1, max_value=HOURS_REUSABLE_MAX, default=HOURS_DEFAULT, write_only=True
    )
    state = serializers.ChoiceField(
        choices=[("open", "open"), ("used", "used"), ("expired", "expired")], read_only=True
    )
    token = serializers.CharField(read_only=True, required=False)

    class Meta:
        model = WorkerToken
        fields = [
            "id",
            "pool",
            "hours",
            "reusable",
            "state",
            "token",
            "created_at",
            "expires_at",
            "used_at",
        ]
        read_only_fields = ["expires_at", "used_at"]


class AgentViewSet(mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[Agent]):
    """The agents of pools that the caller runs; staff see those of all. Deleting revokes."""

    permission_classes = [IsAuthenticated]
    serializer_class = AgentSerializer
    queryset = Agent.objects.all()
    filterset_fields = ["pool__name"]

    def get_queryset(self) -> QuerySet[Agent]:
        rows = Agent.objects.select_related("pool").prefetch_related("workers__worker")
        return rows.filter(pool__in=pools_seen_by(self.request))

    def perform_destroy(self, instance: Agent) -> None:
        pool_demand(self.request, instance.pool.name)
        agent_revoke(agent=instance)

    @extend_schema(request=RegistrationSerializer, responses={201: RegisteredSerializer}, auth=[])
    @action(
        detail=False,
        methods=["post"],
        authentication_classes=[],
        permission_classes=[AllowAny],
        pagination_class=None,
    )
    def register(self, request: Request) -> Response:
        """Exchange a token for a credential. For agents."""
        asked = RegistrationSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        values = dict(asked.validated_data)
        try:
            agent, credential = agent_register(
                token=values.pop("token"), who=Introduction(**values)
            )
        except TokenRefused as error:
            raise PermissionDenied(str(error)) from error
        told = {
            "id": agent.pk,
            "name": agent.name,
            "pool": agent.pool.name,
            "credential": credential,
            "heartbeat_s": HEARTBEAT_S,
        }
        return Response(RegisteredSerializer(told).data, status.HTTP_201_CREATED)

    @extend_schema(request=HeartbeatSerializer, responses=HeardSerializer)
    @action(
        detail=False,
        methods=["post"],
        authentication_classes=[AgentAuthentication],
        permission_classes=[AgentsOnly],
        pagination_class=None,
    )
    def heartbeat(self, request: Request) -> Response:
        """Report every server of the host, every ``heartbeat_s`` seconds. For agents."""
        asked = HeartbeatSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        values = dict(asked.validated_data)
        reports = [WorkerReport(**row) for row in values.pop("workers")]
        agent: Agent = request.auth  # type: ignore[assignment]  # `AgentsOnly` has seen to it
        words = heartbeat_take(agent=agent, beat=Heartbeat(**values, workers=reports))
        told = {"heartbeat_s": HEARTBEAT_S, "workers": [asdict(word) for word in words]}
        return Response(HeardSerializer(told).data)


class WorkerTokenViewSet(
    mixins.CreateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.ReadOnlyModelViewSet[WorkerToken],
):
    """Tokens with which agents join a pool: for who alone sells on it, and for staff.

    Deleting ends one: agents that joined by it stay.
    """

    permission_classes = [IsAuthenticated]
    serializer_class = WorkerTokenSerializer
    queryset = WorkerToken.objects.all()
    filterset_fields = ["pool__name"]

    def get_queryset(self) -> QuerySet[WorkerToken]:
        return WorkerToken.objects.select_related("pool").filter(
            pool__in=pools_seen_by(self.request)
        )

    def perform_create(self, serializer: serializers.BaseSerializer[WorkerToken]) -> None:
        values = serializer.validated_data
        pool = pool_demand(self.request, values["pool"]["name"])
        user = self.request.user
        row, token = worker_token_create(
            pool=pool,
            hours=values["hours"],
            reusable=values.get("reusable", False),
            created_by=user if isinstance(user, User) else None,
        )
        row.token = token  # type: ignore[attr-defined]  # for this one answer
        serializer.instance = row

    def perform_destroy(self, instance: WorkerToken) -> None:
        pool_demand(self.request, instance.pool.name)
        worker_token_end(instance)
