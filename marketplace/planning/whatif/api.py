"""What-if questions over the management API: for the platform's staff."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import mixins, serializers, viewsets
from rest_framework.exceptions import Throttled

from marketplace.accounts.access import StaffOnly
from marketplace.planning.asking import QuestionInvalid, QueueFull
from marketplace.planning.models import WhatIf
from marketplace.planning.whatif.question import question_of
from marketplace.planning.whatif.selectors import what_ifs
from marketplace.planning.whatif.services import what_if_ask

RETRY_AFTER_S = 30


@extend_schema_field({"type": "object", "additionalProperties": {}})
class QuestionField(serializers.JSONField):
    """The question's own JSON: see docs/how-to/ask-what-if.md."""


class WhatIfSerializer(serializers.ModelSerializer[WhatIf]):
    question = QuestionField()
    answer = serializers.JSONField(read_only=True)
    model = serializers.CharField(source="model.name", read_only=True)
    seconds_left = serializers.IntegerField(read_only=True, allow_null=True)
    asked_by = serializers.CharField(source="asked_by.email", read_only=True, default=None)

    class Meta:
        model = WhatIf
        fields = [
            "id",
            "model",
            "question",
            "state",
            "progress",
            "seconds_left",
            "error",
            "answer",
            "asked_by",
            "created_at",
            "started_at",
            "ended_at",
        ]
        read_only_fields = [name for name in fields if name != "question"]

    def validate_question(self, asked: Any) -> Any:
        if not isinstance(asked, dict):
            raise serializers.ValidationError("A question is an object with model, since, until.")
        try:
            return question_of(asked)
        except QuestionInvalid as error:
            raise serializers.ValidationError({error.field: str(error)}) from None


class WhatIfListSerializer(WhatIfSerializer):
    """Without the answers, which are large."""

    class Meta(WhatIfSerializer.Meta):
        fields = [name for name in WhatIfSerializer.Meta.fields if name != "answer"]


class WhatIfViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet[WhatIf]):
    """Questions to the simulator. Ask by POST, then read it until ``state`` is done or failed."""

    permission_classes = [StaffOnly]
    serializer_class = WhatIfSerializer
    queryset = WhatIf.objects.none()
    filterset_fields = ["model__name", "state"]

    def get_queryset(self) -> Any:
        return what_ifs()

    def get_serializer_class(self) -> Any:
        return WhatIfListSerializer if self.action == "list" else WhatIfSerializer

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        try:
            serializer.instance = what_if_ask(
                question=serializer.validated_data["question"],
                asked_by=self.request.user,  # type: ignore[arg-type]  # staff only: a User
            )
        except QueueFull as error:
            raise Throttled(RETRY_AFTER_S, str(error)) from None
        except QuestionInvalid as error:
            raise serializers.ValidationError({"question": {error.field: str(error)}}) from None
