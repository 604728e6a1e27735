"""Policies over the management API: public to read, published, tried and rolled back by staff."""

from collections.abc import Callable
from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import StaffWritesAllRead
from marketplace.catalog.models import AIModel
from marketplace.routing.models import Policy, PolicyKind
from marketplace.routing.services import PolicyWeights
from marketplace.routing.trials.models import Aim
from marketplace.tuning import sentences
from marketplace.tuning.editor.services import (
    CANARY_SHARE_MAX,
    PolicyConflict,
    policy_edit,
    policy_roll_back,
)

WEIGHTS = ("wait_weight", "usd_weight_s", "hedge_share", "shared", "weights")
VERSION_MAX = 2**31 - 1


class VersionConflict(APIException):
    """409; the problem lists the changes since ``expected_version``."""

    status_code = 409

    def __init__(self, conflict: PolicyConflict, model: AIModel) -> None:
        super().__init__(str(conflict))
        current = conflict.current or Policy(model=model, version=0)
        seen = model.policies.filter(version=conflict.seen).first() or Policy(model=model)
        self.members = {
            "current_version": current.version,
            "changed_meanwhile": ChangeSerializer(sentences.changes(seen, current), many=True).data,
        }


class ChangeSerializer(serializers.Serializer[Any]):
    """A field that two versions differ in; ``weights.12`` is the weight of deployment 12."""

    field = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    before = serializers.CharField()
    after = serializers.CharField()


class PolicyDiffSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    before = serializers.IntegerField()
    after = serializers.IntegerField()
    changes = ChangeSerializer(many=True)


class PolicyDiffQuerySerializer(serializers.Serializer[Any]):
    model = serializers.SlugRelatedField("name", queryset=AIModel.objects.all())
    before = serializers.IntegerField(min_value=1, max_value=VERSION_MAX)
    after = serializers.IntegerField(min_value=1, max_value=VERSION_MAX)


class RollBackSerializer(serializers.Serializer[Any]):
    expected_version = serializers.IntegerField(
        min_value=0, max_value=VERSION_MAX, required=False, allow_null=True, default=None
    )


class PolicySerializer(serializers.ModelSerializer[Policy]):
    """``canary_share`` above 0 tries it on that share of the calls; ``expected_version`` refuses it
    with 409 where another version is in force (0: none).
    """

    model = serializers.SlugRelatedField("name", queryset=AIModel.objects.all())
    canary_share = serializers.FloatField(
        min_value=0.0, max_value=CANARY_SHARE_MAX, required=False, default=0.0
    )
    aim = serializers.ChoiceField(choices=Aim.choices, write_only=True, default=Aim.LATENCY)
    expected_version = serializers.IntegerField(
        min_value=0, max_value=VERSION_MAX, write_only=True, allow_null=True, default=None
    )
    created_by = serializers.SerializerMethodField()

    class Meta:
        model = Policy
        fields = [
            "id",
            "model",
            "version",
            "kind",
            *WEIGHTS,
            "state",
            "canary_share",
            "note",
            "created_at",
            "created_by",
            "aim",
            "expected_version",
        ]
        read_only_fields = ["version", "state", "created_at"]

    def get_created_by(self, policy: Policy) -> str | None:
        """Who made it, for staff; policies are public, and people are not."""
        request = self.context.get("request")
        if request is None or not request.user.is_authenticated or not request.user.is_staff:
            return None
        return policy.created_by.email if policy.created_by else None


class PolicyViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet[Policy]):
    """How each model's requests are placed; the highest published version is in force."""

    permission_classes = [StaffWritesAllRead]
    serializer_class = PolicySerializer
    queryset = Policy.objects.select_related("model", "created_by")
    filterset_fields = ["model__name", "state"]

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        values = dict(serializer.validated_data)
        weights = cast(PolicyWeights, {name: values[name] for name in WEIGHTS if name in values})
        serializer.instance = self._put(
            values["model"],
            lambda: policy_edit(
                model=values["model"],
                kind=PolicyKind(values.get("kind", PolicyKind.LATE_BINDING)),
                by=self.request.user,  # type: ignore[arg-type]  # staff only: a User
                note=values.get("note", ""),
                weights=weights,
                expected_version=values["expected_version"],
                canary_share=values["canary_share"],
                aim=Aim(values["aim"]),
            ),
        )

    @extend_schema(
        parameters=[
            OpenApiParameter("model", str, required=True),
            OpenApiParameter("before", int, required=True, description="A version."),
            OpenApiParameter("after", int, required=True, description="A version."),
        ],
        responses=PolicyDiffSerializer,
        filters=False,
    )
    @action(detail=False, pagination_class=None)
    def diff(self, request: Request) -> Response:
        """What two versions of a model's policy differ in, field by field."""
        query = PolicyDiffQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        model = query.validated_data["model"]
        numbers = {name: query.validated_data[name] for name in ("before", "after")}
        found = {row.version: row for row in model.policies.filter(version__in=numbers.values())}
        for name, number in numbers.items():
            if number not in found:
                raise serializers.ValidationError(
                    {name: f"{model.name} has no version {number} of its policy."}
                )
        rows = sentences.changes(found[numbers["before"]], found[numbers["after"]])
        body = {"model": model.name, **numbers, "changes": rows}
        return Response(PolicyDiffSerializer(body).data)

    @extend_schema(request=RollBackSerializer, responses=PolicySerializer)
    @action(detail=True, methods=["post"])
    def republish(self, request: Request, pk: str) -> Response:
        """Republish this version as the newest: the way back to any version. For staff."""
        old = self.get_object()
        wanted = RollBackSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        policy = self._put(
            old.model,
            lambda: policy_roll_back(
                model=old.model,
                to_version=old.version,
                by=request.user,  # type: ignore[arg-type]  # staff only: a User
                expected_version=wanted.validated_data["expected_version"],
            ),
        )
        return Response(self.get_serializer(policy).data)

    def _put(self, model: AIModel, act: Callable[[], Policy]) -> Policy:
        try:
            return act()
        except PolicyConflict as conflict:
            raise VersionConflict(conflict, model) from conflict
