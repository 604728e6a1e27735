"""Policies over the management API: public to read, published by staff."""

from typing import Any

from rest_framework import mixins, serializers, viewsets

from marketplace.accounts.access import StaffWritesAllRead
from marketplace.catalog.models import AIModel
from marketplace.routing.models import Policy, PolicyKind
from marketplace.routing.services import policy_publish


class PolicySerializer(serializers.ModelSerializer[Policy]):
    model = serializers.SlugRelatedField("name", queryset=AIModel.objects.all())

    class Meta:
        model = Policy
        fields = [
            "id",
            "model",
            "version",
            "kind",
            "wait_weight",
            "usd_weight_s",
            "hedge_share",
            "shared",
            "note",
            "created_at",
        ]
        read_only_fields = ["version", "created_at"]


class PolicyViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet[Policy]):
    """How each model's requests are placed; the highest version is in force."""

    permission_classes = [StaffWritesAllRead]
    serializer_class = PolicySerializer
    queryset = Policy.objects.select_related("model")
    filterset_fields = ["model__name"]

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        values = dict(serializer.validated_data)
        serializer.instance = policy_publish(
            kind=PolicyKind(values.pop("kind", PolicyKind.LATE_BINDING)),
            created_by=self.request.user,  # type: ignore[arg-type]  # staff only: a User
            **values,
        )
