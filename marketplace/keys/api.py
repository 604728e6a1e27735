"""Keys over the management API."""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.api import OrganisationFilter
from marketplace.accounts.models import (
    GUARD_FIELDS,
    LIMIT_FIELDS,
    LIMIT_MAX,
    ApiKey,
    Mask,
    Scope,
    User,
)
from marketplace.accounts.permissions import Permission, permission_over
from marketplace.accounts.services import api_key_create, api_key_revoke, api_key_update
from marketplace.keys.guards import guard_model_check
from marketplace.keys.limits import NANO_MAX, rules_check, rules_of
from marketplace.keys.rotation import HOUR, OVERLAP_MAX, api_key_rotate
from marketplace.keys.rules import expiry_check, models_allowed_check
from marketplace.shared.known_fields import KnownFieldsOnly

NO_STORE = {"Cache-Control": "no-store"}


class RuleSerializer(KnownFieldsOnly, serializers.Serializer[Any]):
    """Limits of the key's calls of a ``model`` (all without one), for ``each_user`` by itself or
    for all together.
    """

    model = serializers.CharField(max_length=120, required=False, allow_blank=True)
    each_user = serializers.BooleanField(required=False)
    requests_per_minute = serializers.IntegerField(required=False, min_value=0, max_value=LIMIT_MAX)
    tokens_per_minute = serializers.IntegerField(required=False, min_value=0, max_value=LIMIT_MAX)
    calls_at_once = serializers.IntegerField(required=False, min_value=0, max_value=LIMIT_MAX)
    nano_per_day = serializers.IntegerField(required=False, min_value=0, max_value=NANO_MAX)


class _Checked(serializers.ModelSerializer[ApiKey]):
    rules = RuleSerializer(many=True, required=False)
    models_allowed = serializers.ListField(
        child=serializers.CharField(max_length=120), required=False
    )

    masks = serializers.ListField(
        child=serializers.ChoiceField(Mask.choices),
        required=False,
        help_text="Personal data that is masked in its calls, besides its organisation's.",
    )

    guard_model = serializers.CharField(
        max_length=120,
        required=False,
        allow_blank=True,
        help_text="The moderation model that judges its calls, besides its organisation's.",
    )

    def validate_guard_model(self, name: str) -> str:
        """A moderation model; one that the key already has is kept."""
        before = self.instance.guard_model if isinstance(self.instance, ApiKey) else ""
        try:
            return guard_model_check(name, before=before)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages) from error

    def validate_models_allowed(self, names: list[str]) -> list[str]:
        """The models, which must exist; names that the key already has are always kept."""
        before = self.instance.models_allowed if isinstance(self.instance, ApiKey) else ()
        try:
            return models_allowed_check(names, before=before)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages) from error

    def validate_rules(self, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rules as they are stored; models that the key's rules already name are kept."""
        before = rules_of(self.instance.rules) if isinstance(self.instance, ApiKey) else ()
        try:
            return rules_check(rules_of(rules), before=before)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages) from error

    def validate_expires_at(self, expires_at: datetime | None) -> datetime | None:
        """A time in the future, or None."""
        before = self.instance.expires_at if isinstance(self.instance, ApiKey) else None
        try:
            return expiry_check(expires_at, before=before)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages) from error


class ApiKeySerializer(_Checked):
    organisation = serializers.SlugField()
    status = serializers.CharField(read_only=True)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(Scope.choices), required=False, min_length=1
    )

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "organisation",
            "name",
            "masked",
            "scopes",
            "models_allowed",
            *LIMIT_FIELDS,
            "rules",
            "masks",
            *GUARD_FIELDS,
            "status",
            "created_at",
            "expires_at",
            "disabled_at",
            "last_used_at",
        ]
        read_only_fields = ["masked", "created_at", "disabled_at", "last_used_at"]

    def to_representation(self, instance: ApiKey) -> dict[str, Any]:
        return {**super().to_representation(instance), "organisation": instance.organisation.slug}


class ApiKeyChangeSerializer(KnownFieldsOnly, _Checked):
    class Meta:
        model = ApiKey
        fields = [
            *("name", "models_allowed", "expires_at", *LIMIT_FIELDS, "rules", "masks"),
            *GUARD_FIELDS,
        ]


class ApiKeyCreatedSerializer(ApiKeySerializer):
    key = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]


class RotationSerializer(serializers.Serializer[Any]):
    overlap_hours = serializers.IntegerField(
        default=24,
        min_value=0,
        max_value=OVERLAP_MAX // HOUR,
        help_text="How long the old key still works; 0 revokes it at once.",
    )


class ApiKeyViewSet(mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[ApiKey]):
    """Keys of the caller's organisations. Deleting one revokes it; it stays on record."""

    serializer_class = ApiKeySerializer
    queryset = ApiKey.objects.all()
    filterset_class = OrganisationFilter

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.filter(
            organisation__in=organisations_seen_by(self.request)
        ).select_related("organisation")

    @extend_schema(request=ApiKeySerializer, responses={201: ApiKeyCreatedSerializer})
    def create(self, request: Request) -> Response:
        """Make a key; the answer carries it, once."""
        wanted = ApiKeySerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = dict(wanted.validated_data)
        slug = values.pop("organisation")
        organisation = organisation_acted_for(request, slug, Permission.KEYS)
        if Scope.MANAGEMENT in values.get("scopes", ()):
            organisation_acted_for(request, slug, Permission.MANAGEMENT_KEYS)
        row, key = api_key_create(organisation=organisation, created_by=_person(request), **values)
        return _created(row, key)

    @extend_schema(request=ApiKeyChangeSerializer, responses=ApiKeySerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change a key's name, models, expiry, limits, rules, masks or guard; null takes a limit
        away.
        """
        api_key = self.get_object()
        wanted = ApiKeyChangeSerializer(api_key, data=request.data, partial=True)
        wanted.is_valid(raise_exception=True)
        organisation_acted_for(request, api_key.organisation.slug, permission_over(api_key))
        changed = api_key_update(api_key=api_key, **wanted.validated_data)
        return Response(ApiKeySerializer(changed).data)

    @extend_schema(request=RotationSerializer, responses={201: ApiKeyCreatedSerializer})
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a key like this one; this one ends after the overlap. The answer carries the new."""
        api_key = self.get_object()
        wanted = RotationSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        organisation_acted_for(request, api_key.organisation.slug, permission_over(api_key))
        overlap = timedelta(hours=wanted.validated_data["overlap_hours"])
        row, key = api_key_rotate(api_key=api_key, overlap=overlap, created_by=_person(request))
        return _created(row, key)

    def perform_destroy(self, instance: ApiKey) -> None:
        organisation_acted_for(self.request, instance.organisation.slug, permission_over(instance))
        api_key_revoke(api_key=instance)


def _person(request: Request) -> User | None:
    return request.user if isinstance(request.user, User) else None


def _created(row: ApiKey, key: str) -> Response:
    shown = {**ApiKeySerializer(row).data, "key": key}
    return Response(shown, status.HTTP_201_CREATED, headers=NO_STORE)
