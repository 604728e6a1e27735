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
from marketplace.agents.access import (
    endpoint_demand,
    pool_demand,
    site_demand,
    sites_seen_by,
)
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
from marketplace.agents.sites import site_of
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
        max_length=200, help_text="Made for a pool or an endpoint; works once, if not reusable."
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
    pool = serializers.CharField(help_text="Or the name of an organisation's own endpoint.")
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
        parts = [(row["gang"], row["rank"]) for row in rows if row["gang"]]
        if len(set(parts)) < len(parts):
            raise serializers.ValidationError("Two workers are the same rank of a gang.")
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
    worker_id = serializers.CharField(source="server.worker_id")

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
    """``hardware`` is what it found; empty for a host without accelerators.

    It is of a ``pool``, or of an organisation's own ``endpoint``.
    """

    name = serializers.CharField(source="called")
    pool = serializers.CharField(source="pool.name", allow_null=True, default=None)
    endpoint = serializers.IntegerField(source="endpoint_id", allow_null=True)
    hardware = DeviceSerializer(many=True)
    workers = AgentWorkerSerializer(many=True)

    class Meta:
        model = Agent
        fields = [
            "id",
            "name",
            "pool",
            "endpoint",
            "hardware",
            "fingerprint",
            "version",
            "registered_at",
            "seen_at",
            "revoked_at",
            "workers",
        ]


class WorkerTokenSerializer(serializers.ModelSerializer[WorkerToken]):
    """``token`` is in the answer to its creation and nowhere else.

    It is for a ``pool``, or for one of your own endpoints by its id.
    """

    pool = serializers.CharField(
        source="pool.name", max_length=60, required=False, allow_null=True, default=None
    )
    endpoint = serializers.IntegerField(
        source="endpoint_id",
        min_value=1,
        max_value=2**63 - 1,
        required=False,
        allow_null=True,
        default=None,
    )
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
            "endpoint",
            "hours",
            "reusable",
            "state",
            "token",
            "created_at",
            "expires_at",
            "used_at",
        ]
        read_only_fields = ["expires_at", "used_at"]
        # The services know what a token is for.
        validators: list[Any] = []

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return attrs | {"pool": (attrs.get("pool") or {}).get("name")}


class AgentViewSet(mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[Agent]):
    """The agents of your own endpoints and of pools that you run; staff see those of all pools.

    Deleting revokes.
    """

    permission_classes = [IsAuthenticated]
    serializer_class = AgentSerializer
    queryset = Agent.objects.all()
    filterset_fields = ["pool__name", "endpoint__id"]

    def get_queryset(self) -> QuerySet[Agent]:
        rows = Agent.objects.select_related("pool", "endpoint__organisation")
        rows = rows.prefetch_related("workers__worker", "workers__own_worker")
        return rows.filter(sites_seen_by(self.request))

    def perform_destroy(self, instance: Agent) -> None:
        site_demand(self.request, instance)
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
            "name": agent.called,
            "pool": site_of(agent).name,
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
    """Tokens with which agents join a pool, or bring their host's servers to your own endpoint.

    Those of a pool are for who alone sells on it, and for staff. Deleting ends one: agents that
    joined by it stay.
    """

    permission_classes = [IsAuthenticated]
    serializer_class = WorkerTokenSerializer
    queryset = WorkerToken.objects.all()
    filterset_fields = ["pool__name", "endpoint__id"]

    def get_queryset(self) -> QuerySet[WorkerToken]:
        rows = WorkerToken.objects.select_related("pool", "endpoint__organisation")
        return rows.filter(sites_seen_by(self.request))

    def perform_create(self, serializer: serializers.BaseSerializer[WorkerToken]) -> None:
        values = serializer.validated_data
        name, endpoint_id = values["pool"], values["endpoint_id"]
        user = self.request.user
        row, token = worker_token_create(
            pool=pool_demand(self.request, name) if name else None,
            endpoint=endpoint_demand(self.request, endpoint_id) if endpoint_id else None,
            hours=values["hours"],
            reusable=values.get("reusable", False),
            created_by=user if isinstance(user, User) else None,
        )
        row.token = token  # type: ignore[attr-defined]  # for this one answer
        serializer.instance = row

    def perform_destroy(self, instance: WorkerToken) -> None:
        site_demand(self.request, instance)
        worker_token_end(instance)
