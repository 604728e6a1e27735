"""Proposals, trials and settings of routes over the management API, for the platform's staff."""

from typing import Any

import msgspec
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import StaffOnly
from marketplace.accounts.models import User
from marketplace.routing.trials.aim import Aim
from marketplace.routing.trials.models import RouteTuning, Trial
from marketplace.shared.known_fields import KnownFieldsOnly
from marketplace.tuning import sentences
from marketplace.tuning.proofs.proof import Proof
from marketplace.tuning.services import (
    trial_approve,
    trial_dismiss,
    trial_roll_back,
    tuning_set,
)


class ProposalSerializer(serializers.ModelSerializer[Trial]):
    model = serializers.CharField(source="policy.model.name", read_only=True)
    version = serializers.IntegerField(source="policy.version", read_only=True)
    state = serializers.CharField(source="policy.state", read_only=True)
    share = serializers.FloatField(source="policy.canary_share", read_only=True)
    baseline_version = serializers.IntegerField(source="baseline.version", read_only=True)
    asked_by = serializers.CharField(source="asked_by.email", default="loop", read_only=True)
    because = serializers.SerializerMethodField()
    replay = serializers.JSONField(read_only=True)
    replay_says = serializers.SerializerMethodField()

    class Meta:
        model = Trial
        fields = [
            "id",
            "model",
            "version",
            "baseline_version",
            "state",
            "share",
            "aim",
            "asked_by",
            "because",
            "evidence",
            "replay",
            "replay_says",
            "created_at",
            "started_at",
            "ended_at",
            "ended_because",
        ]
        read_only_fields = fields

    def get_because(self, trial: Trial) -> list[str]:
        return sentences.why(trial.evidence)

    def get_replay_says(self, trial: Trial) -> list[str]:
        """In words what ``replay`` says, its ``trust`` first; empty for a trial without one."""
        if not trial.replay:
            return []
        proof = msgspec.convert(trial.replay, Proof)
        return [str(sentences.TRUST[proof.trust]), *sentences.verdict(proof, Aim(trial.aim))]


class ProposalDetailSerializer(ProposalSerializer):
    """With what its trial saw, look by look: too much for a list."""

    class Meta(ProposalSerializer.Meta):
        fields = [*ProposalSerializer.Meta.fields, "looks"]
        read_only_fields = fields


class WhySerializer(serializers.Serializer[Any]):
    why = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)


class ProposalViewSet(viewsets.ReadOnlyModelViewSet[Trial]):
    """Proposed policy versions with their evidence, and the trials that they went through."""

    permission_classes = [StaffOnly]
    queryset = Trial.objects.select_related("policy__model", "baseline", "asked_by")
    filterset_fields = ["policy__model__name", "policy__state"]

    def get_queryset(self) -> QuerySet[Trial]:
        found = super().get_queryset()
        return found.defer("looks") if self.action == "list" else found

    def get_serializer_class(self) -> type[ProposalSerializer]:
        return ProposalSerializer if self.action == "list" else ProposalDetailSerializer

    @extend_schema(request=None, responses=ProposalDetailSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        """Try it on its share of the calls."""
        return self._shown(trial_approve(trial=self.get_object(), by=_staff(request)))

    @extend_schema(request=WhySerializer, responses=ProposalDetailSerializer)
    @action(detail=True, methods=["post"])
    def dismiss(self, request: Request, pk: str) -> Response:
        """Set a proposal aside."""
        trial = self.get_object()
        return self._shown(trial_dismiss(trial=trial, by=_staff(request), why=_why(request)))

    @extend_schema(request=WhySerializer, responses=ProposalDetailSerializer)
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, pk: str) -> Response:
        """Stop a trial."""
        trial = self.get_object()
        return self._shown(trial_roll_back(trial=trial, by=_staff(request), why=_why(request)))

    def _shown(self, trial: Trial) -> Response:
        return Response(self.get_serializer(trial).data)


class RouteTuningSerializer(KnownFieldsOnly, serializers.ModelSerializer[RouteTuning]):
    model = serializers.CharField(source="model.name", read_only=True)

    class Meta:
        model = RouteTuning
        fields = [
            "id",
            "model",
            "mode",
            "canary_share",
            "slo_ms",
            "error_budget",
            "samples_min",
            "updated_at",
        ]


class RouteTuningViewSet(mixins.UpdateModelMixin, viewsets.ReadOnlyModelViewSet[RouteTuning]):
    """What automatic tuning may do on each route that it has checked."""

    permission_classes = [StaffOnly]
    serializer_class = RouteTuningSerializer
    queryset = RouteTuning.objects.select_related("model")
    filterset_fields = ["model__name", "mode"]
    http_method_names = ["get", "patch", "head", "options"]

    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        serializer.instance = tuning_set(
            tuning=self.get_object(), by=_staff(self.request), **dict(serializer.validated_data)
        )


def _why(request: Request) -> str:
    body = WhySerializer(data=request.data)
    body.is_valid(raise_exception=True)
    return str(body.validated_data["why"])


def _staff(request: Any) -> User:
    user: User = request.user  # `StaffOnly` lets only users in.
    return user
