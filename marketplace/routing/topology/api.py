"""The topology over the management API: one look, for the platform's staff."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import StaffOnly
from marketplace.routing.topology.picture import (
    Condition,
    Expected,
    PoolBox,
    Queue,
    Topology,
    Voice,
    WorkerBox,
)
from marketplace.routing.topology.selectors import overview_now, topology_now


class RouterSerializer(serializers.Serializer[Any]):
    router_id = serializers.CharField()
    url = serializers.CharField()
    voice = serializers.ChoiceField(choices=[(choice.value, choice.value) for choice in Voice])
    age_s = serializers.FloatField()
    error = serializers.CharField()
    snapshot_version = serializers.IntegerField()
    is_behind = serializers.BooleanField()
    draining = serializers.BooleanField()
    waiting = serializers.IntegerField()
    in_flight = serializers.IntegerField()
    slots = serializers.IntegerField()
    unsettled = serializers.IntegerField()
    ended_hz = serializers.FloatField(allow_null=True)
    failed_hz = serializers.FloatField(allow_null=True)


class QueuePartSerializer(serializers.Serializer[Any]):
    router_id = serializers.CharField()
    waiting = serializers.IntegerField()
    ended_hz = serializers.FloatField(allow_null=True)


class QueueSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    emulated = serializers.BooleanField()
    waiting = serializers.IntegerField()
    in_flight = serializers.IntegerField()
    ended_hz = serializers.FloatField(allow_null=True)
    failed_hz = serializers.FloatField(allow_null=True)
    by_router = QueuePartSerializer(many=True)
    policy = serializers.CharField()
    version = serializers.IntegerField()
    canary_version = serializers.IntegerField()
    canary_share = serializers.FloatField()


class EngineExpectedSerializer(serializers.Serializer[Any]):
    """Of a typical request; factors are relative to the deployment's other engines."""

    prompt_tokens = serializers.IntegerField(help_text="Of its prompt, those not cached.")
    first_token_ms = serializers.FloatField()
    token_ms = serializers.FloatField(help_text="Each further token.")
    hit_rate = serializers.FloatField(
        allow_null=True, help_text="Share of the latest prompts' tokens that were cached."
    )
    first_factor = serializers.FloatField()
    step_factor = serializers.FloatField()


class EngineBatchSerializer(serializers.Serializer[Any]):
    """What runs on an engine now, as the routers that sent it count."""

    decoding = serializers.IntegerField()
    prompts_waiting = serializers.IntegerField()
    pending_tokens = serializers.IntegerField()
    context_tokens = serializers.IntegerField()
    has_room = serializers.BooleanField()
    ramping = serializers.BooleanField()


class ExpectedSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    service_ms = serializers.FloatField()
    samples = serializers.IntegerField()
    in_flight = serializers.IntegerField()
    engine = EngineExpectedSerializer(allow_null=True)


class MemberSerializer(serializers.Serializer[Any]):
    """A further process of a gang."""

    rank = serializers.IntegerField()
    healthy = serializers.BooleanField()
    error = serializers.CharField()


class TopologyWorkerSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    worker_id = serializers.CharField()
    condition = serializers.ChoiceField(
        choices=[(choice.value, choice.value) for choice in Condition]
    )
    slots = serializers.IntegerField()
    slots_used_now = serializers.IntegerField()
    in_flight = serializers.IntegerField()
    healthy = serializers.BooleanField()
    draining = serializers.BooleanField()
    drain_reason = serializers.CharField()
    ejected_s = serializers.FloatField()
    ejected_by = serializers.ListField(child=serializers.CharField())
    consecutive_failures = serializers.IntegerField()
    strays = serializers.FloatField(allow_null=True)
    gang_size = serializers.IntegerField(help_text="How many processes serve as one; 1: no gang.")
    members = MemberSerializer(many=True)
    expected = ExpectedSerializer(many=True)
    engine = EngineBatchSerializer(allow_null=True)


class TopologyPoolSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    hardware = serializers.CharField()
    region = serializers.CharField()
    emulated = serializers.BooleanField()
    models = serializers.ListField(child=serializers.CharField())
    slots = serializers.IntegerField()
    in_flight = serializers.IntegerField()
    workers = TopologyWorkerSerializer(many=True)


class OverviewSerializer(serializers.Serializer[Any]):
    """Of the last minute's calls, and what wants a look."""

    calls = serializers.IntegerField()
    rate_hz = serializers.FloatField()
    failed = serializers.IntegerField()
    completed = serializers.IntegerField()
    p99_ms = serializers.FloatField(allow_null=True)
    stragglers = serializers.IntegerField()
    canaries = serializers.IntegerField()
    proposals = serializers.IntegerField()
    ledger_gaps = serializers.IntegerField(allow_null=True)
    ledger_report_at = serializers.DateTimeField(allow_null=True)
    unmeasured = serializers.IntegerField()


class TopologySerializer(serializers.Serializer[Any]):
    taken_at_s = serializers.FloatField()
    age_s = serializers.FloatField()
    is_known = serializers.BooleanField()
    snapshot_version = serializers.IntegerField()
    overview = OverviewSerializer()
    routers = RouterSerializer(many=True)
    queues = QueueSerializer(many=True)
    pools = TopologyPoolSerializer(many=True)


class TopologyViewSet(viewsets.ViewSet):
    """Routers, queues, pools and workers at this moment; a reading is shared for a second."""

    permission_classes = [StaffOnly]

    @extend_schema(responses=TopologySerializer, operation_id="topology_retrieve")
    def list(self, request: Request) -> Response:
        """The whole fleet. ``is_known`` is false where no router answers."""
        return Response(TopologySerializer(_topology(topology_now())).data)


def _topology(now: Topology) -> dict[str, Any]:
    return {
        "taken_at_s": now.taken_at,
        "age_s": now.age_s,
        "is_known": now.is_known,
        "snapshot_version": now.snapshot_version,
        "overview": _overview(),
        "routers": [asdict(row) for row in now.routers],
        "queues": [_queue(queue) for queue in now.queues],
        "pools": [_pool(box) for box in now.pools],
    }


def _overview() -> dict[str, Any]:
    overview = overview_now()
    return {
        **asdict(overview),
        **asdict(overview.figures),
        "rate_hz": overview.figures.rate_hz,
        "ledger_gaps": overview.gaps,
        "ledger_report_at": overview.report_at,
    }


def _queue(queue: Queue) -> dict[str, Any]:
    return {
        **asdict(queue.model),
        **asdict(queue),
        "model": queue.model.name,
        "by_router": [
            {"router_id": router, "waiting": waiting, "ended_hz": hz}
            for router, waiting, hz in queue.by_router
        ],
    }


def _pool(box: PoolBox) -> dict[str, Any]:
    return {
        **asdict(box.pool),
        "slots": box.slots,
        "in_flight": box.in_flight,
        "workers": [_worker(worker) for worker in box.workers],
    }


def _worker(box: WorkerBox) -> dict[str, Any]:
    expected: tuple[Expected, ...] = box.expected
    return {
        **asdict(box.row),
        "id": box.row.pk,
        "condition": box.condition,
        "slots_used_now": box.in_use,
        "in_flight": box.in_flight,
        "ejected_s": box.ejected_s,
        "ejected_by": box.ejected_by,
        "consecutive_failures": box.failures,
        "expected": [asdict(known) for known in expected],
        "engine": box.engine,
    }
