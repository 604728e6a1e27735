"""Webhooks over the management API: the delivery log, sending again, and rotating secrets."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.models import User
from marketplace.accounts.permissions import Permission
from marketplace.webhooks.models import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    WebhookSecret,
)
from marketplace.webhooks.services import OVERLAP_MAX, delivery_resend, secret_rotate

HOUR = timedelta(hours=1)
NO_STORE = {"Cache-Control": "no-store"}


class AttemptSerializer(serializers.ModelSerializer[DeliveryAttempt]):
    """``status`` is 0 where there was no answer; ``response`` is the beginning of one."""

    class Meta:
        model = DeliveryAttempt
        fields = ["started_at", "duration_ms", "outcome", "status", "error", "response"]


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    organisation = serializers.SlugField(source="organisation.slug", read_only=True)

    class Meta:
        model = Delivery
        fields = [
            "id",
            "organisation",
            "url",
            "event_id",
            "event_type",
            "state",
            "error",
            "attempts",
            "created_at",
            "due_at",
            "ended_at",
        ]
        read_only_fields = fields


class DeliveryWholeSerializer(DeliverySerializer):
    """With the body that is sent, and what happened to each attempt, the newest first."""

    log = AttemptSerializer(many=True, read_only=True)

    class Meta(DeliverySerializer.Meta):
        fields = [*DeliverySerializer.Meta.fields, "body", "log"]
        read_only_fields = fields


class DeliveryFilter(OrganisationFilter):
    """By organisation, state, kind of event, event and URL."""

    state = filters.ChoiceFilter(choices=DeliveryState.choices)
    event_type = filters.CharFilter()
    event_id = filters.CharFilter()
    url = filters.CharFilter()


class DeliveryViewSet(viewsets.ReadOnlyModelViewSet[Delivery]):
    """Events sent to your organisations' webhooks, kept for 30 days."""

    serializer_class = DeliverySerializer
    queryset = Delivery.objects.all()
    filterset_class = DeliveryFilter

    def get_queryset(self) -> QuerySet[Delivery]:
        mine = Delivery.objects.filter(organisation__in=organisations_seen_by(self.request))
        found = mine.select_related("organisation")
        return found.defer("body") if self.action == "list" else found.prefetch_related("log")

    @extend_schema(responses=DeliveryWholeSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(DeliveryWholeSerializer(self.get_object()).data)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def resend(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send it again now, under the same `webhook-id`; being heard enables its URL again."""
        delivery = self.get_object()
        organisation_acted_for(request, delivery.organisation.slug, Permission.KEYS)
        again = delivery_resend(delivery=delivery)
        return Response(DeliverySerializer(again).data, status.HTTP_202_ACCEPTED)


class SecretSerializer(serializers.ModelSerializer[WebhookSecret]):
    organisation = serializers.SlugField()

    class Meta:
        model = WebhookSecret
        fields = ["id", "organisation", "masked", "created_at", "expires_at"]
        read_only_fields = ["id", "masked", "created_at", "expires_at"]

    def to_representation(self, instance: WebhookSecret) -> dict[str, Any]:
        return {**super().to_representation(instance), "organisation": instance.organisation.slug}


class SecretAskedSerializer(serializers.Serializer[Any]):
    organisation = serializers.SlugField()
    overlap_hours = serializers.IntegerField(
        default=24,
        min_value=0,
        max_value=OVERLAP_MAX // HOUR,
        help_text="How long the old secret signs too; 0 ends it at once.",
    )


class SecretMadeSerializer(SecretSerializer):
    secret = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(SecretSerializer.Meta):
        fields = [*SecretSerializer.Meta.fields, "secret"]


class SecretViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[WebhookSecret]):
    """What your organisations' webhooks are signed with, masked."""

    serializer_class = SecretSerializer
    queryset = WebhookSecret.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[WebhookSecret]:
        return WebhookSecret.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation")

    @extend_schema(request=SecretAskedSerializer, responses={201: SecretMadeSerializer})
    def create(self, request: Request) -> Response:
        """Rotate: make a secret, which signs from now on. The answer carries it, once."""
        wanted = SecretAskedSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = wanted.validated_data
        row, secret = secret_rotate(
            organisation=organisation_acted_for(request, values["organisation"], Permission.KEYS),
            overlap=timedelta(hours=values["overlap_hours"]),
            created_by=request.user if isinstance(request.user, User) else None,
        )
        shown = {**SecretSerializer(row).data, "secret": secret}
        return Response(shown, status.HTTP_201_CREATED, headers=NO_STORE)
