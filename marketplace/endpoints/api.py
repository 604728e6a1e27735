"""Own endpoints over the management API. No answer has a key."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.models import ApiKey, Organisation, User
from marketplace.accounts.permissions import Permission
from marketplace.catalog.selectors import models_published
from marketplace.endpoints.models import OwnEndpoint
from marketplace.endpoints.services import (
    KEY_MAX,
    own_endpoint_change,
    own_endpoint_key_rotate,
    own_endpoint_list,
    own_endpoint_remove,
)
from marketplace.endpoints.trying import own_endpoint_try
from marketplace.inference.callers import Caller
from marketplace.shared.known_fields import KnownFieldsOnly

USE = (
    "upstream_model",
    "slots",
    "context_tokens_max",
    "completion_tokens_max",
    "stands_for",
    "spills",
    "market_prompt_nano_max",
    "market_completion_nano_max",
)


class _Used(serializers.ModelSerializer[OwnEndpoint]):
    stands_for = serializers.SlugRelatedField(
        "name",
        queryset=models_published(),
        required=False,
        allow_null=True,
        help_text="The market's model whose calls go to the endpoint first.",
    )
    spills = serializers.BooleanField(
        required=False, help_text="Whether the market takes calls that the endpoint cannot."
    )
    market_prompt_nano_max = serializers.IntegerField(
        min_value=0,
        max_value=2**63 - 1,
        required=False,
        allow_null=True,
        help_text="The most that the market may then charge, in nano-USD per million tokens.",
    )
    market_completion_nano_max = serializers.IntegerField(
        min_value=0, max_value=2**63 - 1, required=False, allow_null=True
    )


class OwnEndpointSerializer(_Used):
    """``name`` is the model to call. ``masked_key`` is the end of a long key."""

    organisation = serializers.SlugField(source="organisation.slug")
    name = serializers.CharField(read_only=True)

    class Meta:
        model = OwnEndpoint
        fields = [
            "id",
            "organisation",
            "name",
            "slug",
            "task",
            "dialect",
            "hosted",
            "url",
            *USE,
            "masked_key",
            "key_changed_at",
            "created_at",
        ]
        read_only_fields = ["masked_key", "key_changed_at", "created_at"]
        # The services know the organisation.
        validators: list[Any] = []


class NewEndpointSerializer(KnownFieldsOnly, OwnEndpointSerializer):
    key = serializers.CharField(
        max_length=KEY_MAX,
        required=False,
        default="",
        allow_blank=True,
        allow_null=True,
        write_only=True,
        help_text="What the endpoint knows the organisation by; encrypted, and never shown.",
    )
    hosted = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Its servers are on your own hosts, and agents say where: it has no `url`.",
    )

    class Meta(OwnEndpointSerializer.Meta):
        fields = [*OwnEndpointSerializer.Meta.fields, "key"]


class EndpointUseSerializer(KnownFieldsOnly, _Used):
    class Meta:
        model = OwnEndpoint
        fields = list(USE)
        validators: list[Any] = []


class EndpointKeySerializer(KnownFieldsOnly, serializers.Serializer[Any]):
    key = serializers.CharField(max_length=KEY_MAX, write_only=True)


class TriedSerializer(serializers.Serializer[Any]):
    """How a test call went; ``text`` is the beginning of the answer, or of the error."""

    ok = serializers.BooleanField()
    status = serializers.IntegerField(help_text="The router's; 0 where it was not reached.")
    took_ms = serializers.FloatField()
    text = serializers.CharField()
    request_id = serializers.CharField()


class OwnEndpointViewSet(mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[OwnEndpoint]):
    """What your organisations list for themselves alone. Deleting one takes it out of routing."""

    serializer_class = OwnEndpointSerializer
    queryset = OwnEndpoint.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[OwnEndpoint]:
        return OwnEndpoint.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation", "stands_for")

    @extend_schema(request=NewEndpointSerializer, responses={201: OwnEndpointSerializer})
    def create(self, request: Request) -> Response:
        """List an endpoint: one with a `url`, or one that is `hosted`, whose servers agents report.

        One at an internal address is refused.
        """
        wanted = NewEndpointSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = dict(wanted.validated_data)
        slug = values.pop("organisation")["slug"]
        row = own_endpoint_list(
            organisation=organisation_acted_for(request, slug, Permission.KEYS),
            created_by=request.user if isinstance(request.user, User) else None,
            key=values.pop("key") or "",
            **values,
        )
        return Response(OwnEndpointSerializer(row).data, status.HTTP_201_CREATED)

    @extend_schema(request=EndpointUseSerializer, responses=OwnEndpointSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change how it is used. Its URL stays: list another endpoint instead."""
        row = self.get_object()
        wanted = EndpointUseSerializer(row, data=request.data, partial=True)
        wanted.is_valid(raise_exception=True)
        organisation_acted_for(request, row.organisation.slug, Permission.KEYS)
        changed = own_endpoint_change(endpoint=row, **wanted.validated_data)
        return Response(OwnEndpointSerializer(changed).data)

    @extend_schema(request=EndpointKeySerializer, responses=OwnEndpointSerializer)
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Call it with another key from now on; calls that run keep the old one."""
        row = self.get_object()
        wanted = EndpointKeySerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        organisation_acted_for(request, row.organisation.slug, Permission.KEYS)
        changed = own_endpoint_key_rotate(endpoint=row, key=wanted.validated_data["key"])
        return Response(OwnEndpointSerializer(changed).data)

    @extend_schema(request=None, responses=TriedSerializer)
    @action(detail=True, methods=["post"], url_path="try")
    def try_(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a short call to it now, which is metered like any other."""
        row = self.get_object()
        organisation_acted_for(request, row.organisation.slug, Permission.CALL)
        tried = own_endpoint_try(endpoint=row, caller=_caller(request, row.organisation))
        return Response(TriedSerializer(tried).data)

    def perform_destroy(self, instance: OwnEndpoint) -> None:
        organisation_acted_for(self.request, instance.organisation.slug, Permission.KEYS)
        own_endpoint_remove(endpoint=instance)


def _caller(request: Request, organisation: Organisation) -> Caller:
    account_id = organisation.billing_account.pk
    if isinstance(request.auth, ApiKey):
        return Caller(organisation.pk, account_id, key_id=request.auth.pk)
    return Caller(organisation.pk, account_id, user_id=request.user.pk or 0)
